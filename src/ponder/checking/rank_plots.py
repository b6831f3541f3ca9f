"""Rank plots of simulation-based calibration: histograms, and differences from the diagonal."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from ponder.checking.sbc import Calibration
from ponder.checking.uniform import BINS
from ponder.errors import PonderError

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

INSIDE = 0.99  # of right posteriors lie inside of the bands
FORMATS = (".png", ".svg", ".pdf")
BAND, SEEN, EVEN, WRONG = "#d9dee5", "#4c6b8a", "#8a8a8a", "#a8322d"


def refuse_format(path: Path) -> None:
    """Raise PonderError unless a picture can be drawn into that file."""
    if path.suffix not in FORMATS:
        raise PonderError(f"cannot draw into {path}; give a file that ends in .png, .svg or .pdf")
    if not path.absolute().parent.is_dir():
        raise PonderError(f"there is no folder {path.parent} for the plot; make it first")


def draw_ranks(calibration: Calibration, path: Path) -> None:
    """One row a quantity: its rank histogram, and how far its ECDF is from that of uniform ranks.

    The band of each bin holds 99 in 100 right posteriors; the envelope of the differences holds 99
    in 100 at all ranks at once (after Säilynoja et al. 2022). Raises PonderError if the file
    cannot be written.
    """
    refuse_format(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = list(calibration.ranks.items())
    refuted = {f.claim for f in calibration.report.findings if f.verdict == "refuted"}
    figure = Figure(figsize=(8.6, 0.5 + 2.1 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), 2, squeeze=False, width_ratios=(1, 1.25))
    for (left, right), (name, counts) in zip(axes, rows, strict=True):
        wrong = f"ranks of {name} are uniform" in refuted
        colour = WRONG if wrong else SEEN
        _histogram(left, counts, colour)
        _differences(right, counts, colour)
        title = f"{name}: refuted" if wrong else name
        left.set_title(title, loc="left", fontsize=10, color=colour if wrong else "black")
        for axis in (left, right):
            axis.spines[["top", "right"]].set_visible(False)
            axis.tick_params(labelsize=8)
    axes[0][1].set_title("ECDF minus that of uniform ranks", loc="left", fontsize=9, color=EVEN)
    for axis in axes[-1]:
        axis.set_xlabel("rank of the truth among the draws", fontsize=9)
    total = int(rows[0][1].sum())
    figure.suptitle(
        f"{calibration.report.subject}: {total} simulated data sets, 99% bands", fontsize=10
    )
    try:
        figure.savefig(path, dpi=160)
    except OSError as error:
        raise PonderError(f"cannot write {path}: {os.strerror(error.errno or 0)}") from None


def _histogram(axis: Any, counts: Counts, colour: str) -> None:
    width = len(counts) // BINS
    total = int(counts.sum())
    tail = (1 - INSIDE) / 2
    low, high = binom.ppf(tail, total, 1 / BINS), binom.ppf(1 - tail, total, 1 / BINS)
    axis.axhspan(low, high, color=BAND, zorder=0)
    axis.axhline(total / BINS, color=EVEN, linewidth=0.8, zorder=1)
    starts = np.arange(BINS) * width
    heights = counts.reshape(BINS, -1).sum(axis=1)
    axis.bar(starts, heights, width=0.9 * width, align="edge", color=colour, zorder=2, alpha=0.85)
    axis.set_xlim(0, len(counts))
    axis.set_ylabel("data sets", fontsize=9)


def _differences(axis: Any, counts: Counts, colour: str) -> None:
    total = int(counts.sum())
    even = np.arange(1, len(counts)) / len(counts)
    low, high = envelope(len(counts), total)
    at = np.arange(1, len(counts))
    axis.fill_between(at, low - even, high - even, color=BAND, linewidth=0)
    axis.axhline(0, color=EVEN, linewidth=0.8)
    axis.plot(at, np.cumsum(counts)[:-1] / total - even, color=colour, linewidth=1.6)
    axis.set_xlim(0, len(counts))


@lru_cache(maxsize=8)
def envelope(places: int, total: int, runs: int = 4_000) -> tuple[Floats, Floats]:
    """(lowest, highest) ECDF of ``total`` uniform ranks, that 99 in 100 stay within everywhere.

    Of shape (places - 1,): below the second place, the third, and so on. The pointwise level that
    does it is found by simulation from a fixed seed.
    """
    rng = np.random.default_rng(0)
    even = np.arange(1, places) / places
    drawn = rng.multinomial(total, np.full(places, 1 / places), size=runs)
    below = np.cumsum(drawn, axis=1)[:, :-1]
    tails = np.minimum(binom.cdf(below, total, even), binom.sf(below - 1, total, even))
    level = float(np.quantile(tails.min(axis=1), 1 - INSIDE))
    return binom.ppf(level, total, even) / total, binom.isf(level, total, even) / total
