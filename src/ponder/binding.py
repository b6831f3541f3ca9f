"""What a strategy is bound to: a question, a model, and potentials by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ponder.effects import Effects, Program, as_log_weight


@dataclass(frozen=True)
class Potential:
    """A log-weight on values: ``complete`` on a finished value, ``prefix`` on what was sampled.

    Both return nats, or a program of nats (a judge asks a model). ``prefix`` takes the tuple of
    values sampled so far; as a twist it steers and never changes the target. None: no twist.
    """

    name: str
    complete: Callable[[Any], float | Program[float]]
    prefix: Callable[[tuple[Any, ...]], float | Program[float]] | None = None

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True)
class PotentialSource:
    """A potential that needs the question or the model: built when the strategy is bound."""

    name: str
    build: Callable[[Binding], Potential] = field(compare=False)
    reads_trace: bool = False

    def __repr__(self) -> str:
        return self.name


def given(name: str, potential: Potential) -> PotentialSource:
    """A potential known already, under a name of the notation."""
    return PotentialSource(name, lambda binding: potential)


AnyPotential = Potential | PotentialSource | Callable[[Any], float]


@dataclass(frozen=True)
class Binding:
    """What a strategy text is a function of: question, model and potentials by name."""

    question: Any = None
    model: Any = None
    potentials: Mapping[str, Potential] = field(default_factory=dict)
    keep_state: bool = False

    def potential(self, reference: AnyPotential) -> Potential:
        """The potential that ``reference`` names here."""
        if isinstance(reference, PotentialSource):
            replaced = self.potentials.get(reference.name)
            return replaced if replaced is not None else reference.build(self)
        return as_potential(reference)


def as_potential(reference: Potential | Callable[[Any], float]) -> Potential:
    """A plain function of the value, as a potential without twist."""
    if isinstance(reference, Potential):
        return reference
    return Potential(getattr(reference, "__name__", "potential"), reference)


def evaluate_potential(potential: Potential, value: Any) -> Program[float]:
    """The program that answers the log-weight of a finished value."""

    def run() -> Effects[float]:
        log_weight = yield from as_log_weight(potential.complete(value))
        return log_weight

    return Program(run, potential.name)
