"""Amortised posteriors, right and wrong, of a normal mean and of a finite model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ponder.arrays import Normals
from ponder.checking.sbc import Amortized
from ponder.dist import Bernoulli, Categorical, Normal
from ponder.effects import Effects, Factor, Program, program, sample


@program(normalised=True)
def prior() -> Effects[float]:
    return (yield from sample(Normal()))


@program(normalised=True)
def data(theta: float) -> Effects[tuple[float, ...]]:
    first = yield from sample(Normal(theta, 1.0))
    return first, (yield from sample(Normal(theta, 1.0)))


@program(normalised=True)
def normal(mean: float, sd: float) -> Effects[float]:
    return (yield from sample(Normal(mean, sd)))


SD = math.sqrt(1 / 3)


def posterior(shift: float = 0.0, scale: float = 1.0, sign: float = 1.0) -> Callable[..., Any]:
    """The exact one but for this; ``shift`` in its standard deviations."""
    return lambda y: normal(sign * sum(y) / 3 + shift * SD, scale * SD)


exact = Amortized(prior(), data, posterior())
returns_the_prior = Amortized(prior(), data, lambda y: prior())
narrow = Amortized(prior(), data, posterior(scale=0.7))
shifted = Amortized(prior(), data, posterior(shift=0.4))
wrong_sign = Amortized(prior(), data, posterior(sign=-1.0))


def made() -> Amortized:
    return exact


NOT_ONE = 3


@program(normalised=True)
def pair() -> Effects[Any]:
    return (yield from sample(Normals(np.zeros(2))))


@program(normalised=True)
def seen(theta: Any) -> Effects[float]:
    return (yield from sample(Normal(float(theta.sum()), 1.0)))


@program(normalised=True)
def both(y: float, correlated: bool) -> Effects[Any]:
    """The posterior of two standard normals given their sum, observed with error of variance 1."""
    if not correlated:  # each margin is right
        return (yield from sample(Normals(np.full(2, y / 3), math.sqrt(2 / 3))))
    total = yield from sample(Normal(2 * y / 3, math.sqrt(2 / 3)))
    apart = yield from sample(Normal(0.0, math.sqrt(2.0)))
    return np.array([total + apart, total - apart]) / 2


vector = Amortized(pair(), seen, lambda y: both(y, True), names=("left", "right"))
uncorrelated = Amortized(pair(), seen, lambda y: both(y, False))


@program(normalised=True)
def die() -> Effects[int]:
    return (yield from sample(Categorical((0.5, 0.3, 0.2))))


@program(normalised=True)
def flip(theta: int) -> Effects[bool]:
    return (yield from sample(Bernoulli(0.2 + 0.3 * theta)))


@program(normalised=True)
def finite(y: bool, doubt: float = 0.0) -> Effects[int]:
    masses = [p * (abs(0.2 + 0.3 * t - (not y))) for t, p in enumerate((0.5, 0.3, 0.2))]
    masses = [m + doubt * sum(masses) for m in masses]
    return (yield from sample(Categorical(masses)))


discrete = Amortized(die(), flip, finite)
doubtful = Amortized(die(), flip, lambda y: finite(y, 0.5))


@program
def weighed() -> Effects[float]:
    yield Factor(-1.0)
    return (yield from sample(Normal()))


def numbers(value: Any) -> Program[Any]:
    @program(normalised=True)
    def constant() -> Effects[Any]:
        yield from ()
        return value

    return constant()
