"""``steer(n, k)``: sequential Monte Carlo that expands its particles and thins them again."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ponder.blocks.arguments import check_count
from ponder.blocks.smc import heirs
from ponder.blocks.thin import without_replacement
from ponder.dist import NEG_INF
from ponder.effects import Each, Effects, Program, Tell
from ponder.law import Law, resampled, stated
from ponder.measure import Floats, Population
from ponder.particle import Particle
from ponder.strategy import Infer


@dataclass(frozen=True, repr=False)
class Steer(Infer):
    """SMC steering: n particles, each continued in k ways at every stage, thinned to n again.

    Lew et al. 2023, Algorithm 1. Each of the k continuations carries a k-th of the weight; they
    stop as those of ``smc`` do, finished particles stay as they are, and whenever more than n
    are alive they are thinned without replacement, so that no two are the same by copying. The
    first generation is n * k independent particles. Law: weighted, for every n and k, since the
    split and the thinning are unbiased (Fearnhead & Clifford 2003). With k = 1 nothing is ever
    thinned. Gives at most n traces; particles of weight zero are dropped while others live.
    """

    n: int
    k: int = 2
    notation: ClassVar[str] = "steer"

    def law(self, incoming: Law) -> Law:
        return resampled(incoming)

    def infer(self, program: Program[Any], law: Law) -> Program[Population[Any]]:
        return Program(lambda: self._run(program, law), repr(self))

    def _run(self, program: Program[Any], law: Law) -> Effects[Population[Any]]:
        first = self.n * self.k
        particles: list[Particle[Any]] = [Particle(program) for _ in range(first)]
        eves = list(range(first))
        offsets = np.full(first, -math.log(first))
        while True:
            yield Each([p.run(stop=True) for p in particles if p.status == "running"])
            population = _population(particles, offsets, law, eves)
            yield Tell(population)
            if any(p.status == "unfinished" for p in particles):
                return population.with_law(stated(law, complete=False))
            if population.log_evidence == NEG_INF:
                return population
            survivors = yield from without_replacement(population.weights, self.n)
            ancestors, log_shares = self._expanded(particles, survivors)
            particles = heirs(particles, ancestors)
            eves = [eves[a] for a in ancestors]
            # What factors and twists have added so far is part of the new weight.
            added = np.array([p.log_weight for p in particles])
            offsets = population.log_evidence + log_shares - added
            if all(p.status != "running" for p in particles):
                return _population(particles, offsets, law, eves)

    def _expanded(
        self, particles: list[Particle[Any]], survivors: list[tuple[int, float]]
    ) -> tuple[list[int], Floats]:
        """The ancestors of the next generation and their log-weights, finished ones once."""
        ancestors: list[int] = []
        log_shares: list[float] = []
        for index, weight in survivors:
            copies = self.k if particles[index].status == "running" else 1
            ancestors += [index] * copies
            log_shares += [math.log(weight) - math.log(copies)] * copies
        return ancestors, np.array(log_shares)


def _population(
    particles: list[Particle[Any]], offsets: Floats, law: Law, eves: list[int]
) -> Population[Any]:
    log_weights = offsets + np.array([p.log_weight for p in particles])
    return Population(tuple(p.trace() for p in particles), log_weights, law, tuple(eves))


def steer(n: int, k: int = 2) -> Steer:
    """``steer(n, k=2)``: SMC steering. See :class:`Steer`."""
    check_count("steer", n)
    check_count("steer", k)
    check_count("steer", n * k)
    return Steer(n, k)
