"""What a strategy says when its budget ends: nothing that it no longer knows."""

from __future__ import annotations

from typing import Any

from ponder.checking.cases import Case
from ponder.checking.claims import Finding, Verdict
from ponder.dist import Dist
from ponder.errors import CutShort
from ponder.interpret import Simulation, seed_key
from ponder.lm.protocol import Completion, NextToken, OptionLogProbs
from ponder.machine import Machine, Task
from ponder.measure import Posterior

CLAIM = "cut short, it claims nothing"
REQUESTS = 12


class _Cutting(Simulation):
    """Serves so many requests of the model, and cuts the others short."""

    def __init__(self, served: int) -> None:
        self.left = served
        self.cut = 0

    def sample(self, task: Task, address: str, dist: Dist[Any]) -> Any:
        if isinstance(dist, Completion | NextToken | OptionLogProbs):
            if self.left == 0:
                self.cut += 1
                raise CutShort
            self.left -= 1
        return super().sample(task, address, dist)


def check_cut(case: Case) -> Finding:
    """The law that the strategy states of itself after each number of requests."""
    kept, cuts = 0, 0
    for served in range(REQUESTS):
        handler = _Cutting(served)
        task = Machine(handler).start(case.pipeline.bind(case.binding), seed_key(served))
        if task.failed is not None and not isinstance(task.failed, CutShort):
            raise task.failed
        cuts += handler.cut > 0
        kept += handler.cut > 0 and not _heuristic(task)
    verdict: Verdict = "refuted" if kept else "valid" if cuts else "known"
    return Finding(
        CLAIM,
        "enumerated",
        verdict,
        case.toy,
        float(kept),
        0.0,
        float(kept),
        runs=cuts,
        note="runs that were cut short and still state a law",
    )


def _heuristic(task: Task) -> bool:
    outcome = task.value
    if task.failed is not None or outcome is None:
        return False
    population = outcome.population if isinstance(outcome, Posterior) else outcome
    return bool(outcome.law.kind == "heuristic" and population.law.kind == "heuristic")
