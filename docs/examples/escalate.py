"""``escalate``: two traces, and more where they disagree.

``ponder check docs/examples/escalate.py:escalate`` finds it valid. ``escalate_first.py`` is the
version before, with a mistake, and ``docs/new_method.md`` tells the story.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import ponder
from ponder.blocks.pool import pooled
from ponder.law import resampled


@dataclass(frozen=True, repr=False)
class Escalate(ponder.Infer):
    """``few`` traces; then ``few`` more where their answers agree, ``many`` where they do not.

    Half of the mass is that of the first batch, half that of the second, whatever their sizes.
    Law: weighted.
    """

    few: int = 2
    many: int = 6
    notation: ClassVar[str] = "escalate"

    def law(self, incoming: ponder.Law) -> ponder.Law:
        return resampled(incoming)

    def infer(
        self, program: ponder.Program[Any], law: ponder.Law
    ) -> ponder.Program[ponder.Population[Any]]:
        def run() -> ponder.Effects[ponder.Population[Any]]:
            pilot = yield from ponder.draw(self.few).infer(program, law)
            agree = len({ponder.answer_of(trace) for trace in pilot.traces}) == 1
            more = self.few if agree else self.many
            rest = yield from ponder.draw(more).infer(program, law)
            return pooled([pilot, rest])

        return ponder.Program(run, repr(self))


escalate = Escalate()
