"""What a predictor of pairs does not know, apart from what is random: Johnson et al. (2024).

A predictor is asked for two independent responses to one x at once, p(y1, y2 | x), and sees the
first when it predicts the second. For an answer y let m = p(Y1 = y | x), c = p(Y2 = y | Y1 = y, x).
A predictor that cannot tell some x apart predicts the same for all of them. If its pairs are right
on average over those ("second-order calibrated"), then m = E p(y | X) and m c = E p(y | X)^2 there,
so that V = m (c - m) is the variance of the true p(y | X) around m: what it does not know. Noise
that it knows to be noise adds nothing to V, as seeing one response says nothing about the next.

From V follow, by Chebyshev and Cantelli, intervals for p(y | X), and by Paley and Zygmund that y is
outside the support, p(y | X) = 0, with probability at most 1 - m / c. All are statements about X
given the prediction; about no single x, and about no answer chosen by more than the prediction.

c < m is impossible under calibration. Where a bound needs V >= 0, what is off by some amount to
that side counts as much as to the other, so that no answer is trusted for being predicted badly.
D. D. Johnson, D. Tarlow, D. Duvenaud and C. J. Maddison, "Experts Don't Cheat: Learning What You
Don't Know By Predicting Pairs", ICML 2024.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ponder.errors import PonderError
from ponder.guarantee.stopping import within
from ponder.law import Law, heuristic

Floats = NDArray[np.float64]
Side = Literal["both", "low", "high"]
CALIBRATED = "if second-order calibrated"
_ROUNDING = 1e-6  # of probabilities that a network made, in single precision


def epistemic_variance(m: ArrayLike, c: ArrayLike) -> Floats:
    """V = m (c - m), of probabilities of any one shape; negative where c < m.

    ``c`` is not looked at where m is 0, where V is 0. A negative V says that the predictor is not
    exchangeable in its two responses, or not trained.
    """
    m, c = _checked(m, c)
    return np.asarray(m * (c - m))


def interval(
    m: ArrayLike, c: ArrayLike, beta: float = 0.05, side: Side = "both"
) -> tuple[Floats, Floats]:
    """(low, high): p(y | X) is outside with probability at most ``beta``, if calibrated.

    By Chebyshev for ``both`` sides, m -+ sqrt(V / beta); by Cantelli for an end at the ``low`` or
    at the ``high`` side alone, m -+ sqrt(V (1 - beta) / beta). Ends are in [0, 1].
    """
    beta = within("interval", "beta, the probability to be outside,", beta, such_as=0.05)
    if side not in ("both", "low", "high"):
        raise PonderError(f"the side of an interval is both, low or high, got {side!r}")
    m, c = _checked(m, c)
    spread = np.abs(m * (c - m))
    reach = np.sqrt(spread / beta if side == "both" else spread * (1 - beta) / beta)
    low, high = np.maximum(m - reach, 0.0), np.minimum(m + reach, 1.0)
    return (np.zeros_like(m) if side == "high" else low, np.ones_like(m) if side == "low" else high)


def hallucination_bound(m: ArrayLike, c: ArrayLike) -> Floats:
    """1 - m / c, at least P(p(y | X) = 0 | prediction) if calibrated; 1 - c / m where c < m.

    1 where m is 0, and where c is.
    """
    m, c = _checked(m, c)
    larger = np.maximum(m, c)
    some = larger > 0
    ratio = np.divide(np.minimum(m, c), larger, out=np.zeros_like(m), where=some & (m > 0))
    return np.asarray(1 - ratio)


def accept(m: ArrayLike, c: ArrayLike, beta: float = 0.05) -> NDArray[np.bool_]:
    """Whether to give the answer: where its hallucination bound is at most ``beta``.

    Of answers so given at most a share ``beta`` is outside the support, if calibrated, however
    they were chosen from what is predicted.
    """
    beta = within("accept", "beta, the share of made-up answers,", beta, such_as=0.05)
    return np.asarray(hallucination_bound(m, c) <= beta + 1e-12)


@dataclass(frozen=True)
class PairPrediction:
    """m and c of one answer, and what follows from them."""

    m: float
    c: float

    def __post_init__(self) -> None:
        _checked(self.m, self.c)

    @property
    def variance(self) -> float:
        """The epistemic variance m (c - m); see :func:`epistemic_variance`."""
        return float(epistemic_variance(self.m, self.c))

    @property
    def noise(self) -> float:
        """m (1 - c): the part of the variance of 1{Y = y}, m (1 - m), that is no ignorance."""
        return self.m * (1 - self.c) if self.m > 0 else 0.0

    @property
    def hallucination(self) -> float:
        """See :func:`hallucination_bound`."""
        return float(hallucination_bound(self.m, self.c))

    def interval(self, beta: float = 0.05, side: Side = "both") -> tuple[float, float]:
        """See :func:`interval`."""
        low, high = interval(self.m, self.c, beta, side)
        return float(low), float(high)

    def accepts(self, beta: float = 0.05) -> bool:
        """See :func:`accept`."""
        return bool(accept(self.m, self.c, beta))

    def law(self, beta: float = 0.05, *, calibrated: bool = False) -> Law:
        """What is claimed of p(y | X): bounded if the predictor is ``calibrated``, else nothing.

        Calibration is an assumption, and is named as one. ``ponder.checking.pairs.second_order``
        tests it on held-out pairs of responses.
        """
        low, high = self.interval(beta)
        said = (
            f"p(y | X) is outside [{low:.3g}, {high:.3g}] with probability <= {beta:g}",
            f"it is 0 with probability <= {self.hallucination:.3g}",
        )
        law = Law("bounded", "p(y | X) given the prediction", (*said, CALIBRATED))
        if self.variance < -_ROUNDING:
            return heuristic(law, "not exchangeable or not trained: c < m")
        return law if calibrated else heuristic(law, "calibration is not known")


@dataclass(frozen=True)
class PairTable:
    """Whole tables p(y1, y2 | x) of k answers, made symmetric.

    ``joint`` is (..., k, k), ``m`` and ``c`` are (..., k). ``asymmetry`` (...) is the total
    variation between a table as given and its mirror image: 0 for a predictor that knows the two
    responses to be exchangeable, and what must be explained before anything here is believed.
    """

    joint: Floats
    m: Floats
    c: Floats
    asymmetry: Floats

    @property
    def covariance(self) -> Floats:
        """Of the vector p(. | X) around m, (..., k, k); V stands on the diagonal."""
        return np.asarray(self.joint - self.m[..., :, None] * self.m[..., None, :])

    @property
    def least_eigenvalue(self) -> Floats:
        """Of the covariance, (...): negative where no law of p(. | X) has these pairs."""
        return np.asarray(np.linalg.eigvalsh(self.covariance)[..., 0])


def pair_table(table: ArrayLike) -> PairTable:
    """Tables (..., k, k) of probabilities p(y1, y2 | x), each of sum 1; see :class:`PairTable`."""
    given = np.asarray(table, dtype=np.float64)
    if given.ndim < 2 or given.shape[-1] != given.shape[-2] or not given.shape[-1]:
        raise PonderError(f"a table of pairs has shape (..., k, k), got {given.shape}")
    sums = given.sum(axis=(-1, -2))
    if not (np.isfinite(given).all() and (given >= 0).all() and np.allclose(sums, 1, atol=1e-4)):
        raise PonderError("a table of pairs holds probabilities that sum to 1; normalise it")
    mirrored = np.swapaxes(given, -1, -2)
    joint = (given + mirrored) / (2 * sums[..., None, None])
    m = joint.sum(axis=-1)
    both = np.diagonal(joint, axis1=-2, axis2=-1)
    c = np.divide(both, m, out=np.zeros_like(m), where=m > 0)
    return PairTable(joint, m, c, np.abs(given - mirrored).sum(axis=(-1, -2)) / 2)


@dataclass(frozen=True)
class Counted:
    """m, c and V of one answer, estimated from ``n`` samples, with standard errors.

    ``c`` is NaN if the answer never came first. ``variance`` is unbiased (NaN for one sample), and
    so it may be negative by chance. ``asymmetry`` is how much more often the answer came second
    than first. Errors are of first order and too small where all samples are alike: they are 0.
    """

    answer: Any
    n: int
    m: float
    m_error: float
    c: float
    c_error: float
    variance: float
    variance_error: float
    asymmetry: float

    @property
    def prediction(self) -> PairPrediction:
        """The estimates as if they were exact; an answer that never came first has c = 0."""
        return PairPrediction(self.m, 0.0 if math.isnan(self.c) else self.c)


def counted_pairs(
    first: Sequence[Hashable],
    second: Sequence[Hashable],
    answer: Hashable,
    weights: ArrayLike | None = None,
    *,
    symmetric: bool = False,
) -> Counted:
    """From samples (n,) of pairs: ``m`` by the first responses, ``c`` by the second after them.

    ``symmetric`` takes the two as exchangeable, as two real responses are, and counts both orders,
    with less noise. ``weights`` (n,) are normalised. Raises PonderError without a sample.
    """
    if len(first) != len(second) or not len(first):
        raise PonderError("counted_pairs needs a second response for each first, at least one pair")
    n = len(first)
    w = np.full(n, 1 / n) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (n,) or not (w >= 0).all() or not 0 < w.sum() < math.inf:
        raise PonderError("counted_pairs needs a weight >= 0 for each pair, not all of them 0")
    w = w / w.sum()
    a = np.array([y == answer for y in first], dtype=np.float64)
    b = np.array([y == answer for y in second], dtype=np.float64)
    h, both = (a + b) / 2 if symmetric else a, a * b
    m, agree, alone = float(w @ h), float(w @ both), float(w @ w)
    c = agree / m if m > 0 else math.nan
    squared = (m * m - float((w * h) @ (w * h))) / (1 - alone) if alone < 1 else math.nan
    return Counted(
        answer,
        n,
        min(m, 1.0),
        _error(w, h - m),
        min(c, 1.0),
        _error(w, both - c * h) / m if m > 0 else math.nan,
        agree - squared,
        _error(w, both - agree - 2 * m * (h - m)),
        float(w @ (b - a)),
    )


def counted_answers(answers: Sequence[Hashable], answer: Hashable) -> Counted:
    """The same from ``answers`` (n,) drawn independently of each other, for comparison.

    Any two of them are a pair, and they do not see each other: c is m but for noise and V is 0,
    whatever the model knows. All of the spread of independent answers looks like noise.
    """
    n = len(answers)
    if not n:
        raise PonderError("counted_answers needs at least one answer")
    k = sum(y == answer for y in answers)
    m = k / n
    error = math.sqrt(m * (1 - m) / (n - 1)) if n > 1 else math.nan
    c = (k - 1) / (n - 1) if n > 1 and k else math.nan
    return Counted(answer, n, m, error, c, error, 0.0, 0.0, 0.0)


def _error(weights: Floats, terms: Floats) -> float:
    """The standard error of a weighted mean, of what its terms are off by; NaN for one term."""
    n = len(weights)
    if n < 2:
        return math.nan
    return math.sqrt(float((weights * terms) @ (weights * terms)) * n / (n - 1))


def _checked(m: ArrayLike, c: ArrayLike) -> tuple[Floats, Floats]:
    """Probabilities of one shape; c is 0 where m is, and rounding is taken off."""
    m, c = (np.asarray(x, dtype=np.float64) for x in np.broadcast_arrays(m, c))
    c = np.where(m == 0, 0.0, c)
    for name, values in (("m", m), ("c", c)):
        if not ((values >= -_ROUNDING) & (values <= 1 + _ROUNDING)).all():
            raise PonderError(f"{name} of a pair must be a probability, between 0 and 1")
    return np.clip(m, 0, 1), np.clip(c, 0, 1)
