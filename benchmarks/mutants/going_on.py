"""A block by which traces go on, with factors, for mutants of ``Then``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import ponder


@ponder.program
def mood(value: Any) -> ponder.Effects[Any]:
    """One more choice, which is weighed by what the value is."""
    good = yield from ponder.sample(ponder.Bernoulli(0.4), "good")
    odd = len(repr(value)) % 2 == 1
    yield from ponder.factor(math.log(0.9 if good == odd else 0.2))
    return value, good


@dataclass(frozen=True, repr=False)
class Judged(ponder.Then):
    """Every trace goes on with a mood."""

    notation: ClassVar[str] = "judged"
    normalised: ClassVar[bool] = False

    def after(self, value: Any, binding: ponder.Binding) -> ponder.Program[Any]:
        return mood(value)


def judged() -> ponder.Pipeline:
    """Three replies that go on."""
    return ponder.cot | ponder.draw(3) | Judged()
