"""Ticks that people read: 1, 2, 5 and their tens; percent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Ticks within [low, high] of a log axis: 1-2-5 a decade, or fewer; at most ``most``."""
    for steps in ((1, 2, 5), (1, 3), (1,)):
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [step * 10.0**d for d in decades for step in steps if low <= step * 10.0**d <= high]
        if len(ticks) <= most:
            break
    return ticks


def short(value: float) -> str:
    """A tick: ``200``, ``1k``, ``2.5M``."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def log_axis(axes: Axes, low: float, high: float, most: int) -> None:
    """A logarithmic x axis from ``low`` to ``high``, both positive."""
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = log_ticks(low, high, most)
    axes.set_xticks(ticks, labels=[short(tick) for tick in ticks])
    axes.set_xticks([], minor=True)


def sizes_axis(axes: Axes, sizes: Sequence[int], most: int) -> None:
    """An x axis on which each doubling of a size is as long; ticks at powers of two."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(sizes) / 1.15, max(sizes) * 1.25)
    first, last = math.ceil(math.log2(min(sizes))), math.floor(math.log2(max(sizes)))
    step = max(1, math.ceil((last - first + 1) / most))
    ticks = [2**power for power in range(first, last + 1, step)] or [min(sizes)]
    axes.set_xticks(ticks, labels=[short(tick) for tick in ticks])
    axes.set_xticks([], minor=True)


def percent_axis(axes: Axes, low: float, high: float, step: float | None = None) -> None:
    """A y axis of shares from ``low`` to ``high``, in percent."""
    step = step or (0.1 if high - low > 0.3 else 0.05 if high - low > 0.12 else 0.02)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = [round(i * step, 6) for i in range(first, last + 1)]
    axes.set_ylim(low, high)
    axes.set_yticks(ticks, labels=[f"{100 * tick:g}%" for tick in ticks])
