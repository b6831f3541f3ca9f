"""Markov kernels that leave the target of each trace invariant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ponder.binding import Binding
from ponder.dist import NEG_INF, Bernoulli
from ponder.effects import Each, Effects, Program, Sample
from ponder.law import Law
from ponder.measure import Population
from ponder.particle import Kept, Particle
from ponder.strategy import Move


@dataclass(frozen=True, repr=False)
class Kernel(Move):
    """Moves every trace on its own by ``steps`` steps of :meth:`step`; weights stay as they are.

    Law: invariant (pi K = pi for the program of the trace), so that the law that comes in goes
    out, i.i.d. draws included. ``reversible`` claims detailed balance too. ``partial`` says that
    it can step on particles that have not finished, at a given stage.
    """

    steps: int = 1
    sizes: ClassVar[tuple[str, ...]] = ("steps",)
    partial: ClassVar[bool] = False

    @property
    def reversible(self) -> bool:
        """Whether it claims detailed balance."""
        return True

    def law(self, incoming: Law) -> Law:
        return incoming

    def step(self, particle: Particle[Any], stage: int | None) -> Effects[Particle[Any]]:
        """One step from a particle of positive weight, to one at the same stage (None: ended)."""
        raise NotImplementedError

    def steps_of(
        self, particles: Sequence[Particle[Any]], stage: int | None = None
    ) -> Effects[list[Particle[Any]]]:
        """All particles moved, together; at a stage only those that run, never the weightless."""
        moved: list[Particle[Any]] = yield Each([self._moved(p, stage) for p in particles])
        return moved

    def _moved(self, particle: Particle[Any], stage: int | None) -> Program[Particle[Any]]:
        def run() -> Effects[Particle[Any]]:
            now = particle
            movable = "finished" if stage is None else "running"
            for _ in range(self.steps):
                if now.status == movable and now.log_weight > NEG_INF:
                    now = yield from self.step(now, stage)
            return now

        return Program(run, repr(self))

    def move(self, population: Population[Any], binding: Binding) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            particles = [Particle.of(trace) for trace in population.traces]
            moved = yield from self.steps_of(particles)
            return replace(population, traces=tuple(p.trace() for p in moved))

        return Program(run, repr(self))


def propose_trace(
    particle: Particle[Any], kept: Kept, stage: int | None
) -> Effects[tuple[Particle[Any], float]]:
    """A fresh execution that keeps some choices, and the log of its Metropolis-Hastings ratio.

    The ratio is that of the Metropolis-Hastings-Green algorithm (Green 1995) when the choices not
    kept are drawn from the program's own distributions, so that only the factors, and the kept
    choices whose distributions have changed, are left in it. What chose ``kept`` is the caller's.
    """
    new: Particle[Any] = Particle(particle.program, kept=kept)
    yield from new.advance(stop=stage is not None, stages=stage or 1)
    return new, new.log_weight - particle.log_weight + new.log_kept


def accept(old: Particle[Any], new: Particle[Any], log_ratio: float) -> Effects[Particle[Any]]:
    """The new particle with probability min(1, ratio), else the old one.

    What has finished stays so and what runs goes on: a proposal of another status is refused. So
    is one that was cut short, since it is not known.
    """
    if new.status != old.status:
        new.close("dead")
        return old
    if log_ratio < 0:
        taken = yield Sample(Bernoulli(math.exp(log_ratio)), "accept")
        if not taken:
            new.close("dead")
            return old
    return new
