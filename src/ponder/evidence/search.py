"""Which candidate to take: the cheapest that is hardly worse than the best within the budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ponder.errors import PonderError
from ponder.evidence.candidates import Candidate
from ponder.evidence.evaluate import Floats, Measured
from ponder.question import Question

Trial = Callable[[Candidate, Sequence[Question]], Measured | None]
"""What a candidate is worth on some questions; None if it fails on all of them."""
FIRST = 4
"""Halving begins with a FIRST-th of the questions."""
SURELY = 2.0
"""Standard errors beyond the budget at which a candidate is dropped from a race."""


@dataclass(frozen=True)
class Tried:
    """A candidate, and what it is worth on the questions that choose."""

    candidate: Candidate
    measured: Measured

    @property
    def accuracy(self) -> float:
        """Its mean credit."""
        return float(self.measured.right.mean())

    @property
    def tokens(self) -> float:
        """What it costs a question in the mean."""
        return float(self.measured.tokens.mean())


def exhaustive(
    candidates: Sequence[Candidate], questions: Sequence[Question], trial: Trial
) -> list[Tried]:
    """Every candidate on all questions."""
    return _tried(candidates, questions, trial)


def halving(
    candidates: Sequence[Candidate],
    questions: Sequence[Question],
    trial: Trial,
    max_tokens: float | None = None,
) -> list[Tried]:
    """Successive halving: all candidates on a quarter of the questions, the better half on twice
    as many, and so on; those that are left on all of them (Karnin, Koren and Somekh 2013).

    Candidates that surely cost more than ``max_tokens`` leave too, as long as others do not.
    """
    left = list(candidates)
    share = 1 / FIRST
    while share < 1 and len(left) > 1:
        asked = questions[: max(1, round(share * len(questions)))]
        race = _tried(left, asked, trial)
        within = [t for t in race if max_tokens is None or not _surely_above(t, max_tokens)]
        race = sorted(within or race, key=lambda t: (-t.accuracy, t.tokens))
        left = [t.candidate for t in race[: (len(race) + 1) // 2]]
        share *= 2
    return _tried(left, questions, trial)


def chosen(tried: Sequence[Tried], max_tokens: float | None = None) -> int:
    """The index of the cheapest within a standard error of the most accurate, within the budget.

    The error is that of the paired difference, over questions. Of equally cheap ones the more
    accurate. Raises PonderError, naming the cheapest, if none costs at most ``max_tokens``.
    """
    cheapest = min(tried, key=lambda t: t.tokens)
    within = affordable(tried, max_tokens)
    if not within:
        raise PonderError(
            f"no candidate costs at most {max_tokens:g} tokens a question in the mean; the "
            f"cheapest, {cheapest.candidate!r}, costs {cheapest.tokens:.0f}: raise --max-tokens, "
            "or add a cheaper --strategy"
        )
    best = min(within, key=lambda i: (-tried[i].accuracy, tried[i].tokens))
    near = [i for i in within if _near(tried[best].measured.right, tried[i].measured.right)]
    return min(near, key=lambda i: (tried[i].tokens, -tried[i].accuracy))


def affordable(tried: Sequence[Tried], max_tokens: float | None = None) -> list[int]:
    """The indices of those that cost at most ``max_tokens`` a question in the mean."""
    # Mean tokens that are equal but for rounding are equal.
    limit = np.inf if max_tokens is None else max_tokens * (1 + 1e-9)
    return [i for i, t in enumerate(tried) if t.tokens <= limit]


def _near(best: Floats, other: Floats) -> bool:
    apart = best - other
    error = float(apart.std(ddof=1)) / len(apart) ** 0.5 if len(apart) > 1 else 0.0
    return float(apart.mean()) <= error + 1e-12


def _surely_above(tried: Tried, max_tokens: float) -> bool:
    tokens = tried.measured.tokens
    error = float(tokens.std(ddof=1)) / len(tokens) ** 0.5 if len(tokens) > 1 else np.inf
    return tried.tokens - SURELY * error > max_tokens


def _tried(
    candidates: Sequence[Candidate], questions: Sequence[Question], trial: Trial
) -> list[Tried]:
    """Those that do not fail, in their order; the largest are tried first, whose samples are the
    ones that the smaller take in other orders."""
    largest = sorted(range(len(candidates)), key=lambda i: -candidates[i].size)
    found = {i: trial(candidates[i], questions) for i in largest}
    return [Tried(c, m) for i, c in enumerate(candidates) if (m := found[i]) is not None]
