"""What the results say, in a paragraph, and no more than they say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from ponder.evidence.report.lettering import Lettered
from ponder.evidence.report.schema import Baseline, Comparison, Results
from ponder.evidence.report.wording import (
    between,
    joined,
    number,
    percent,
    point_interval,
    points,
    printable,
    several,
)

CEILING = "coverage ceiling"


def verdict(results: Results, shown: tuple[Lettered, ...]) -> Markup:
    """The best method at its cost, against the best baseline and the best other method."""
    best = shown[0]
    return Markup(" ").join(
        [
            _first(results, shown),
            *_baseline(best, results["baselines"]),
            *_compared(best, results["comparisons"]),
            *_cheaper(shown),
            *_ceiling(results["baselines"]),
            *_warnings(best, len(shown)),
        ]
    )


def _code(strategy: str) -> Markup:
    return Markup("<code>{}</code>").format(printable(strategy))


def tasks(results: Results) -> list[str]:
    """The names of the tasks, in the order of the questions."""
    return list(dict.fromkeys(question["task"] for question in results["questions"]))


def _first(results: Results, shown: tuple[Lettered, ...]) -> Markup:
    best = shown[0].full
    asked = several(len(results["questions"]), "question")
    where = joined(tasks(results) or ["no task"])
    if len(shown) == 1:
        claim = "{} is right"
    elif shown[1].full["accuracy"] >= best["accuracy"]:
        claim = f"{{}} is right as often as any of {len(shown)} methods, and cheapest of these:"
    else:
        claim = f"{{}} is right most often of {len(shown)} methods:"
    return Markup(
        "On {} of {}, {} {} of the time (95% interval {}), at {} tokens a question."
    ).format(
        asked,
        printable(where),
        Markup(claim).format(_code(shown[0].strategy)),
        Markup("<strong>{}</strong>").format(percent(best["accuracy"])),
        between(best["interval"]),
        number(best["tokens"]),
    )


def _baseline(best: Lettered, baselines: Sequence[Baseline]) -> Iterator[Markup]:
    """Against the best of what is had without a method."""
    floors = [b for b in baselines if "ceiling" not in b["name"]]
    if not floors:
        yield Markup("No baseline was measured.")
        return
    base = max(floors, key=lambda b: b["accuracy"])
    full = best.full
    at = "" if base["tokens"] is None else f" at {number(base['tokens'])} tokens"
    said = f"{base['name'][:1].upper()}{base['name'][1:]} gets {percent(base['accuracy'])}"
    if base["interval"] is None:
        yield Markup("{}{}.").format(printable(said), at)
        return
    yield Markup("{} ({}){}: {}.").format(
        printable(said),
        between(base["interval"]),
        at,
        _against(full["accuracy"], full["interval"], base["accuracy"], base["interval"]),
    )


def _against(a: float, of_a: Sequence[float], b: float, of_b: Sequence[float]) -> str:
    """What two marginal intervals say of a and b."""
    if a <= b:
        return "the method does not improve on it here"
    if of_a[0] > of_b[1]:
        return "the two intervals do not overlap"
    return "the two intervals overlap, so that these numbers alone do not show a gain"


def _compared(best: Lettered, comparisons: Sequence[Comparison]) -> Iterator[Markup]:
    """Against the strongest other method at the tokens of the best."""
    own = [c for c in comparisons if c["a"] == best.strategy]
    if not own:
        yield Markup("It was compared with no other method at its tokens.")
        return
    closest = min(own, key=lambda c: (c["difference"], c["b"]))
    yield Markup("Against {}, {}, it differs by {} points ({}): {}.").format(
        _code(closest["b"]),
        _AT.get(closest.get("beyond") or "", "given the same tokens"),
        points(closest["difference"]),
        point_interval(closest["interval"]),
        _apart(closest),
    )


_AT = {"above": "which stops at fewer tokens", "below": "which has no size so cheap"}


def _apart(comparison: Comparison) -> str:
    """What a paired interval says, by itself and among all."""
    low, high = comparison["interval"]
    if low <= 0 <= high:
        return "the interval contains 0, so these questions cannot tell the two apart"
    if high < 0:
        return "the other is the better use of these tokens"
    low, _ = comparison.get("together", comparison["interval"])
    if low <= 0:
        return "the interval excludes 0, but not once all comparisons made here are allowed for"
    if comparison.get("beyond") == "above":
        return "the interval excludes 0"
    return "the interval excludes 0, so it is not only that it spends more"


def _cheaper(shown: tuple[Lettered, ...]) -> Iterator[Markup]:
    """A smaller size, of any method, that does no worse for less."""
    best = shown[0].full
    found = [
        point
        for method in shown
        for point in method.method["curve"]
        if point["tokens"] < best["tokens"] and point["accuracy"] >= best["accuracy"]
    ]
    if found:
        point = min(found, key=lambda p: (p["tokens"], p["strategy"]))
        yield Markup("{}, for {} tokens, was right no less often: {}.").format(
            _code(point["strategy"]), number(point["tokens"]), percent(point["accuracy"])
        )


def _ceiling(baselines: Sequence[Baseline]) -> Iterator[Markup]:
    for baseline in baselines:
        if baseline["name"] == CEILING:
            yield Markup(
                "Some candidate of some method was right for {} of the questions: no way of "
                "choosing among them all gets more."
            ).format(percent(baseline["accuracy"]))


def _warnings(best: Lettered, methods: int) -> Iterator[Markup]:
    failed = len(best.method["failures"])
    if failed:
        yield Markup("It could not be run on {}, counted as wrong.").format(
            several(failed, "question")
        )
    if methods > 1:
        yield Markup(
            "It was picked as the best on these same questions, which flatters it: expect "
            "somewhat less on others."
        )
