"""Where the tokens went: what each method read, wrote, judged and threw away."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ponder.evidence.report.labels import name_key
from ponder.evidence.report.lettering import Lettered
from ponder.evidence.report.palette import BLUE, FAINT, INK, ORANGE, SOFT, VERMILION
from ponder.evidence.report.sheet import SMALL, Picture, Sheet, is_narrow, picture
from ponder.evidence.report.wording import number, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = {"prompt": FAINT, "generated": BLUE, "judge": ORANGE, "wasted": VERMILION}
"""Kinds of tokens in ``Point.spent``, in the order of the bars."""
_BAR, _HEAD, _NAMES, _TOTAL = 13.0, 34.0, 330.0, 60.0


def tokens_spent(shown: tuple[Lettered, ...]) -> Picture:
    """A bar for each method at full size."""
    caption = (
        "Tokens a question at full size: of prompts, read once for all samples that share them; "
        "generated; read by judges"
        + ("; wasted, on what was begun and not used." if "wasted" in _used(shown) else ".")
    )
    label = "Tokens a question by what they were for. " + " ".join(map(_said, shown))
    title = "Where the tokens went"
    return picture("tokens", title, caption, label, partial(_sheet, shown))


def _parts(method: Lettered) -> dict[str, float]:
    return {part: method.full["spent"].get(part) or 0.0 for part in PARTS}


def _used(shown: tuple[Lettered, ...]) -> list[str]:
    return [part for part in PARTS if any(_parts(method)[part] for method in shown)]


def _said(method: Lettered) -> str:
    spent = ", ".join(f"{part} {number(value)}" for part, value in _parts(method).items() if value)
    return f"{method.letter}, {method.strategy}: {spent or 'none'}."


def _sheet(shown: tuple[Lettered, ...], width: int) -> Sheet:
    """Names beside the bars, or above them on a narrow sheet."""
    narrow = is_narrow(width)
    row, left = (42.0, 2.0) if narrow else (23.0, _NAMES)
    sheet = Sheet(width, _HEAD + row * len(shown) + 4)
    plane = sheet.plane()
    _kinds(plane, _used(shown), left)
    longest = max(sum(_parts(method).values()) for method in shown) or 1.0
    scale = (width - left - _TOTAL) / longest
    for i, method in enumerate(shown):
        top = _HEAD + row * i
        name_key(plane, 2, top + 10, method.letter, method.colour)
        name = shortened(method.strategy, 48)
        shift = 11 + 9 * len(method.letter)
        plane.text(shift, top + 10, name, va="center", size=SMALL, color=INK)
        _bar(sheet, plane, method, left, top + (26 if narrow else 10), scale)
    return sheet


def _kinds(plane: Axes, used: list[str], left: float) -> None:
    """What the colours stand for."""
    for part in used:
        plane.barh(_HEAD / 2 - 5, 11, height=11, left=left, color=PARTS[part])
        plane.text(left + 17, _HEAD / 2 - 5, part, va="center", size=SMALL, color=SOFT)
        left += 34 + 6.8 * len(part)


def _bar(sheet: Sheet, plane: Axes, method: Lettered, left: float, y: float, scale: float) -> None:
    parts = _parts(method)
    for part, value in parts.items():
        if value > 0:
            bar = plane.barh(y, value * scale, height=_BAR, left=left, color=PARTS[part])
            sheet.hover(bar.patches[0], [f"{part}: {number(value)} tokens a question"])
            left += value * scale
    total = number(sum(parts.values()))
    plane.text(left + 6, y, total, va="center", size=SMALL, color=SOFT)
