"""``verified``: replies that the model, having reasoned about them, calls correct."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from ponder.binding import Binding
from ponder.blocks.distinct import selected
from ponder.effects import Effects, Program
from ponder.measure import Population
from ponder.recipes.layers.asking import gone_on
from ponder.recipes.layers.layer import Layer, Replies, Worked, together
from ponder.recipes.prompting import Reply

_REASON = (
    "Check your reply step by step. Say briefly why its answer is right, or where it goes wrong."
)
_VERDICT = "So is the answer right? Reply [Correct] or [Incorrect], nothing else."
_MARK = re.compile(r"\[[ ]?(correct|incorrect)[ ]?\]", re.IGNORECASE)


@dataclass(frozen=True, repr=False)
class Verified(Layer):
    """The verifier of Archon (Saad-Falcon et al. 2024): two requests a reply.

    The model reasons about why the reply is right or wrong, then gives a verdict; both follow
    the reply in its own chat. What is called incorrect is dropped, everything else keeps its
    weight, a reply without a readable verdict too. If all are called so, the population stays as
    it is. Where the budget ends in the middle, those without a verdict stay.
    """

    notation: ClassVar[str] = "verified"
    reads_trace: ClassVar[bool] = True
    why: ClassVar[str] = "keeps what the model calls correct"

    def work(
        self, population: Population[Any], replies: Replies, binding: Binding
    ) -> Effects[Worked]:
        programs = [
            Program(partial(_verify, binding, reply), "verify") for reply in replies.values()
        ]
        verdicts = yield from together(programs)
        kept = [i for i, verdict in zip(replies, verdicts, strict=True) if verdict != "incorrect"]
        found = selected(population, kept, population.law) if kept else population
        return found, None not in verdicts


verified = Verified()


def _verify(binding: Binding, reply: Reply) -> Effects[str]:
    reasons = yield from gone_on(binding, reply, _REASON, 256, "reasons", keep=True)
    said = yield from gone_on(binding, reasons, _VERDICT, 16, "verdict")
    return verdict_in(said.text)


def verdict_in(text: str) -> str:
    """ "correct" or "incorrect": the last one in brackets, or else the one word that is there;
    "" if neither is."""
    marks = _MARK.findall(text)
    word = marks[-1] if marks else text.strip(" \t\n*.!\"'[]")
    return word.lower() if word.lower() in ("correct", "incorrect") else ""
