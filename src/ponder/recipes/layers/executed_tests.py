"""``executed_tests(k)``: the k replies whose programs pass most of their tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ponder.binding import Binding
from ponder.blocks.arguments import check_count
from ponder.blocks.weigh import log_weight_of, potentials_of
from ponder.effects import Effects
from ponder.measure import Population
from ponder.recipes.layers.layer import Layer, Replies, Worked, by_score
from ponder.recipes.layers.passes import passes, run_tests


@dataclass(frozen=True, repr=False)
class ExecutedTests(Layer):
    """The k replies that ``passes`` scores highest: tests are run, no model is asked.

    The tests are those that the question shows and those of ``write_tests``, the same for all.
    What has no program comes last; of equal scores, and where there are no tests, those that stand
    first are kept. They share the mass of the population evenly; all else is dropped.
    """

    k: int
    notation: ClassVar[str] = "executed_tests"
    why: ClassVar[str] = "keeps what passes most tests"

    def work(
        self, population: Population[Any], replies: Replies, binding: Binding
    ) -> Effects[Worked]:
        if not any(run_tests(binding.question, reply) for reply in replies.values()):
            return by_score(population, dict.fromkeys(replies, 0.0), self.k), True
        traces = {i: population.traces[i] for i in replies}
        scored = yield from potentials_of(binding.potential(passes), list(traces.values()))
        found = {i: scored[id(trace)] for i, trace in traces.items()}
        if any(score.status == "unfinished" for score in found.values()):
            return population, False
        scores = {i: log_weight_of(score) for i, score in found.items()}
        return by_score(population, scores, self.k), True


def executed_tests(k: int) -> ExecutedTests:
    """``executed_tests(k)``: the k that pass most tests. See :class:`ExecutedTests`."""
    return ExecutedTests(check_count("executed_tests", k))
