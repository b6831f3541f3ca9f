"""Methods that claim what they do not keep, written on ponder's blocks as a user would."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ponder.binding import Binding
from ponder.blocks.draw import draw
from ponder.blocks.kernel import Kernel, propose_trace
from ponder.blocks.smc import sweep
from ponder.blocks.vote import posterior_of, with_answer
from ponder.dist import Bernoulli
from ponder.effects import Each, Effects, Factor, Program, program, sample
from ponder.law import Law, resampled
from ponder.meaning import Atom
from ponder.measure import Floats, Population, Posterior, Share
from ponder.particle import Particle
from ponder.recipes import cot
from ponder.strategy import Decide, Infer, Move, Pipeline


@dataclass(frozen=True, repr=False)
class Drawn(Infer):
    """n draws, and then something is done to the population. Claims what ``draw`` does."""

    n: int = 3

    def law(self, incoming: Law) -> Law:
        return incoming

    def infer(self, program: Program[Any], law: Law) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            drawn = yield from draw(self.n).infer(program, law)
            return self.after(drawn)

        return Program(run, repr(self))

    def after(self, drawn: Population[Any]) -> Population[Any]:
        raise NotImplementedError


class BestOf(Drawn):
    notation: ClassVar[str] = "best_of"

    def after(self, drawn: Population[Any]) -> Population[Any]:
        best = int(np.argmax(drawn.log_weights))
        mass = np.array([drawn.log_evidence])
        return Population((drawn.traces[best],), mass, drawn.law)


class Copies(Drawn):
    notation: ClassVar[str] = "copies"

    def after(self, drawn: Population[Any]) -> Population[Any]:
        return replace(drawn, traces=drawn.traces[:1] * self.n, log_weights=_first(drawn))


def _first(drawn: Population[Any]) -> Floats:
    return np.repeat(drawn.log_weights[:1], len(drawn))


class Normalised(Drawn):
    notation: ClassVar[str] = "normalised"

    def after(self, drawn: Population[Any]) -> Population[Any]:
        mass = drawn.log_evidence
        return replace(drawn, log_weights=drawn.log_weights - max(mass, -1e9))


class Distinct(Drawn):
    notation: ClassVar[str] = "distinct"

    def after(self, drawn: Population[Any]) -> Population[Any]:
        first = list({repr(t.value): i for i, t in enumerate(drawn.traces)}.values())
        traces = tuple(drawn.traces[i] for i in first)
        spread = math.log(len(drawn) / len(first))
        return Population(traces, drawn.log_weights[first] + spread, drawn.law)


@dataclass(frozen=True, repr=False)
class UntilAgreement(Infer):
    most: int = 3
    sizes: ClassVar[tuple[str, ...]] = ("most",)
    least: ClassVar[int] = 3
    notation: ClassVar[str] = "until_agreement"

    def law(self, incoming: Law) -> Law:
        return resampled(incoming)

    def infer(self, program: Program[Any], law: Law) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            particles: list[Particle[Any]] = []
            for _ in range(self.most):
                particles.append(Particle(program))
                yield Each([particles[-1].run()])
                if len(particles) > 1 and particles[-1].value == particles[-2].value:
                    break
            logs = np.array([p.log_potential for p in particles]) - math.log(len(particles))
            return Population(tuple(p.trace() for p in particles), logs, law)

        return Program(run, repr(self))


@dataclass(frozen=True, repr=False)
class Beam(Infer):
    n: int = 3
    notation: ClassVar[str] = "beam"

    def law(self, incoming: Law) -> Law:
        return resampled(incoming)

    def infer(self, program: Program[Any], law: Law) -> Program[Population[Any]]:
        def select(weights: Floats, particles: list[Particle[Any]]) -> Effects[Any]:
            top = int(np.argmax(weights))
            found = [particles[top], *(particles[top].fork() for _ in particles[1:])]
            return found, [top] * len(found)
            yield

        def run() -> Effects[Population[Any]]:
            return (yield from sweep([Particle(program) for _ in range(self.n)], select, 1.0, law))

        return Program(run, repr(self))


@dataclass(frozen=True, repr=False)
class Changed(Move):
    """A population of which something is changed, claimed to keep its law."""

    def law(self, incoming: Law) -> Law:
        return resampled(incoming)

    def move(self, population: Population[Any], binding: Binding) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            return self.after(population)
            yield

        return Program(run, repr(self))

    def after(self, population: Population[Any]) -> Population[Any]:
        raise NotImplementedError


class WithoutLightest(Changed):
    notation: ClassVar[str] = "without_lightest"

    def after(self, population: Population[Any]) -> Population[Any]:
        if len(population) < 2:
            return population
        kept = np.sort(np.argsort(population.log_weights, kind="stable")[1:])
        traces = tuple(population.traces[i] for i in kept)
        return Population(traces, population.log_weights[kept], population.law)


class Clipped(Changed):
    notation: ClassVar[str] = "clipped"

    def after(self, population: Population[Any]) -> Population[Any]:
        most = population.log_evidence - math.log(len(population))
        return replace(population, log_weights=np.minimum(population.log_weights, most))


@dataclass(frozen=True, repr=False)
class Climb(Kernel):
    notation: ClassVar[str] = "climb"

    def step(self, particle: Particle[Any], stage: int | None) -> Effects[Particle[Any]]:
        new, log_ratio = yield from propose_trace(particle, {}, stage)
        return new if new.status == particle.status and log_ratio >= 0 else particle


@dataclass(frozen=True, repr=False)
class TopOne(Decide):
    """Claims ``law_kind``."""

    notation: ClassVar[str] = "top_one"

    def law(self, incoming: Law) -> Law:
        return replace(incoming, kind="consistent")

    def decide(self, population: Population[Any], binding: Binding) -> Program[Posterior]:
        def run() -> Effects[Posterior]:
            posterior = posterior_of(population, self.law(population.law))
            if not posterior.shares:
                return posterior
            first = posterior.shares[0].answer
            alone = replace(posterior, shares=(Share(first, 1.0, 0.0, 1),))
            return with_answer(alone, first)
            yield

        return Program(run, repr(self))


@dataclass(frozen=True, repr=False)
class Sure(TopOne):
    notation: ClassVar[str] = "sure"
    bound: ClassVar[float] = 0.01

    def law(self, incoming: Law) -> Law:
        return replace(incoming, kind="bounded")

    def error(self, posterior: Posterior, target: Sequence[Atom]) -> float:
        masses: dict[Any, float] = {}
        for atom in target:
            answer = getattr(atom.value, "answer", atom.value)
            if answer is not None:
                masses[answer] = masses.get(answer, 0.0) + atom.mass
        top = max(masses.values(), default=0.0)
        return float(masses.get(posterior.answer, 0.0) < top * (1 - 1e-12))


def best_of() -> BestOf:
    return BestOf()


def copies() -> Pipeline:
    return cot | Copies()


def normalised() -> Normalised:
    return Normalised()


def distinct() -> Pipeline:
    return cot | Distinct()


def until_agreement() -> UntilAgreement:
    return UntilAgreement()


def beam() -> Beam:
    return Beam()


def without_lightest() -> WithoutLightest:
    return WithoutLightest()


def clipped() -> Clipped:
    return Clipped()


def climb() -> Climb:
    return Climb()


def top_one() -> Pipeline:
    return cot | draw(3) | TopOne()


def sure() -> Pipeline:
    return cot | draw(3) | Sure()


_COUNT = itertools.count()


@program
def forgetful() -> Effects[bool]:
    """Its second draw depends on how often it has been run."""
    x = yield from sample(Bernoulli(0.5))
    yield Factor(-0.5 if x else 0.0)
    y: bool = yield from sample(Bernoulli(0.2 + 0.1 * (next(_COUNT) % 5)))
    return x and y
