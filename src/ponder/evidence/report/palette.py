"""The colours: quiet greys for the page, six of Okabe and Ito's for what is to be told apart.

Okabe and Ito (2008) chose eight colours that people with any common colour vision can tell apart.
Black is the ink here, and yellow is too pale for lines on white. Pictures are drawn in the light
colours; :func:`adaptive` makes variables of them, which the page sets for light and dark.
"""

from __future__ import annotations

import re

LIGHT = {
    "ink": "#1b1d20",
    "soft": "#5d636b",
    "faint": "#b9bdc3",
    "rule": "#e3e4e6",
    "paper": "#fefefd",
    "blue": "#0072b2",
    "vermilion": "#d55e00",
    "green": "#009e73",
    "purple": "#cc79a7",
    "orange": "#e69f00",
    "sky": "#56b4e9",
}
DARK = LIGHT | {
    "ink": "#e8e8e6",
    "soft": "#a3a9b1",
    "faint": "#5b6169",
    "rule": "#2f3339",
    "paper": "#16181b",
    "blue": "#2f94d0",
    "vermilion": "#e8722a",
}
INK, SOFT, FAINT, RULE, PAPER = (LIGHT[n] for n in ("ink", "soft", "faint", "rule", "paper"))
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = (
    LIGHT[n] for n in ("blue", "vermilion", "green", "purple", "orange", "sky")
)
HUES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
GREY = SOFT
"""What has no hue of its own: a seventh would not be told from the six."""

_NAMES = {colour: name for name, colour in LIGHT.items()}


def variables(colours: dict[str, str]) -> str:
    """Declarations of CSS variables."""
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


def variable(colour: str) -> str:
    """A colour of ``LIGHT`` as a CSS variable."""
    return f"var(--{_NAMES[colour]})"


def adaptive(style: str) -> str:
    """A CSS style in which the colours of ``LIGHT`` are variables."""
    return re.sub(r"#[0-9a-f]{6}\b", lambda m: _known(m.group()), style)


def _known(colour: str) -> str:
    return variable(colour) if colour in _NAMES else colour
