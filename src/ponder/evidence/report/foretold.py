"""Coverage and accuracy by size: what a pilot foretold, and what was seen."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ponder.evidence.report.lettering import Lettered, of_strategy
from ponder.evidence.report.palette import BLUE, INK, PAPER, SOFT, VERMILION
from ponder.evidence.report.panels import heading, panels
from ponder.evidence.report.scales import percent_axis, sizes_axis
from ponder.evidence.report.schema import Forecast, Foretold
from ponder.evidence.report.sheet import SMALL, Picture, Sheet, is_narrow, picture
from ponder.evidence.report.wording import between, percent, several

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 6
_WHAT = {"coverage": ("covered", BLUE), "accuracy": ("accuracy", VERMILION)}
Told = tuple[Lettered, dict[str, list[Foretold]]]


def foretold(forecast: Forecast | None, shown: tuple[Lettered, ...]) -> Picture | None:
    """A panel for each method of which something was foretold; None if nothing was."""
    if forecast is None:
        return None
    told = _by_method(forecast["rows"], shown)
    if not told:
        return None
    caption = (
        "From "
        + several(forecast["pilot"], "sample")
        + " of each question (left of the dotted line) a law is fitted; shaded are its bands for "
        "what more samples bring, with the value foretold. Solid lines are what was measured; "
        f"rings are what was seen where it was foretold: {_kept(forecast['rows'])}"
    )
    if len(told) > MOST:
        caption += f" The first {MOST} of {len(told)} methods."
    label = "Coverage and accuracy by number of samples. " + " ".join(
        f"{row['what']} of {row['strategy']} at {row['at']}: {percent(row['value'])}, band "
        f"{between(row['band'])}, seen {percent(row['seen'])}."
        for row in forecast["rows"]
    )
    title = "What more samples bring"
    drawn = partial(_sheet, told[:MOST], forecast["pilot"])
    return picture("forecast", title, caption, label, drawn)


def _kept(rows: list[Foretold]) -> str:
    """How many of the bands held what was seen."""
    seen = [row for row in rows if row["seen"] is not None]
    if not seen:
        return "none, since nothing that large was run."
    inside = sum(row["band"][0] <= (row["seen"] or 0) <= row["band"][1] for row in seen)
    return f"{inside} of {len(seen)} lie in their bands."


def _by_method(rows: list[Foretold], shown: tuple[Lettered, ...]) -> list[Told]:
    found: dict[str, Told] = {}
    for row in rows:
        method = of_strategy(shown, row["strategy"])
        if method is not None and row["what"] in _WHAT:
            parts = found.setdefault(method.strategy, (method, {}))[1]
            parts.setdefault(row["what"], []).append(row)
    return sorted(found.values(), key=lambda told: shown.index(told[0]))


def _sheet(told: list[Told], pilot: int, width: int) -> Sheet:
    sheet, each = panels(told, width, 1 if is_narrow(width) else 3, 0.72)
    plane = sheet.plane()
    for (method, parts), axes, left, top in each:
        side = axes.get_position().width * width
        heading(plane, method, left, top, side, "")
        sizes = [point["size"] for point in method.method["curve"]]
        sizes_axis(axes, [*sizes, pilot, *(r["at"] for rows in parts.values() for r in rows)], 8)
        percent_axis(axes, 0, 1.05, 0.25)
        axes.set_xlabel("samples a question")
        axes.axvline(pilot, color=SOFT, linewidth=1, linestyle=(0, (1, 3)))
        for i, (what, rows) in enumerate(parts.items()):
            _forecast(sheet, axes, method, rows, pilot)
            plane.text(left + 74 * i, top + 31, what, color=_WHAT[what][1], size=SMALL, va="center")
    return sheet


def _forecast(sheet: Sheet, axes: Axes, method: Lettered, rows: list[Foretold], pilot: int) -> None:
    """The measured line, and from the pilot on the band."""
    name, colour = _WHAT[rows[0]["what"]]
    curve = method.method["curve"]
    x = [point["size"] for point in curve]
    y = [point["covered"] if name == "covered" else point["accuracy"] for point in curve]
    axes.plot(x, y, color=colour, linewidth=2, marker="o", markersize=3.5, zorder=3)
    rows = sorted(rows, key=lambda row: row["at"])
    start = dict(zip(x, y, strict=True)).get(pilot)
    before = [] if start is None else [(pilot, start, start, start)]
    path = before + [(row["at"], row["value"], *row["band"]) for row in rows]
    at, value, lows, highs = zip(*path, strict=True)
    axes.fill_between(at, lows, highs, color=colour, alpha=0.15, linewidth=0)
    axes.plot(at, value, color=colour, linewidth=1.2, linestyle=(0, (4, 3)), zorder=2)
    for row in rows:
        low, high = row["band"]
        ends = axes.vlines([row["at"]], low, high, color=colour, linewidth=1.4, alpha=0.6)
        text = f"{row['what']} foretold at {row['at']}: {percent(row['value'])}, band "
        sheet.hover(ends, [f"{text}{between(row['band'])}; seen {percent(row['seen'])}"])
        if row["seen"] is not None:
            ring = axes.plot([row["at"]], [row["seen"]], marker="o", color=INK, zorder=5)[0]
            ring.set(markersize=9, markerfacecolor=PAPER, markeredgewidth=1.3, alpha=0.9)
            axes.plot(
                [row["at"]], [row["seen"]], marker="o", markersize=3.5, color=colour, zorder=6
            )
