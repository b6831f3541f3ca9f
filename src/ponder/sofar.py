"""What has come of a question while it is being worked on."""

from __future__ import annotations

from typing import Any

import numpy as np

from ponder.law import Law
from ponder.measure import Abstain, Population, Share, answer_of, tally
from ponder.trace import Trace
from ponder.verify.answers import display

_UNKNOWN = Law("heuristic", "so far")


def row_of(trace: Trace[Any], kind: str) -> dict[str, Any]:
    """What a trace says so far, for JSON: answer, text, tokens; ``kind`` is the answer's."""
    values = [choice.value for choice in trace.choices]
    answer = answer_of(trace)
    words = "".join(str(getattr(value, "text", "")) for value in values)
    return {
        "answer": None if isinstance(answer, Abstain) else display(answer, kind),
        "text": str(getattr(trace.value, "text", "") or words),
        "tokens": sum(len(getattr(value, "tokens", ())) for value in values),
    }


class SoFar:
    """What a strategy has told of one question: finished traces, or populations on their way."""

    def __init__(self) -> None:
        self._traces: list[Trace[Any]] = []
        self._population: Population[Any] | None = None

    def hear(self, message: object) -> None:
        """A trace has finished, or a population has moved; other messages say nothing."""
        if isinstance(message, Trace):
            self._traces.append(message)
        elif isinstance(message, Population):
            self._population = message

    @property
    def staged(self) -> bool:
        """Whether it works on populations, which hold what is still being written."""
        return self._population is not None

    @property
    def population(self) -> Population[Any]:
        """The last population, or what finished traces there are, by their factors."""
        if self._population is not None:
            return self._population
        weights = np.array([t.log_potential for t in self._traces])
        return Population(tuple(self._traces), weights, _UNKNOWN)

    @property
    def finished(self) -> int:
        """How many traces of it have finished."""
        return sum(t.status == "finished" for t in self.population.traces)

    def shares(self) -> tuple[Share, ...]:
        """The answers so far, largest share first."""
        return tally(self.population)[0] if self.finished else ()
