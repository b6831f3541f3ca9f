"""``draw(n)``: independent traces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ponder.blocks.arguments import check_count
from ponder.effects import Each, Effects, Program, Tell
from ponder.law import Law, stated
from ponder.measure import Population
from ponder.particle import Particle
from ponder.strategy import Infer


@dataclass(frozen=True, repr=False)
class Draw(Infer):
    """n independent traces, each weighing exp(its factors) / n.

    Law: exact for a program without factors (i.i.d., equal weights), else weighted: importance
    sampling with the program's own sampling law as proposal.
    """

    n: int
    notation: ClassVar[str] = "draw"

    def law(self, incoming: Law) -> Law:
        return incoming

    def infer(self, program: Program[Any], law: Law) -> Program[Population[Any]]:
        def one(particle: Particle[Any]) -> Effects[None]:
            yield from particle.advance()
            yield Tell(particle.trace())

        def run() -> Effects[Population[Any]]:
            particles = [Particle(program) for _ in range(self.n)]
            # Named by number, so that the first traces of draw(16) are those of draw(8).
            yield Each(
                [Program(partial(one, p), program.name) for p in particles],
                [str(i) for i in range(self.n)],
            )
            log_weights = np.array([p.log_potential for p in particles]) - math.log(self.n)
            complete = all(p.status != "unfinished" for p in particles)
            traces = tuple(p.trace() for p in particles)
            return Population(traces, log_weights, stated(law, complete=complete))

        return Program(run, repr(self))


def draw(n: int) -> Draw:
    """``draw(n)``: n independent traces. See :class:`Draw`."""
    return Draw(check_count("draw", n))
