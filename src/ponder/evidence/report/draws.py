"""Traces of one stage: a row of discs for each answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ponder.evidence.report.answers import Share
from ponder.evidence.report.palette import GREEN, INK, PAPER, SOFT
from ponder.evidence.report.schema import Descendant
from ponder.evidence.report.sheet import SMALL, TEXT, Sheet, is_narrow
from ponder.evidence.report.wording import percent, printable, several, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ROWS = 14
_LONGEST = 400  # characters of a trace that are shown over its disc
_APART = 5.0


def draws_sheet(traces: Sequence[Descendant], answers: Sequence[Share], width: int) -> Sheet:
    """Discs by answer; those of the rarest answers share the last row."""
    rows = _rows(answers)
    unit = disc_unit(traces, 15.0 if is_narrow(width) else 19.0)
    left = 12.0 if is_narrow(width) else 250.0
    lines = [_packed(row, unit, width - left - 10) for row in rows]
    head = 24.0 if is_narrow(width) else 0.0
    pitch = 2 * max((unit * math.sqrt(t["weight"]) for t in traces), default=8.0) + _APART
    pitch = max(pitch, 22.0)
    heights = [head + pitch * len(packed) + 12 for packed in lines]
    sheet = Sheet(width, sum(heights) + 6)
    plane, top = sheet.plane(), 4.0
    for row, packed, height in zip(rows, lines, heights, strict=True):
        _name(plane, row, top + (head / 2 if head else pitch / 2), left, bool(head))
        for number, line in enumerate(packed):
            for x, share, trace in line:
                radius = unit * math.sqrt(trace["weight"])
                disc(
                    sheet,
                    plane,
                    left + x,
                    top + head + pitch * (number + 0.5),
                    radius,
                    share,
                    trace,
                )
        top += height
    return sheet


def _rows(answers: Sequence[Share]) -> list[list[Share]]:
    """One answer a row, or the rest of them in the last."""
    rows = [[share] for share in answers]
    if len(rows) <= MOST_ROWS:
        return rows
    return [*rows[: MOST_ROWS - 1], list(answers[MOST_ROWS - 1 :])]


def disc_unit(traces: Sequence[Descendant], largest: float) -> float:
    """The radius of weight 1: so large that the heaviest trace has radius ``largest``.

    Where all weigh the same, a radius of 9 is enough.
    """
    heaviest = max((trace["weight"] for trace in traces), default=0.0) or 1.0
    lightest = min((t["weight"] for t in traces if t["weight"] > 0), default=heaviest)
    wanted = min(9.0, largest) if heaviest / lightest < 1.01 else largest
    return wanted / math.sqrt(heaviest)


def _packed(
    row: Sequence[Share], unit: float, width: float
) -> list[list[tuple[float, Share, Descendant]]]:
    """The discs of a row, line by line, with the middle of each."""
    lines: list[list[tuple[float, Share, Descendant]]] = [[]]
    at = 0.0
    for share in row:
        for trace in sorted(share.traces, key=lambda t: (-t["weight"], t["index"])):
            radius = max(3.0, unit * math.sqrt(trace["weight"]))
            if at + 2 * radius > width and lines[-1]:
                lines.append([])
                at = 0.0
            lines[-1].append((at + radius, share, trace))
            at += 2 * radius + _APART
    return lines


def _name(plane: Axes, row: Sequence[Share], y: float, left: float, above: bool) -> None:
    """What a row holds: the answer, a tick if it is right, its share."""
    share = row[0]
    merged = len(row) > 1
    text = several(len(row), "other answer") if merged else shortened(share.text, 24)
    part = percent(sum(s.weight for s in row))
    tick = any(s.right for s in row)
    style: dict[str, Any] = {"va": "center", "size": TEXT, "weight": "bold" if tick else "normal"}
    if above:
        colour = GREEN if tick else INK
        plane.text(4, y, f"{'✓ ' if tick else ''}{text}", color=colour, **style)
        plane.text(
            plane.get_xlim()[1] - 6, y, part, ha="right", va="center", color=SOFT, size=SMALL
        )
        return
    plane.text(left - 84, y, text, ha="right", color=GREEN if tick else INK, **style)
    plane.text(left - 22, y, part, ha="right", va="center", color=SOFT, size=SMALL)
    if tick:
        plane.text(left - 75, y, "✓", ha="center", color=GREEN, **style)


def disc(
    sheet: Sheet, plane: Axes, x: float, y: float, radius: float, share: Share, trace: Descendant
) -> None:
    """A trace that has ended: filled in the colour of its answer; a ring if it weighs nothing."""
    from matplotlib.patches import Circle

    empty = radius < 1 or share.answer is None
    patch = Circle((x, y), max(3.0, radius), linewidth=1.4, zorder=4)
    patch.set(
        facecolor=PAPER if empty else share.colour, edgecolor=share.colour if empty else PAPER
    )
    if share.right and not empty:
        patch.set(edgecolor=INK, linewidth=1.6)
    plane.add_patch(patch)
    sheet.hover(patch, [told(trace)])


def told(trace: Descendant) -> str:
    """What is shown over a disc."""
    text = printable(trace["text"])
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    answer = "no answer yet" if trace["answer"] is None else f"answer {trace['answer']}"
    return f"trace {trace['index']}, weight {trace['weight']:.3f}, {answer}\n\n{cut}"
