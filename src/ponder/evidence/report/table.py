"""The table of methods and baselines, and the longer ones that stand folded below it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ponder.evidence.report.lettering import Lettered
from ponder.evidence.report.palette import variable
from ponder.evidence.report.reliability import quality
from ponder.evidence.report.schema import Baseline, Comparison, Results
from ponder.evidence.report.verdict import CEILING
from ponder.evidence.report.wording import (
    NONE,
    between,
    number,
    percent,
    point_interval,
    points,
)

RANDOM = "a random sample"
Row = dict[str, Any]


def method_rows(shown: Sequence[Lettered]) -> list[Row]:
    """A row for each method at full size."""
    return [
        {
            "letter": method.letter,
            "colour": variable(method.colour),
            "strategy": method.strategy,
            "law": method.method["law"],
            "accuracy": percent(method.full["accuracy"]),
            "interval": between(method.full["interval"]),
            "whisker": _whisker(method.full["accuracy"], method.full["interval"]),
            "answered": percent(method.full["answered"]),
            "tokens": number(method.full["tokens"]),
            "covered": percent(method.full["covered"]),
            "on_front": method.on_front,
        }
        for method in shown
    ]


def baseline_rows(baselines: Iterable[Baseline]) -> list[Row]:
    """The baselines; a random sample and the ceiling have rows even if nobody measured them."""
    found = {baseline["name"]: baseline for baseline in baselines}
    names = [RANDOM, *(name for name in found if name not in (RANDOM, CEILING)), CEILING]
    rows = []
    for name in names:
        base = found.get(name)
        accuracy, interval = (base["accuracy"], base["interval"]) if base else (None, None)
        rows.append(
            {
                "name": name,
                "law": _SAID.get(name, "what is had without a method"),
                "accuracy": percent(accuracy),
                "interval": between(interval) if base else "not measured",
                "whisker": _whisker(accuracy, interval),
                "tokens": number(base["tokens"]) if base else NONE,
            }
        )
    return rows


_SAID = {
    RANDOM: "one sample, taken as it comes",
    CEILING: "some candidate of any method is right: the most that choosing can give",
}


def _whisker(accuracy: float | None, interval: Sequence[float] | None) -> str | None:
    """Where a bar from low to high and its point go, as CSS."""
    if accuracy is None:
        return None
    low, high = interval or (accuracy, accuracy)
    return f"--low: {100 * low:.2f}%; --high: {100 * (1 - high):.2f}%; --at: {100 * accuracy:.2f}%"


def size_rows(shown: Sequence[Lettered], front: Sequence[str]) -> list[Row]:
    """A row for each method and size."""
    return [
        {
            "letter": method.letter,
            "strategy": point["strategy"],
            "accuracy": percent(point["accuracy"]),
            "interval": between(point["interval"]),
            "answered": percent(point["answered"]),
            "covered": percent(point["covered"]),
            "tokens": number(point["tokens"]),
            "calls": number(point["spent"].get("calls")),
            "checks": number(point["spent"].get("checks")),
            "on_front": point["strategy"] in front,
        }
        for method in shown
        for point in method.method["curve"]
    ]


def probability_rows(shown: Sequence[Lettered]) -> list[Row]:
    """How good the stated probabilities of each method are."""
    return [
        {
            "letter": method.letter,
            "strategy": method.strategy,
            **quality(method.method["calibration"]),
        }
        for method in shown
    ]


def comparison_rows(comparisons: Sequence[Comparison]) -> list[Row]:
    """The paired comparisons, and what they say."""
    return [
        {
            "a": comparison["a"],
            "b": comparison["b"],
            "tokens": number(comparison["tokens"]),
            "difference": points(comparison["difference"]),
            "interval": point_interval(comparison["interval"]),
            "together": point_interval(comparison.get("together", comparison["interval"])),
            "verdict": compared(comparison),
            "beyond": _BEYOND.get(comparison.get("beyond") or "", ""),
        }
        for comparison in comparisons
    ]


_BEYOND = {
    "above": "at its full size, which costs less",
    "below": "at its smallest size, which costs more",
}


def compared(comparison: Comparison) -> str:
    """What a comparison says, by itself and among all."""
    alone = _sign(comparison["interval"])
    if alone == 0:
        return "not told apart"
    word = "better" if alone > 0 else "worse"
    return word if _sign(comparison.get("together", comparison["interval"])) else f"{word}, alone"


def _sign(interval: Sequence[float]) -> int:
    """1 if an interval is above 0, -1 if it is below, 0 if it holds 0."""
    low, high = interval
    return int(low > 0) - int(high < 0)


def failure_rows(shown: Sequence[Lettered]) -> list[Row]:
    """Each question on which a method could not be run, and why."""
    return [
        {"letter": method.letter, "strategy": method.strategy, **failure}
        for method in shown
        for failure in method.method["failures"]
    ]


def made_rows(results: Results) -> list[tuple[str, str]]:
    """How the results were made, as names and what they say."""
    made = dict(results["made"])
    made.pop("command", None)
    made["replayed"] = _replayed(made.get("replayed"))
    made["orders"] = _orders(made["orders"])
    return [(name, str(value)) for name, value in made.items() if value is not None]


def _replayed(replayed: bool | None) -> str | None:
    if replayed is None:
        return None
    return "yes: recorded samples, no model was run" if replayed else "no: the model was run"


def _orders(orders: int) -> str:
    if orders == 1:
        return "1: the samples in the order drawn"
    return f"{orders}: every figure is a mean over as many random orders of the same samples"
