"""How good stated probabilities are: calibration error, Brier score, ranking, risk by coverage.

All functions take ``probability`` (n,), that of being right, and ``credit`` (n,), both in [0, 1].
An answer of credit c counts as right with weight c and as wrong with weight 1 - c: it stands for
one of several tied answers, returned at random. ``question`` (n,) says of which question an answer
is; answers of one question are not independent, so that intervals resample questions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ponder.errors import PonderError

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]
BINS = 10
_ROUNDING = 1e-9  # sums of shares may be above 1 by so much


@dataclass(frozen=True)
class CalibrationError:
    """The expected calibration error, its interval at ``level``, and what chance alone would show.

    ``value`` is the plug-in, sum over bins of |mean probability - accuracy| by share of answers; it
    is not debiased. As an estimate it is too large by noise, most where the truth is 0: ``noise``
    is what it would be on average if all gaps were 0, so that a value near ``noise`` says nothing
    against the probabilities. As a measure of the gap at every single probability it is too small,
    since gaps of opposite sign within a bin cancel. The interval is for the error in these bins.
    """

    value: float
    low: float
    high: float
    noise: float
    level: float = 0.95


def ece(
    probability: ArrayLike,
    credit: ArrayLike,
    question: ArrayLike,
    *,
    bins: int = BINS,
    equal_width: bool = False,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> CalibrationError:
    """Expected calibration error in bins of equal mass, or of ``equal_width``.

    The interval is for the norm of the bins' gaps g, |g| = sum |g_b|, from gaps g* of resampled
    questions; each end misses with half of 1 - ``level``. Below: |g^| - |g| <= |g^ - g|, whose
    quantile is that of |g* - g^|; so an error of 0 is covered, as it never is by percentiles of
    resampled errors. Above: |g^| - |g| >= sign(g) (g^ - g), by convexity. It is on the wide side.
    A single question says nothing about others: (0, 1).
    """
    p, c = _checked(probability, credit)
    _, cluster = np.unique(_clusters(question, len(p)), return_inverse=True)
    which, many = _bins(p, bins, equal_width), int(cluster.max()) + 1
    gaps, touched = np.zeros((many, bins)), np.zeros((many, bins))
    np.add.at(gaps, (cluster, which), p - c)
    np.add.at(touched, (cluster, which), 1)
    size = np.bincount(cluster).astype(np.float64)
    mean = gaps.sum(axis=0) / size.sum()
    value = float(np.abs(mean).sum())
    if many < 2:
        return CalibrationError(value, 0.0, 1.0, value, level)
    drawn = np.random.default_rng(seed).multinomial(many, [1 / many] * many, size=resamples)
    # Resamples of the few questions in a bin vary too little: twice this factor is the jackknife's.
    inside = np.maximum((touched > 0).sum(axis=0), 2)
    apart = (drawn @ gaps / (drawn @ size)[:, None] - mean) * np.sqrt(inside / (inside - 1))
    noise = float(np.abs(apart).sum(axis=1).mean())
    apart *= np.sqrt(inside / (inside - 1))
    distance, along = np.abs(apart).sum(axis=1), -apart @ np.sign(mean)
    below, above = (float(np.quantile(x, (1 + level) / 2)) for x in (distance, along))
    low, high = max(0.0, value - below), min(1.0, value + above)
    return CalibrationError(value, low, high, noise, level)


def brier(probability: ArrayLike, credit: ArrayLike) -> float:
    """Mean squared distance from what came: c (1 - p)^2 + (1 - c) p^2. 0 is best, 1 worst."""
    return float(squared_errors(*_checked(probability, credit)).mean())


def squared_errors(p: Floats, c: Floats) -> Floats:
    """The Brier score of each answer: (n,)."""
    return np.asarray(c * (1 - p) ** 2 + (1 - c) * p**2)


def auroc(probability: ArrayLike, credit: ArrayLike) -> float | None:
    """P(a right answer has a higher probability than a wrong one), equal ones counting half.

    None if all answers are right, or all wrong.
    """
    p, c = _checked(probability, credit)
    values, index = np.unique(p, return_inverse=True)
    right = np.bincount(index, weights=c, minlength=len(values))
    wrong = np.bincount(index, weights=1 - c, minlength=len(values))
    pairs = float(right.sum() * wrong.sum())
    if pairs == 0:
        return None
    below = np.cumsum(wrong) - wrong
    return float(right @ (below + wrong / 2)) / pairs


def reliability_bins(
    probability: ArrayLike, credit: ArrayLike, *, bins: int = BINS, equal_width: bool = False
) -> list[tuple[float, float, int]]:
    """(mean probability, accuracy, number of answers) of each bin that has any, rising.

    Equal probabilities are never divided among bins, so bins of equal mass are so only roughly,
    and fewer where there are few values.
    """
    p, c = _checked(probability, credit)
    which = _bins(p, bins, equal_width)
    return [
        (float(p[which == b].mean()), float(c[which == b].mean()), int((which == b).sum()))
        for b in np.unique(which)
    ]


@dataclass(frozen=True)
class RiskCoverage:
    """The share of answers kept and the error among them, by the probability asked for: (m,) each.

    Points go from the strictest threshold to the loosest, where all answers are kept: coverage 1.
    """

    threshold: Floats
    coverage: Floats
    risk: Floats


def risk_coverage(probability: ArrayLike, credit: ArrayLike) -> RiskCoverage:
    """Risk, 1 - credit on average, among the most confident; equal ones come in together."""
    p, c = _checked(probability, credit)
    values, index = np.unique(-p, return_inverse=True)
    kept = np.cumsum(np.bincount(index, minlength=len(values)))
    lost = np.cumsum(np.bincount(index, weights=1 - c, minlength=len(values)))
    return RiskCoverage(-values, kept / len(p), lost / kept)


def summary(
    probability: ArrayLike, credit: ArrayLike, question: ArrayLike, *, bins: int = BINS
) -> dict[str, Any]:
    """The figures as JSON: ece, ece_interval, ece_noise, brier, auroc (or None), bins."""
    error = ece(probability, credit, question, bins=bins)
    return {
        "ece": error.value,
        "ece_interval": [error.low, error.high],
        "ece_noise": error.noise,
        "brier": brier(probability, credit),
        "auroc": auroc(probability, credit),
        "bins": [list(b) for b in reliability_bins(probability, credit, bins=bins)],
    }


def _bins(p: Floats, bins: int, equal_width: bool) -> Ints:
    """The bin of each probability, 0 ... bins - 1."""
    if bins < 1:
        raise PonderError(f"calibration needs at least one bin, such as {BINS}, got {bins}")
    if equal_width:
        return np.minimum((p * bins).astype(np.int_), bins - 1)
    _, index, counts = np.unique(p, return_inverse=True, return_counts=True)
    # In whole numbers: the mass below the middle of a value, in halves of an answer.
    middle = 2 * np.cumsum(counts) - counts
    return np.asarray((middle * bins // (2 * len(p)))[index], dtype=np.int_)


def _checked(probability: ArrayLike, credit: ArrayLike) -> tuple[Floats, Floats]:
    p, c = np.asarray(probability, dtype=np.float64), np.asarray(credit, dtype=np.float64)
    if p.ndim != 1 or p.shape != c.shape or not len(p):
        raise PonderError("give one probability and one credit for each answer, at least one")
    for name, values in (("probabilities", p), ("credits", c)):
        if not ((values >= -_ROUNDING) & (values <= 1 + _ROUNDING)).all():
            raise PonderError(f"{name} must lie between 0 and 1; leave out what has no answer")
    return np.clip(p, 0, 1), np.clip(c, 0, 1)


def _clusters(question: ArrayLike, n: int) -> NDArray[Any]:
    clusters = np.asarray(question)
    if clusters.shape != (n,):
        raise PonderError("say of which question each answer is: one number for each answer")
    return clusters
