"""``staged``: SMC inside of a program, its evidence a factor stage by stage."""

from __future__ import annotations

from typing import Any

from ponder.blocks.arguments import check_count, check_resampler
from ponder.blocks.collapse import pick
from ponder.blocks.resample import Resampler, systematic
from ponder.blocks.smc import resampling, sweep
from ponder.effects import Effects, Program
from ponder.law import Law
from ponder.particle import Particle


def staged(
    program: Program[Any], n: int, resample: Resampler = systematic, ess: float = 0.5
) -> Program[Any]:
    """The program, estimated by SMC with n particles; one of them, picked by weight, is its value.

    What is gained in evidence at each stage is a factor there, so that an SMC around it resamples
    between the stages: with a parameter drawn before, ``smc(m, move=regenerate(cut=...))`` is SMC^2
    (Chopin, Jacob & Papaspiliopoulos 2013). ``collapse`` is the same in one opaque choice. Has the
    measure of ``program``.
    """
    check_count("staged", n)
    check_resampler("staged", resample)

    def run() -> Effects[Any]:
        particles = [Particle(program) for _ in range(n)]
        law = Law("weighted", program.name)
        select = resampling(resample, n)
        population = yield from sweep(particles, select, ess, law, factored=True)
        return (yield from pick(population))

    return Program(run, f"staged({program.name}, {n})")
