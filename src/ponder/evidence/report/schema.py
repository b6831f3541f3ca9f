"""What the results of a bench hold: the contents of ``results.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict, cast

from ponder.errors import PonderError

VERSION = 1
_NEEDED = ("version", "made", "questions", "methods", "baselines", "comparisons", "pareto")
_OPTIONAL = ("forecast", "genealogy")


class QuestionRow(TypedDict):
    """A question: of which task, and what kind of answer it wants."""

    id: str
    task: str
    kind: str


class Point(TypedDict):
    """A method at one size; ``by_question`` has a number for each question, under four names."""

    strategy: str
    size: int
    accuracy: float
    interval: list[float]
    answered: float
    tokens: float
    spent: dict[str, float]
    covered: float
    by_question: dict[str, list[float]]


class Calibration(TypedDict):
    """How good the stated probabilities are; a bin is [mean probability, accuracy, runs]."""

    ece: float
    ece_interval: list[float]
    brier: float
    auroc: float | None
    bins: list[list[float]]


class Failure(TypedDict):
    """A question on which a method could not be run."""

    id: str
    why: str


class Method(TypedDict):
    """A strategy: its sizes, the last being itself; runs as [question, probability, credit]."""

    strategy: str
    law: str
    failures: list[Failure]
    curve: list[Point]
    samples: list[list[float | None]]
    calibration: Calibration | None


class Baseline(TypedDict):
    """What is had without a method, or could be had at most."""

    name: str
    accuracy: float
    interval: list[float] | None
    tokens: float | None


class Comparison(TypedDict):
    """The accuracy of ``a`` less that of ``b`` at the tokens of ``a``, on the same questions.

    ``together`` is the interval that holds for all comparisons at once. ``beyond``: ``b`` was not
    measured at so many tokens ("above") or so few ("below"), and is taken at its nearest size.
    """

    a: str
    b: str
    tokens: float
    difference: float
    interval: list[float]
    together: NotRequired[list[float]]
    beyond: NotRequired[str | None]


class Foretold(TypedDict):
    """What a pilot said of coverage or accuracy ``at`` a size, and what was seen there later."""

    strategy: str
    what: str
    at: int
    value: float
    band: list[float]
    seen: float | None


class Forecast(TypedDict):
    """Predictions from the first ``pilot`` samples of each question."""

    pilot: int
    rows: list[Foretold]


class Descendant(TypedDict):
    """A trace at a stage; ``parent`` is the index of the one that it goes on from."""

    index: int
    parent: int | None
    stage: int
    weight: float
    answer: str | None
    text: str
    tokens: int
    alive: bool


class Genealogy(TypedDict):
    """The traces of one question."""

    question: str
    text: str
    strategy: str
    right_answer: str | None
    traces: list[Descendant]


class Results(TypedDict):
    """Everything."""

    version: int
    made: dict[str, Any]
    notes: list[str]
    questions: list[QuestionRow]
    methods: list[Method]
    baselines: list[Baseline]
    comparisons: list[Comparison]
    pareto: list[str]
    forecast: Forecast | None
    genealogy: Genealogy | None


def checked(results: Mapping[str, Any]) -> Results:
    """The results, with absent optional parts as None, and how often they were run in ``made``.

    Raises PonderError for another version, missing parts, or no method that was measured.
    """
    if results.get("version") != VERSION:
        found = results.get("version")
        raise PonderError(
            f"these results are of version {found!r}, and this ponder reads version {VERSION}: "
            "run the bench again"
        )
    missing = [name for name in _NEEDED if name not in results]
    if missing:
        raise PonderError(f"the results lack {', '.join(missing)}: run the bench again")
    if not results["methods"] or not all(method["curve"] for method in results["methods"]):
        raise PonderError("the results hold a method without a measurement: run the bench again")
    made = {**results["made"]}
    made.setdefault("orders", results.get("orders", 1))
    whole = {"notes": [], **dict.fromkeys(_OPTIONAL), **results, "made": made}
    return cast(Results, whole)
