"""What is known exactly of Gaussian mixtures: conjugate updates, linear motion, merging, distance.

All of it is in the warped coordinates f(x) in which the mixtures are Gaussian.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ponder.amortize.mixtures import Gaussians
from ponder.dist import Stream
from ponder.errors import PonderError

Floats = NDArray[np.float64]
REACH = 12.0  # standard deviations to each side; the mass beyond is below 1e-32
MONTE_CARLO = 20_000


class Divergence(NamedTuple):
    """A KL divergence in nats, and the standard error of its estimate (0 for quadrature)."""

    value: float
    error: float


class Updated(NamedTuple):
    """A posterior, and the logarithm of the observations' density under the prior."""

    posterior: Gaussians
    log_evidence: float


def conjugate(
    prior: Gaussians, observed: ArrayLike, noise: ArrayLike, design: ArrayLike | None = None
) -> Updated:
    """The exact posterior for ``observed`` (m,) = ``design`` (m, d) f(x) + Normal(0, ``noise``).

    ``noise`` is one standard deviation, (m,) of them, or a covariance (m, m). Without a design
    every coordinate is observed once: m = d; for d = 1 any number of times.
    """
    z = np.atleast_1d(np.asarray(observed, dtype=np.float64))
    if design is None:
        if prior.dims > 1 and len(z) != prior.dims:
            raise PonderError(
                f"{len(z)} observations of {prior.dims} coordinates need a design (m, d); give it"
            )
        h: Floats = np.eye(prior.dims) if prior.dims > 1 else np.ones((len(z), 1))
    else:
        h = np.asarray(design, dtype=np.float64)
    if h.shape != (len(z), prior.dims):
        raise PonderError(f"the design must be ({len(z)}, {prior.dims}), not {h.shape}")
    if not len(z):
        return Updated(prior, 0.0)
    covariances = prior.covariances
    innovation = h @ covariances @ h.T + _covariance(noise, len(z))
    lower = np.linalg.cholesky(innovation)
    apart = np.linalg.solve(lower, (z - prior.means @ h.T)[..., None])
    gain = np.linalg.solve(lower, h @ covariances)  # (K, m, d), whitened
    means = prior.means + (gain.transpose(0, 2, 1) @ apart)[..., 0]
    posterior = covariances - gain.transpose(0, 2, 1) @ gain
    diagonals = np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    logs = -0.5 * (apart[..., 0] ** 2).sum(axis=1) - diagonals - 0.5 * len(z) * _LOG_TWO_PI
    with np.errstate(divide="ignore"):
        logs = logs + np.log(prior.weights)
    top = float(logs.max())
    weights = np.exp(logs - top)
    found = Gaussians(weights, means, np.linalg.cholesky(posterior), prior.warps)
    return Updated(found, top + math.log(float(weights.sum())))


_LOG_TWO_PI = math.log(2 * math.pi)


def moved(
    mixture: Gaussians,
    shift: ArrayLike = 0.0,
    noise: ArrayLike = 0.0,
    matrix: ArrayLike | None = None,
) -> Gaussians:
    """The law of ``matrix`` f(x) + ``shift`` + Normal(0, ``noise``): the predict step of a filter.

    ``noise`` is one standard deviation, (d,) of them, or a covariance (d, d).
    """
    a = np.eye(mixture.dims) if matrix is None else np.asarray(matrix, dtype=np.float64)
    covariances = a @ mixture.covariances @ a.T + _covariance(noise, mixture.dims)
    return Gaussians(
        mixture.weights,
        mixture.means @ a.T + np.asarray(shift, dtype=np.float64),
        np.linalg.cholesky(covariances),
        mixture.warps,
    )


def reduced(mixture: Gaussians, k: int) -> Gaussians:
    """At most ``k`` components: pairs are merged, moments kept, cheapest first (Runnalls 2007)."""
    if k < 1:
        raise PonderError(f"a mixture needs at least one component, not {k}")
    parts = list(zip(mixture.weights, mixture.means, mixture.covariances, strict=True))
    parts = [part for part in parts if part[0] > 0]
    while len(parts) > k:
        merged = {(i, j): _merge(parts[i], parts[j]) for i, j in combinations(range(len(parts)), 2)}
        costs = {
            (i, j): _cost(both) - _cost(parts[i]) - _cost(parts[j])
            for (i, j), both in merged.items()
        }
        i, j = min(costs, key=lambda pair: costs[pair])
        parts = [p for n, p in enumerate(parts) if n not in (i, j)] + [merged[i, j]]
    weights, means, covariances = (np.array(column) for column in zip(*parts, strict=True))
    return Gaussians(weights, means, np.linalg.cholesky(covariances), mixture.warps)


_Part = tuple[float, Floats, Floats]


def _merge(a: _Part, b: _Part) -> _Part:
    w = a[0] + b[0]
    share = b[0] / w
    apart = b[1] - a[1]
    covariance = (1 - share) * a[2] + share * b[2] + share * (1 - share) * np.outer(apart, apart)
    return w, a[1] + share * apart, covariance


def _cost(part: _Part) -> float:
    return 0.5 * part[0] * float(np.linalg.slogdet(part[2])[1])


def kl(p: Gaussians, q: Gaussians, *, draws: int = MONTE_CARLO, seed: int = 0) -> Divergence:
    """KL(p || q): by quadrature for one coordinate, else the mean over ``draws`` draws of p.

    The same in x as in f(x), so both need the same warps.
    """
    if p.dims != q.dims or p.warps != q.warps:
        raise PonderError("a divergence needs mixtures of the same coordinates and warps")
    p, q = (Gaussians(g.weights, g.means, g.factors) for g in (p, q))
    if p.dims == 1:
        return Divergence(_quadrature(p, q), 0.0)
    x = p.draws(Stream(f"divergence {seed}".encode()), draws)
    terms = p.log_probs(x) - q.log_probs(x)
    return Divergence(float(terms.mean()), float(terms.std(ddof=1) / math.sqrt(draws)))


def _quadrature(p: Gaussians, q: Gaussians) -> float:
    """The trapezoid rule for each component of p, fine enough for the narrowest of all."""
    sds = p.factors[:, 0, 0]
    narrowest = min(float(sds.min()), float(q.factors[:, 0, 0].min()))
    total = 0.0
    for w, mean, sd in zip(p.weights, p.means[:, 0], sds, strict=True):
        if w == 0:
            continue
        n = int(np.clip(2 * REACH * sd / (narrowest / 10), 500, 200_000))
        z = np.linspace(-REACH, REACH, n)
        density = np.exp(-0.5 * z * z)
        u = (mean + sd * z)[:, None]
        terms = p.log_probs(u) - q.log_probs(u)
        total += float(w * (density @ terms) / density.sum())
    return total


def _covariance(noise: ArrayLike, size: int) -> Floats:
    given = np.asarray(noise, dtype=np.float64)
    found: Floats = given if given.ndim == 2 else np.diag(np.broadcast_to(given**2, (size,)))
    if found.shape != (size, size) or not np.isfinite(found).all():
        raise PonderError(
            f"noise must be a finite standard deviation, {size} of them, or a covariance "
            f"({size}, {size})"
        )
    return found
