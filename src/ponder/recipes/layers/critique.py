"""``critique``: strengths and weaknesses of every reply, in one request."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from ponder.binding import Binding
from ponder.effects import Effects
from ponder.measure import Population
from ponder.recipes.layers.asking import asked, listed
from ponder.recipes.layers.layer import Layer, Replies, Worked, rewritten

_REQUEST = (
    "Criticise every reply: first its number in brackets, on a line of its own, then in one or "
    "two sentences what is strong and what is weak or wrong in it. Begin with [1]."
)
_HEAD = re.compile(r"^[^\w\[\n]{0,8}\[[ ]?([0-9]{1,6})[ ]?\]", re.MULTILINE)


@dataclass(frozen=True, repr=False)
class Critique(Layer):
    """The critic of Archon (Saad-Falcon et al. 2024): one request about all replies.

    What it says of a reply is kept in its ``notes``, which ``rank`` and ``fuse`` read; a reply
    of which it says nothing keeps the notes that it has. Traces and weights stay. A block that
    runs the program of a trace again, such as ``regenerate``, makes its reply without notes.
    """

    notation: ClassVar[str] = "critique"
    why: ClassVar[str] = "criticised together"

    def work(
        self, population: Population[Any], replies: Replies, binding: Binding
    ) -> Effects[Worked]:
        request = f"{listed(binding, replies.values())}\n\n{_REQUEST}"
        text = yield from asked(binding, request, min(100 * len(replies), 1024), "critique")
        said = sections_in(text, len(replies))
        noted = {
            i: dataclasses.replace(reply, notes=said[number])
            for number, (i, reply) in enumerate(replies.items(), 1)
            if number in said
        }
        return rewritten(population, noted), True


critique = Critique()


def sections_in(text: str, count: int) -> dict[int, str]:
    """What stands below each ``[i]`` that begins a line, i from 1 to ``count``.

    Sections of the same number are joined; those of other numbers, and empty ones, are left out.
    """
    _, *parts = _HEAD.split(text)
    found: dict[int, str] = {}
    for head, below in zip(parts[::2], parts[1::2], strict=True):
        number, section = int(head), below.strip(" \t\n:*-#")
        if 1 <= number <= count and section:
            found[number] = f"{found[number]}\n{section}" if number in found else section
    return found
