"""``best(f)``: the answer of the highest-ranked trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ponder.binding import AnyPotential, Binding
from ponder.blocks.arguments import check_potential
from ponder.blocks.vote import choose, posterior_of, with_answer
from ponder.blocks.weigh import log_weight_of, potentials_of
from ponder.effects import Effects, Program
from ponder.law import Law, heuristic
from ponder.measure import Abstain, Population, Posterior, answer_of
from ponder.strategy import Decide
from ponder.trace import Trace


@dataclass(frozen=True, repr=False)
class Best(Decide):
    """Rank the traces of positive weight by a potential and answer what the first one says.

    Best-of-N. Without a potential they are ranked by their own factors, which have been paid for.
    The posterior keeps the population's shares; only ``answer`` is chosen by rank.
    Traces without an answer are not ranked; ties are broken at random, by the seed. Law:
    heuristic (the maximum of a score has no target).
    """

    potential: AnyPotential | None = None
    notation: ClassVar[str] = "best"

    def law(self, incoming: Law) -> Law:
        return heuristic(incoming, "picks the highest score")

    def decide(self, population: Population[Any], binding: Binding) -> Program[Posterior]:
        def run() -> Effects[Posterior]:
            posterior = posterior_of(population, self.law(population.law))
            alive = population.weights > 0
            ranked = [
                trace
                for trace, weighs in zip(population.traces, alive, strict=True)
                if weighs and not isinstance(answer_of(trace), Abstain)
            ]
            scores = yield from scores_of(self.potential, ranked, binding)
            known = [s for s in scores if s is not None]
            tied = [t for t, s in zip(ranked, scores, strict=True) if known and s == max(known)]
            winner = yield from choose(tied)
            answer = None if winner is None else answer_of(winner)
            return with_answer(posterior, answer)

        return Program(run, repr(self))


def scores_of(
    potential: AnyPotential | None, traces: Sequence[Trace[Any]], binding: Binding
) -> Effects[list[float | None]]:
    """What each trace scores, in nats: by a potential, or by its own factors if there is none.

    None for one whose evaluation was cut short.
    """
    if potential is None:
        return [trace.log_potential for trace in traces]
    scored = yield from potentials_of(binding.potential(potential), traces)
    particles = [scored[id(trace)] for trace in traces]
    return [None if p.status == "unfinished" else log_weight_of(p) for p in particles]


def best(potential: AnyPotential | None = None) -> Best:
    """``best(f)``: best-of-N by ``f``. See :class:`Best`."""
    return Best(None if potential is None else check_potential("best", potential))
