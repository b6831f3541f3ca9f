"""``fuse(n)``: new replies, each written from all that there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ponder.binding import Binding
from ponder.blocks.arguments import check_count
from ponder.blocks.draw import Draw
from ponder.effects import Effects, Program
from ponder.measure import Population
from ponder.recipes.layers.asking import listed
from ponder.recipes.layers.layer import Layer, Replies, Worked
from ponder.recipes.prompting import Reply, prompt_of, written
from ponder.recipes.replies import cot_instruction, sampling_law

MAX_TOKENS = 512
_REQUEST = (
    "Some of them may be wrong. Write one reply that is better than all of these: keep what is "
    "right in them and mend what is wrong, without mentioning them."
)


@dataclass(frozen=True, repr=False)
class Fuse(Layer):
    """The fuser of Archon (Saad-Falcon et al. 2024): the population becomes n new replies.

    They are independent draws, at temperature 0.7, of a program that is shown all replies and
    their notes; each weighs 1/n. Where the budget ends before one of them is written, the
    population is returned as it was.
    """

    n: int = 1
    notation: ClassVar[str] = "fuse"
    why: ClassVar[str] = "fused from all replies"

    def work(
        self, population: Population[Any], replies: Replies, binding: Binding
    ) -> Effects[Worked]:
        program = fusion(binding, replies)
        fused = yield from Draw(self.n).infer(program, population.law)
        if all(trace.status == "unfinished" for trace in fused.traces):
            return population, False
        return fused, True


def fuse(n: int = 1) -> Fuse:
    """``fuse(n)``: n replies, each from all that there are. See :class:`Fuse`."""
    return Fuse(check_count("fuse", n))


def fusion(binding: Binding, replies: Replies) -> Program[Reply]:
    """The program of a reply to the question by a model that has seen these."""
    instruction = cot_instruction(binding.question)
    shown = listed(binding, replies.values())
    prompt = prompt_of(binding, f"{shown}\n\n{_REQUEST} {instruction}")

    def run() -> Effects[Reply]:
        return (yield from written(binding, prompt, sampling_law(MAX_TOKENS), MAX_TOKENS))

    return Program(run, "fuse", normalised=True)
