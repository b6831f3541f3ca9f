"""What all layers share: whose replies they work on, how some are kept, what remains of a law."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from ponder.binding import Binding
from ponder.blocks.distinct import finished_of, selected
from ponder.effects import Each, Effects, Program
from ponder.errors import CutShort
from ponder.law import Law, heuristic, stated
from ponder.measure import Population
from ponder.particle import Particle
from ponder.recipes.prompting import Reply
from ponder.strategy import Move

X = TypeVar("X")
Replies = Mapping[int, Reply]
"""Replies by their index in the population, in its order."""
Worked = tuple[Population[Any], bool]
"""What comes out of a layer, and whether all that it asked was answered."""


@dataclass(frozen=True, repr=False)
class Layer(Move):
    """A move on the replies of a population: its finished traces of positive weight.

    Whatever else a value may be, it is left alone; without a reply nothing is asked and the
    population is returned as it is. So it is where the budget ends in the middle, unless a layer
    says otherwise. Law: heuristic, as the replies are no longer looked at one by one.
    """

    why: ClassVar[str] = "looks at all replies together"

    def law(self, incoming: Law) -> Law:
        return heuristic(incoming, self.why)

    def work(
        self, population: Population[Any], replies: Replies, binding: Binding
    ) -> Effects[Worked]:
        """The layer itself; there is at least one reply. May be left by CutShort."""
        raise self._lacks("work(self, population, replies, binding)")

    def move(self, population: Population[Any], binding: Binding) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            replies = replies_of(population)
            worked: Worked = (population, True)
            if replies:
                try:
                    worked = yield from self.work(population, replies, binding)
                except CutShort:
                    worked = (population, False)
            found, answered = worked
            traces = (*population.traces, *found.traces)
            complete = answered and all(trace.status != "unfinished" for trace in traces)
            law = self.law(population.law)
            told = "cut short" in law.assumptions
            return found.with_law(stated(law, complete=complete or told))

        return Program(run, repr(self))


def replies_of(population: Population[Any]) -> Replies:
    """The replies that a layer works on."""
    values = {i: population.traces[i].value for i in finished_of(population)}
    return {i: value for i, value in values.items() if isinstance(value, Reply)}


def rewritten(population: Population[Any], replies: Replies) -> Population[Any]:
    """The population with these replies in place of those that it has."""
    traces = tuple(
        dataclasses.replace(trace, value=replies[i]) if i in replies else trace
        for i, trace in enumerate(population.traces)
    )
    return dataclasses.replace(population, traces=traces)


def first(population: Population[Any], ranked: Sequence[int], k: int) -> Population[Any]:
    """The first k of the ranked indices, in that order; the rest is dropped.

    They share the mass of the population evenly: what a trace weighed says nothing any more once
    it has been chosen by its rank.
    """
    kept = selected(population, ranked[:k], population.law)
    even = np.full(len(kept), population.log_evidence - math.log(len(kept)))
    return dataclasses.replace(kept, log_weights=even)


def by_score(population: Population[Any], scores: Mapping[int, float], k: int) -> Population[Any]:
    """The k of the highest scores, those first; of equal ones, those that stand first."""
    return first(population, sorted(sorted(scores), key=lambda i: -scores[i]), k)


def together(programs: Sequence[Program[X]]) -> Effects[list[X | None]]:
    """The values of independent programs, run together; None for one that was cut short."""
    particles = [Particle(program) for program in programs]
    yield Each([particle.run() for particle in particles])
    return [particle.value for particle in particles]


def every(programs: Sequence[Program[X]]) -> Effects[list[X]]:
    """The values of independent programs, run together. Raises CutShort if one was."""
    values = yield from together(programs)
    found = [value for value in values if value is not None]
    if len(found) < len(values):
        raise CutShort("not every reply was looked at")
    return found
