"""A sheet to draw on, in CSS pixels from its upper left corner, and the pictures made of sheets."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ponder.evidence.report.palette import FAINT, INK, RULE, SOFT
from ponder.evidence.report.svg import inlined
from ponder.evidence.report.wording import printable

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

WIDE, NARROW = 960, 380
TEXT, SMALL = 13.0, 11.5
_PIXELS = 72
"""matplotlib writes 72 units an inch, so that at 72 pixels an inch a point is a pixel."""
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ponder",
    "text.parse_math": False,
    "font.size": TEXT,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.facecolor": "none",
    "axes.labelcolor": SOFT,
    "axes.labelsize": SMALL,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 1.0,
    "xtick.color": FAINT,
    "xtick.labelcolor": SOFT,
    "xtick.labelsize": SMALL,
    "xtick.minor.visible": False,
    "ytick.left": False,
    "ytick.labelcolor": SOFT,
    "ytick.labelsize": SMALL,
    "figure.facecolor": "none",
    "lines.solid_capstyle": "round",
    "path.simplify": False,
}


@contextmanager
def drawing() -> Iterator[None]:
    """The style of all pictures, whatever the user's own settings of matplotlib."""
    import matplotlib.style

    with matplotlib.style.context(_STYLE, after_reset=True), warnings.catch_warnings():
        # Texts stay text in the SVG; the browser has the letters that matplotlib's font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


@dataclass
class Sheet:
    """An empty sheet of ``width`` by ``height`` pixels."""

    width: float
    height: float
    _hovers: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(self.width / _PIXELS, self.height / _PIXELS), dpi=_PIXELS)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes whose frame has this place and size."""
        x, y = left / self.width, 1 - (top + height) / self.height
        return self.figure.add_axes((x, y, width / self.width, height / self.height))

    def plane(self) -> Axes:
        """The whole sheet in pixels, y downwards, without axes."""
        axes = self.axes(0, 0, self.width, self.height)
        axes.set(xlim=(0, self.width), ylim=(self.height, 0))
        axes.axis("off")
        return axes

    def hover(self, artist: Artist, texts: Sequence[str]) -> None:
        """Show a text over each mark that the artist draws, in their order."""
        name = f"hover-{len(self._hovers)}"
        artist.set_gid(name)
        self._hovers[name] = [printable(text) for text in texts]

    def svg(self, name: str, label: str, classes: str = "") -> str:
        """The drawing as markup to stand in a page; ``name`` is its own on that page."""
        out = io.StringIO()
        unsaid: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        self.figure.savefig(out, format="svg", metadata=unsaid)
        return inlined(out.getvalue(), name, printable(label), classes, self._hovers)


@dataclass(frozen=True)
class Picture:
    """A picture at two widths; ``label`` is what is read out to those who do not see it."""

    name: str
    title: str
    caption: str
    label: str
    svgs: tuple[str, ...]


def picture(
    name: str, title: str, caption: str, label: str, sheet: Callable[[int], Sheet]
) -> Picture:
    """Draw ``sheet`` at both widths: text that is legible on one screen is not on the other."""
    svgs = tuple(
        sheet(width).svg(f"{name}-{classes}", label, classes)
        for classes, width in (("wide", WIDE), ("narrow", NARROW))
    )
    return Picture(name, title, caption, label, svgs)


def is_narrow(width: float) -> bool:
    """Whether a sheet is too narrow for names beside the drawing."""
    return width < (WIDE + NARROW) / 2
