"""Small multiples: the same drawing for each of several methods, side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from ponder.evidence.report.labels import name_key
from ponder.evidence.report.lettering import Lettered
from ponder.evidence.report.palette import INK, SOFT
from ponder.evidence.report.sheet import SMALL, Sheet
from ponder.evidence.report.wording import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

T = TypeVar("T")
LEFT, HEAD, FOOT, GUTTER = 40.0, 44.0, 42.0, 16.0
"""Pixels about each panel: for its ticks, its heading, its axis, and between it and the next."""


def panels(
    of: Sequence[T], width: int, columns: int, shape: float
) -> tuple[Sheet, Iterator[tuple[T, Axes, float, float]]]:
    """A sheet of panels, ``shape`` times as high as wide; then each with its left and top."""
    columns = min(columns, max(1, len(of)), max(1, int(width // 170)))
    cell = min(width / columns, 380.0)
    side = cell - LEFT - GUTTER
    row = HEAD + shape * side + FOOT
    sheet = Sheet(width, row * math.ceil(len(of) / columns))

    def each() -> Iterator[tuple[T, Axes, float, float]]:
        for i, item in enumerate(of):
            left, top = i % columns * cell, i // columns * row
            yield item, sheet.axes(left + LEFT, top + HEAD, side, shape * side), left + LEFT, top

    return sheet, each()


def heading(plane: Axes, method: Lettered, x: float, top: float, side: float, below: str) -> None:
    """The letter and name of a method over its panel, and one line more."""
    name_key(plane, x, top + 14, method.letter, method.colour)
    shift = 9 + 9 * len(method.letter)
    name = shortened(method.strategy, int((side - shift) / 6.4))
    plane.text(x + shift, top + 14, name, va="center", size=SMALL, color=INK)
    plane.text(x, top + 31, below, va="center", size=SMALL, color=SOFT)
