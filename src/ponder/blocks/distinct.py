"""``distinct``: each path once, however often it was drawn."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ponder.binding import Binding
from ponder.effects import Effects, Program
from ponder.law import Law, heuristic
from ponder.measure import Population
from ponder.strategy import Move
from ponder.trace import Trace


@dataclass(frozen=True, repr=False)
class Distinct(Move):
    """One trace of each path: the first, with its own weight; its duplicates are dropped.

    A path is the text of the value, if it has one, else all that was sampled. The weight of the
    duplicates is not added: how often a path was drawn no longer counts, only what it is weighed
    by afterwards (perplexity consistency, Zhou et al. 2025). Weighed by its probability, a set of
    distinct paths gives a lower bound on the mass of each answer, while counting them twice would
    not. Traces that are dead or unfinished stay as they are. Law: heuristic.
    """

    notation: ClassVar[str] = "distinct"

    def law(self, incoming: Law) -> Law:
        return heuristic(incoming, "counts each path once")

    def move(self, population: Population[Any], binding: Binding) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            yield from ()
            finished = set(finished_of(population))
            seen: set[Hashable] = set()
            kept = []
            for i, trace in enumerate(population.traces):
                if i in finished:
                    path = path_of(trace)
                    if path in seen:
                        continue
                    seen.add(path)
                kept.append(i)
            return selected(population, kept, self.law(population.law))

        return Program(run, repr(self))


distinct = Distinct()


def path_of(trace: Trace[Any]) -> Hashable:
    """What makes a path: its value's text, or else the values that it sampled."""
    text = getattr(trace.value, "text", None)
    if isinstance(text, str):
        return text
    values = tuple(choice.value for choice in trace.choices)
    try:
        hash(values)
    except TypeError:
        return trace.last  # choices can be compared, whatever their values are
    return values


def finished_of(population: Population[Any]) -> list[int]:
    """The indices of the finished traces of positive weight."""
    alive = population.weights > 0
    pairs = enumerate(zip(population.traces, alive, strict=True))
    return [i for i, (trace, weighs) in pairs if weighs and trace.status == "finished"]


def selected(population: Population[Any], indices: Sequence[int], law: Law) -> Population[Any]:
    """The traces at ``indices``, in that order, with the weights that they have."""
    return replace(
        population,
        traces=tuple(population.traces[i] for i in indices),
        log_weights=population.log_weights[list(indices)],
        law=law,
        eves=tuple(population.eves[i] for i in indices),
    )
