"""Runs of programs that remember what was sampled: drawn, or at given values.

Parameters and data simulated together are what an approximate posterior is held to: each parameter
is a draw from the posterior of its data, and one that the approximation did not choose.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from ponder.dist import NEG_INF, Dist
from ponder.effects import Program
from ponder.errors import PonderError
from ponder.interpret import Simulation, seed_key
from ponder.machine import Machine, Task
from ponder.trace import handed

X = TypeVar("X")


@dataclass(frozen=True)
class Run(Generic[X]):
    """One run of a program: its value, the value at each address, the log-probability of each.

    ``log_weight`` is the sum of its factors.
    """

    value: X
    choices: dict[str, Any]
    log_probs: dict[str, float]
    log_weight: float

    @property
    def log_prob(self) -> float:
        """Of all choices."""
        return math.fsum(self.log_probs.values())


class _Recording(Simulation):
    def __init__(self, given: Mapping[str, Any] | None) -> None:
        self.given = given
        self.choices: dict[str, Any] = {}
        self.log_probs: dict[str, float] = {}

    def sample(self, task: Task, address: str, dist: Dist[Any]) -> Any:
        place = f"{task.path}/{address}".removeprefix("/")
        if self.given is None:
            value = super().sample(task, address, dist)
        elif place in self.given:
            value = self.given[place]
        else:
            raise Lacking(place)
        self.choices[place] = value
        self.log_probs[place] = dist.log_prob(value)
        return handed(value)


class Lacking(PonderError):
    """A program asks for a sample, named by the message, whose value is not given."""


def simulated(program: Program[X], seed: int, question: str) -> Run[X]:
    """A run with its samples drawn, a function of ``seed`` and ``question``."""
    return _run(program, _Recording(None), seed_key(seed, question))


def scored(program: Program[X], choices: Mapping[str, Any]) -> Run[X]:
    """The run that chooses these values, by address. Raises Lacking where there is none."""
    return _run(program, _Recording(choices), b"")


def _run(program: Program[X], handler: _Recording, key: bytes) -> Run[X]:
    task = Machine(handler).start(program, key)
    if task.failed is not None:
        raise task.failed
    return Run(task.value, handler.choices, handler.log_probs, task.log_weight)


def says_all(data: Run[Any]) -> bool:
    """Whether the values that were sampled, in order, are y itself."""
    try:
        sampled = np.concatenate([np.ravel(value) for value in data.choices.values()])
        return bool(np.array_equal(sampled, np.concatenate([np.ravel(v) for v in _parts(data)])))
    except (TypeError, ValueError):
        return False


def _parts(data: Run[Any]) -> Sequence[Any]:
    y = data.value
    return y if isinstance(y, tuple | list) and y else [y]


def log_likelihood(program: Program[Any], data: Run[Any]) -> float:
    """The log-probability that a program samples what was sampled, and nothing more or less."""
    try:
        run = scored(program, data.choices)
    except Lacking:
        return NEG_INF
    return run.log_prob if len(run.choices) == len(data.choices) else NEG_INF


def refuse_factor(run: Run[Any], whose: str) -> None:
    """Raise PonderError if a run that should be a draw is weighted."""
    if run.log_weight:
        raise PonderError(
            f"{whose} yields a factor, so that its runs are no draws from it; sample what it "
            "observes, or resample before"
        )
