"""Traces: what one execution of a program chose."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from ponder.dist import Dist
from ponder.effects import Program

X = TypeVar("X")
Status = Literal["running", "finished", "dead", "unfinished"]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """One sampled value and, by ``previous``, all before it (a persistent list).

    Equal if all of them are; compared without recursion, since traces are long.
    """

    previous: Choice | None = field(repr=False)
    address: str
    dist: Dist[Any] | None
    value: Any

    @property
    def log_prob(self) -> float:
        """Log-probability of the value under its distribution; 0 for an opaque nested choice."""
        return 0.0 if self.dist is None else self.dist.log_prob(self.value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Choice):
            return NotImplemented
        a: Choice | None = self
        b: Choice | None = other
        while a is not b and a is not None and b is not None:
            if a.address != b.address or a.dist != b.dist or not _same(a.value, b.value):
                return False
            a, b = a.previous, b.previous
        return a is b

    def __hash__(self) -> int:
        return hash(self.address)


def _same(a: Any, b: Any) -> bool:
    """Whether two values are equal; arrays are if their shapes and all elements are."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return a is b or np.array_equal(a, b)
    return bool(a == b)


def choices_since(last: Choice | None, stop: Choice | None = None) -> list[Choice]:
    """The choices after ``stop`` up to ``last``, oldest first."""
    found = []
    while last is not stop and last is not None:
        found.append(last)
        last = last.previous
    return found[::-1]


def plain(value: Any) -> Any:
    """A tensor or array of one number as that number, so that equal ones are equal keys."""
    return value.item() if getattr(value, "shape", None) == () else value


def handed(value: Any) -> Any:
    """What a program is given of a recorded value: a copy of its own if it could change it."""
    if isinstance(value, np.ndarray):
        return value.copy() if value.flags.writeable else value
    if hasattr(value, "clone") and hasattr(value, "detach"):  # a tensor, without importing torch
        return value.clone()
    return value


@dataclass(frozen=True, slots=True)
class Trace(Generic[X]):
    """One execution: its choices, its value (None unless finished), and the sum of its factors.

    ``status`` is "finished", "dead" (weight zero, stopped early) or "unfinished" (cut short; it
    abstains). ``log_potential`` is in nats.
    """

    program: Program[X]
    last: Choice | None = field(repr=False)
    value: X | None
    log_potential: float
    status: Status

    @property
    def choices(self) -> list[Choice]:
        """Oldest first."""
        return choices_since(self.last)

    def __getitem__(self, address: str) -> Any:
        for choice in self.choices:
            if choice.address == address:
                return choice.value
        raise KeyError(address)

    @property
    def log_prob(self) -> float:
        """Log-probability of all choices under the program's own distributions."""
        return math.fsum(choice.log_prob for choice in self.choices)
