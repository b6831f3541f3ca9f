"""The maps from signals to P(right): how each is fitted to weighted answers, and what it says.

``columns`` are signals by name, (n,) each, NaN where missing; ``credit`` and ``weight`` are (n,).
Parameters are plain JSON.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Columns = Mapping[str, Floats]
Parameters = Mapping[str, Any]
EDGE = 0.01
"""Shares are kept this far from 0 and 1 in logarithms: few votes cannot tell 0.99 from 1."""
PULL = 0.1
"""1 / variance of a normal prior of beta's a and b about 1, the share itself: without one they run
off where shares part right from wrong."""
_STEPS = 100  # of Newton's method; ten do nearly always


def fit_isotonic(columns: Columns, credit: Floats, weight: Floats) -> dict[str, Any]:
    """The rising function of the share nearest in squares; linear between the shares seen."""
    from scipy.optimize import isotonic_regression

    share, index = np.unique(columns["share"], return_inverse=True)
    mass = np.bincount(index, weights=weight)
    mean = np.bincount(index, weights=weight * credit) / mass
    level = isotonic_regression(mean, weights=mass).x
    # Only the ends of level stretches are needed.
    ends = np.ones(len(level), dtype=bool)
    ends[1:-1] = (level[1:-1] != level[:-2]) | (level[1:-1] != level[2:])
    return {"share": share[ends].tolist(), "right": level[ends].tolist()}


def fit_beta(columns: Columns, credit: Floats, weight: Floats) -> dict[str, Any]:
    """logit P = a ln s - b ln(1 - s) + c, with a, b >= 0."""
    pull, low = np.array([PULL, PULL, 0.0]), np.array([0.0, 0.0, -np.inf])
    centre = np.array([1.0, 1.0, 0.0])
    a, b, c = _regression(_beta_design(columns["share"]), credit, weight, pull, centre, low)
    return {"a": float(a), "b": float(b), "c": float(c)}


def fit_logistic(
    columns: Columns, credit: Floats, weight: Floats, ridge: float = 1.0
) -> dict[str, Any]:
    """Logistic regression on the signals that at least half of the answers have, and that vary.

    ``ridge`` is 1 / variance of the normal prior of a slope about 0, per standard deviation.
    """
    scales: dict[str, tuple[float, float]] = {}
    for name in columns:
        values = _signal(columns, name)
        there = ~np.isnan(values)
        if weight @ there >= weight.sum() / 2:
            part = weight[there] / weight[there].sum()
            mean = float(part @ values[there])
            deviation = math.sqrt(float(part @ (values[there] - mean) ** 2))
            if deviation > 1e-9:
                scales[name] = (mean, deviation)
    design = _standardised(columns, scales)
    pull, nothing = np.array([0.0] + [ridge] * len(scales)), np.zeros(design.shape[1])
    fitted = _regression(design, credit, weight, pull, nothing, nothing - np.inf).tolist()
    slopes = zip(scales.items(), fitted[1:], strict=True)
    signals = {name: [*scale, slope] for (name, scale), slope in slopes}
    return {"intercept": fitted[0], "ridge": ridge, "signals": signals}


def _say_constant(p: Parameters, columns: Columns) -> Floats:
    return np.full(len(columns["share"]), p["right"], dtype=np.float64)


def _say_isotonic(p: Parameters, columns: Columns) -> Floats:
    return np.asarray(np.interp(columns["share"], p["share"], p["right"]))


def _say_beta(p: Parameters, columns: Columns) -> Floats:
    return _expit(_beta_design(columns["share"]) @ np.array([p["a"], p["b"], p["c"]]))


def _say_logistic(p: Parameters, columns: Columns) -> Floats:
    signals = p["signals"]
    design = _standardised(columns, {n: (mean, sd) for n, (mean, sd, _) in signals.items()})
    return _expit(design @ np.array([p["intercept"], *(slope for _, _, slope in signals.values())]))


SAY: dict[str, Callable[[Parameters, Columns], Floats]] = {
    "constant": _say_constant,
    "beta": _say_beta,
    "isotonic": _say_isotonic,
    "logistic": _say_logistic,
}
"""P(right) of each answer, (n,), by the method's parameters."""


def _regression(
    design: Floats, credit: Floats, weight: Floats, pull: Floats, centre: Floats, low: Floats
) -> Floats:
    """Weighted logistic regression, x >= ``low``, with the penalty pull (x - centre)^2 / 2.

    Newton's method on the coordinates that are not held at their bound (Bertsekas 1982).
    """

    def loss(x: Floats) -> float:
        z = design @ x
        value = weight @ (np.logaddexp(0, z) - credit * z) + pull @ (x - centre) ** 2 / 2
        return float(value)

    x = np.maximum(centre, low)
    for _ in range(_STEPS):
        p = _expit(design @ x)
        slope = design.T @ (weight * (p - credit)) + pull * (x - centre)
        free = (x > low) | (slope < 0)
        if np.abs(slope[free]).max(initial=0.0) < 1e-10 * weight.sum():
            break
        curvature = (design.T * (weight * p * (1 - p))) @ design + np.diag(pull + 1e-10)
        step = np.zeros(len(x))
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], -slope[free])
        before, length = loss(x), 1.0
        new = np.maximum(x + step, low)
        while loss(new) > before + 1e-4 * slope @ (new - x) and length > 1e-6:
            length /= 2
            new = np.maximum(x + length * step, low)
        x = new
    return x


def _beta_design(share: Floats) -> Floats:
    """ln s, -ln(1 - s), 1: (n, 3)."""
    s = np.clip(share, EDGE, 1 - EDGE)
    return np.stack([np.log(s), -np.log1p(-s), np.ones(len(s))], axis=1)


def _standardised(columns: Columns, scales: Mapping[str, tuple[float, float]]) -> Floats:
    """1, and the signals by their mean and deviation, a missing one being 0: (n, 1 + signals)."""
    found = [np.ones(len(columns["share"]))]
    for name, (mean, deviation) in scales.items():
        found.append(np.nan_to_num((_signal(columns, name) - mean) / deviation, nan=0.0))
    return np.stack(found, axis=1)


def _signal(columns: Columns, name: str) -> Floats:
    """A signal as the logistic map takes it, the share as its log-odds; NaN where it is missing."""
    values = columns.get(name, np.full(len(columns["share"]), math.nan))
    if name == "share":
        s = np.clip(values, EDGE, 1 - EDGE)
        return np.asarray(np.log(s) - np.log1p(-s))
    return np.where(np.isfinite(values), values, math.nan)


def _expit(z: Floats) -> Floats:
    return np.asarray((1 + np.tanh(z / 2)) / 2)
