"""Numbers and texts as they are printed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

NONE = "–"
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def percent(share: float | None) -> str:
    """A share in percent, to a tenth: ``0.508`` is ``50.8%``."""
    return NONE if share is None or not math.isfinite(share) else f"{100 * share:.1f}%"


def between(interval: Sequence[float] | None) -> str:
    """An interval of shares: ``38.1 to 63.2%``."""
    if interval is None or not all(map(math.isfinite, interval)):
        return NONE
    low, high = interval
    return f"{100 * low:.1f} to {100 * high:.1f}%"


def points(difference: float) -> str:
    """A difference of shares in percentage points, signed: ``+9.0``."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def point_interval(interval: Sequence[float]) -> str:
    """An interval of differences: ``+3.0 to +15.0``."""
    low, high = interval
    return f"{points(low)} to {points(high)}"


def number(value: float | None) -> str:
    """A count or a mean: whole from 100 on, with one decimal below if it has any."""
    if value is None or not math.isfinite(value):
        return NONE
    shown = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"
    return shown.removesuffix(".0")


def several(count: int, noun: str) -> str:
    """``1 question``, ``60 questions``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def joined(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def printable(text: str) -> str:
    """Text without the characters that neither HTML nor XML may hold."""
    return _UNPRINTABLE.sub("\ufffd", text)


def shortened(text: str, longest: int) -> str:
    """Text on one line of at most ``longest`` characters, left out from the middle."""
    line = " ".join(printable(text).split())
    if len(line) <= longest:
        return line
    tail = (longest - 1) // 3
    head = longest - 1 - tail
    return f"{line[:head].rstrip()}…{line[len(line) - tail :].lstrip()}"
