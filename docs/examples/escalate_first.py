"""``escalate``: two traces, and more where they disagree. A first version, with a mistake in it.

``ponder check docs/examples/escalate_first.py:escalate`` finds the mistake; ``escalate.py`` is
the mended version, and ``docs/new_method.md`` tells the story.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

import ponder
from ponder.law import resampled


@dataclass(frozen=True, repr=False)
class Escalate(ponder.Infer):
    """``few`` traces; then ``few`` more where their answers agree, ``many`` where they do not."""

    few: int = 2
    many: int = 6
    notation: ClassVar[str] = "escalate"

    def law(self, incoming: ponder.Law) -> ponder.Law:
        return resampled(incoming)

    def infer(
        self, program: ponder.Program[Any], law: ponder.Law
    ) -> ponder.Program[ponder.Population[Any]]:
        def run() -> ponder.Effects[ponder.Population[Any]]:
            pilot = [ponder.Particle(program) for _ in range(self.few)]
            yield from ponder.each([p.run() for p in pilot])
            agree = len({ponder.answer_of(p.trace()) for p in pilot}) == 1
            rest = [ponder.Particle(program) for _ in range(self.few if agree else self.many)]
            yield from ponder.each([p.run() for p in rest])
            both = [*pilot, *rest]
            log_weights = np.array([p.log_potential for p in both]) - math.log(len(both))
            return ponder.Population(tuple(p.trace() for p in both), log_weights, law)

        return ponder.Program(run, repr(self))


escalate = Escalate()
