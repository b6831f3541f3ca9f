"""``best_first(n, branch)``: always expand the best prefix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ponder.blocks.arguments import check_count, check_least
from ponder.blocks.search import Particles, Search, ranked, running
from ponder.effects import Effects, Program, Tell
from ponder.law import Law, heuristic
from ponder.measure import Population
from ponder.particle import Particle
from ponder.strategy import Infer


@dataclass(frozen=True, repr=False)
class BestFirst(Infer):
    """n times, the open prefix of the highest score is continued in ``branch`` ways.

    As Tree-PLV grows its trees (He et al. 2024) and as best-first search does in Tree of Thoughts
    (Yao et al. 2023). Of equal scores the one expanded into last goes first, so that a flat score
    goes deep. Continuations that sampled the same collapse. Ends early if no prefix is open; if
    nothing has finished by then, the best prefix is run to the end, the next if that dies. At most
    n * branch steps are drawn, besides.

    The finished traces, in the order in which they were found, weigh the same. Law: heuristic.
    """

    n: int
    branch: int = 4
    notation: ClassVar[str] = "best_first"

    def law(self, incoming: Law) -> Law:
        return heuristic(incoming, "expands the best prefix")

    def infer(self, program: Program[Any], law: Law) -> Program[Population[Any]]:
        return Program(lambda: self._run(program, law), repr(self))

    def _run(self, program: Program[Any], law: Law) -> Effects[Population[Any]]:
        search = Search(law)
        frontier: Particles = [Particle(program)]
        for _ in range(self.n):
            if search.cut_short or not frontier:
                break
            best, *rest = ranked(frontier)
            (family,) = yield from search.grow([best], [self.branch])
            yield Tell(search.population())
            frontier = running(family) + rest
        yield from search.conclude(frontier)
        return search.population()


def best_first(n: int, branch: int = 4) -> BestFirst:
    """``best_first(n, branch=4)``: n expansions of the best prefix. See :class:`BestFirst`."""
    check_count("best_first", n)
    return BestFirst(n, check_least("best_first", "branch", branch, 1))
