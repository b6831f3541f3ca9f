"""Coverage, the share of questions with a right answer among k samples, and how it grows.

A question answered rightly with probability p has coverage 1 - (1 - p)^k. Averaged over questions
whose p has a density like p^(beta - 1) near 0, 1 - coverage falls like k^(-beta): each question
gains exponentially, all of them together by a power law. Brown et al., "Large Language Monkeys"
(2024), fit log coverage(k) = a k^b, with a < 0 and b < 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ponder.errors import PonderError

Floats = NDArray[np.float64]
S = TypeVar("S")


def pass_at_k(n: int, c: int, k: int) -> float:
    """P(at least one of k samples is right), estimated from n of which c are: unbiased for k <= n.

    1 - C(n - c, k) / C(n, k), the share of subsets of size k with a right sample, as a product
    (Chen et al. 2021). The plug-in 1 - (1 - c/n)^k is biased low.
    """
    if not (0 <= c <= n and 0 <= k <= n):
        raise PonderError(f"pass@k needs c <= n and k <= n, got n={n}, c={c}, k={k}")
    if n - c < k:
        return 1.0
    return 1.0 - math.prod(1 - k / j for j in range(n - c + 1, n + 1))


def coverage_curve(correct: Sequence[int], n: int, ks: Sequence[int]) -> Floats:
    """pass@k averaged over questions, each with its number right of n samples: (len(ks),)."""
    return np.asarray(_coverages(correct, n, ks).mean(axis=0))


def _coverages(correct: Sequence[int], n: int, ks: Sequence[int]) -> Floats:
    """pass@k: (questions, len(ks))."""
    if not len(correct):
        raise PonderError("coverage is a mean over questions; give at least one")
    table = {int(c): [pass_at_k(n, int(c), int(k)) for k in ks] for c in set(correct)}
    return np.array([table[int(c)] for c in correct])


@dataclass(frozen=True)
class CoverageLaw:
    """coverage(k) = exp(a k^b): a description that fits many models, and not all."""

    a: float
    b: float

    def __call__(self, k: ArrayLike) -> Floats:
        return np.asarray(np.exp(self.a * np.asarray(k, dtype=np.float64) ** self.b))


class Band(NamedTuple):
    """A law, and the range of its bootstrap: laws of questions drawn again, with replacement."""

    law: CoverageLaw
    ks: NDArray[np.int_]
    low: Floats
    high: Floats
    b: tuple[float, float]
    """The same range for the exponent."""


def fit_coverage(
    correct: Sequence[int],
    n: int,
    *,
    points: int = 40,
    resamples: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> Band:
    """The power law of coverage, by least squares on log coverage at log-spaced k <= n.

    The points of one curve come from the same samples, so that how well it fits says nothing:
    the band at ``level`` is over questions, resampled by ``seed``. Raises PonderError if no
    sample is right, or every one: there is nothing to fit. Resamples like that are left out.
    """
    ks = np.unique(np.geomspace(1, n, points).round().astype(int))
    table = _coverages(correct, n, ks.tolist())
    law = fitted(ks, table.mean(axis=0))
    if law is None:
        raise PonderError("coverage must lie between 0 and 1 at three k at least; use more samples")
    rng = np.random.default_rng(seed)
    drawn = (rng.integers(len(table), size=len(table)) for _ in range(resamples))
    laws = [law, *(x for x in (fitted(ks, table[i].mean(axis=0)) for i in drawn) if x)]
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile([x(ks) for x in laws], tails, axis=0)
    b = np.quantile([x.b for x in laws], tails)
    return Band(law, ks, low, high, (float(b[0]), float(b[1])))


def fitted(ks: NDArray[np.int_], coverage: Floats) -> CoverageLaw | None:
    """The law nearest in log coverage; None if fewer than three points can be used."""
    from scipy.optimize import least_squares

    usable = (coverage > 0) & (coverage < 1)
    if usable.sum() < 3:
        return None
    log_k, logs = np.log(ks[usable]), np.log(coverage[usable])
    slope, height = np.polyfit(log_k, np.log(-logs), 1)  # log(-log c) = log(-a) + b log k

    def residual(x: Floats) -> Floats:
        return np.asarray(np.exp(x[0] + x[1] * log_k) + logs)

    height, slope = least_squares(residual, [height, slope], x_scale="jac").x
    return CoverageLaw(-math.exp(height), float(slope))


def subset_curve(
    samples: Sequence[Sequence[S]],
    selector: Callable[[Sequence[S]], float],
    ks: Sequence[int],
    *,
    seed: int = 0,
    subsets: int = 100,
) -> Floats:
    """What a selector gets from k of the stored samples, averaged over questions: (len(ks),).

    ``selector`` maps a subset, in the stored order, to its accuracy. All subsets of a question
    are taken if there are at most ``subsets``: that is exact; else as many at random, by ``seed``.
    """
    if not samples or not all(0 < k <= min(map(len, samples)) for k in ks):
        raise PonderError("subsets need at least one question, and 1 <= k <= samples of each")
    curve = []
    for k in ks:
        means = []
        for question, stored in enumerate(samples):
            chosen = _subsets(len(stored), k, subsets, (seed, question, k))
            means.append(np.mean([selector([stored[i] for i in part]) for part in chosen]))
        curve.append(float(np.mean(means)))
    return np.array(curve)


def _subsets(n: int, k: int, most: int, key: tuple[int, ...]) -> Iterator[Sequence[int]]:
    if math.comb(n, k) <= most:
        yield from combinations(range(n), k)
        return
    rng = np.random.default_rng(key)
    for _ in range(most):
        yield sorted(rng.choice(n, size=k, replace=False).tolist())


def vote_accuracy(samples: Sequence[tuple[Hashable, bool]]) -> float:
    """Accuracy of the most frequent answer of (answer, right) pairs, for ``subset_curve``.

    None is an abstention and no answer. Ties count in part: the share of the tied that are right.
    No answer at all is not right.
    """
    votes: dict[Hashable, list[bool]] = {}
    for answer, right in samples:
        if answer is not None:
            votes.setdefault(answer, []).append(right)
    most = max(map(len, votes.values()), default=0)
    tied = [all(rights) for rights in votes.values() if len(rights) == most]
    return sum(tied) / len(tied) if tied else 0.0
