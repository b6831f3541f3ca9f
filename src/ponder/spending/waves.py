"""``spend``: ask in waves, each where the next samples are worth the most for their tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ponder.errors import PonderError
from ponder.guarantee.stopping import StopRule, settled
from ponder.spending.answers import Seen
from ponder.spending.value import RUNS, Pooled, Right, Truth, expected_gains

SIZES = (1, 2, 4, 8)
"""How many samples more are looked at: one cannot upset a leader by two, and several may."""


class Ask(Protocol):
    """Asks questions until each has as many samples as named: what all of theirs then say.

    Samples that a question has already are among them and are not paid again.
    """

    def __call__(self, wanted: Mapping[str, int]) -> Mapping[str, Seen]: ...


@dataclass(frozen=True)
class Policy:
    """Which questions to ask next, and for how many samples more.

    Each is asked once before any is asked twice: for ``first`` samples. A question then stands by
    the largest expected gain per token of 1, 2, 4 or 8 samples more, as its ``cap`` leaves. It is
    given up for good where ``certified`` says that its answer is settled, unless unequal votes say
    another, or where it has all its samples; for now where no simulated future changes its leader.

    A wave is as many samples as an eighth of the questions, and ``wave`` at least: the smaller,
    the better the tokens are spent, the larger, the fuller a model's batch. Where asking again
    costs nothing by itself a question gets one sample of a wave, and more only if there is room;
    else at once as many as were found best.

    The gain is a model's, see :mod:`ponder.spending.value`; ``right`` may be calibrated. What is
    drawn depends on what was seen, so that the law of the answers is heuristic.
    """

    cap: int = 16
    first: int = 1
    wave: int = 8
    right: Right = field(default_factory=Truth)
    certified: StopRule | None = field(default_factory=settled)
    runs: int = RUNS

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.cap or self.wave < 1:
            raise PonderError(
                "spending needs 1 <= first <= cap samples a question and waves of at least 1, got "
                f"first={self.first}, cap={self.cap}, wave={self.wave}"
            )

    def next(
        self, seen: Mapping[str, Seen], unseen: Sequence[str], tokens: float
    ) -> dict[str, int]:
        """How many samples more of which questions, for at most ``tokens`` as far as is known.

        Empty when nothing is worth asking or can be paid. The first wave of all is asked whatever
        it costs, since nothing is known then.
        """
        if unseen:
            each = _mean([s.again + s.each * self.first for s in seen.values()])
            many = max(self._width(len(seen) + len(unseen)) // self.first, 1)
            while many * each > tokens:
                many -= 1
            return dict.fromkeys(unseen[: max(many, 0)], self.first)
        return self._best(seen, tokens)

    def rates(self, seen: Mapping[str, Seen]) -> dict[str, tuple[float, int]]:
        """Of each question still open the largest gain per token, and for how many samples."""
        open_ = [id for id, s in seen.items() if self._open(s)]
        if not open_:
            return {}
        sizes = [n for n in SIZES if n <= self.cap - min(len(seen[id].answers) for id in open_)]
        shown = [seen[id] for id in open_]
        gains = expected_gains(shown, Pooled.of(seen.values()), sizes, self.right, runs=self.runs)
        mean = _mean([s.each for s in seen.values()])
        found = {}
        for id, row in zip(open_, gains, strict=True):
            s, left = seen[id], self.cap - len(seen[id].answers)
            costs = [s.again + n * _expected(s, mean) for n in sizes if n <= left]
            per_token = row[: len(costs)] / costs
            best = int(np.argmax(per_token))
            if per_token[best] > 0:
                found[id] = (float(per_token[best]), sizes[best])
        return found

    def _width(self, questions: int) -> int:
        return max(self.wave, questions // 8)

    def _open(self, s: Seen) -> bool:
        if len(s.answers) >= self.cap:
            return False
        if self.certified is None or not s.given or s.contested:  # a rule counts, and cannot weigh
            return True
        return not self.certified.stops(s.given)

    def _best(self, seen: Mapping[str, Seen], tokens: float) -> dict[str, int]:
        rates = self.rates(seen)
        ranked = sorted(rates, key=lambda id: -rates[id][0])
        mean = _mean([s.each for s in seen.values()])
        more: dict[str, int] = {}
        room, left = self._width(len(seen)), tokens
        while room > 0:
            before = room
            for id in ranked:
                s, wanted = seen[id], rates[id][1]
                step = wanted if s.again else 1
                cost = step * _expected(s, mean) + (0 if id in more else s.again)
                if more.get(id, 0) + step <= wanted and step <= room and cost <= left:
                    more[id] = more.get(id, 0) + step
                    room, left = room - step, left - cost
            if room == before:
                break
        return more


def spend(
    ask: Ask,
    questions: Sequence[str],
    tokens: float,
    policy: Policy | None = None,
    *,
    told: Callable[[Mapping[str, Seen]], None] | None = None,
) -> dict[str, Seen]:
    """Spend ``tokens`` on questions, named by id: what has been seen of each in the end.

    Ends when nothing more can be paid, or none is worth it, or an ask brings nothing new (a cap
    of the runtime has been reached). Costs are expected ones; ``ask`` itself must hold a cap that
    may not be passed. A question that could not be paid is missing. ``told`` hears the state
    after every wave.
    """
    policy = policy or Policy()
    seen: dict[str, Seen] = {}
    while True:
        unseen = [id for id in questions if id not in seen]
        paid = sum(s.paid for s in seen.values())
        more = policy.next(seen, unseen, tokens - paid)
        drawn = _drawn(seen)
        if more:
            counts = {id: len(seen[id].answers) if id in seen else 0 for id in more}
            seen |= ask({id: counts[id] + n for id, n in more.items()})
        if _drawn(seen) == drawn:
            return seen
        if told is not None:
            told(seen)


def _expected(s: Seen, mean: float) -> float:
    """Tokens of a sample of this question: its own mean, with one of the run's mean beside it."""
    n = len(s.answers)
    return max((s.each * n + mean) / (n + 1), 1e-9)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else 0.0


def _drawn(seen: Mapping[str, Seen]) -> int:
    return sum(len(s.answers) for s in seen.values())
