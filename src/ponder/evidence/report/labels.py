"""Names at the ends of lines, moved apart so that none covers another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ponder.evidence.report.palette import FAINT, INK
from ponder.evidence.report.sheet import SMALL, TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAP = 17.0
"""Pixels from one line of text to the next."""


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places at least ``gap`` apart and within [low, high], nearest to those given.

    The order is kept. Least squares under the constraint: neighbours that collide form a block
    about their mean. Where all do not fit, they are equally spaced, nearer than ``gap``.
    """
    if not places:
        return []
    gap = min(gap, (high - low) / max(1, len(places) - 1))
    order = sorted(range(len(places)), key=lambda i: (places[i], i))
    blocks: list[list[float]] = []  # sum, number
    for rank, i in enumerate(order):
        blocks.append([places[i] - rank * gap, 1])
        while len(blocks) > 1 and _mean(blocks[-2]) >= _mean(blocks[-1]):
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    level = [_mean(block) for block in blocks for _ in range(int(block[1]))]
    last = high - (len(places) - 1) * gap
    placed = [0.0] * len(places)
    for rank, i in enumerate(order):
        placed[i] = min(max(level[rank], low), last) + rank * gap
    return placed


def _mean(block: Sequence[float]) -> float:
    return block[0] / block[1]


@dataclass(frozen=True)
class End:
    """Where a line ends, in pixels, and what it is called."""

    x: float
    y: float
    letter: str
    name: str
    colour: str
    strong: bool = False


def name_ends(
    plane: Axes, ends: Sequence[End], left: float, span: tuple[float, float], names: bool = True
) -> None:
    """Write the names in a column from ``left`` on, each joined to the end of its line."""
    low, high = span
    for end, y in zip(ends, spread([e.y for e in ends], GAP, low, high), strict=True):
        plane.plot([end.x + 5, left - 14, left - 4], [end.y, y, y], color=FAINT, linewidth=0.8)
        name_key(plane, left, y, end.letter, end.colour)
        if names:
            weight = "bold" if end.strong else "normal"
            shift = left + 9 + 9 * len(end.letter)
            plane.text(shift, y, end.name, va="center", size=SMALL, color=INK, weight=weight)


def name_key(plane: Axes, x: float, y: float, letter: str, colour: str) -> None:
    """The letter of a method in its colour."""
    plane.text(x, y, letter, va="center", size=TEXT, color=colour, weight="bold")
