"""A Gaussian mixture fitted to a sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ponder.amortize.mixtures import Gaussians, Mixtures
from ponder.amortize.warps import as_warps, forward
from ponder.errors import PonderError


def fit(values: ArrayLike, k: int, warps: str = "identity", rounds: int = 300) -> Gaussians:
    """k components fitted to a sample, (n,) or (n, d), by expectation-maximisation in f(x).

    Deterministic: it starts from equal parts along the widest coordinate. For a prior that is no
    mixture, such as an inverse gamma, hand in its quantiles at (i + 1/2) / n.
    """
    x = np.asarray(values, dtype=np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or len(x) < 2 * k or k < 1:
        raise PonderError(f"to fit {k} components give at least {2 * k} values, not {x.shape}")
    u, log_jacobian = forward(x, as_warps(warps, x.shape[1]))
    if not (np.isfinite(u).all() and np.isfinite(log_jacobian).all()):
        raise PonderError("a mixture is fitted to finite values inside of the warps' support")
    order = np.argsort(u[:, int(np.argmax(u.std(axis=0)))], kind="stable")
    shares = np.zeros((len(u), k))
    for i, part in enumerate(np.array_split(order, k)):
        shares[part, i] = 1.0
    floor = 1e-6 * np.diag(u.var(axis=0) + 1e-12)
    for _ in range(rounds):
        mass = shares.sum(axis=0) + 1e-12
        means = shares.T @ u / mass[:, None]
        apart = u[:, None] - means
        covariances = np.einsum("nk,nki,nkj->kij", shares, apart, apart) / mass[:, None, None]
        factors = np.linalg.cholesky(covariances + floor)
        terms = Mixtures(mass[None], means[None], factors[None]).terms(u)
        shares = np.exp(terms - terms.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
    return Gaussians(mass, means, factors, warps)
