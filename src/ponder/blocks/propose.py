"""``propose(q)``: sample from other distributions, and correct for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ponder.binding import Binding
from ponder.blocks.rewrite import rewritten
from ponder.dist import NEG_INF, Dist
from ponder.effects import Effect, Effects, Factor, Program, Sample
from ponder.law import Law
from ponder.strategy import Transform

Proposal = Callable[[str | None, Dist[Any]], Dist[Any] | None]


@dataclass(frozen=True, repr=False)
class Propose(Transform):
    """Draw from q where p is written, weighing by p / q: the target is unchanged.

    ``proposal(name, dist)`` answers the distribution to draw from instead of ``dist`` at the
    sample called ``name``, or None to leave it. Law: weighted, provided that q is positive
    wherever the target is.
    """

    proposal: Proposal
    notation: ClassVar[str] = "propose"

    def law(self, incoming: Law) -> Law:
        kind = "weighted" if incoming.kind == "exact" else incoming.kind
        return Law(kind, incoming.target, (*incoming.assumptions, "q = 0 only where the target is"))

    def transform(self, program: Program[Any], binding: Binding) -> Program[Any]:
        return rewritten(program, lambda effect: _proposed(effect, self.proposal), repr(self))


def propose(proposal: Proposal) -> Propose:
    """``propose(q)``: importance-correct another sampling law. See :class:`Propose`."""
    return Propose(proposal)


def _proposed(effect: Effect, proposal: Proposal) -> Effects[Any]:
    q = proposal(effect.name, effect.dist) if isinstance(effect, Sample) else None
    if q is None or not isinstance(effect, Sample):
        return (yield effect)
    value = yield Sample(q, effect.name)
    log_p = effect.dist.log_prob(value)
    yield Factor(log_p if log_p == NEG_INF else log_p - q.log_prob(value))
    return value
