"""Exact measures of strategies, and populations made by hand."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from ponder.binding import Binding
from ponder.interpret import enumerate_runs
from ponder.law import Law
from ponder.measure import Population
from ponder.strategy import Pipeline
from ponder.trace import Status, Trace
from toys import NEG_INF, coins


def measure(pipeline: Pipeline, binding: Binding | None = None) -> dict[Any, float]:
    """The exact expectation of what a strategy's population says: value -> mass."""
    terms: dict[Any, list[float]] = defaultdict(list)
    for population, log_mass in enumerate_runs(pipeline.bind(binding or Binding())):
        for trace, log_weight in zip(population.traces, population.log_weights, strict=True):
            if log_weight > NEG_INF:
                terms[trace.value].append(math.exp(log_mass + log_weight))
    return {value: math.fsum(parts) for value, parts in terms.items()}


def assert_same(
    left: Mapping[Any, float], right: Mapping[Any, float], tolerance: float = 1e-12
) -> None:
    """Two unnormalised measures are equal, value by value."""
    for value in {**left, **right}:
        error = abs(left.get(value, 0.0) - right.get(value, 0.0))
        assert error <= tolerance, f"{value}: {left.get(value)} against {right.get(value)}"


def population_of(
    values: Sequence[Hashable],
    weights: Sequence[float] | None = None,
    statuses: Sequence[Status] | None = None,
) -> Population[Any]:
    """A population with these values; equal weights of mass one unless told."""
    n = len(values)
    finished: list[Status] = ["finished"] * n
    traces = [
        Trace(coins(1), None, value, 0.0, status)
        for value, status in zip(values, statuses or finished, strict=True)
    ]
    with np.errstate(divide="ignore"):
        log_weights = np.log(np.full(n, 1 / n) if weights is None else np.asarray(weights, float))
    return Population(tuple(traces), log_weights, Law("weighted", "toy"))
