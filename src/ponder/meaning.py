"""Finite measures on traces, atom by atom: what programs denote and blocks are specified by."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ponder.effects import Effects, Program
from ponder.interpret import enumerate_runs, key_of
from ponder.particle import Particle
from ponder.trace import Trace


@dataclass(frozen=True)
class Atom:
    """One trace and its mass: log-probability of all that was sampled, and sum of factors (nats).

    ``log_prob`` includes the randomness inside of nested programs, which the trace does not show.
    """

    trace: Trace[Any]
    log_prob: float
    log_potential: float

    @property
    def value(self) -> Any:
        """What the program returned."""
        return self.trace.value

    @property
    def mass(self) -> float:
        """Of the unnormalised target."""
        return math.exp(self.log_prob + self.log_potential)


def atoms(program: Program[Any], limit: int = 100_000) -> list[Atom]:
    """The measure of a finite program: every trace of positive mass.

    Raises PonderError beyond ``limit`` runs or where a support is not listed.
    """

    def traced() -> Effects[Trace[Any]]:
        particle = Particle(program)
        yield from particle.advance()
        return particle.trace()

    return [
        Atom(trace, log_mass, trace.log_potential)
        for trace, log_mass in enumerate_runs(Program(traced, program.name), limit)
        if trace.status == "finished"
    ]


def by_value(measure: Sequence[Atom]) -> dict[Any, float]:
    """Mass of each value, under :func:`key_of` it."""
    terms: dict[Any, list[float]] = defaultdict(list)
    for atom in measure:
        terms[key_of(atom.value)].append(atom.mass)
    return {value: math.fsum(parts) for value, parts in terms.items()}
