"""What a stop rule does on questions of known difficulty, exactly.

Looking after every sample, up to a horizon, at answers drawn from a law with one answer of a given
share and some others of equal shares. All that matters of a run is what the rule remembers of it,
so that runs with the same memory are counted together (dynamic programming).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ponder.errors import PonderError
from ponder.guarantee.mode import ModeEvidence
from ponder.guarantee.stopping import Settled, StopRule

Floats = NDArray[np.float64]
_Run = tuple[int, ...]  # answers in the order drawn: 0 is the first answer of the law


class Operating(NamedTuple):
    """One number for each share: (shares,)."""

    stops: Floats
    """P(the rule stops by the horizon)."""
    wrong: Floats
    """P(it stops by the horizon, and another answer than the first leads); ties count in part."""
    samples: Floats
    """E[number drawn]: the horizon, where it does not stop."""


def operating(
    rule: StopRule, shares: Sequence[float], others: int = 1, horizon: int = 40
) -> Operating:
    """The operating characteristics of a rule at laws (share, then ``others`` equal shares).

    Rules but :class:`Settled` must depend on the numbers of each answer only, not on their order
    or names. Seconds, but for ``settled`` with more than one other answer and a horizon beyond
    20: that takes minutes. Raises PonderError for a share outside (0, 1] or no other answer.
    """
    share = np.asarray(shares, dtype=np.float64)
    if others < 1 or not np.all((share > 0) & (share <= 1)):
        raise PonderError("operating needs shares in (0, 1] and at least one other answer")
    stops, wrong, samples = (np.zeros(len(share)) for _ in range(3))
    running: dict[Hashable, tuple[_Run, Floats]] = {(): ((), np.ones(len(share)))}
    for _ in range(horizon):
        reached: dict[Hashable, tuple[_Run, Floats]] = {}
        for run, mass in running.values():
            samples += mass
            for answer, chance in _next(run, share, others):
                longer = (*run, answer)
                key = _memory(rule, longer, others)
                before = reached[key][1] if key in reached else 0.0
                reached[key] = (longer, before + mass * chance)
        running = {}
        for key, (run, mass) in reached.items():
            if rule.stops(run):
                stops += mass
                wrong += mass * _misled(run)
            else:
                running[key] = (run, mass)
    return Operating(stops, wrong, samples)


def _next(run: _Run, share: Floats, others: int) -> Iterator[tuple[int, Floats]]:
    """The next answers and their probabilities; one stands for all others not seen yet."""
    seen = max(run, default=0)  # others are numbered in the order in which they appear
    each = (1 - share) / others
    yield 0, share
    for answer in range(1, seen + 1):
        yield answer, each
    if seen < others:
        yield seen + 1, (others - seen) * each


def _memory(rule: StopRule, run: _Run, others: int) -> Hashable:
    """All that the rule remembers of a run, up to the names of the other answers."""
    if not isinstance(rule, Settled):
        counts = Counter(run)
        return counts[0], tuple(sorted(counts[b] for b in range(1, others + 1)))
    evidence, enough = ModeEvidence(run), -math.log(rule.alpha)

    def record(answer: int) -> tuple[int, bool, tuple[int, int]]:
        refuted = evidence.log_e_value(answer) >= enough
        bets = (-1, -1) if refuted else evidence.bets(answer)
        return evidence.counts[answer], answer == evidence.leader, bets

    unseen = min(evidence.log_e_unseen, enough)
    return record(0), tuple(sorted(record(b) for b in range(1, others + 1))), unseen


def _misled(run: _Run) -> float:
    """How much of a vote is for another answer than the first: ties are split."""
    counts = Counter(run)
    tied = [answer for answer, count in counts.items() if count == max(counts.values())]
    return sum(answer != 0 for answer in tied) / len(tied)
