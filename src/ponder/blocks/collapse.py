"""``collapse``: a strategy becomes a program again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ponder.dist import NEG_INF, Categorical
from ponder.effects import Effects, Factor, Program, Sample, nested
from ponder.errors import CutShort
from ponder.law import Law
from ponder.measure import Population
from ponder.strategy import Collapse


@dataclass(frozen=True, repr=False)
class Collapsed(Collapse):
    """A program of one opaque choice: run the strategy so far, and pick one of its traces.

    The evidence of the population is a factor and the trace is picked in proportion to its
    weight, so that the measure of the new program is E[sum_i w_i delta(x_i)]: that of the old
    one, if the population is weighted (properly weighted sampling, Naesseth, Lindsten & Schon
    2015). What follows sees only the value and its random weight: ``draw`` makes it nested
    importance sampling, a Metropolis-Hastings kernel particle-independent MH (Andrieu, Doucet &
    Holenstein 2010). No mass is a factor of zero.

    A run that was cut short is itself unfinished and abstains, also where some of its traces had
    finished: which ones had depends on the data, so a pick among them would pass for a draw from
    the target. It keeps the weight it had.

    Law: exact stays exact (its mass is one, there is no factor) and weighted weighted; a
    consistent one holds as the runs inside grow, not as their number does.
    """

    notation: ClassVar[str] = "collapse"

    def law(self, incoming: Law) -> Law:
        if incoming.kind == "consistent":
            return incoming.noting("as the collapsed runs grow")
        return replace(incoming, ordered=incoming.kind == "exact" and incoming.ordered)

    def collapse(self, runs: Program[Population[Any]]) -> Program[Any]:
        name = f"{runs.name} | {self!r}"
        inner = Program(lambda: _picked(runs), name)
        return Program(lambda: nested(inner, self.notation), name)


def _picked(runs: Program[Population[Any]]) -> Effects[Any]:
    population = yield from runs
    mass = population.log_evidence
    if population.law.kind != "exact":  # exact weights sum to one, but for rounding
        yield Factor(mass)
    return (yield from pick(population))


def pick(population: Population[Any]) -> Effects[Any]:
    """The value of a trace, in proportion to its weight; None of no mass."""
    if population.log_evidence == NEG_INF:
        return None
    if _was_cut_short(population):
        raise CutShort
    index = yield Sample(Categorical(population.weights.tolist()), "trace")
    return population.traces[index].value


def _was_cut_short(population: Population[Any]) -> bool:
    """Its law tells, also where the unfinished traces have been resampled away."""
    unfinished = any(trace.status == "unfinished" for trace in population.traces)
    return unfinished or "cut short" in population.law.assumptions


collapse = Collapsed()
