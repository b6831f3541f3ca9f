"""Who descends from whom in a population: for people to look at."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from ponder.answering import Answer
from ponder.measure import Population
from ponder.sofar import row_of
from ponder.trace import Choice

Genealogy = dict[str, Any]


@dataclass
class Stages:
    """The populations that strategies told of on their way, by question."""

    _told: dict[str, list[Population[Any]]] = field(default_factory=lambda: defaultdict(list))

    def hear(self, question: str, message: object) -> None:
        """Note a population; other messages say nothing about descent."""
        if isinstance(message, Population):
            self._told[question].append(message)

    def genealogy(self, answer: Answer) -> Genealogy:
        """The traces of an answer by stage, the last stage being its population, for JSON.

        The parent of a trace is the one at the stage before from whose choices it goes on.
        """
        question = answer.question
        stages = [*self._told.get(question.id, ())[:-1], answer.posterior.population]
        rows: list[dict[str, Any]] = []
        before: list[tuple[int, list[Choice]]] = []
        for number, population in enumerate(stages):
            here: list[tuple[int, list[Choice]]] = []
            for trace, weight in zip(population.traces, population.weights, strict=True):
                choices = trace.choices
                row = {
                    "index": (index := len(rows)),
                    "parent": _parent(choices, before),
                    "stage": number,
                    "weight": round(float(weight), 6),
                    **row_of(trace, question.kind),
                    "alive": bool(weight > 0),
                }
                rows.append(row)
                here.append((index, choices))
            before = here
        return {
            "question": question.id,
            "text": question.text,
            "strategy": answer.strategy,
            "right_answer": question.answer,
            "traces": rows,
        }


def _parent(choices: list[Choice], before: list[tuple[int, list[Choice]]]) -> int | None:
    """The trace that shares all its choices with this one, the longest if there are several."""
    found = [
        (len(old), -index)
        for index, old in before
        if len(old) <= len(choices) and (not old or old[-1] == choices[len(old) - 1])
    ]
    return -max(found)[1] if found else None
