"""Simulation-based calibration of the networks that ``dt_conjugate.py`` has trained.

    DT_NETS=NETS ponder check --sbc benchmarks/dt_calibration.py:normal --plot FILE
    DT_NETS=NETS ponder check --sbc benchmarks/dt_calibration.py:modulus

theta is a location (normal), or a number of which only the size is seen (modulus, two modes); the
data are three observations, the prior is one Gaussian.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from dt_conjugate import ERROR, both_sides, innovation, locations, moduli

from ponder.amortize import dt
from ponder.amortize.mixtures import Gaussians
from ponder.checking.sbc import Amortized
from ponder.effects import Effects, program, sample

OBSERVED = 3
PRIOR = Gaussians.normal(0.5, 1.2)


@program(normalised=True)
def prior() -> Effects[float]:
    return (yield from sample(PRIOR, "theta"))


@program(normalised=True)
def data(theta: float, simulate: Callable[..., Any]) -> Effects[tuple[float, ...]]:
    seen = yield from simulate(np.array([[theta]]), OBSERVED)
    return tuple(seen.ravel().tolist())


class Asked:
    """The network's posterior of some data, asked once for the same data."""

    def __init__(self, net: dt.Dt) -> None:
        self.net = net
        self.last: tuple[tuple[float, ...], Gaussians] | None = None

    def of(self, y: tuple[float, ...]) -> Gaussians:
        if self.last is None or self.last[0] != y:
            self.last = y, self.net.posterior(PRIOR, np.array(y)[:, None])
        return self.last[1]


def _of(name: str, view: Any, simulate: Callable[..., Any], spread: float) -> Amortized:
    nets = Path(os.environ.get("DT_NETS", "dt-nets"))
    asked = Asked(dt.load(nets / f"dt-{name}.pt", view))
    seen_of = abs if name == "modulus" else float

    @program(normalised=True)
    def drawn(y: tuple[float, ...]) -> Effects[float]:
        return (yield from sample(asked.of(y), "theta"))

    def log_likelihood(theta: float, y: tuple[float, ...]) -> float:
        """log p(y | theta), up to a constant."""
        apart = np.array(y) - seen_of(theta)
        return -0.5 * float(apart @ apart) / spread**2

    def density(theta: float, y: tuple[float, ...]) -> float:
        return asked.of(y).log_prob(theta)

    observed = partial(data, simulate=simulate)
    return Amortized(prior(), observed, drawn, log_likelihood, ("theta",), density)


def normal() -> Amortized:
    """A location, seen with errors of variance 1."""
    return _of("normal", innovation, locations, 1.0)


def modulus() -> Amortized:
    """A size, seen with errors of .3."""
    return _of("modulus", both_sides, moduli, ERROR)
