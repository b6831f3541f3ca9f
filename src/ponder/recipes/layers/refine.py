"""``refine(rounds)``: every reply is criticised and written again by the model that wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ponder.binding import Binding
from ponder.blocks.arguments import check_least
from ponder.blocks.then import Then
from ponder.effects import Effects, Program
from ponder.recipes.layers.asking import gone_on
from ponder.recipes.prompting import Reply
from ponder.recipes.replies import cot_instruction, sampling_law

MARK = "[done]"
_FEEDBACK = (
    "Look for mistakes in your reply. If there is nothing to mend, reply only [Done]. Otherwise "
    "say briefly what to mend, without writing the new reply."
)
_REVISE = "Now write the whole reply again, with that mended."


@dataclass(frozen=True, repr=False)
class Refine(Then):
    """Self-Refine (Madaan et al. 2023): feedback on the reply, then a revised reply, in one chat.

    At most ``rounds`` times, two requests each at temperature 0.7; feedback that begins or ends
    with a line [Done] is the last request. The value is the last full reply, whose answer counts,
    whatever an earlier one said. Each trace goes on by itself, so the law that comes in stays, for
    the law of refined replies. A value that is no reply stays as it is.
    """

    rounds: int = 1
    notation: ClassVar[str] = "refine"
    reads_trace: ClassVar[bool] = True

    def after(self, value: Any, binding: Binding) -> Program[Any]:
        def run() -> Effects[Any]:
            reply, law = value, sampling_law()
            for left in reversed(range(self.rounds if isinstance(value, Reply) else 0)):
                feedback = yield from gone_on(
                    binding, reply, _FEEDBACK, 256, "feedback", law, keep=True
                )
                if is_done(feedback.text):
                    break
                request = f"{_REVISE} {cot_instruction(binding.question)}"
                keep = left > 0 or binding.keep_state
                reply = yield from gone_on(binding, feedback, request, 512, "revision", law, keep)
            return reply

        return Program(run, "refine", normalised=True)


def refine(rounds: int = 1) -> Refine:
    """``refine(rounds)``: at most so many rounds of Self-Refine. See :class:`Refine`."""
    return Refine(check_least("refine", "rounds", rounds, 1))


def is_done(feedback: str) -> bool:
    """Whether feedback says that there is nothing to mend: its first or last line begins so."""
    lines = [line.strip(" \t*`").lower() for line in feedback.splitlines() if line.strip()]
    return any(line.startswith(MARK) for line in (*lines[:1], *lines[-1:]))
