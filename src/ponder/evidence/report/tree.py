"""Traces of several stages: discs in columns, joined to those that they go on from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ponder.evidence.report.answers import Share, last_stage
from ponder.evidence.report.draws import disc, disc_unit, told
from ponder.evidence.report.palette import FAINT, GREEN, INK, PAPER, SOFT
from ponder.evidence.report.schema import Descendant
from ponder.evidence.report.sheet import SMALL, TEXT, Sheet, is_narrow
from ponder.evidence.report.wording import percent, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ANSWERS = 8
_APART = 5.0
_LEAST = 3.0  # the radius of a trace that weighs nothing
_HEAD, _LINE, _LEFT = 30.0, 22.0, 22.0


def tree_sheet(traces: Sequence[Descendant], answers: Sequence[Share], width: int) -> Sheet:
    """The tree; beside it, or below it on a narrow sheet, the answers by weight."""
    narrow = is_narrow(width)
    columns = _columns(traces)
    right = width - 22.0 if narrow else width - 340.0
    apart = (right - _LEFT) / (len(columns) - 1)
    crowd = max(len(column) for column in columns)
    unit = disc_unit(traces, min(13.0 if narrow else 19.0, 0.36 * apart, max(_LEAST, 320 / crowd)))
    tall = max(_height(column, unit) for column in columns)
    tally = _LINE * min(len(answers), MOST_ANSWERS)
    sheet = Sheet(width, _HEAD + (tall + tally + 30 if narrow else max(tall, tally)) + 12)
    plane = sheet.plane()
    places = _places(columns, unit, apart, tall)
    colours = fates(traces, answers)
    _edges(plane, traces, places, colours)
    _discs(sheet, plane, traces, places, answers, unit, colours)
    _stages(plane, columns, places)
    left, top = (8.0, _HEAD + tall + 34) if narrow else (right + 44, _HEAD + (tall - tally) / 2)
    _tally(plane, answers, left, max(top, _HEAD), width - left - 8)
    return sheet


def _columns(traces: Sequence[Descendant]) -> list[list[Descendant]]:
    """The traces of each stage in an order in which no two edges cross.

    Each has one parent, so it is enough that children stand in the order of their parents.
    """
    stages = sorted({trace["stage"] for trace in traces})
    columns: list[list[Descendant]] = []
    rank: dict[int, int] = {}
    for stage in stages:
        here = [trace for trace in traces if trace["stage"] == stage]
        here.sort(key=lambda t: (_rank(t, rank), t["answer"] or "~", t["index"]))
        rank = {trace["index"]: i for i, trace in enumerate(here)}
        columns.append(here)
    return columns


def _rank(trace: Descendant, parents: Mapping[int, int]) -> int:
    parent = trace["parent"]
    return len(parents) if parent is None else parents.get(parent, len(parents))


def _radius(trace: Descendant, unit: float) -> float:
    return max(_LEAST, unit * math.sqrt(trace["weight"]))


def _height(column: Sequence[Descendant], unit: float) -> float:
    return sum(2 * _radius(t, unit) + _APART for t in column)


def _places(
    columns: Sequence[Sequence[Descendant]], unit: float, apart: float, tall: float
) -> dict[int, tuple[float, float]]:
    """The middle of each disc: columns ``apart``, discs spread over the height."""
    places = {}
    for i, column in enumerate(columns):
        x = _LEFT + apart * i
        spare = (tall - _height(column, unit)) / len(column)
        y = _HEAD
        for trace in column:
            pitch = 2 * _radius(trace, unit) + _APART + spare
            places[trace["index"]] = (x, y + pitch / 2)
            y += pitch
    return places


def fates(traces: Sequence[Descendant], answers: Sequence[Share]) -> dict[int, str | None]:
    """The colour of the one answer that all surviving descendants of a trace give.

    INK where they give several, None where none survives to the last stage.
    """
    colours = {share.answer: share.colour for share in answers}
    parents = {trace["index"]: trace["parent"] for trace in traces}
    leads: dict[int, set[str]] = {index: set() for index in parents}
    for trace in last_stage(traces):
        at: int | None = trace["index"] if trace["alive"] else None
        colour = colours[trace["answer"]]
        while at is not None and at in leads and colour not in leads[at]:
            leads[at].add(colour)
            at = parents[at]
    return {
        index: None if not found else INK if len(found) > 1 else next(iter(found))
        for index, found in leads.items()
    }


def _edges(
    plane: Axes,
    traces: Sequence[Descendant],
    places: Mapping[int, tuple[float, float]],
    colours: Mapping[int, str | None],
) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    curve = [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4]
    for trace in traces:
        parent = trace["parent"]
        if parent is None or parent not in places:
            continue
        (x0, y0), (x1, y1) = places[parent], places[trace["index"]]
        bend = (x1 - x0) * 0.5
        path = Path([(x0, y0), (x0 + bend, y0), (x1 - bend, y1), (x1, y1)], curve)
        colour = colours[trace["index"]]
        edge = PathPatch(path, facecolor="none", edgecolor=colour or FAINT, zorder=2)
        edge.set(linewidth=1.0 if colour is None else 1.7, alpha=0.6 if colour is None else 0.75)
        plane.add_patch(edge)


def _discs(
    sheet: Sheet,
    plane: Axes,
    traces: Sequence[Descendant],
    places: Mapping[int, tuple[float, float]],
    answers: Sequence[Share],
    unit: float,
    colours: Mapping[int, str | None],
) -> None:
    from matplotlib.patches import Circle

    ended = {trace["index"]: share for share in answers for trace in share.traces}
    for trace in traces:
        x, y = places[trace["index"]]
        if trace["index"] in ended:
            radius = unit * math.sqrt(trace["weight"])
            disc(sheet, plane, x, y, radius, ended[trace["index"]], trace)
            continue
        rim = colours[trace["index"]]
        patch = Circle((x, y), _radius(trace, unit), facecolor=PAPER, zorder=4)
        patch.set(edgecolor=rim or FAINT, linewidth=1.2 if rim is None else 1.9)
        plane.add_patch(patch)
        sheet.hover(patch, [told(trace)])


def _stages(
    plane: Axes,
    columns: Sequence[Sequence[Descendant]],
    places: Mapping[int, tuple[float, float]],
) -> None:
    """The numbers of the stages, as many as there is room for."""
    step = math.ceil(len(columns) / 12)
    for i, column in enumerate(columns):
        x = places[column[0]["index"]][0]
        text = f"stage {i + 1}" if len(columns) <= 5 else str(i + 1)
        if i % step == 0:
            plane.text(x, 12, text, ha="center", va="center", size=SMALL, color=SOFT)


def _tally(plane: Axes, answers: Sequence[Share], left: float, top: float, width: float) -> None:
    """The answers with bars as long as their shares."""
    bar = left + 0.46 * width
    most = max(share.weight for share in answers) or 1.0
    room = (0.54 * width - 52) / most
    for i, share in enumerate(answers[:MOST_ANSWERS]):
        y = top + _LINE * (i + 0.5)
        text = f"{'✓ ' if share.right else ''}{shortened(share.text, int(0.44 * width / 7))}"
        weight = "bold" if share.right else "normal"
        colour = GREEN if share.right else INK
        plane.text(
            bar - 8, y, text, ha="right", va="center", size=TEXT, color=colour, weight=weight
        )
        plane.barh(y, max(1.0, share.weight * room), height=12, left=bar, color=share.colour)
        end = bar + share.weight * room + 6
        plane.text(end, y, percent(share.weight), va="center", size=SMALL, color=SOFT)
    if len(answers) > MOST_ANSWERS:
        rest = len(answers) - MOST_ANSWERS
        plane.text(bar - 8, top + _LINE * (MOST_ANSWERS + 0.3), f"and {rest} more", ha="right",
                   va="center", size=SMALL, color=SOFT)  # fmt: skip
