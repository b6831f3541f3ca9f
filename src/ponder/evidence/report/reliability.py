"""Reliability diagrams: whether what is said with 70% is right 70% of the time."""

from __future__ import annotations

from functools import partial

from ponder.evidence.report.lettering import Lettered
from ponder.evidence.report.palette import FAINT, PAPER
from ponder.evidence.report.panels import heading, panels
from ponder.evidence.report.schema import Calibration
from ponder.evidence.report.sheet import Picture, Sheet, is_narrow, picture
from ponder.evidence.report.wording import NONE, number, percent, several

MOST = 12
"""Panels; beyond the twelfth method nobody looks."""
_AREA = 420.0  # of the dot of a bin that holds every run, in square points


def reliability(shown: tuple[Lettered, ...]) -> Picture | None:
    """A panel for each method that states probabilities; None if there is none."""
    stated = [(m, c) for m in shown if (c := m.method["calibration"]) is not None and c["bins"]]
    if not stated:
        return None
    caption = (
        "What a method says its answer is worth, against how often it is right: on the diagonal "
        "the two agree, below it the method promises too much. Areas go with the runs in a bin. "
        "ECE, the expected calibration error, is the mean distance from the diagonal, with its "
        "95% interval."
    )
    if len(stated) > MOST:
        caption += f" The {MOST} methods that are right most often, of {len(stated)}."
    said = [f"{m.letter}, {m.strategy}: {_error(c)}." for m, c in stated[:MOST]]
    return picture(
        "reliability",
        "What stated probabilities are worth",
        caption,
        "Reliability diagrams. " + " ".join(said),
        partial(_sheet, stated[:MOST]),
    )


def _error(calibration: Calibration) -> str:
    low, high = calibration["ece_interval"]
    return f"ECE {calibration['ece']:.3f} [{low:.2f}, {high:.2f}]"


def _sheet(stated: list[tuple[Lettered, Calibration]], width: int) -> Sheet:
    sheet, each = panels(stated, width, 2 if is_narrow(width) else 4, 1.0)
    plane = sheet.plane()
    for (method, calibration), axes, left, top in each:
        side = axes.get_position().width * width
        heading(plane, method, left, top, side, _error(calibration))
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        ticks, names = [0, 0.5, 1], ["0", "50%", "100%"]
        axes.set_xticks(ticks, labels=names)
        axes.set_yticks(ticks, labels=names)
        axes.set_xlabel("stated")
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)))
        bins = calibration["bins"]
        runs = sum(count for _, _, count in bins)
        axes.plot(
            [b[0] for b in bins],
            [b[1] for b in bins],
            color=method.colour,
            linewidth=1,
            alpha=0.5,
            zorder=2,
        )
        for p, accuracy, count in bins:
            dot = axes.scatter([p], [accuracy], s=_AREA * count / runs, zorder=3, clip_on=False)
            dot.set(facecolor=method.colour, edgecolor=PAPER, linewidth=1, alpha=0.9)
            text = f"stated {percent(p)}, right {percent(accuracy)}, {several(int(count), 'run')}"
            sheet.hover(dot, [text])
    return sheet


def quality(calibration: Calibration | None) -> dict[str, str]:
    """The figures of a method's probabilities, as printed."""
    if calibration is None:
        return dict.fromkeys(("ece", "interval", "brier", "auroc", "runs"), NONE)
    low, high = calibration["ece_interval"]
    auroc = calibration["auroc"]
    return {
        "ece": f"{calibration['ece']:.3f}",
        "interval": f"{low:.3f} to {high:.3f}",
        "brier": f"{calibration['brier']:.3f}",
        "auroc": NONE if auroc is None else f"{auroc:.3f}",
        "runs": number(sum(count for _, _, count in calibration["bins"])),
    }
