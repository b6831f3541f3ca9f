"""Accuracy against tokens: what each method gets for what it costs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ponder.evidence.report.labels import GAP, End, name_ends
from ponder.evidence.report.lettering import Lettered
from ponder.evidence.report.palette import GREY, INK, PAPER, SOFT
from ponder.evidence.report.scales import log_axis, percent_axis
from ponder.evidence.report.schema import Baseline, Point, Results
from ponder.evidence.report.sheet import SMALL, Picture, Sheet, is_narrow, picture
from ponder.evidence.report.wording import between, joined, number, percent, several, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes


MOST_BANDS = 3


def frontier(results: Results, shown: tuple[Lettered, ...]) -> Picture:
    """The curves of all methods by size, the Pareto front, and the baselines."""
    caption = (
        "Each line is a method, from its smallest size to its full one. Ringed points are on the "
        "Pareto front: nothing measured here is right more often for fewer tokens. "
        f"{_bands(shown)} show 95% intervals over questions, one method at a time; those of all "
        "methods and sizes are in the numbers below."
    )
    label = "Accuracy against tokens a question. " + " ".join(map(_said, shown))
    return picture(
        "frontier",
        "Accuracy for tokens",
        caption,
        label,
        partial(_sheet, results, shown),
    )


def _banded(shown: tuple[Lettered, ...]) -> list[Lettered]:
    """The methods whose intervals are drawn: of the front first, and no more than can be seen."""
    return sorted(shown, key=lambda method: not method.on_front)[:MOST_BANDS]


def _bands(shown: tuple[Lettered, ...]) -> str:
    letters = sorted(method.letter for method in _banded(shown))
    return f"The {'band' if len(letters) == 1 else 'bands'} of {joined(letters)}"


def _said(method: Lettered) -> str:
    full = method.full
    return (
        f"{method.letter}, {method.strategy}: {percent(full['accuracy'])} "
        f"at {number(full['tokens'])} tokens."
    )


def _sheet(results: Results, shown: tuple[Lettered, ...], width: int) -> Sheet:
    narrow = is_narrow(width)
    height = max(320 if narrow else 430, GAP * len(shown) + 70)
    left, top, right = (40.0, 26.0, 38.0) if narrow else (52.0, 26.0, 340.0)
    frame = (width - left - right, height - top - 52)
    sheet = Sheet(width, height)
    axes = sheet.axes(left, top, *frame)
    tokens = [p["tokens"] for m in shown for p in m.method["curve"] if p["tokens"] > 0]
    log_axis(axes, min(tokens, default=1) / 1.2, max(tokens, default=1) * 1.2, 6 if narrow else 12)
    percent_axis(axes, *_heights(results, shown))
    axes.set_xlabel("tokens a question, all that are read or written (log scale)")
    axes.text(0, 1.02, "right answers", transform=axes.transAxes, size=SMALL, color=SOFT)
    for method in _banded(shown):
        _band(axes, method)
    for method in reversed(shown):
        _curve(sheet, axes, method)
    _front(axes, results, shown)
    for baseline in results["baselines"]:
        _baseline(axes, baseline)
    plane = sheet.plane()
    ends = [_end(axes, method, height, best=method is shown[0]) for method in shown]
    name_ends(plane, ends, width - right + 24, (top + 6, height - 46), names=not narrow)
    return sheet


def _heights(results: Results, shown: tuple[Lettered, ...]) -> tuple[float, float]:
    """The range of accuracies that are drawn, to the next 5%."""
    banded = _banded(shown)
    drawn = [b["accuracy"] for b in results["baselines"]]
    for method in shown:
        for point in method.method["curve"]:
            drawn += [point["accuracy"], *(point["interval"] if method in banded else [])]
    low = int(max(0.0, min(drawn) - 0.02) * 20) / 20
    high = max(*drawn, low + 0.1)
    return low, high + 0.06 * (high - low)


def _drawable(method: Lettered) -> list[Point]:
    """The points that a logarithmic axis can show."""
    return [point for point in method.method["curve"] if point["tokens"] > 0]


def _band(axes: Axes, method: Lettered) -> None:
    curve = _drawable(method)
    x = [point["tokens"] for point in curve]
    low, high = [p["interval"][0] for p in curve], [p["interval"][1] for p in curve]
    if len(curve) > 1:
        axes.fill_between(x, low, high, color=method.colour, alpha=0.13, linewidth=0)
    else:
        axes.vlines(x, low, high, color=method.colour, linewidth=1.6, alpha=0.5)


def _curve(sheet: Sheet, axes: Axes, method: Lettered) -> None:
    curve = _drawable(method)
    x, y = [p["tokens"] for p in curve], [p["accuracy"] for p in curve]
    grey = method.colour == GREY
    axes.plot(x, y, color=method.colour, linewidth=1.2 if grey else 2.2, zorder=3)
    for point in curve:
        dot = axes.plot([point["tokens"]], [point["accuracy"]], marker="o", zorder=4)[0]
        dot.set(color=method.colour, markersize=4 if grey else 5.5, linestyle="none")
        sheet.hover(dot, [_hover(point)])


def _hover(point: Point) -> str:
    return (
        f"{point['strategy']}\n{percent(point['accuracy'])} right ({between(point['interval'])}), "
        f"{several(round(point['tokens']), 'token')} a question"
    )


def _front(axes: Axes, results: Results, shown: tuple[Lettered, ...]) -> None:
    """Rings on the points of the front, and the stairs that they make."""
    names = set(results["pareto"])
    points = {
        (p["tokens"], p["accuracy"])
        for method in shown
        for p in method.method["curve"]
        if p["strategy"] in names and p["tokens"] > 0
    }
    if not points:
        return
    x, y = zip(*sorted(points), strict=True)
    x, y = (*x, axes.get_xlim()[1]), (*y, y[-1])
    axes.step(x, y, where="post", color=INK, linewidth=0.9, alpha=0.55, zorder=2)
    rings = axes.plot(x[:-1], y[:-1], linestyle="none", marker="o", markersize=11, zorder=5)[0]
    rings.set(markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.1)


def _baseline(axes: Axes, baseline: Baseline) -> None:
    """A line across; dashed for a ceiling, dotted for what is had without a method."""
    y, tokens = baseline["accuracy"], baseline["tokens"]
    ceiling = "ceiling" in baseline["name"]
    style = (0, (6, 4)) if ceiling else (0, (1, 3))
    axes.axhline(y, color=INK if ceiling else SOFT, linewidth=1.2, linestyle=style, zorder=1)
    axes.annotate(
        f"{shortened(baseline['name'], 30)} {percent(y)}",
        (1.0, y),
        xycoords=axes.get_yaxis_transform(),
        xytext=(-3, 5) if ceiling else (-3, -5),
        textcoords="offset points",
        ha="right",
        va="bottom" if ceiling else "top",
        size=SMALL,
        color=SOFT,
    )
    low, high = axes.get_xlim()
    if tokens is not None and not ceiling and low <= tokens <= high:
        cross = axes.plot([tokens], [y], marker="X", markersize=9, color=SOFT, zorder=6)[0]
        cross.set(markeredgecolor=PAPER, markeredgewidth=1.2)


def _end(axes: Axes, method: Lettered, height: float, *, best: bool) -> End:
    """The last point of a curve, in pixels of the sheet."""
    full = method.full
    x, y = axes.transData.transform((max(full["tokens"], axes.get_xlim()[0]), full["accuracy"]))
    name = shortened(method.strategy, 44)
    return End(x, height - y, method.letter, name, method.colour, strong=best)
