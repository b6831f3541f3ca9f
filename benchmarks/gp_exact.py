"""Gaussian processes on [0, 1]: priors to train on, and posterior predictives that are exact.

Every ``x`` is (tasks, n) of one input, every ``y`` (tasks, n), observed with noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtr

from ponder.arrays import Normals
from ponder.effects import Effects, Program, program, sample

Floats = NDArray[np.float64]
LENGTH, NOISE = 0.2, 0.1  # of the fixed prior, and the medians of the other
SPREAD = 0.5  # standard deviation of the logarithms of both in the other


def kernel(a: Floats, b: Floats, length: Any) -> Floats:
    """exp(-(a - b)^2 / (2 length^2)), (tasks, n, m)."""
    found: Floats = np.exp(-0.5 * ((a[..., :, None] - b[..., None, :]) / length) ** 2)
    return found


def _functions(batch: int, n: int, length: Any, noise: Any) -> Effects[tuple[Floats, Floats]]:
    # Uniform inputs: the distribution function of normals.
    x = ndtr((yield from sample(Normals(np.zeros((batch, n))))))
    e = yield from sample(Normals(np.zeros((batch, n))))
    root = np.linalg.cholesky(kernel(x, x, length) + noise**2 * np.eye(n))
    return x[..., None], (root @ e[..., None])[..., 0]


@program(normalised=True)
def fixed(batch: int, n: int) -> Effects[tuple[Floats, Floats]]:
    """Known length scale and noise."""
    return (yield from _functions(batch, n, LENGTH, NOISE))


@program(normalised=True)
def hyper(batch: int, n: int) -> Effects[tuple[Floats, Floats]]:
    """Length scale and noise log-normal, unknown to whoever predicts."""
    z = yield from sample(Normals(np.zeros((2, batch, 1, 1)), SPREAD))
    return (yield from _functions(batch, n, LENGTH * np.exp(z[0]), NOISE * np.exp(z[1])))


PRIORS: dict[str, Callable[[int, int], Program[tuple[Floats, Floats]]]] = {
    "fixed": fixed,
    "hyper": hyper,
}


@dataclass(frozen=True)
class Predictive:
    """A mixture of normals a query: (parts, tasks, m); ``log_weights`` (parts, tasks)."""

    mean: Floats
    sd: Floats
    log_weights: Floats

    def log_density(self, values: Floats) -> Floats:
        """(tasks, m)"""
        parts = Normals(self.mean, self.sd).log_probs(values)
        found: Floats = logsumexp(parts + self.log_weights[..., None], axis=0)
        return found

    def cdf(self, values: Floats) -> Floats:
        """(tasks, m)"""
        below = ndtr((values - self.mean) / self.sd)
        found: Floats = (np.exp(self.log_weights)[..., None] * below).sum(axis=0)
        return found

    def quantile(self, level: float) -> Floats:
        """By bisection, to 2**-40 of the range searched."""
        low, high = np.full(self.mean.shape[1:], -8.0), np.full(self.mean.shape[1:], 8.0)
        for _ in range(40):
            middle = (low + high) / 2
            below = self.cdf(middle) < level
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return low


def given(
    x: Floats, y: Floats, queries: Floats, length: float, noise: float
) -> tuple[Floats, Floats, Floats]:
    """Means and standard deviations of noisy queries (tasks, m); log-evidence (tasks,)."""
    n = x.shape[1]
    if n == 0:
        prior_sd = np.full(queries.shape, np.sqrt(1 + noise**2))
        return np.zeros(queries.shape), prior_sd, np.zeros(len(x))
    root = np.linalg.cholesky(kernel(x, x, length) + noise**2 * np.eye(n))
    right = np.concatenate([y[..., None], kernel(x, queries, length)], axis=-1)
    half = np.linalg.solve(root, right)
    white, cross = half[..., :1], half[..., 1:]
    mean = (cross * white).sum(axis=1)
    sd = np.sqrt(np.maximum(1 - (cross**2).sum(axis=1), 0.0) + noise**2)
    evidence = -0.5 * (white**2).sum(axis=(1, 2)) - 0.5 * n * np.log(2 * np.pi)
    evidence -= np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
    return mean, sd, evidence


def exact_fixed(x: Floats, y: Floats, queries: Floats) -> Predictive:
    """The exact predictive of the fixed prior."""
    mean, sd, _ = given(x, y, queries, LENGTH, NOISE)
    return Predictive(mean[None], sd[None], np.zeros((1, len(x))))


def exact_hyper(x: Floats, y: Floats, queries: Floats, nodes: int = 33) -> Predictive:
    """The predictive of the other prior, by a grid of ``nodes`` squared over both logarithms.

    The trapezoid rule to 4 standard deviations: its error falls faster than any power of nodes.
    """
    z = np.linspace(-4.0, 4.0, nodes)
    parts = [
        (*given(x, y, queries, LENGTH * np.exp(SPREAD * a), NOISE * np.exp(SPREAD * b)), a, b)
        for a in z
        for b in z
    ]
    mean, sd = np.stack([p[0] for p in parts]), np.stack([p[1] for p in parts])
    logs = np.stack([p[2] - 0.5 * (p[3] ** 2 + p[4] ** 2) for p in parts])
    return Predictive(mean, sd, logs - logsumexp(logs, axis=0))


EXACT: dict[str, Callable[[Floats, Floats, Floats], Predictive]] = {
    "fixed": exact_fixed,
    "hyper": exact_hyper,
}
