"""A bench: strategies on tasks, compared on the samples that they share."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ponder.answering import Answer
from ponder.blocks.sizes import ladder
from ponder.blocks.vote import Vote
from ponder.errors import PonderError
from ponder.evidence.credit import Grader
from ponder.evidence.evaluate import Evaluation, Measured, genealogy_of
from ponder.evidence.genealogy import Genealogy, Stages
from ponder.evidence.results import Bench, Method, results
from ponder.evidence.tasks import Tasks
from ponder.guarantee.forecast import Pilot
from ponder.measure import Abstain, answer_of
from ponder.question import Question
from ponder.strategy import Pipeline


@dataclass
class Benching:
    """Runs ``strategies`` on ``tasks`` by ``evaluation``; ``made`` says how, for the report."""

    tasks: Tasks
    strategies: Sequence[Pipeline]
    evaluation: Evaluation
    made: dict[str, Any]
    notes: Sequence[str] = ()
    stage: Callable[[str], None] = lambda _: None
    left_out: dict[str, str] = field(default_factory=dict)
    """Strategies that fail on every question, with why."""

    def run(self) -> dict[str, Any]:
        """Sample what every strategy needs, then measure all of them: ``results.json``.

        Raises PonderError if a cap, or an interrupt, ended the sampling: what was sampled is in
        the bank, and the same bench goes on from there.
        """
        first: list[tuple[Pipeline, list[Answer | PonderError]]] = []
        genealogy: Genealogy | None = None
        for strategy in self.strategies:
            stages = Stages()
            answers = self.evaluation.sample(strategy, stages)
            if self.evaluation.cut is not None:
                larger = "" if self.evaluation.cut == "interrupt" else ", with a larger cap,"
                raise PonderError(
                    f"cut short by {self.evaluation.cut} in {strategy!r}; finished samples are in "
                    f"the bank: start the same bench again{larger} to go on"
                )
            errors = [answer for answer in answers if isinstance(answer, PonderError)]
            if len(errors) == len(answers):
                self.left_out[repr(strategy)] = str(errors[0])
                continue
            first.append((strategy, answers))
            genealogy = _richer(genealogy, genealogy_of(answers, stages))
        if not first:
            name, why = next(iter(self.left_out.items()))
            raise PonderError(f"{name} fails on every question: {why}")
        methods = [self._method(strategy, answers) for strategy, answers in first]
        return results(
            Bench(
                self.tasks.questions,
                self.tasks.names,
                methods,
                {**self.made, "orders": max(m.whole.orders for m in methods)},
                genealogy,
                [*self.notes, *self._said(methods)],
            )
        )

    def _method(self, strategy: Pipeline, first: Sequence[Answer | PonderError]) -> Method:
        curve: list[tuple[int, Measured]] = []
        for size, smaller in ladder(strategy):
            self.stage(repr(smaller))
            own = first if repr(smaller) == repr(strategy) else self.evaluation.sample(smaller)
            curve.append((size, self.evaluation.measure(smaller, own)))
        pilot = None
        if isinstance(strategy.blocks[-1], Vote):  # a forecast is of votes
            pilot = _pilot(self.tasks.questions, first, self.evaluation.grader)
        return Method(tuple(curve), pilot)

    def _said(self, methods: Sequence[Method]) -> list[str]:
        """What a reader of the figures must know."""
        said = [
            f"left out, since it fails on every question: {name}: {why}"
            for name, why in self.left_out.items()
        ]
        once = [m.whole.strategy for m in methods if m.whole.orders == 1]
        if not once or not self.evaluation.orders:
            return said
        return said + [
            f"run once, not on {self.evaluation.orders} orders, since its samples depend on each "
            f"other or do not suffice: {strategy}"
            for strategy in once
        ]


def _richer(old: Genealogy | None, new: Genealogy | None) -> Genealogy | None:
    """The genealogy with more stages; a population that was drawn at once has one."""
    if old is None or new is None:
        return old or new
    stages = [max((t["stage"] for t in g["traces"]), default=0) for g in (old, new)]
    return new if stages[1] > stages[0] else old


def _pilot(
    questions: Sequence[Question], first: Sequence[Answer | PonderError], grader: Grader
) -> Pilot | None:
    """The answers of independent samples with whether they are right; None if they are not so."""
    pilot = []
    for question, answer in zip(questions, first, strict=True):
        if isinstance(answer, PonderError):
            return None
        population = answer.posterior.population
        if population.law.kind != "exact":
            return None
        row: list[tuple[Any, bool]] = []
        for trace in population.traces:
            given = answer_of(trace)
            if isinstance(given, Abstain):
                row.append((None, False))
            else:
                row.append((given, grader.worth(question, trace) >= 1))
        pilot.append(row)
    return pilot


def made(model: str, replayed: bool, seed: int, command: str) -> dict[str, Any]:
    """Who made the figures, where and when."""
    from ponder import __version__

    return {
        "ponder": __version__,
        "date": datetime.date.today().isoformat(),
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "model": model,
        "replayed": replayed,
        "seed": seed,
        "command": command,
    }


def _processor() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
