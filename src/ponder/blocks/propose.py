"""``propose(q)``: sample from other distributions, and correct for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from ponder.dist import NEG_INF, Dist
from ponder.effects import Checkpoint, Each, Effects, Factor, Program, Sample, runs_inline
from ponder.law import Law
from ponder.strategy import Binding, Transform

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
        return _proposed_program(program, self.proposal)


def propose(proposal: Proposal) -> Propose:
    """``propose(q)``: importance-correct another sampling law. See :class:`Propose`."""
    return Propose(proposal)


def _proposed_program(program: Program[Any], proposal: Proposal) -> Program[Any]:
    return Program(lambda: _proposed(program.start, proposal), f"{program.name} | propose")


def _proposed(start: Callable[[], Effects[Any]], proposal: Proposal) -> Effects[Any]:
    generator = start()
    send: Any = None
    while True:
        try:
            effect = generator.send(send)
        except StopIteration as stop:
            return stop.value
        if isinstance(effect, Sample):
            q = proposal(effect.name, effect.dist)
            if q is not None:
                send = yield Sample(q, effect.name)
                log_p = effect.dist.log_prob(send)
                yield Factor(log_p if log_p == NEG_INF else log_p - q.log_prob(send))
                continue
        elif isinstance(effect, Each):
            effect = Each([_proposed_program(p, proposal) for p in effect.programs], effect.names)
        elif isinstance(effect, Checkpoint):
            if runs_inline(generator):
                send = None
                continue
            effect = Checkpoint(partial(_proposed, effect.restart, proposal))
        send = yield effect
