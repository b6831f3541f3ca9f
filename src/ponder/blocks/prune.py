"""``prune(n)``: many begin, the best go on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from ponder.blocks.arguments import check_count, check_least
from ponder.blocks.search import Particles, Search, close, ranked, running
from ponder.effects import Effects, Program, Tell
from ponder.errors import PonderError
from ponder.law import Law, heuristic
from ponder.measure import Population
from ponder.particle import Particle
from ponder.strategy import Infer


@dataclass(frozen=True, repr=False)
class Prune(Infer):
    """n independent traces; after stage ``after`` the best ceil(keep * n) go on to the end.

    Early pruning (Manvi et al. 2024), by the score at the end of that stage; of equal scores the
    first go on. What has finished by then is paid for and stays, besides. The others are closed;
    the ledger keeps their tokens under what was generated. Independent traces that are the same
    are not collapsed.

    Every finished trace weighs the same. Law: heuristic.
    """

    n: int
    keep: float = 0.25
    after: int = 1
    notation: ClassVar[str] = "prune"
    sizes: ClassVar[tuple[str, ...]] = ("n",)

    def law(self, incoming: Law) -> Law:
        return heuristic(incoming, "only the best prefixes go on")

    def infer(self, program: Program[Any], law: Law) -> Program[Population[Any]]:
        return Program(lambda: self._run(program, law), repr(self))

    def _run(self, program: Program[Any], law: Law) -> Effects[Population[Any]]:
        search = Search(law)
        particles: Particles = [Particle(program) for _ in range(self.n)]
        yield from search.advance(particles, stop=True, stages=self.after)
        live = running(particles)
        yield Tell(search.population(live))
        if search.cut_short:
            return search.population(live)
        best = ranked(live)[: math.ceil(self.keep * self.n - 1e-9)]  # 0.07 * 100 is above 7
        close(p for p in live if p not in best)
        yield from search.advance(best)
        return search.population()


def prune(n: int, keep: float = 0.25, after: int = 1) -> Prune:
    """``prune(n, keep=0.25, after=1)``: the best quarter of n goes on. See :class:`Prune`."""
    if isinstance(keep, bool) or not isinstance(keep, int | float) or not 0 < keep <= 1:
        raise PonderError(f"prune keeps a share above 0 and at most 1, got keep={keep!r}")
    return Prune(check_count("prune", n), float(keep), check_least("prune", "after", after, 1))
