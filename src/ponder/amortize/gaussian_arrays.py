"""The arrays of Gaussian mixtures: what they must be, and the log-density of each component."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ponder.errors import PonderError

Floats = NDArray[np.float64]


def checked(
    weights: ArrayLike, means: ArrayLike, factors: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    """Copies of weights (B, K), normalised, means (B, K, d) and factors (B, K, d, d).

    Raises PonderError for arrays that do not fit, weights that are negative or sum to nothing,
    numbers that are not finite, and factors that are not lower Cholesky factors.
    """
    w, m, f = (np.array(a, dtype=np.float64) for a in (weights, means, factors))
    if m.ndim != 3 or not m.size or w.shape != m.shape[:2] or f.shape != (*m.shape, m.shape[2]):
        raise PonderError(
            f"mixtures need weights (B, K), means (B, K, d) and factors (B, K, d, d), not "
            f"{w.shape}, {m.shape} and {f.shape}"
        )
    if not (np.isfinite(m).all() and np.isfinite(f).all()):
        raise PonderError("a mixture needs finite means and factors; got one that is not")
    totals = w.sum(axis=1, keepdims=True)
    if not ((w >= 0).all() and (totals > 0).all() and np.isfinite(totals).all()):
        raise PonderError("a mixture needs finite weights >= 0 with a positive sum")
    if not (np.diagonal(f, axis1=2, axis2=3) > 0).all():
        raise PonderError("a mixture's factors need positive diagonals: they are Cholesky's")
    if np.triu(f, 1).any():
        raise PonderError("a mixture's factors must be lower triangular: use cholesky(cov)")
    return w / totals, m, f


def log_terms(u: Floats, weights: Floats, means: Floats, factors: Floats) -> Floats:
    """log w_k + log N_k(u) for u (..., d), shape (..., K)."""
    dims = means.shape[-1]
    diagonals = np.diagonal(factors, axis1=2, axis2=3)
    apart = u[..., None, :] - means
    z = np.empty_like(apart)
    for i in range(dims):  # forward substitution, for all at once
        done = np.einsum("...j,...j->...", factors[..., i, :i], z[..., :i])
        z[..., i] = (apart[..., i] - done) / diagonals[..., i]
    constants = np.log(diagonals).sum(axis=-1) + 0.5 * dims * math.log(2 * math.pi)
    with np.errstate(divide="ignore"):
        found: Floats = np.log(weights) - constants - 0.5 * np.sum(z * z, axis=-1)
    return found


def log_sum(terms: Floats) -> Floats:
    """log(sum(exp(terms))) over the last axis."""
    top: Floats = terms.max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        found: Floats = np.log(np.exp(terms - top).sum(axis=-1)) + top[..., 0]
    return found


def fixed(array: Floats) -> Floats:
    """The same array, from now on read-only."""
    array.flags.writeable = False
    return array
