"""Difficulty classes: how many samples a question gets, from what its first few say.

After Snell et al., "Scaling LLM Test-Time Compute Optimally" (2024), with difficulty told from
the answers of the samples that are drawn anyway: no label is needed, and nothing is paid twice.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from ponder.errors import PonderError
from ponder.guarantee.stopping import falling_counts

PILOT = 4
"""How many answers tell the class."""
CLASSES = ("disagree", "nearly agree", "agree")
"""At most half of the pilot's answers are the same, more but not all, or all."""


def class_of(answers: Sequence[Hashable]) -> int:
    """The class that the first PILOT answers tell, 0 the hardest; the hardest if there are none."""
    pilot = answers[:PILOT]
    if not pilot:
        return 0
    leader = falling_counts(pilot)[0]
    if 2 * leader <= len(pilot):
        return 0
    return 2 if leader == len(pilot) else 1


@dataclass(frozen=True, repr=False)
class Allotted:
    """Stops at as many answers as the class of the question is allotted: ``sizes[class_of]``."""

    sizes: tuple[int, int, int]

    def stops(self, answers: Sequence[Hashable]) -> bool:
        return len(answers) >= PILOT and len(answers) >= self.sizes[class_of(answers)]

    def __repr__(self) -> str:
        return f"allotted({', '.join(map(str, self.sizes))})"


def allotted(disagree: int, nearly: int, agree: int) -> Allotted:
    """``allotted(16, 8, 4)``: the number of answers, by how the first four agree."""
    sizes = (disagree, nearly, agree)
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= PILOT for n in sizes):
        raise PonderError(f"allotted needs numbers of answers of {PILOT} or more, got {sizes}")
    return Allotted(sizes)
