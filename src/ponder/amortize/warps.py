"""Support warps: coordinates with a boundary, mapped to the whole line and back."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ponder.errors import PonderError

Floats = NDArray[np.float64]
Warp = Literal["identity", "log", "logit"]
WARPS: tuple[Warp, ...] = ("identity", "log", "logit")
BELOW_ONE = float(np.nextafter(1.0, 0.0))  # what rounds to 1 would be outside of the support


def as_warps(warps: str | tuple[str, ...] | list[str], dims: int) -> tuple[Warp, ...]:
    """One warp a coordinate; a single name stands for all. Raises PonderError for another name."""
    given = (warps,) * dims if isinstance(warps, str) else tuple(warps)
    unknown = [w for w in given if w not in WARPS]
    if unknown:
        raise PonderError(f"there is no warp {unknown[0]!r}; choose of {', '.join(WARPS)}")
    if len(given) != dims:
        raise PonderError(f"got {len(given)} warps for {dims} coordinates; give one for each")
    return tuple(w for name in given for w in WARPS if w == name)


def forward(x: Floats, warps: tuple[Warp, ...]) -> tuple[Floats, Floats]:
    """(f(x), log |f'(x)| summed over coordinates) of ``x`` (..., d); shapes (..., d) and (...).

    Outside of the support f(x) is 0 and the Jacobian's logarithm -inf, so that a density there
    comes out as zero.
    """
    if all(w == "identity" for w in warps):
        return x, np.zeros(x.shape[:-1])
    u, log_jacobian = x.copy(), np.zeros(x.shape[:-1])
    for i, warp in enumerate(warps):
        if warp == "identity":
            continue
        value = x[..., i]
        inside = (value > 0) & (value < (np.inf if warp == "log" else 1.0))
        safe = np.where(inside, value, 0.5)
        rest = np.log1p(-safe) if warp == "logit" else np.zeros_like(safe)
        u[..., i] = np.where(inside, np.log(safe) - rest, 0.0)
        log_jacobian += np.where(inside, -np.log(safe) - rest, -np.inf)
    return u, log_jacobian


def inverse(u: Floats, warps: tuple[Warp, ...]) -> Floats:
    """x with f(x) = u, of shape (..., d)."""
    if all(w == "identity" for w in warps):
        return u
    x = u.copy()
    for i, warp in enumerate(warps):
        if warp == "log":
            x[..., i] = np.exp(u[..., i])
        elif warp == "logit":
            x[..., i] = np.minimum(expit(u[..., i]), BELOW_ONE)
    return x
