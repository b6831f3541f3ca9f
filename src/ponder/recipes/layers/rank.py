"""``rank(k)``: the k replies that one listwise comparison puts first."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from ponder.binding import Binding
from ponder.blocks.arguments import check_count
from ponder.effects import Effects
from ponder.measure import Population
from ponder.recipes.layers.asking import asked, listed
from ponder.recipes.layers.layer import Layer, Replies, Worked, first

_REQUEST = (
    "Rank the replies from the best to the worst. Write only their numbers on one line, "
    "like [2] > [1] > [3]."
)
_NUMBER = r"\[[ ]?[0-9]{1,9}[ ]?\]"
_RANGE = (
    rf"(?:{_NUMBER}(?:[ ]?[-–][ ]?{_NUMBER})?|\[[ ]?[0-9]{{1,9}}[ ]?[-–][ ]?[0-9]{{1,9}}[ ]?\])"
)
_RANKING = re.compile(rf"{_RANGE}(?:[ ]?>[ ]?{_RANGE})+")
_BARE = re.compile(r"\[?[0-9]{1,9}[]0-9 >\[–-]*")
_ONE = r"(?<![0-9])([0-9]{1,9})(?![0-9])"
_ITEM = re.compile(rf"{_ONE}(?:[ \]]{{0,3}}[-–][ \[]{{0,3}}{_ONE})?")


@dataclass(frozen=True, repr=False)
class Rank(Layer):
    """The ranker of Archon (Saad-Falcon et al. 2024): one request, all replies in one list.

    It reads their notes, if there are some. The k that it puts first are kept, in its order, and
    share the mass of the population evenly; all else is dropped. Two replies or more cost one
    request, a single one none.
    """

    k: int
    notation: ClassVar[str] = "rank"
    why: ClassVar[str] = "keeps what a ranker puts first"

    def work(
        self, population: Population[Any], replies: Replies, binding: Binding
    ) -> Effects[Worked]:
        indices = list(replies)
        if len(indices) > 1:
            request = f"{listed(binding, replies.values())}\n\n{_REQUEST}"
            text = yield from asked(binding, request, 32 + 8 * len(indices), "rank")
            indices = [indices[place] for place in ranking_in(text, len(indices))]
        return first(population, indices, self.k), True


def rank(k: int) -> Rank:
    """``rank(k)``: the k that a listwise ranker puts first. See :class:`Rank`."""
    return Rank(check_count("rank", k))


def ranking_in(text: str, count: int) -> list[int]:
    """The order of ``count`` things that a text writes as ``[4] > [2] > [1-3]``, from 0.

    Read from the first line that holds such a chain, or else the first that holds nothing but
    numbers and signs of it. Always a permutation: ranges are written out, what comes twice or is
    out of range is dropped, and what is missing follows in its own order.
    """
    ranked = dict.fromkeys(number - 1 for number in _numbers(_chain(text), count))
    return list(ranked | dict.fromkeys(range(count)))


def _chain(text: str) -> str:
    lines = text.splitlines()
    for line in lines:
        match = _RANKING.search(line)
        if match:
            return match.group()
    bare = (line.strip(" *`.") for line in lines)
    return next((line for line in bare if _BARE.fullmatch(line)), "")


def _numbers(chain: str, count: int) -> list[int]:
    found: list[int] = []
    for low, high in _ITEM.findall(chain):
        start, end = int(low), int(high or low)
        step = 1 if end >= start else -1
        # A range is cut to what there is before it is written out: [1-999999999] is harmless.
        inside = [min(max(edge, 0), count + 1) for edge in (start, end)]
        found += [i for i in range(inside[0], inside[1] + step, step) if 1 <= i <= count]
    return found
