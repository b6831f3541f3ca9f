"""``smc(n)``: sequential Monte Carlo over the steps of a program."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ponder.blocks.arguments import check_count, check_resampler
from ponder.blocks.kernel import Kernel
from ponder.blocks.resample import Resampler, systematic
from ponder.dist import NEG_INF
from ponder.effects import Each, Effects, Factor, Program, Tell
from ponder.errors import PonderError
from ponder.law import Law, resampled, stated
from ponder.measure import Floats, Population, effective_sample_size, log_sum_exp, normalise
from ponder.particle import Particle
from ponder.strategy import Infer

Particles = list[Particle[Any]]
# Makes the next generation, given normalised weights (N,): its particles and their ancestors.
Select = Callable[[Floats, Particles], Effects[tuple[Particles, list[int]]]]


@dataclass(frozen=True, repr=False)
class SMC(Infer):
    """n particles, resampled whenever the effective sample size falls below ``ess`` * n.

    A particle stops before its next sample after a factor or a twist, and at its return; finished
    particles absorb: they keep their weight and are never scored again. Weights are absolute, so
    the mass of the population is the evidence. With ``move``, every running particle is moved by
    that kernel after each stage, on the target of the stage: factors so far and standing twist
    (resample-move, Gilks & Berzuini 2001). Law: weighted, for every n, every ``ess``, every
    unbiased resampler (Del Moral 2004) and every kernel that keeps its target.
    """

    n: int
    resample: Resampler = systematic
    ess: float = 0.5
    move: Kernel | None = None
    notation: ClassVar[str] = "smc"

    def law(self, incoming: Law) -> Law:
        return resampled(incoming)

    def infer(self, program: Program[Any], law: Law) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            particles = [Particle(program) for _ in range(self.n)]

            select = resampling(self.resample, self.n)
            return (yield from sweep(particles, select, self.ess, law, self.move, shown=True))

        return Program(run, repr(self))


def resampling(resample: Resampler, n: int) -> Select:
    """The heirs of n ancestors drawn by ``resample``."""

    def select(weights: Floats, particles: Particles) -> Effects[tuple[Particles, list[int]]]:
        ancestors = yield from resample(weights, n)
        return heirs(particles, ancestors), ancestors

    return select


def sweep(
    particles: Particles,
    select: Select,
    ess: float,
    law: Law,
    move: Kernel | None = None,
    *,
    shown: bool = False,
    factored: bool = False,
) -> Effects[Population[Any]]:
    """Advance particles stage by stage, selecting among them, until all have finished.

    ``law`` is stated of what comes out, unless it was cut short; ``shown`` tells each stage;
    ``factored`` makes what each stage gains in evidence a factor of the caller.
    """
    n = len(particles)
    eves = list(range(n))
    offsets = np.full(n, -math.log(n))
    stage, evidence = 0, 0.0
    while any(p.status == "running" for p in particles):
        yield Each([p.run(stop=True) for p in particles if p.status == "running"])
        stage += 1
        log_weights = _log_weights(particles, offsets)
        if shown:
            yield Tell(_population(particles, log_weights, law, eves))
        if factored:
            gained = log_sum_exp(log_weights) - evidence
            evidence += gained
            yield Factor(gained)
        if any(p.status == "unfinished" for p in particles):
            law = stated(law, complete=False)
            break
        if all(p.status != "running" for p in particles):
            break
        if 0 < effective_sample_size(log_weights) < ess * n:
            particles, ancestors = yield from select(normalise(log_weights), particles)
            eves = [eves[a] for a in ancestors]
            log_weights = np.full(n, log_sum_exp(log_weights) - math.log(n))
        if move is not None:
            # At every stage, and only what is still running: to move only after a resampling, or
            # the finished as long as others run, would let what the particles are decide who is
            # moved, and that does not keep the target.
            particles, complete = yield from move.steps_of(particles, stage)
            law = stated(law, complete=complete)
        # What factors and twists have added so far is part of the weight.
        added = np.array([p.log_weight for p in particles])
        offsets = log_weights - np.where(added == NEG_INF, 0.0, added)
    return _population(particles, _log_weights(particles, offsets), law, eves)


def _log_weights(particles: Particles, offsets: Floats) -> Floats:
    log_weights: Floats = offsets + np.array([p.log_weight for p in particles])
    return log_weights


def _population(
    particles: Particles, log_weights: Floats, law: Law, eves: list[int]
) -> Population[Any]:
    return Population(tuple(p.trace() for p in particles), log_weights, law, tuple(eves))


def heirs(particles: Particles, ancestors: list[int]) -> Particles:
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


def smc(
    n: int,
    resample: Resampler = systematic,
    ess: float = 0.5,
    move: Kernel | Callable[[], Kernel] | None = None,
) -> SMC:
    """``smc(n, resample=systematic, ess=0.5)``. ``ess=1`` resamples at every step, 0 never.

    ``move=regenerate(1)`` or ``move=mh(1)`` moves the particles after each stage.
    """
    if not 0 <= ess <= 1:
        raise PonderError(f"smc needs an ess threshold between 0 and 1, got {ess}")
    if move is not None and callable(move):
        move = move()  # by its bare name in the notation
    if move is not None and not (isinstance(move, Kernel) and move.partial):
        raise PonderError(
            f"smc moves particles by mh(...) or regenerate(...), which can step on unfinished "
            f"ones, got move={move!r}"
        )
    return SMC(check_count("smc", n), check_resampler("smc", resample), float(ess), move)
