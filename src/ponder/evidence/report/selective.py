"""Risk against coverage: how wrong a method is if it answers only what it is most certain of."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ponder.evidence.report.labels import GAP, End, name_ends
from ponder.evidence.report.lettering import Lettered
from ponder.evidence.report.palette import GREY, SOFT
from ponder.evidence.report.scales import percent_axis
from ponder.evidence.report.sheet import SMALL, Picture, Sheet, is_narrow, picture
from ponder.evidence.report.wording import percent, shortened
from ponder.guarantee.reliability import risk_coverage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]
FEWEST = 0.05
"""The least coverage drawn: the risk of a handful of runs says nothing."""


class Curve(NamedTuple):
    """The share of all runs that are kept, and the share of these that are wrong: (m,) each."""

    method: Lettered
    coverage: Floats
    risk: Floats


def selective(shown: tuple[Lettered, ...]) -> Picture | None:
    """The curves of all methods that state probabilities; None if there is none."""
    curves = [curve for method in shown if (curve := risk_curve(method)) is not None]
    if not curves:
        return None
    caption = (
        "Keep only the runs whose stated probability is above a threshold, and lower it from left "
        "to right: the share that is kept, and the share of those that is wrong. Runs without an "
        "answer are never kept, so a line ends where all its answers are in. A flat line is a "
        "method whose probabilities say nothing of which answers are right."
    )
    said = " ".join(
        f"{c.method.letter}, {c.method.strategy}: {percent(float(c.risk[-1]))} wrong of all "
        f"answers, {percent(_at_half(c))} of the surer half."
        for c in curves
    )
    label = f"Risk against coverage. {said}"
    title = "Answering less, erring less"
    return picture("selective", title, caption, label, partial(_sheet, curves))


def risk_curve(method: Lettered) -> Curve | None:
    """Of the runs at full size; None if no run stated a probability."""
    runs = method.method["samples"]
    stated = [(p, credit) for _, p, credit in runs if p is not None and credit is not None]
    if not stated:
        return None
    p, credit = np.array(stated).T
    found = risk_coverage(p, credit)
    return Curve(method, found.coverage * len(stated) / len(runs), found.risk)


def _at_half(curve: Curve) -> float:
    """The risk at the first threshold that keeps half of what could be kept."""
    return float(curve.risk[np.searchsorted(curve.coverage, curve.coverage[-1] / 2 - 1e-12)])


def _drawn(curve: Curve) -> tuple[Floats, Floats]:
    """The curve from the least coverage that is drawn."""
    kept = curve.coverage >= min(FEWEST, float(curve.coverage[-1]))
    return curve.coverage[kept], curve.risk[kept]


def _sheet(curves: list[Curve], width: int) -> Sheet:
    narrow = is_narrow(width)
    height = max(300 if narrow else 360, GAP * len(curves) + 70)
    left, top, right = (40.0, 26.0, 38.0) if narrow else (52.0, 26.0, 340.0)
    sheet = Sheet(width, height)
    axes = sheet.axes(left, top, width - left - right, height - top - 52)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], labels=["0", "25%", "50%", "75%", "100%"])
    most = max(float(_drawn(curve)[1].max()) for curve in curves)
    percent_axis(axes, 0, min(1.0, max(0.1, most * 1.08)))
    axes.set_xlabel("answered, the surest first")
    axes.text(0, 1.02, "wrong among them", transform=axes.transAxes, size=SMALL, color=SOFT)
    for curve in reversed(curves):
        x, y = _drawn(curve)
        grey = curve.method.colour == GREY
        style: dict[str, Any] = {
            "linewidth": 1.1 if grey else 2.0,
            "marker": "o",
            "markersize": 2.5 if grey else 4,
        }
        line = axes.plot(x, y, color=curve.method.colour, **style)[0]
        line.set(clip_on=False)
        line.set_markevery([0] if len(x) == 1 else [len(x) - 1])
    ends = [_end(axes, curve, height) for curve in curves]
    name_ends(sheet.plane(), ends, width - right + 24, (top + 6, height - 46), names=not narrow)
    return sheet


def _end(axes: Axes, curve: Curve, height: float) -> End:
    x, y = axes.transData.transform((curve.coverage[-1], curve.risk[-1]))
    method = curve.method
    return End(x, height - y, method.letter, shortened(method.strategy, 44), method.colour)
