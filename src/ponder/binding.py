"""What a strategy is bound to: a question, a model, and potentials by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ponder.effects import Effects, Program, as_log_weight, nested
from ponder.errors import PonderError


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
    """A potential that needs the question or the model: built when the strategy is bound.

    ``missing`` says what one that is still to be learnt lacks, and how to get it.
    """

    name: str
    build: Callable[[Binding], Potential] = field(compare=False)
    reads_trace: bool = False
    missing: str = field(default="", compare=False)

    def __repr__(self) -> str:
        return self.name


def given(name: str, potential: Potential) -> PotentialSource:
    """A potential known already, under a name of the notation."""
    return PotentialSource(name, lambda binding: potential)


AnyPotential = Potential | PotentialSource | Callable[[Any], float]


@dataclass(frozen=True)
class Binding:
    """What a strategy text is a function of: question, model, potentials and drafts by name.

    ``drafts`` are other language models that a strategy may name, ``services`` what it may ask
    outside: "python" runs programs, "z3" proves, "math" compares. ``same`` says whether two
    different canonical answers mean the same, or is a program that does; None: none do.
    """

    question: Any = None
    model: Any = None
    potentials: Mapping[str, Potential] = field(default_factory=dict)
    keep_state: bool = False
    drafts: Mapping[str, Any] = field(default_factory=dict)
    services: Mapping[str, Any] = field(default_factory=dict)
    same: Callable[[Any, Any], bool | Program[bool]] | None = None

    def service(self, name: str) -> Any:
        """The service of that name."""
        if name not in self.services:
            raise PonderError(
                f"the strategy asks {name!r}, which is not bound; bind it: "
                f"Binding(services={{{name!r}: ...}}), see ponder.verify.services"
            )
        return self.services[name]

    def draft(self, reference: Any) -> Any:
        """The draft model that ``reference`` names here, or itself if it is not a name."""
        if not isinstance(reference, str):
            return reference
        if reference not in self.drafts:
            known = ", ".join(map(repr, sorted(self.drafts))) or "none"
            raise PonderError(
                f"there is no draft model {reference!r} (known: {known}); load one and bind it: "
                f"Binding(drafts={{{reference!r}: model}})"
            )
        return self.drafts[reference]

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
    """The program that answers the log-weight of a finished value.

    A potential that is itself a program is one nested choice, named after it: whatever it asks or
    draws, it is a random weight.
    """
    name = f"weigh {potential.name}".replace("#", "").replace("/", "")

    def run() -> Effects[float]:
        said = potential.complete(value)
        if isinstance(said, Program):
            said = yield from nested(said, name)
        log_weight = yield from as_log_weight(said)
        return log_weight

    return Program(run, potential.name)
