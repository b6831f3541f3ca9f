"""``draw(n)``: independent traces, all at once or until a rule stops them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

import numpy as np

from ponder.blocks.arguments import check_count
from ponder.effects import Each, Effects, Program, Tell
from ponder.errors import PonderError
from ponder.law import Law, stated, stopped
from ponder.measure import Abstain, Population, answer_of
from ponder.particle import Particle
from ponder.strategy import Infer


class StopRule(Protocol):
    """When to stop drawing, from what was seen.

    That is the answers of the traces that give one, in the order drawn; or, for a rule that
    ``sees`` "scores", the sums of factors of all, in nats.
    """

    def stops(self, seen: Sequence[Any]) -> bool:
        """Whether enough has been seen; a function of ``seen`` alone."""
        ...


@dataclass(frozen=True, repr=False)
class Draw(Infer):
    """n independent traces, each weighing exp(its factors) / n.

    Law: exact for a program without factors (i.i.d., equal weights), else weighted: importance
    sampling with the program's own sampling law as proposal. With ``stop`` at most n traces: the
    rule looks after every ``every`` of them, and how many there are then depends on what they
    say, so that the law is heuristic, though they remain the first of an i.i.d. sequence.
    """

    n: int
    stop: StopRule | None = None
    every: int = 1
    notation: ClassVar[str] = "draw"
    sizes: ClassVar[tuple[str, ...]] = ("n",)

    def law(self, incoming: Law) -> Law:
        return incoming if self.stop is None else stopped(incoming, repr(self.stop))

    def infer(self, program: Program[Any], law: Law) -> Program[Population[Any]]:
        def one(particle: Particle[Any]) -> Effects[None]:
            yield from particle.advance()
            yield Tell(particle.trace())

        def run() -> Effects[Population[Any]]:
            particles: list[Particle[Any]] = []
            wave = self.n if self.stop is None else self.every
            while len(particles) < self.n:
                fresh = [Particle(program) for _ in range(min(wave, self.n - len(particles)))]
                # Named by number, so that the first traces of draw(16) are those of draw(8).
                names = [str(len(particles) + i) for i in range(len(fresh))]
                yield Each([Program(partial(one, p), program.name) for p in fresh], names)
                particles += fresh
                if any(p.status == "unfinished" for p in fresh) or self._stops(particles):
                    break
            log_weights = np.array([p.log_potential for p in particles]) - math.log(len(particles))
            complete = all(p.status != "unfinished" for p in particles)
            traces = tuple(p.trace() for p in particles)
            return Population(traces, log_weights, stated(law, complete=complete))

        return Program(run, repr(self))

    def _stops(self, particles: Sequence[Particle[Any]]) -> bool:
        if self.stop is None:
            return False
        if getattr(self.stop, "sees", "answers") == "scores":
            return self.stop.stops([p.log_potential for p in particles])
        answers = [answer_of(p.trace()) for p in particles]
        return self.stop.stops([a for a in answers if not isinstance(a, Abstain)])


def draw(n: int, stop: StopRule | None = None, every: int = 1) -> Draw:
    """``draw(n)``: n independent traces; ``draw(n, stop=agreement(0.95))``: at most n."""
    if callable(stop) and not hasattr(stop, "stops"):
        stop = stop()  # by its bare name in the notation
    sees = getattr(stop, "sees", "answers")
    if stop is not None and (
        not callable(getattr(stop, "stops", None)) or sees not in ("answers", "scores")
    ):
        raise PonderError(f"draw stops by a rule such as agreement(0.95), got stop={stop!r}")
    return Draw(check_count("draw", n), stop, check_count("draw", every))
