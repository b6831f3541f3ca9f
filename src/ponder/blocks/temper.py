"""``temper(beta)``: raise the potential to a power."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from ponder.effects import (
    Checkpoint,
    Each,
    Effects,
    Factor,
    Nested,
    Program,
    Twist,
    as_log_weight,
    runs_inline,
)
from ponder.errors import PonderError
from ponder.law import Law
from ponder.strategy import Binding, Transform


@dataclass(frozen=True, repr=False)
class Temper(Transform):
    """The target becomes sampling law times exp(beta * sum of factors).

    beta = 0 gives the prior, beta = 1 the target, more than 1 sharpens it; twists are scaled
    alike. The sampling law itself is not tempered: that is a setting of the program.
    """

    beta: float
    notation: ClassVar[str] = "temper"

    def law(self, incoming: Law) -> Law:
        kind = "weighted" if incoming.kind == "exact" else incoming.kind
        return replace(incoming, kind=kind, target=f"({incoming.target} at power {self.beta})")

    def transform(self, program: Program[Any], binding: Binding) -> Program[Any]:
        return _tempered_program(program, self.beta)


def temper(beta: float) -> Temper:
    """``temper(beta)``: the power posterior. See :class:`Temper`."""
    if not 0 <= beta < float("inf"):
        raise PonderError(f"temper needs a finite power of at least 0, got {beta}")
    return Temper(float(beta))


def _tempered_program(program: Program[Any], beta: float) -> Program[Any]:
    return Program(lambda: _tempered(program.start, beta), f"{program.name} | temper({beta})")


def _tempered(start: Callable[[], Effects[Any]], beta: float) -> Effects[Any]:
    generator = start()
    send: Any = None
    while True:
        try:
            effect = generator.send(send)
        except StopIteration as stop:
            return stop.value
        if isinstance(effect, Factor):
            # 0 * -inf: zero mass has no power; it stays zero, as the limit of x**beta does not.
            effect = Factor(
                effect.log_weight * beta if effect.log_weight > float("-inf") else effect.log_weight
            )
        elif isinstance(effect, Twist):
            effect = Twist(_scaled(effect.thunk, beta))
        elif isinstance(effect, Each):
            effect = Each([_tempered_program(p, beta) for p in effect.programs], effect.names)
        elif isinstance(effect, Nested):
            effect = Nested(_tempered_program(effect.program, beta))
        elif isinstance(effect, Checkpoint):
            if runs_inline(generator):
                send = None
                continue
            effect = Checkpoint(partial(_tempered, effect.restart, beta))
        send = yield effect


def _scaled(
    thunk: Callable[[], float | Program[float]], beta: float
) -> Callable[[], Program[float]]:
    def run() -> Effects[float]:
        value = yield from as_log_weight(thunk())
        return value * beta if value > float("-inf") else value

    return lambda: Program(run, "twist")
