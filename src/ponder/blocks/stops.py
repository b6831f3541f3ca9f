"""When to stop drawing, by the scores so far: ``draw(16, stop=above(0.9))``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ponder.dist import NEG_INF
from ponder.errors import PonderError


@dataclass(frozen=True, repr=False)
class Above:
    """Stops when a trace scores at least ``level``: one that is good enough has been drawn.

    A score is exp of the sum of a trace's factors, so put ``weigh(f)`` before ``draw``.
    """

    level: float
    sees: ClassVar[str] = "scores"

    def stops(self, seen: Sequence[float]) -> bool:
        least = math.log(self.level) if self.level > 0 else NEG_INF
        return bool(seen) and max(seen) >= least

    def __repr__(self) -> str:
        return f"above({self.level!r})"


@dataclass(frozen=True, repr=False)
class Accepted:
    """Stops at the first trace of positive weight: that a verifier has not refused."""

    sees: ClassVar[str] = "scores"

    def stops(self, seen: Sequence[float]) -> bool:
        return any(score > NEG_INF for score in seen)

    def __repr__(self) -> str:
        return "accepted"


def above(level: float) -> Above:
    """``above(0.9)``: a trace scores 0.9 or more. See :class:`Above`."""
    number = isinstance(level, int | float) and not isinstance(level, bool)
    if not number or not 0 <= level < math.inf:
        raise PonderError(f"above needs a score of 0 or more, such as 0.9, got {level!r}")
    return Above(float(level))


accepted = Accepted()
