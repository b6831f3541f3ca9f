"""``propose(q)``: sample from other distributions, and correct for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from ponder.binding import Binding
from ponder.blocks.rewrite import rewritten
from ponder.dist import NEG_INF, Dist, Mixture
from ponder.effects import Effect, Effects, Factor, Program, Sample
from ponder.errors import PonderError
from ponder.law import Law
from ponder.strategy import Transform

Proposal = Callable[[str | None, Dist[Any]], Dist[Any] | None]


@dataclass(frozen=True, repr=False)
class Propose(Transform):
    """Draw from q where p is written, weighing by p / q: the target is unchanged.

    ``proposal(name, dist)`` answers the distribution to draw from instead of ``dist`` at the
    sample called ``name``, or None to leave it. With ``defensive`` = eps > 0, draws come from
    the mixture (1 - eps) q + eps p (defensive importance sampling, Hesterberg 1995), and no draw
    adds a weight of more than 1 / eps. Law: weighted; without ``defensive``, provided that q is
    positive wherever the target is.

    A ``temper`` belongs before it: after it, the correction would be raised to the power too.
    """

    proposal: Proposal
    defensive: float = 0.0
    notation: ClassVar[str] = "propose"
    corrects: ClassVar[bool] = True

    def law(self, incoming: Law) -> Law:
        kind = "weighted" if incoming.kind == "exact" else incoming.kind
        law = replace(incoming, kind=kind, ordered=False)
        return law if self.defensive > 0 else law.noting("q = 0 only where the target is")

    def transform(self, program: Program[Any], binding: Binding) -> Program[Any]:
        rewrite = partial(_proposed, proposal=self.proposal, defensive=self.defensive)
        return rewritten(program, rewrite, repr(self))


def propose(proposal: Proposal, defensive: float = 0.0) -> Propose:
    """``propose(q)``: importance-correct another sampling law. See :class:`Propose`."""
    if not 0 <= defensive < 1:
        raise PonderError(
            f"propose needs a defensive share of at least 0 and below 1, got {defensive}"
        )
    return Propose(proposal, float(defensive))


def _proposed(effect: Effect, proposal: Proposal, defensive: float) -> Effects[Any]:
    q = proposal(effect.name, effect.dist) if isinstance(effect, Sample) else None
    if q is None or not isinstance(effect, Sample):
        return (yield effect)
    if defensive > 0:
        q = Mixture((q, effect.dist), (1 - defensive, defensive))
    value = yield Sample(q, effect.name)
    log_p = effect.dist.log_prob(value)
    yield Factor(log_p if log_p == NEG_INF else log_p - q.log_prob(value))
    return value
