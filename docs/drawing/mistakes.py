"""Methods with one mistake each, every one made somewhere, for ``pictures.py`` to draw."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np

from ponder.binding import Binding
from ponder.blocks import smc, systematic
from ponder.blocks.collapse import Collapsed, pick
from ponder.blocks.gibbs import Gibbs
from ponder.blocks.kernel import Kernel, propose_trace
from ponder.blocks.mh import MH
from ponder.blocks.pool import Pool, pooled
from ponder.blocks.rewrite import rewritten
from ponder.blocks.smc import SMC, Particles, resampling, sweep
from ponder.dist import Categorical
from ponder.effects import (
    Each,
    Effect,
    Effects,
    Factor,
    Program,
    Sample,
    Twist,
    as_log_weight,
    nested,
)
from ponder.law import Law
from ponder.measure import Floats, Population
from ponder.particle import Particle
from ponder.strategy import Move, Transform


@dataclass(frozen=True, repr=False)
class SelfNormalised(Move):
    """Weights that sum to one in every run: the evidence is lost, a ratio is averaged."""

    def law(self, incoming: Law) -> Law:
        return incoming

    def move(self, population: Population[Any], binding: Binding) -> Program[Population[Any]]:
        weights = population.log_weights - max(population.log_evidence, -1e300)

        def run() -> Effects[Population[Any]]:
            yield from ()
            return replace(population, log_weights=weights)

        return Program(run, "self-normalised")


def heaviest(weights: Floats, n: int) -> Effects[list[tuple[int, float]]]:
    """Beam search: the n heaviest share the mass, the others get nothing."""
    yield from ()
    kept = np.argsort(-weights, kind="stable")[:n]
    return [(int(i), float(weights[i] / weights[kept].sum())) for i in kept]


@dataclass(frozen=True, repr=False)
class Multiplied(Transform):
    """Scores of prefixes stay in the weight, instead of being divided out at the next."""

    def law(self, incoming: Law) -> Law:
        return incoming

    def transform(self, program: Program[Any], binding: Binding) -> Program[Any]:
        def rewrite(effect: Effect) -> Effects[Any]:
            if isinstance(effect, Twist):
                effect = Factor((yield from as_log_weight(effect.thunk())))
            return (yield effect)

        return rewritten(program, rewrite, "multiplied")


@dataclass(frozen=True, repr=False)
class Uncounted(MH):
    """Single-site MH without the ratio of the numbers of choices."""

    def step(self, particle: Particle[Any], stage: int | None) -> Effects[Particle[Any]]:
        choices = particle.choices
        site = yield Sample(Categorical([1.0] * len(choices)), "site")
        kept = {c.address: c for i, c in enumerate(choices) if i != site}
        new, log_ratio = yield from propose_trace(particle, kept, stage)
        taken = yield Sample(Categorical([1 - min(1.0, math.exp(log_ratio)), math.exp(log_ratio)]))
        return new if taken else particle


@dataclass(frozen=True, repr=False)
class MovedIfResampled(SMC):
    """Resample-move that moves only when it has resampled."""

    kernel: ClassVar[Kernel] = MH(1)

    def infer(self, program: Program[Any], law: Law) -> Program[Population[Any]]:
        chosen = resampling(self.resample, self.n)

        def select(weights: Floats, particles: Particles) -> Effects[tuple[Particles, list[int]]]:
            found, ancestors = yield from chosen(weights, particles)
            stage = max(len(p.choices) for p in found)  # one choice a stage
            return (yield from self.kernel.steps_of(found, stage)), ancestors

        def run() -> Effects[Population[Any]]:
            particles = [Particle(program) for _ in range(self.n)]
            return (yield from sweep(particles, select, self.ess, law))

        return Program(run, "moved if resampled")


@dataclass(frozen=True, repr=False)
class Unconditional(Gibbs):
    """Particle Gibbs whose particles forget the trace they are given."""

    def step(self, particle: Particle[Any], stage: int | None) -> Effects[Particle[Any]]:
        free = smc(self.n, systematic, self.ess).infer(particle.program, Law("weighted", ""))
        population = yield from free
        chosen = yield Sample(Categorical(population.weights.tolist()), "chosen")
        return Particle.of(population.traces[chosen])


@contextmanager
def always_accepted() -> Iterator[None]:
    """Swaps whose ratio is not looked at."""

    def accept(old: Particle[Any], new: Particle[Any], log_ratio: float) -> Effects[Particle[Any]]:
        yield from ()
        return new

    with patch("ponder.blocks.ladder.accept", accept):
        yield


@dataclass(frozen=True, repr=False)
class Unfactored(Collapsed):
    """A trace is picked by weight, and the evidence of its run forgotten."""

    def collapse(self, runs: Program[Population[Any]]) -> Program[Any]:
        def inner() -> Effects[Any]:
            population = yield from runs
            return (yield from pick(population))

        return Program(lambda: nested(Program(inner, "inner")), "unfactored")


@dataclass(frozen=True, repr=False)
class AverageOfShares(Pool):
    """Runs whose normalised weights are averaged: each counts the same, whatever its evidence."""

    def repeat(self, runs: Program[Population[Any]]) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            found: list[Population[Any]] = yield Each([runs] * self.k)
            return pooled([replace(p, log_weights=np.log(p.weights)) for p in found])

        return Program(run, "average of shares")


@dataclass(frozen=True, repr=False)
class Masked(Transform):
    """What is not allowed is masked at every step, and the allowed mass forgotten."""

    allowed: Any

    def law(self, incoming: Law) -> Law:
        return incoming

    def transform(self, program: Program[Any], binding: Binding) -> Program[Any]:
        def rewrite(effect: Effect) -> Effects[Any]:
            if isinstance(effect, Sample):
                listed = effect.dist.support() or ()
                kept = [(v, math.exp(p)) for v, p in listed if self.allowed((), v)]
                weights, values = [p for _, p in kept], [v for v, _ in kept]
                effect = Sample(Categorical(weights, values), effect.name)
            return (yield effect)

        return rewritten(program, rewrite, "masked")


@contextmanager
def whole_residual() -> Iterator[None]:
    """Speculative sampling whose refused tokens are replaced by draws from the model itself."""

    def residual(p: Floats, q: Floats) -> Categorical:
        return Categorical(p.tolist())

    with patch("ponder.blocks.speculate._residual", residual):
        yield
