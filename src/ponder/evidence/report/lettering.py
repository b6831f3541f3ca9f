"""The methods, best first, each with the letter and the colour that stand for it on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from ponder.evidence.report.palette import GREY, HUES
from ponder.evidence.report.schema import Method, Point, Results


@dataclass(frozen=True)
class Lettered:
    """A method under its letter."""

    letter: str
    colour: str
    method: Method
    on_front: bool

    @property
    def strategy(self) -> str:
        return self.method["strategy"]

    @property
    def full(self) -> Point:
        """The method at its own size."""
        return self.method["curve"][-1]


def lettered(results: Results) -> tuple[Lettered, ...]:
    """By accuracy at full size, the cheaper first among equals.

    There are six hues; methods with a point on the Pareto front have the first claim to them.
    """
    front = set(results["pareto"])
    order = sorted(results["methods"], key=_rank)
    fronted = [any(point["strategy"] in front for point in m["curve"]) for m in order]
    claims = sorted(range(len(order)), key=lambda i: (not fronted[i], i))
    colours = dict(zip(claims, HUES, strict=False))
    return tuple(
        Lettered(_letter(i), colours.get(i, GREY), method, fronted[i])
        for i, method in enumerate(order)
    )


def _rank(method: Method) -> tuple[float, float]:
    full = method["curve"][-1]
    return -round(full["accuracy"], 9), full["tokens"]


def _letter(i: int) -> str:
    """A to Z, then AA, AB and so on."""
    letters = ascii_uppercase
    return letters[i] if i < 26 else _letter(i // 26 - 1) + letters[i % 26]


def of_strategy(shown: Sequence[Lettered], strategy: str) -> Lettered | None:
    """The method that has a strategy among its sizes; its own name first."""
    own = [m for m in shown if m.strategy == strategy]
    sized = [m for m in shown if any(p["strategy"] == strategy for p in m.method["curve"])]
    return next(iter(own + sized), None)
