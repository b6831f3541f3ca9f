"""Two-sided bounds on the evidence, from one exact draw of the posterior."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ponder.blocks.arguments import check_count
from ponder.blocks.gibbs import conditional_smc
from ponder.blocks.smc import smc
from ponder.effects import Effects, Program
from ponder.errors import PonderError
from ponder.law import Law
from ponder.particle import Particle
from ponder.trace import Trace


@dataclass(frozen=True)
class EvidenceBounds:
    """Estimates of log Z from below and from above, and an interval around them (nats).

    E lower <= log Z <= E upper. ``low <= log Z <= high`` with probability at least ``level``: by
    Markov's inequality, since exp(lower) has mean Z and exp(-upper) has mean 1 / Z.
    """

    lower: float
    upper: float
    level: float

    @property
    def low(self) -> float:
        return self.lower - math.log(2 / (1 - self.level))

    @property
    def high(self) -> float:
        return self.upper + math.log(2 / (1 - self.level))


def evidence_bounds(
    program: Program[Any], exact: Trace[Any], n: int = 8, ess: float = 0.5, level: float = 0.95
) -> Program[EvidenceBounds]:
    """Bidirectional SMC (Grosse, Ghahramani & Adams 2015): below by SMC, above given ``exact``.

    ``exact`` must be a draw from the posterior of ``program``: the upper side holds only then. Law:
    bounded, P(log Z outside [low, high]) <= 1 - level, for every n.
    """
    check_count("evidence_bounds", n)
    if exact.status != "finished":
        raise PonderError("evidence_bounds needs a finished trace, drawn from the posterior")
    if not 0 < level < 1:
        raise PonderError(f"evidence_bounds needs a level between 0 and 1, got {level}")

    def run() -> Effects[EvidenceBounds]:
        law = Law("weighted", program.name)
        free = yield from smc(n, ess=ess).infer(program, law)
        given = yield from conditional_smc(Particle.of(exact), n, law, ess)
        return EvidenceBounds(free.log_evidence, given.log_evidence, level)

    return Program(run, f"evidence_bounds({program.name})")
