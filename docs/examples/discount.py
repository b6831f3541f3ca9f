"""``discount(f)``: a block that changes the target, with and without saying so.

``ponder check docs/examples/discount.py:discount`` is valid, ``...:unspecified`` refuted: its
code multiplies the target, its ``meaning`` says that it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import ponder

HALF = -0.6931471805599453  # log(1/2)


@dataclass(frozen=True, repr=False)
class Unspecified(ponder.Transform):
    """Halves the mass of every trace whose value is ``unwanted``."""

    unwanted: Callable[[Any], bool]
    notation: ClassVar[str] = "discount"

    def law(self, incoming: ponder.Law) -> ponder.Law:
        target = f"{incoming.target} discounted"
        kind = "weighted" if incoming.kind == "exact" else incoming.kind
        return replace(incoming, kind=kind, target=target)

    def transform(
        self, program: ponder.Program[Any], binding: ponder.Binding
    ) -> ponder.Program[Any]:
        def run() -> Any:
            value = yield from program
            yield from ponder.factor(HALF if self.unwanted(value) else 0.0)
            return value

        return ponder.Program(run, f"{program.name} | {self!r}")


@dataclass(frozen=True, repr=False)
class Discount(Unspecified):
    """The same, and its meaning: what it does to a finite measure, written down as arithmetic."""

    def meaning(
        self, measure: Sequence[ponder.Atom], binding: ponder.Binding
    ) -> Sequence[ponder.Atom]:
        return [
            replace(atom, log_potential=atom.log_potential + HALF)
            if self.unwanted(atom.value)
            else atom
            for atom in measure
        ]


def long(value: Any) -> bool:
    return len(repr(value)) > 12


discount = Discount(long)
unspecified = Unspecified(long)
