"""The winner's curse: what the best of K candidates is worth, once its luck is taken off.

The best score of K is that of a good candidate and a lucky one; it overstates what will be seen
next. Candidates are taken as draws from one population, so that a score is shrunk towards the mean
of all by the share of the spread that is noise (empirical Bayes; Efron and Morris 1975). If that
model holds, the shrunk score of whichever candidate was selected is right on average: selection
depends on the scores alone, on which it has conditioned already.

The interval for the selected candidate assumes no such model. Selection favours high scores, so the
lower end must hold for all K candidates at once (the largest of K correlated errors), while the
upper end needs no correction: a candidate that was unlucky is selected less often. Each end fails
with probability (1 - level) / 2 at most, approximately for a finite number of questions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ponder.errors import PonderError

Floats = NDArray[np.float64]

DRAWS = 10_000
"""Of K errors at once, for the quantile of the largest: within .03 of it at 97.5%."""

_HALF_CAUCHY = np.tan((np.arange(100) + 0.5) / 100 * np.pi / 2)
"""Its quantiles: a grid on which every point weighs alike."""


@dataclass(frozen=True)
class Winner:
    """The candidate that was selected: its score, what is to be expected of it, an interval."""

    chosen: int
    score: float
    """As measured: biased upwards, having been selected for it."""
    expected: float
    low: float
    high: float
    level: float


def winner(credit: ArrayLike, *, chosen: int | None = None, level: float = 0.95) -> Winner:
    """The best candidate's true mean credit, from all candidates' credit on the same questions.

    ``credit``: (K, Q) in [0, 1], the candidates that were tried, all of them: leaving out those
    that did badly brings the curse back. ``chosen`` is the one of the best mean if not given.
    Questions are drawn independently. What they have in common (all easy, all hard) moves every
    score alike: it is no part of the luck that selection rewards, but is part of the interval.
    Raises PonderError for fewer than two questions or credit outside [0, 1].
    """
    table = np.asarray(credit, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 2 or not table.size:
        raise PonderError("give the credit of every candidate on two questions or more, (K, Q)")
    if not np.all((table >= 0) & (table <= 1)):
        raise PonderError("credit lies between 0 and 1; rescale it")
    if not 0 < level < 1:
        raise PonderError(f"an interval's level is a probability, such as 0.95, got {level!r}")
    k, q = table.shape
    scores = table.mean(axis=1)
    best = int(np.argmax(scores)) if chosen is None else chosen
    apart = (table - table.mean(axis=0)).std(axis=1, ddof=1) * math.sqrt(k / max(k - 1, 1) / q)
    expected = shrunk(scores, np.full(k, math.sqrt(float(np.mean(apart**2)))))[best]
    tail = (1 + level) / 2
    low = _wilson(table[best], -_largest(table, tail))
    high = _wilson(table[best], _largest(table[best : best + 1], tail))
    return Winner(best, float(scores[best]), float(expected), low, high, level)


def shrunk(scores: ArrayLike, errors: ArrayLike) -> Floats:
    """E[true score | scores] of K candidates, their errors independent and normal: (K,).

    ``errors`` are standard errors, (K,). True scores are normal with an unknown mean (flat prior)
    and spread, which is half-Cauchy on the scale of the errors (Gelman 2006). The spread is
    averaged over, not estimated: an estimate is 0 too often when K is small.
    """
    x, s = np.asarray(scores, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    if x.ndim != 1 or x.shape != s.shape or not len(x) or not np.all(s >= 0):
        raise PonderError("give a score and a standard error of every candidate")
    noise = float(np.mean(s**2))
    if noise == 0 or len(x) == 1:
        return x
    variance = noise * _HALF_CAUCHY**2
    total = variance[:, None] + s**2
    mean = (x / total).sum(axis=1) / (1 / total).sum(axis=1)
    away = x - mean[:, None]
    log_weight = -0.5 * (np.log(total) + away**2 / total).sum(axis=1)
    log_weight -= 0.5 * np.log((1 / total).sum(axis=1))
    weight = np.exp(log_weight - log_weight.max())
    posterior = mean[:, None] + variance[:, None] / total * away
    return np.asarray(weight @ posterior / weight.sum())


def shrunk_binomial(right: ArrayLike, of: ArrayLike) -> Floats:
    """E[accuracy | right, of] of K candidates, each on questions of its own: (K,).

    Accuracies have a Beta law, whose mean (uniform) and concentration are averaged over; the root
    of samples / concentration is half-Cauchy, as the spread is in :func:`shrunk`. For candidates
    on the same questions use :func:`winner`.
    """
    from scipy.special import betaln

    c, n = np.broadcast_arrays(np.asarray(right, np.float64), np.asarray(of, np.float64))
    if c.ndim != 1 or not c.size or not np.all((n >= 1) & (c >= 0) & (c <= n)):
        raise PonderError("give 0 <= right <= of and of >= 1 for every candidate")
    if len(c) == 1:
        return np.asarray(c / n)
    means = (np.arange(100) + 0.5) / 100
    mean, ratio = (part.ravel()[:, None] for part in np.meshgrid(means, _HALF_CAUCHY[::2]))
    concentration = len(n) / float((1 / n).sum()) / ratio**2
    a, b = mean * concentration, (1 - mean) * concentration
    log_weight = (betaln(a + c, b + n - c) - betaln(a, b)).sum(axis=1)
    weight = np.exp(log_weight - log_weight.max())
    return np.asarray(weight @ ((a + c) / (concentration + n)) / weight.sum())


def _largest(table: Floats, tail: float) -> float:
    """The ``tail`` quantile of the largest of the candidates' standardised errors."""
    moving = table[table.std(axis=1) > 0]
    fixed = len(table) - len(moving)  # of unknown correlation: independent
    correlation = np.eye(len(table))
    if len(moving):
        correlation[fixed:, fixed:] = np.corrcoef(moving)
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 0))
    draws = np.random.default_rng(0).standard_normal((DRAWS, len(table))) @ root.T
    return float(np.quantile(draws.max(axis=1), tail))


def _wilson(credit: Floats, z: float) -> float:
    """Wilson's limit for a mean of credit in [0, 1], z standard errors away.

    Credit that varies less than right and wrong would, as shares do, counts as more questions.
    """
    p, q = float(credit.mean()), len(credit)
    variance = float(credit.var(ddof=1))
    n = q * max(1.0, p * (1 - p) / variance) if variance > 0 else q
    centre = p + z * z / (2 * n)
    reach = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return min(max((centre + reach) / (1 + z * z / n), 0.0), 1.0)
