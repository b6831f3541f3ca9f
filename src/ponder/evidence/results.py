"""From measurements to ``results.json``: every figure of a bench."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ponder.errors import PonderError
from ponder.evidence.compare import (
    Baseline,
    accuracy_interval,
    comparisons,
    coverage_ceiling,
    pareto,
    random_option,
    random_sample,
)
from ponder.evidence.evaluate import Measured
from ponder.evidence.genealogy import Genealogy
from ponder.guarantee.forecast import Pilot, forecast
from ponder.guarantee.reliability import summary
from ponder.question import Question

VERSION = 1


@dataclass(frozen=True)
class Method:
    """A strategy at its nested sizes, the last of which is the strategy itself.

    ``pilot`` are the answers of its samples with whether they are right, by question, if it draws
    independent ones: what a forecast is made from.
    """

    curve: tuple[tuple[int, Measured], ...]
    pilot: Pilot | None = None

    @property
    def whole(self) -> Measured:
        """The strategy itself."""
        return self.curve[-1][1]


@dataclass(frozen=True)
class Bench:
    """What a bench has found. ``task_of`` names the task of each question."""

    questions: Sequence[Question]
    task_of: Sequence[str]
    methods: Sequence[Method]
    made: dict[str, Any]
    genealogy: Genealogy | None = None
    notes: Sequence[str] = field(default=())


def results(bench: Bench) -> dict[str, Any]:
    """All of it, for JSON; see the schema in ``docs/evidence.md``."""
    return {
        "version": VERSION,
        "made": bench.made,
        "notes": list(bench.notes),
        "questions": [
            {"id": q.id, "task": task, "kind": q.kind}
            for q, task in zip(bench.questions, bench.task_of, strict=True)
        ],
        "methods": [_method(method) for method in bench.methods],
        "baselines": _baselines(bench),
        "comparisons": _comparisons(bench.methods),
        "pareto": _front(bench.methods),
        "forecast": _forecast(bench.methods),
        "genealogy": bench.genealogy,
    }


def write_results(found: dict[str, Any], directory: Path) -> Path:
    """``results.json`` in ``directory``, whole or not at all. Raises PonderError if it cannot."""
    path = directory / "results.json"
    part = path.with_suffix(".part")
    try:
        part.write_text(json.dumps(found, ensure_ascii=False, allow_nan=False) + "\n")
        part.replace(path)
    except OSError as error:
        raise PonderError(
            f"cannot write {path} ({error.strerror}); choose another --out, what was sampled is "
            "in the bank"
        ) from None
    return path


def _method(method: Method) -> dict[str, Any]:
    whole = method.whole
    stated = [
        (r.probability, r.credit, r.question) for r in whole.runs if r.probability is not None
    ]
    return {
        "strategy": whole.strategy,
        "law": whole.law,
        "orders": whole.orders,
        "failures": [{"id": id, "why": why} for id, why in whole.failures],
        "curve": [_point(size, measured) for size, measured in method.curve],
        "samples": [[r.question, r.probability, round(r.credit, 6)] for r in whole.runs],
        "calibration": summary(*zip(*stated, strict=True)) if stated else None,
    }


def _point(size: int, measured: Measured) -> dict[str, Any]:
    low, high = accuracy_interval(measured.right)
    return {
        "strategy": measured.strategy,
        "size": size,
        "accuracy": float(measured.right.mean()),
        "interval": [low, high],
        "answered": float(measured.answered.mean()),
        "tokens": float(measured.tokens.mean()),
        "covered": float(measured.covered.mean()),
        "orders": measured.orders,
        "spent": {name: round(value, 3) for name, value in measured.spent.items()},
        "by_question": {
            name: [round(float(x), 4) for x in getattr(measured, name)]
            for name in ("right", "answered", "tokens", "covered")
        },
    }


def _baselines(bench: Bench) -> list[dict[str, Any]]:
    """What any method must beat, and what none that selects among these samples can."""
    least = min(method.curve[0][0] for method in bench.methods)
    singles = [method.curve[0][1] for method in bench.methods if method.curve[0][0] == least]
    single = max(singles, key=lambda m: float(m.right.mean()))
    ceiling = coverage_ceiling([method.whole for method in bench.methods])
    rows: list[Baseline] = [random_sample(single), ceiling]
    option = random_option(bench.questions)
    return [asdict(row) for row in ([*rows, option] if option else rows)]


def _comparisons(methods: Sequence[Method]) -> list[dict[str, Any]]:
    curves = {method.whole.strategy: [m for _, m in method.curve] for method in methods}
    return [
        {
            "a": row.a,
            "b": row.b,
            "tokens": row.tokens,
            "difference": row.apart.mean,
            "interval": [row.apart.low, row.apart.high],
            "together": [row.together.low, row.together.high],
            "beyond": row.beyond,
        }
        for row in comparisons(curves)
    ]


def _forecast(methods: Sequence[Method]) -> dict[str, Any] | None:
    """From the first samples of each method that draws, what four and sixteen times as many give.

    The pilot is a sixteenth of the largest number drawn, a quarter if that is less than two.
    """
    rows = []
    pilots = [(m, m.pilot) for m in methods if m.pilot]
    if not pilots:
        return None
    most = max(len(row) for _, pilot in pilots for row in pilot)
    n = most // 16 if most >= 32 else most // 4
    if n < 1:
        return None
    for method, pilot in pilots:
        by_size = dict(method.curve)
        first = [row[:n] for row in pilot]
        for found in forecast(first, (4 * n, 16 * n)):
            seen = by_size.get(found.at)
            figure = {"coverage": "covered", "accuracy": "right"}[found.what]
            rows.append(
                {
                    "strategy": method.whole.strategy,
                    "what": found.what,
                    "at": found.at,
                    "value": found.value,
                    "band": [found.low, found.high],
                    "seen": None if seen is None else float(getattr(seen, figure).mean()),
                }
            )
    return {"pilot": n, "rows": rows}


def _front(methods: Sequence[Method]) -> list[str]:
    points = [measured for method in methods for _, measured in method.curve]
    costs = [(float(m.tokens.mean()), float(m.right.mean())) for m in points]
    return [points[i].strategy for i in pareto(costs)]
