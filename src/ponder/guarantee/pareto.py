"""Whether importance weights can be trusted: the shape of their tail, and what it means in words.

The largest weights are taken as draws from a generalised Pareto law, whose shape k says which
moments exist: the variance of the weights if k < 1/2, their mean if k < 1. The fit is that of Zhang
and Stephens, Technometrics 51 (2009); the size of the tail, the weak prior on k and what follows
from k are those of Vehtari, Simpson, Gelman, Yao and Gabry, "Pareto smoothed importance sampling",
JMLR 25 (2024). Like the effective sample size, k sees only what was drawn: neither can tell of a
mode that no draw fell into.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ponder.dist import NEG_INF
from ponder.errors import PonderError
from ponder.measure import Population, families, family_ess, log_sum_exp, normalise

Floats = NDArray[np.float64]

FEWEST = 5
"""Weights in a tail that can be fitted."""
GOOD = 0.7
LEVEL = 5.0
"""Times the average: weights up to here are nobody's heavy tail, whatever the fit says."""
HOPELESS = 15  # powers of ten of draws
CROWD, NEAR = 10, 3.0
"""So many weights within this factor of the largest are no tail either: of a law with k >= 1/2
some NEAR ** (1 / k) <= 9 are. A proposal that lost a mode, mixed with the prior, has them."""
_PRIOR_DRAWS, _PRIOR_K = 10, 0.5


@dataclass(frozen=True)
class Diagnosis:
    """What the weights of a population say of themselves.

    ``ess`` counts independent families of ``n`` traces, ``pareto_k`` is None where there is no tail
    to fit or the traces have been resampled, ``log_evidence`` is in nats and ``relative_error`` the
    standard error of the evidence over the evidence (None if it rests on one family, infinite
    where k says that it has none). ``note`` says what follows.
    """

    n: int
    ess: float
    pareto_k: float | None
    log_evidence: float
    relative_error: float | None
    note: str

    def __str__(self) -> str:
        k = "" if self.pareto_k is None else f", Pareto k {self.pareto_k:.2f}"
        error = (
            "" if self.relative_error is None else f" (relative error {self.relative_error:.2g})"
        )
        evidence = f"log evidence {self.log_evidence:.4g}{error}"
        return f"effective sample size {self.ess:.1f} of {self.n}{k}, {evidence}; {self.note}"


def pareto_k(log_weights: ArrayLike) -> float | None:
    """The shape of the tail of weights, (N,) in nats: the largest min(0.2 N, 3 sqrt(N)) of them.

    None where fewer than 5 of these differ from the largest weight below them: too few draws, or
    weights that are nearly all equal. Raises PonderError for what is NaN or infinite.
    """
    tail = _tail(_checked(log_weights))
    return None if tail is None else tail.shape


def smoothed(log_weights: ArrayLike) -> Floats:
    """The log-weights, (N,), with their tail replaced by quantiles of the fitted law.

    None is larger than the largest was (Vehtari et al. 2024). As they were if no tail is fitted.
    The weights are then biased a little and of far less variance; evidence estimated from them is
    no longer unbiased.
    """
    logs = _checked(log_weights)
    tail = _tail(logs)
    if tail is None:
        return logs.copy()
    top = float(logs.max())
    size = len(tail.members)
    at = (np.arange(size) + 0.5) / size
    k, scale = tail.shape, tail.scale
    beyond = -np.log1p(-at) if abs(k) < 1e-12 else np.expm1(-k * np.log1p(-at)) / k
    with np.errstate(divide="ignore"):
        values = np.log(tail.cutoff + scale * beyond) + top
    out = logs.copy()
    out[tail.members] = np.minimum(values, top)
    return out


def diagnose(population: Population[Any]) -> Diagnosis:
    """What the weights of a population are worth. See :class:`Diagnosis`."""
    if not isinstance(population, Population):
        raise PonderError(
            f"diagnose needs a population, as infer(model | propose(guide) | draw(1000)) gives; "
            f"got {type(population).__name__}: leave out what decides, such as vote"
        )
    logs = _checked(population.log_weights)
    weights = normalise(logs)
    n = len(logs)
    ess = family_ess(weights, population.eves)
    evidence = log_sum_exp(logs)
    shares = families(weights, population.eves)
    resampled = len(set(population.eves)) < n
    k = None if resampled else pareto_k(logs)
    error: float | None = None
    if np.count_nonzero(shares) > 1:
        # The squared coefficient of variation over n: sum of W^2 less what equal weights have.
        error = math.sqrt(max(0.0, float(shares @ shares) - 1 / n))
    if k is not None and k >= 1 and n * float(weights.max()) > LEVEL and _crowd(weights) < CROWD:
        error = math.inf
    return Diagnosis(n, ess, k, evidence, error, _note(weights, n, k, resampled))


def _note(weights: Floats, n: int, k: float | None, resampled: bool) -> str:
    if not weights.any():
        return "no trace has any weight: the proposal, or the model, has none of the mass"
    unseen = "; lost modes do not show in weights: forward_kl finds them"
    if resampled:
        return f"resampled, so that the weights no longer show their tail{unseen}"
    if k is None:
        if float(weights.max()) <= (1 + 1e-9) / n:
            return f"all weights are equal{unseen}"
        few = n < 25 or np.count_nonzero(weights) < 2 * FEWEST
        return f"{'too few weights' if few else 'too many equal weights'} to fit a tail{unseen}"
    if k < min(GOOD, 1 - 1 / math.log10(n)):
        return f"the weights can be trusted{unseen}"
    heaviest = n * float(weights.max())
    if heaviest <= LEVEL:
        return (
            f"no weight is more than {heaviest:.1f} times the average, yet the largest are no tail "
            f"of a good law: weights in clusters, or more to come; look at more draws{unseen}"
        )
    crowd = _crowd(weights)
    if crowd >= CROWD:
        share = float(np.sort(weights)[-crowd:].sum())
        return (
            f"{crowd} of {n} draws carry {share:.2f} of the weight, all about as much: no heavy "
            f"tail, but few draws where the target is; propose more of them there{unseen}"
        )
    if k < 1:
        return f"few draws carry the weight; {_more(k, n)}, or a better proposal{unseen}"
    return (
        "the weights have no mean that draws could show: find a better proposal, or a share of "
        f"the model's own with defensive=0.1{unseen}"
    )


def _more(k: float, n: int) -> str:
    """What more draws than n would do, for a shape k < 1."""
    power = 1 / (1 - k)
    if power > HOPELESS:
        return "more draws than can be had are needed"
    if 10**power > n:
        return f"about {10**power:.2g} draws are needed for a reliable estimate"
    return f"convergence is slow: twice the precision takes {2**power:.0f} times the draws"


def _crowd(weights: Floats) -> int:
    """How many weights are nearly as large as the largest."""
    return int(np.count_nonzero(weights >= weights.max() / NEAR))


@dataclass(frozen=True)
class _Tail:
    """The largest weights, over the largest of all: their indices from small to large."""

    members: NDArray[np.int64]
    cutoff: float
    shape: float
    scale: float


def _tail(logs: Floats) -> _Tail | None:
    n = len(logs)
    size = math.ceil(min(0.2 * n, 3 * math.sqrt(n)))
    if size < FEWEST or logs.max(initial=NEG_INF) == NEG_INF:
        return None
    weights = np.exp(logs - logs.max())
    order = np.argsort(weights, kind="stable")
    cutoff = float(weights[order[-size - 1]])
    members = order[-size:][weights[order[-size:]] > cutoff]
    if len(members) < FEWEST:
        return None
    exceed = weights[members] - cutoff
    if exceed[-1] - exceed[0] <= 1e-12 * exceed[-1]:
        return None
    shape, scale = _fitted(exceed)
    count = len(members)
    shape = (count * shape + _PRIOR_DRAWS * _PRIOR_K) / (count + _PRIOR_DRAWS)
    return _Tail(members, cutoff, shape, scale)


def _fitted(exceed: Floats) -> tuple[float, float]:
    """(shape, scale) of the generalised Pareto law of these values > 0, sorted.

    The posterior mean of b = -shape / scale over a grid of quantiles of a prior that the data's
    first quartile and maximum set; the profile likelihood gives the shape at each b.
    """
    n = len(exceed)
    m = 30 + math.isqrt(n)
    quartile = float(exceed[int(n / 4 + 0.5) - 1])
    b = 1 / exceed[-1] + (1 - np.sqrt(m / (np.arange(m) + 0.5))) / (3 * quartile)
    shapes = np.log1p(-b[:, None] * exceed).mean(axis=1)
    log_likelihood = n * (np.log(-b / shapes) - shapes - 1)
    weights = normalise(log_likelihood)
    mean = float(weights @ b)
    shape = float(np.log1p(-mean * exceed).mean())
    return shape, -shape / mean


def _checked(log_weights: ArrayLike) -> Floats:
    logs = np.asarray(log_weights, dtype=np.float64)
    if logs.ndim != 1 or not logs.size:
        raise PonderError(f"log-weights are one row of numbers, not of shape {logs.shape}")
    if np.isnan(logs).any() or logs.max() == math.inf:
        raise PonderError("a log-weight is NaN or infinite; find the factor that made it")
    return logs
