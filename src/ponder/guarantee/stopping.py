"""When to stop asking: rules that look at the answers so far.

A rule sees the answers in the order drawn, without abstentions. All of them but ``settled`` say
something about a population of fixed size, and are looked at after every sample: their numbers are
not error rates. ``ponder.guarantee.operating`` gives the error rates, exactly.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from ponder.errors import PonderError
from ponder.guarantee.mode import ModeEvidence


class StopRule(Protocol):
    """Whether the answers so far are enough."""

    def stops(self, answers: Sequence[Hashable]) -> bool:
        """True if no further answer is needed; False for none at all."""
        ...


def falling_counts(answers: Sequence[Hashable]) -> list[int]:
    """How often each distinct answer was given, the largest number first."""
    return sorted(Counter(answers).values(), reverse=True)


def probability_ahead(first: int, second: int) -> float:
    """P(p1 > p2) for two answers given ``first`` and ``second`` times, under a flat prior."""
    from scipy.special import betaincc

    return float(betaincc(first + 1, second + 1, 0.5))


@lru_cache(maxsize=1)
def _quadrature() -> tuple[Any, Any]:
    import numpy as np

    return np.polynomial.legendre.leggauss(200)


def probability_leading(counts: Sequence[int]) -> float:
    """P(the first answer is the most probable of those seen), under a flat Dirichlet prior.

    ``counts``: of at least one answer. p ~ Dirichlet(counts + 1) is gammas over their sum, so the
    first is the largest where its gamma is: an integral over one gamma of the others'
    distribution functions, by quadrature. One answer alone is set against one never seen.
    """
    if len(counts) == 1:
        return probability_ahead(counts[0], 0)
    import numpy as np
    from scipy.special import gammainc, gammainccinv, gammaincinv, gammaln

    shape, tail = counts[0] + 1, 1e-16
    low, high = gammaincinv(shape, tail), gammainccinv(shape, tail)
    nodes, weights = _quadrature()
    x = low + (high - low) * (nodes + 1) / 2
    density = np.exp((shape - 1) * np.log(x) - x - gammaln(shape))
    below = gammainc(np.asarray(counts[1:])[:, None] + 1, x).prod(axis=0)
    return float(np.clip((high - low) / 2 * np.sum(weights * density * below), 0, 1))


@dataclass(frozen=True, repr=False)
class Agreement:
    """Adaptive-Consistency's Beta rule (Aggarwal et al., EMNLP 2023).

    Stops when the first answer is more probable than the second with posterior probability
    ``confidence``, under a flat prior; all other answers are ignored, and a second answer that
    has not come counts as given zero times.
    """

    confidence: float

    def stops(self, answers: Sequence[Hashable]) -> bool:
        if not answers:
            return False
        first, second = [*falling_counts(answers), 0][:2]
        return probability_ahead(first, second) >= self.confidence

    def __repr__(self) -> str:
        return f"agreement({self.confidence:g})"


@dataclass(frozen=True, repr=False)
class Dirichlet:
    """As :class:`Agreement`, but against all answers seen, under a flat Dirichlet prior."""

    confidence: float

    def stops(self, answers: Sequence[Hashable]) -> bool:
        if not answers:
            return False
        return probability_leading(falling_counts(answers)) >= self.confidence

    def __repr__(self) -> str:
        return f"dirichlet({self.confidence:g})"


@dataclass(frozen=True, repr=False)
class Majority:
    """Stops when one answer has this share of at least ``least`` answers."""

    share: float
    least: int

    def stops(self, answers: Sequence[Hashable]) -> bool:
        enough = len(answers) >= self.least
        return enough and falling_counts(answers)[0] >= self.share * len(answers)

    def __repr__(self) -> str:
        return f"majority({self.share:g}, least={self.least})"


@dataclass(frozen=True, repr=False)
class Entropy:
    """Stops when the answers' entropy is at most ``limit`` of the largest for as many answers.

    One answer alone is set against another given once, as Adaptive-Consistency's code has it.
    """

    limit: float

    def stops(self, answers: Sequence[Hashable]) -> bool:
        if len(answers) < 2:
            return False
        counts = falling_counts(answers)
        counts = counts if len(counts) > 1 else [*counts, 1]
        shares = [count / sum(counts) for count in counts]
        return -sum(p * math.log(p) for p in shares) <= self.limit * math.log(len(shares))

    def __repr__(self) -> str:
        return f"entropy({self.limit:g})"


@dataclass(frozen=True, repr=False)
class Settled:
    """Stops when the leader is settled: the anytime-valid rule of :mod:`ponder.guarantee.mode`.

    For independent answers of one law, the probability of ever stopping at an answer that is not
    a most probable one is at most ``alpha``, however many answers there are and are drawn.
    """

    alpha: float

    def stops(self, answers: Sequence[Hashable]) -> bool:
        return bool(answers) and ModeEvidence(answers).settled(self.alpha) is not None

    def __repr__(self) -> str:
        return f"settled({self.alpha:g})"


def agreement(confidence: float = 0.95) -> Agreement:
    """``agreement(0.95)``: the first answer beats the second. See :class:`Agreement`."""
    return Agreement(within("agreement", "a probability", confidence))


def dirichlet(confidence: float = 0.95) -> Dirichlet:
    """``dirichlet(0.95)``: the first answer beats all others seen. See :class:`Dirichlet`."""
    return Dirichlet(within("dirichlet", "a probability", confidence))


def majority(share: float = 0.8, least: int = 3) -> Majority:
    """``majority(0.8)``: the first answer has this share. See :class:`Majority`."""
    if isinstance(least, bool) or not isinstance(least, int) or least < 1:
        raise PonderError(f"majority needs a whole number of answers, least >= 1, got {least!r}")
    return Majority(within("majority", "a share", share, closed=True), least)


def entropy(limit: float = 0.75) -> Entropy:
    """``entropy(0.75)``: the answers vary little. See :class:`Entropy`."""
    return Entropy(within("entropy", "a share of the largest entropy", limit))


def settled(alpha: float = 0.05) -> Settled:
    """``settled(0.05)``: the most probable answer is known. See :class:`Settled`."""
    return Settled(within("settled", "an error probability", alpha, such_as=0.05))


def within(
    name: str, what: str, value: Any, *, closed: bool = False, such_as: float = 0.9
) -> float:
    """A number between 0 and 1, or PonderError; 1 itself if ``closed``."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and (0 < value < 1 or (closed and value == 1))):
        raise PonderError(f"{name} needs {what} between 0 and 1, such as {such_as}, got {value!r}")
    return float(value)
