"""``temper(beta)``: raise the potential to a power."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ponder.binding import Binding
from ponder.blocks.rewrite import rewritten
from ponder.dist import NEG_INF
from ponder.effects import Effect, Effects, Factor, Program, Twist, as_log_weight
from ponder.errors import PonderError
from ponder.law import Law
from ponder.meaning import Atom
from ponder.strategy import Transform


@dataclass(frozen=True, repr=False)
class Temper(Transform):
    """The target becomes sampling law times exp(beta * sum of factors).

    beta = 0 gives the prior, beta = 1 the target, more than 1 sharpens it; twists are scaled
    alike. The sampling law itself is not tempered: that is a setting of the program.
    """

    beta: float
    notation: ClassVar[str] = "temper"
    apart: ClassVar[bool] = True

    def law(self, incoming: Law) -> Law:
        kind = "weighted" if incoming.kind == "exact" else incoming.kind
        target = f"({incoming.target} at power {self.beta})"
        return replace(incoming, kind=kind, target=target, ordered=False)

    def meaning(self, measure: Sequence[Atom], binding: Binding) -> Sequence[Atom]:
        alive = (atom for atom in measure if atom.log_potential > NEG_INF)
        return [replace(atom, log_potential=self.beta * atom.log_potential) for atom in alive]

    def transform(self, program: Program[Any], binding: Binding) -> Program[Any]:
        return rewritten(program, lambda effect: _tempered(effect, self.beta), repr(self))


def temper(beta: float) -> Temper:
    """``temper(beta)``: the power posterior. See :class:`Temper`."""
    if not 0 <= beta < float("inf"):
        raise PonderError(f"temper needs a finite power of at least 0, got {beta}")
    return Temper(float(beta))


def _tempered(effect: Effect, beta: float) -> Effects[Any]:
    if isinstance(effect, Factor):
        # Zero mass stays zero at every power, the power 0 included.
        dead = effect.log_weight == NEG_INF
        effect = Factor(NEG_INF if dead else effect.log_weight * beta)
    elif isinstance(effect, Twist):
        effect = Twist(_scaled(effect.thunk, beta))
    return (yield effect)


def _scaled(
    thunk: Callable[[], float | Program[float]], beta: float
) -> Callable[[], Program[float]]:
    def run() -> Effects[float]:
        value = yield from as_log_weight(thunk())
        return value * beta if value > NEG_INF else value

    return lambda: Program(run, "twist")
