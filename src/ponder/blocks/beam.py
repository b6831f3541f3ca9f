"""``beam(n, width)``: the best prefixes go on, step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from ponder.blocks.arguments import check_count, check_least
from ponder.blocks.search import Particles, Search, close, ranked, running
from ponder.effects import Each, Effects, Program, Tell
from ponder.law import Law, heuristic
from ponder.measure import Population
from ponder.particle import Particle
from ponder.strategy import Infer


@dataclass(frozen=True, repr=False)
class Beam(Infer):
    """Step-level beam search: n prefixes, of which the best n / width go on in ``width`` ways each.

    Snell et al. 2024; with n = B1 * B2 and width = B2 the SBS(B1, B2) of AlphaMath (Chen et al.
    2024). A prefix ranks by the score at its end, equal ones by the order drawn. Continuations
    that sampled the same collapse into one. What finishes leaves the beam with its slot and is an
    answer, whatever its score: there are at most n. A round draws as many steps as there are
    slots, n in the first and never more. A finished reply is a prefix once more if what weighs it
    is itself asked of a model.

    With ``lookahead`` = k a prefix ranks by the score k steps later in one continuation that is
    thrown away, drawn from the program's own law (Snell et al.: at temperature 0); a step then
    costs up to k + 1, and a round up to n (k + 1). A continuation that dies ranks its prefix last.

    Every trace found weighs the same. Law: heuristic. A beam maximises the score of prefixes, its
    errors included: the larger n, the more it finds what the score likes by mistake.
    """

    n: int
    width: int = 4
    lookahead: int = 0
    notation: ClassVar[str] = "beam"
    sizes: ClassVar[tuple[str, ...]] = ("n", "width")

    def law(self, incoming: Law) -> Law:
        return heuristic(incoming, "keeps the best prefixes")

    def infer(self, program: Program[Any], law: Law) -> Program[Population[Any]]:
        return Program(lambda: self._run(program, law), repr(self))

    def _run(self, program: Program[Any], law: Law) -> Effects[Population[Any]]:
        search = Search(law)
        live: Particles = [Particle(program)]
        ways = [self.n]
        while live:
            families = yield from search.grow(live, ways)
            live = running(p for family in families for p in family)
            yield Tell(search.population(live))
            if not search.cut_short:
                scores = yield from self._scores(live, search)
            if search.cut_short:
                break
            slots = self.n - search.finished
            kept = ranked(live, scores)[: math.ceil(slots / self.width)]
            close(p for p in live if p not in kept)
            live = kept
            ways = [min(self.width, slots - i * self.width) for i in range(len(live))]
        return search.population(live)

    def _scores(self, live: Particles, search: Search) -> Effects[list[float]]:
        if not self.lookahead:
            return [p.log_weight for p in live]
        ahead = [p.fork() for p in live]
        yield Each([p.run(stop=True, stages=self.lookahead) for p in ahead])
        scores = [p.log_weight for p in ahead]
        search.throw_away(ahead)
        return scores


def beam(n: int, width: int = 4, lookahead: int = 0) -> Beam:
    """``beam(n, width=4, lookahead=0)``: step-level beam search. See :class:`Beam`."""
    check_count("beam", n)
    check_least("beam", "width", width, 1)
    return Beam(n, width, check_least("beam", "lookahead", lookahead))
