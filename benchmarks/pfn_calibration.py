"""Simulation-based calibration of the network that ``pfn_gp.py train fixed`` has made.

    ponder check --sbc benchmarks/pfn_calibration.py:network --plot FILE
    ponder check --sbc benchmarks/pfn_calibration.py:exact          # valid
    ponder check --sbc benchmarks/pfn_calibration.py:prior_alone    # refuted: it ignores the data

theta is the noisy value at x = .5, the data are eight values around it. The network is read from
``pfn-gp/fixed.pfn``, or from the file that PFN_GP names.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
from gp_exact import LENGTH, NOISE, Floats, kernel

from ponder.amortize import pfn
from ponder.arrays import Normals
from ponder.checking.sbc import Amortized
from ponder.dist import Dist, Normal
from ponder.effects import Effects, program, sample

POINTS = np.linspace(0.05, 0.95, 8)
QUERY = np.array([0.5])
SD = math.sqrt(1 + NOISE**2)
CROSS = kernel(POINTS, QUERY, LENGTH)[:, 0]
JOINT = kernel(POINTS, POINTS, LENGTH) + NOISE**2 * np.eye(len(POINTS))
# The law of the data given theta: normal, of mean CROSS theta / SD^2 and this root.
ROOT = np.linalg.cholesky(JOINT - np.outer(CROSS, CROSS) / SD**2)


@program(normalised=True)
def prior() -> Effects[float]:
    return (yield from sample(Normal(0.0, SD), "theta"))


@program(normalised=True)
def data(theta: float) -> Effects[Floats]:
    white = yield from sample(Normals(np.zeros(len(POINTS))), "white")
    found: Floats = CROSS * theta / SD**2 + ROOT @ white
    return found


def log_likelihood(theta: float, y: Floats) -> float:
    """log p(y | theta), up to a constant."""
    white = np.linalg.solve(ROOT, y - CROSS * theta / SD**2)
    return -0.5 * float(white @ white)


def _of(posterior: Any) -> Amortized:
    """Calibrate ``posterior``: data to a distribution of theta; asked once for the same data."""
    asked: dict[bytes, Dist[float]] = {}

    def said(y: Floats) -> Dist[float]:
        if y.tobytes() not in asked:
            asked.clear()
            asked[y.tobytes()] = posterior(y)
        return asked[y.tobytes()]

    @program(normalised=True)
    def drawn(y: Floats) -> Effects[float]:
        return (yield from sample(said(y), "theta"))

    def density(theta: float, y: Floats) -> float:
        return float(said(y).log_prob(theta))

    return Amortized(prior(), data, drawn, log_likelihood, ("theta",), density)


def network() -> Amortized:
    """The trained network's predictive at the query."""
    net = pfn.load(os.environ.get("PFN_GP", "pfn-gp/fixed.pfn"))
    return _of(lambda y: net.predict(POINTS[:, None], y, QUERY[:, None])[0])


def exact() -> Amortized:
    """What the network approximates."""
    gain = np.linalg.solve(JOINT, CROSS)
    sd = math.sqrt(SD**2 - float(gain @ CROSS))
    return _of(lambda y: Normal(float(gain @ y), sd))


def prior_alone() -> Amortized:
    """The predictive without any context."""
    return _of(lambda y: Normal(0.0, SD))
