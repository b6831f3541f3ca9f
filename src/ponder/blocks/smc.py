"""``smc(n)``: sequential Monte Carlo over the steps of a program."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ponder.blocks.arguments import check_count, check_resampler
from ponder.blocks.resample import Resampler, systematic
from ponder.dist import NEG_INF
from ponder.effects import Each, Effects, Program, Tell
from ponder.errors import PonderError
from ponder.law import Law, resampled, stated
from ponder.measure import Floats, Population, effective_sample_size, log_sum_exp, normalise
from ponder.particle import Particle
from ponder.strategy import Infer


@dataclass(frozen=True, repr=False)
class SMC(Infer):
    """n particles, resampled whenever the effective sample size falls below ``ess`` * n.

    A particle stops before its next sample once its weight (factors and standing twist) has
    changed, and at its return; finished particles absorb: they keep their weight and are never
    scored again. Weights are absolute, so the mass of the population is the evidence. Law:
    weighted, for every n, every ``ess`` and every unbiased resampler (Del Moral 2004).
    """

    n: int
    resample: Resampler = systematic
    ess: float = 0.5
    notation: ClassVar[str] = "smc"

    def law(self, incoming: Law) -> Law:
        return resampled(incoming)

    def infer(self, program: Program[Any], law: Law) -> Program[Population[Any]]:
        return Program(lambda: self._run(program, law), repr(self))

    def _run(self, program: Program[Any], law: Law) -> Effects[Population[Any]]:
        n = self.n
        particles = [Particle(program) for _ in range(n)]
        eves = list(range(n))
        offsets = np.full(n, -math.log(n))
        while True:
            running = [p for p in particles if p.status == "running"]
            if not running:
                break
            yield Each([p.run(stop=True) for p in running])
            log_weights = _log_weights(particles, offsets)
            yield Tell(_population(particles, log_weights, law, eves))
            if any(p.status == "unfinished" for p in particles):
                law = stated(law, complete=False)
                break
            still_running = any(p.status == "running" for p in particles)
            if still_running and 0 < effective_sample_size(log_weights) < self.ess * n:
                mean = log_sum_exp(log_weights) - math.log(n)
                ancestors = yield from self.resample(normalise(log_weights), n)
                particles = heirs(particles, ancestors)
                eves = [eves[a] for a in ancestors]
                # What factors and twists have added so far is part of the new weight.
                offsets = np.array([mean - p.log_weight for p in particles])
        return _population(particles, _log_weights(particles, offsets), law, eves)


def _log_weights(particles: list[Particle[Any]], offsets: Floats) -> Floats:
    added = np.array([p.log_weight for p in particles])
    return np.where(added == NEG_INF, NEG_INF, offsets + added)


def _population(
    particles: list[Particle[Any]], log_weights: Floats, law: Law, eves: list[int]
) -> Population[Any]:
    return Population(tuple(p.trace() for p in particles), log_weights, law, tuple(eves))


def heirs(particles: list[Particle[Any]], ancestors: list[int]) -> list[Particle[Any]]:
    """One particle per ancestor: the first heir keeps the live one, the others fork from it."""
    taken: set[int] = set()
    found = []
    for a in ancestors:
        particle = particles[a]
        found.append(particle.fork() if a in taken else particle)
        taken.add(a)
    for index in set(range(len(particles))) - taken:
        if particles[index].status == "running":
            particles[index].close("dead")
    return found


def smc(n: int, resample: Resampler = systematic, ess: float = 0.5) -> SMC:
    """``smc(n, resample=systematic, ess=0.5)``. ``ess=1`` resamples at every step, 0 never."""
    if not 0 <= ess <= 1:
        raise PonderError(f"smc needs an ess threshold between 0 and 1, got {ess}")
    return SMC(check_count("smc", n), check_resampler("smc", resample), float(ess))
