"""Methods side by side: accuracy with intervals, differences by question at equal tokens.

What is random is which questions were asked: every interval is over questions, for the mean of
questions like these, and what is compared is paired by question. Arrays of credits (Q,) lie in
[0, 1]; a credit may be a mean over runs, since runs of one question are one question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ponder.errors import PonderError
from ponder.question import Question

Floats = NDArray[np.float64]
Interval = tuple[float, float]
LEVEL = 0.95
DRAWS = 10_000


class Point(Protocol):
    """A strategy at one size: by question its credit, its tokens, whether it is covered (Q,)."""

    @property
    def right(self) -> Floats: ...
    @property
    def tokens(self) -> Floats: ...
    @property
    def covered(self) -> Floats: ...


Curve = Sequence[Point]


class Difference(NamedTuple):
    """The mean difference of two methods, and the interval for it."""

    mean: float
    low: float
    high: float


class AtTokens(NamedTuple):
    """A curve at given mean tokens: credit by question (Q,).

    ``beyond``: it does not reach there. "above", it stops before and could have used the rest;
    "below", even its smallest size costs more. None where it does.
    """

    right: Floats
    beyond: Literal["above", "below"] | None


@dataclass(frozen=True)
class Comparison:
    """Method ``a`` against ``b``, the most accurate of the others at the tokens of ``a``.

    Of ``apart`` each interval holds by itself with probability LEVEL, of ``together`` all those
    of one table at once. That ``b`` was chosen for its accuracy on these questions is not in the
    intervals; it is to the disadvantage of ``a``.
    """

    a: str
    b: str
    tokens: float
    apart: Difference
    together: Difference
    beyond: Literal["above", "below"] | None


@dataclass(frozen=True)
class Baseline:
    """What a method should be compared with; ``tokens`` in the mean, None if it is no method."""

    name: str
    accuracy: float
    interval: Interval
    tokens: float | None


def accuracy_interval(right: Floats) -> Interval:
    """An interval at LEVEL for the mean credit of questions like these (Q,).

    Of credits that are 0 or 1 it is the exact one (Clopper & Pearson 1934). Of fractions it is the
    same with an effective number of questions, which is larger by as much as their variance is
    smaller (Korn & Graubard 1998). To that variance the largest possible is added with the weight
    of one question: that few questions agree is no proof that all do.
    """
    from scipy.special import betaincinv

    right = _credits(right)
    n, mean = len(right), float(right.mean())
    most = mean * (1 - mean)
    effective = n * most / (((n - 1) * float(right.var()) + most) / n) if most > 1e-12 else n
    hits, tail = mean * effective, (1 - LEVEL) / 2
    low = betaincinv(hits, effective - hits + 1, tail) if mean > 1e-12 else 0.0
    high = betaincinv(hits + 1, effective - hits, 1 - tail) if mean < 1 - 1e-12 else 1.0
    return float(low), float(high)


def paired(a: Floats, b: Floats) -> Difference:
    """mean(a - b) over questions (Q,), with an interval at LEVEL.

    The interval is computed with two more questions, which differ by as much as any does, one
    either way; by 1 if all differ by the same. Of credits that are 0 or 1 it is the adjusted Wald
    interval of Bonett & Price (2012). A bootstrap of the questions has no such reserve: where 4%
    of questions differ, its 95% interval from twenty of them covers in 59% of cases. What a rare
    kind of question that was not seen would do is beyond either.
    """
    return adjusted(_credits(a) - _credits(b), NormalDist().inv_cdf((1 + LEVEL) / 2))


def adjusted(apart: Floats, width: float) -> Difference:
    """The mean of differences (Q,), and that of :func:`paired` +- ``width`` standard errors."""
    most = 1.0 if np.ptp(apart) == 0 else float(np.abs(apart).max())
    more = np.append(apart, [most, -most])
    centre, error = float(more.mean()), float(more.std()) / len(more) ** 0.5
    low, high = max(-1.0, centre - width * error), min(1.0, centre + width * error)
    mean = float(apart.mean())
    return Difference(mean, min(low, mean), max(high, mean))


def at_tokens(curve: Curve, tokens: float) -> AtTokens:
    """The credit by question of a curve at mean ``tokens``: between two sizes the straight line.

    That is what taking one of the two sizes at random would give. Beyond its ends a curve is flat,
    which ``beyond`` says.
    """
    if not curve:
        raise PonderError("a curve needs at least one size")
    points = sorted(curve, key=lambda point: float(point.tokens.mean()))
    spent = [float(point.tokens.mean()) for point in points]
    place = float(np.interp(tokens, spent, np.arange(len(points))))
    below = int(place)
    part = place - below
    right = points[below].right
    if part > 0:
        right = (1 - part) * right + part * points[below + 1].right
    # Mean tokens that are equal but for rounding are equal.
    slack = 1e-9 * max(tokens, 1.0)
    if tokens > spent[-1] + slack:
        return AtTokens(right, "above")
    return AtTokens(right, "below" if tokens < spent[0] - slack else None)


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """The indices of (tokens, accuracy) that no other betters in one without losing in the other.

    By tokens, from the least; of equal points the first.
    """
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1], i)):
        if not front or points[i][1] > points[front[-1]][1]:
            front.append(i)
    return front


def comparisons(methods: Mapping[str, Curve], seed: int = 0) -> list[Comparison]:
    """Each method at its full size, the last of its curve, against the best other at its tokens.

    All curves are on the same questions. ``seed`` is that of the simulation behind the
    intervals that hold together. [] of a single method.
    """
    if len(methods) < 2:
        return []
    rows = []
    for a, curve in methods.items():
        tokens = float(curve[-1].tokens.mean())
        rivals = {b: at_tokens(other, tokens) for b, other in methods.items() if b != a}
        b = max(rivals, key=lambda name: float(rivals[name].right.mean()))
        rows.append((a, b, tokens, _credits(curve[-1].right), rivals[b]))
    width = simultaneous(np.array([right - rival.right for *_, right, rival in rows]), seed)
    return [
        Comparison(
            a,
            b,
            tokens,
            paired(right, rival.right),
            adjusted(right - rival.right, width),
            rival.beyond,
        )
        for a, b, tokens, right, rival in rows
    ]


def simultaneous(apart: Floats, seed: int = 0) -> float:
    """How many standard errors make all intervals hold at once at LEVEL: (K, Q) -> c >= 1.96.

    The quantile of the largest of K standardised means, normal and as correlated as they are
    here: what they have in common makes it smaller than Bonferroni's, which it never exceeds.
    """
    k, n = apart.shape
    tail = (1 - LEVEL) / 2
    least, most = NormalDist().inv_cdf(1 - tail), NormalDist().inv_cdf(1 - tail / k)
    spread = apart.std(axis=1)
    used = spread > 1e-12
    if not used.any():
        return most
    z = (apart[used] - apart[used].mean(axis=1, keepdims=True)) / spread[used, None]
    rng = np.random.default_rng(seed)
    largest = np.abs(rng.standard_normal((DRAWS, n)) @ z.T).max(axis=1) / n**0.5
    return float(np.clip(np.quantile(largest, LEVEL), least, most))


def random_sample(single: Point) -> Baseline:
    """One sample alone: a strategy at size 1, the mean over samples."""
    tokens = float(single.tokens.mean())
    return _baseline("a random sample", single.right, tokens)


def coverage_ceiling(points: Sequence[Point]) -> Baseline:
    """What a perfect choice would get, on each question from the best covered of these points."""
    covered = np.max([point.covered for point in points], axis=0)
    return _baseline("coverage ceiling", covered, None)


def random_option(questions: Sequence[Question]) -> Baseline | None:
    """One of the options of each question at random; None if some question has none."""
    options = [options_of(question) for question in questions]
    if not options or not all(options):
        return None
    chances = np.array([1 / n for n in options])
    accuracy = float(chances.mean())
    return Baseline("a random option", accuracy, (accuracy, accuracy), 0.0)


def options_of(question: Question) -> int:
    """How many answers a question leaves open; 0 if they are not listed."""
    if question.kind == "choice":
        return len(question.labels or question.options)
    return {"bool": 2, "logic": 3}.get(question.kind, 0)


def _baseline(name: str, right: Floats, tokens: float | None) -> Baseline:
    return Baseline(name, float(right.mean()), accuracy_interval(right), tokens)


def _credits(values: Floats) -> Floats:
    """The same as floats; raises PonderError for none, or for numbers outside [0, 1]."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not np.all((array >= -1e-9) & (array <= 1 + 1e-9)):
        raise PonderError("an accuracy is the mean of credits from 0 to 1; give at least one")
    clipped: Floats = np.clip(array, 0.0, 1.0)
    return clipped
