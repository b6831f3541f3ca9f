"""``top(k)``: the k traces of the highest score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ponder.binding import AnyPotential, Binding
from ponder.blocks.arguments import check_count, check_potential
from ponder.blocks.distinct import finished_of, selected
from ponder.blocks.vote import choose
from ponder.blocks.weigh import log_weight_of, potentials_of
from ponder.effects import Effects, Program
from ponder.law import Law, heuristic, stated
from ponder.measure import Population
from ponder.strategy import Move


@dataclass(frozen=True, repr=False)
class Top(Move):
    """The k traces that a potential scores highest, the highest first; the rest is dropped.

    Without a potential, the score is the sum of a trace's own factors. Dead and unfinished traces
    are dropped first, and those whose score was cut short with them, so fewer than k may be left.
    Which of equal scores is kept is random, by the seed. A trace keeps the weight it has: after
    ``draw`` all weigh the same, as a ranker wants it; after ``weigh`` they do not. Law: heuristic
    (the maximum of a score has no target).
    """

    k: int
    potential: AnyPotential | None = None
    notation: ClassVar[str] = "top"

    def law(self, incoming: Law) -> Law:
        return heuristic(incoming, "keeps the highest scores")

    def move(self, population: Population[Any], binding: Binding) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            traces = population.traces
            finished = finished_of(population)
            scores = {i: traces[i].log_potential for i in finished}
            if self.potential is not None:
                potential = binding.potential(self.potential)
                scored = yield from potentials_of(potential, [traces[i] for i in finished])
                found = {i: scored[id(traces[i])] for i in finished}
                scores = {i: log_weight_of(p) for i, p in found.items() if p.status != "unfinished"}
            kept = yield from highest(scores, self.k)
            # What was cut short is not in the population any more; only the law can tell.
            complete = len(scores) == len(finished) and all(
                trace.status != "unfinished" for trace in traces
            )
            law = self.law(population.law)
            told = "cut short" in law.assumptions
            return selected(population, kept, stated(law, complete=complete or told))

        return Program(run, repr(self))


def top(k: int, potential: AnyPotential | None = None) -> Top:
    """``top(k, f)``: the k traces of the highest ``f``. See :class:`Top`."""
    scores = None if potential is None else check_potential("top", potential)
    return Top(check_count("top", k), scores)


def highest(scores: Mapping[int, float], k: int) -> Effects[list[int]]:
    """The k keys of the highest scores, those first; ties at the end of it are drawn for."""
    ranked = sorted(scores, key=lambda i: -scores[i])
    if len(ranked) <= k:
        return ranked
    last = scores[ranked[k - 1]]
    kept = [i for i in ranked if scores[i] > last]
    tied = [i for i in ranked if scores[i] == last]
    while len(kept) + len(tied) > k:
        if len(kept) == k:
            return kept
        winner = yield from choose(tied)
        tied.remove(winner)
        kept.append(winner)
    return kept + tied
