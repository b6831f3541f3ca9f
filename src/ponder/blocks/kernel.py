"""Markov kernels that leave the target of each trace invariant."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ponder.binding import Binding
from ponder.dist import NEG_INF, Bernoulli
from ponder.effects import Each, Effects, Program, Sample
from ponder.errors import CutShort
from ponder.law import Law, stated
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
    partial: ClassVar[bool] = False

    @property
    def reversible(self) -> bool:
        """Whether it claims detailed balance."""
        return True

    def law(self, incoming: Law) -> Law:
        return incoming

    def step(self, particle: Particle[Any], stage: int | None) -> Effects[Particle[Any]]:
        """One step from a particle of positive weight, to one at the same stage (None: ended)."""
        raise self._lacks("step(self, particle, stage)")

    def steps_of(
        self, particles: Sequence[Particle[Any]], stage: int | None = None
    ) -> Effects[tuple[list[Particle[Any]], bool]]:
        """All particles moved, together, and whether no step was cut short.

        At a stage only those move that run; those without weight never do.
        """
        moved: list[tuple[Particle[Any], bool]]
        moved = yield Each([self._moved(p, stage) for p in particles])
        return [p for p, _ in moved], all(complete for _, complete in moved)

    def _moved(
        self, particle: Particle[Any], stage: int | None
    ) -> Program[tuple[Particle[Any], bool]]:
        def run() -> Effects[tuple[Particle[Any], bool]]:
            now = particle
            movable = "finished" if stage is None else "running"
            try:
                for _ in range(self.steps):
                    if now.status == movable and now.log_weight > NEG_INF:
                        now = yield from self.step(now, stage)
            except CutShort:
                # Which steps are cut depends on what they propose: the rest is not invariant.
                return now, False
            return now, True

        return Program(run, repr(self))

    def move(self, population: Population[Any], binding: Binding) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            particles = [Particle.of(trace) for trace in population.traces]
            moved, complete = yield from self.steps_of(particles)
            law = stated(self.law(population.law), complete=complete)
            return replace(population, traces=tuple(p.trace() for p in moved), law=law)

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
    new.follow(None)  # what it has not come to yet is for it to sample
    return new, new.log_weight - particle.log_weight + new.log_kept


def accept(old: Particle[Any], new: Particle[Any], log_ratio: float) -> Effects[Particle[Any]]:
    """The new particle with probability min(1, ratio), else the old one.

    What has finished stays so and what runs goes on: a proposal of another status is refused. One
    that was cut short raises CutShort.
    """
    if new.status == "unfinished":
        raise CutShort
    if new.status != old.status:
        new.close("dead")
        return old
    if log_ratio < 0:
        taken = yield Sample(Bernoulli(math.exp(log_ratio)), "accept")
        if not taken:
            new.close("dead")
            return old
    return new
