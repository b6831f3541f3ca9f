"""Traces: what one execution of a program chose; particles: executions that can stop and fork."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from ponder.dist import NEG_INF, Dist
from ponder.effects import (
    Checkpoint,
    Each,
    Effect,
    Effects,
    Factor,
    Nested,
    Program,
    Sample,
    Twist,
    as_log_weight,
    runs_inline,
)
from ponder.errors import CutShort, NotAFunctionOfItsChoices, PonderError

X = TypeVar("X")
Status = Literal["running", "finished", "dead", "unfinished"]


class Choice(NamedTuple):
    """One sampled value and, by ``previous``, all before it (a persistent list)."""

    previous: Choice | None
    address: str
    dist: Dist[Any] | None
    value: Any

    @property
    def log_prob(self) -> float:
        """Log-probability of the value under its distribution; 0 for an opaque nested choice."""
        return 0.0 if self.dist is None else self.dist.log_prob(self.value)


def choices_since(last: Choice | None, stop: Choice | None = None) -> list[Choice]:
    """The choices after ``stop`` up to ``last``, oldest first."""
    found = []
    while last is not stop and last is not None:
        found.append(last)
        last = last.previous
    return found[::-1]


@dataclass(frozen=True, slots=True)
class Trace(Generic[X]):
    """One execution: its choices, its value (None unless finished), and the sum of its factors.

    ``status`` is "finished", "dead" (weight zero, stopped early) or "unfinished" (cut short; it
    abstains). ``log_potential`` is in nats.
    """

    program: Program[X]
    last: Choice | None
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


def each_names(effect: Each, ordinal: int) -> Sequence[str]:
    """The address parts of the programs of an Each that is the ``ordinal``-th of its caller."""
    return effect.names or [f"{ordinal}.{i}" for i in range(len(effect.programs))]


class Particle(Generic[X]):
    """A live execution of a program that records its choices.

    :meth:`advance` is itself a generator of effects: it forwards the samples of its program to
    whoever interprets the caller, and keeps factors and twists to itself. So an inference
    algorithm is a program, and any interpreter can run it.
    """

    __slots__ = (
        "_effect",
        "_generator",
        "_ordinal",
        "_origin",
        "_prefix",
        "_twist",
        "_visits",
        "last",
        "log_potential",
        "log_twist",
        "program",
        "status",
        "value",
    )

    def __init__(self, program: Program[X], prefix: str = "") -> None:
        self.program = program
        self.last: Choice | None = None
        self.log_potential = 0.0
        self.log_twist = 0.0
        self.value: X | None = None
        self.status: Status = "running"
        self._prefix = prefix
        self._ordinal = 0
        self._visits: dict[str, int] = {}
        self._generator = program.start()
        self._effect: Effect | None = None
        self._twist: Callable[[], float | Program[float]] | None = None
        # Where a replay starts: how to restart, after which choice, at which ordinal.
        self._origin: tuple[Callable[[], Effects[Any]], Choice | None, int] = (
            program.start,
            None,
            0,
        )

    @property
    def log_weight(self) -> float:
        """Factors so far plus the standing twist."""
        return self.log_potential + self.log_twist

    def advance(self, *, stop: bool = False) -> Effects[None]:
        """Run to the end or, with ``stop``, to the first sample after the weight has changed.

        Twists are evaluated only with ``stop``. A particle whose weight is zero is closed at
        once: nothing it could still do would count.
        """
        before = self.log_weight
        if self._effect is None and self.status == "running":
            self._resume(None)
        try:
            while self.status == "running":
                effect = self._effect
                if type(effect) is Sample:
                    if stop and self._twist is not None:
                        thunk, self._twist = self._twist, None
                        yield from self._evaluate_twist(thunk)
                        continue
                    if stop and self.log_weight != before:
                        return
                    value = yield effect
                    self._record(self._address(effect.name), effect.dist, value)
                    self._resume(value)
                elif type(effect) is Factor:
                    self._factor(effect.log_weight)
                elif type(effect) is Twist:
                    # Evaluated at the next sample, so that a twist before the return costs nothing.
                    self._twist = effect.thunk
                    self._resume(None)
                elif type(effect) is Checkpoint:
                    if not runs_inline(self._generator):
                        self._origin = (effect.restart, self.last, self._ordinal)
                    self._resume(None)
                elif type(effect) is Each:
                    yield from self._run_each(effect)
                elif type(effect) is Nested:
                    yield from self._run_nested(effect)
                else:
                    assert effect is not None
                    yield effect
                    self._resume(None)
        except CutShort:
            self.close("unfinished")

    def run(self, *, stop: bool = False) -> Program[None]:
        """:meth:`advance` as a program, to be run by ``Each`` or an interpreter."""
        return Program(partial(self.advance, stop=stop), self.program.name)

    def trace(self) -> Trace[X]:
        """What has been executed so far; a running particle gives an unfinished trace."""
        status: Status = "unfinished" if self.status == "running" else self.status
        return Trace(self.program, self.last, self.value, self.log_potential, status)

    def close(self, status: Status) -> None:
        """Stop for good."""
        self.status = status
        self._generator.close()

    def fork(self) -> Particle[X]:
        """An independent heir with the same choices, found again by replaying the program.

        Replays from the last checkpoint, if there is one. Raises NotAFunctionOfItsChoices if the
        program asks for something else than it did.
        """
        heir: Particle[X] = Particle.__new__(Particle)
        for slot in Particle.__slots__:
            setattr(heir, slot, getattr(self, slot))
        heir._visits = dict(self._visits)
        if self.status == "running":
            start, origin, ordinal = self._origin
            heir._generator = start()
            if self._effect is None:
                return heir
            recorded = choices_since(self.last, origin)
            replay = Replay(self.program.name, recorded, self._prefix, ordinal)
            heir._effect = replay.forward(heir._generator)
            if isinstance(heir._effect, Sample) and isinstance(self._effect, Sample):
                replay.verify(heir._effect, self._effect.dist, "the next choice")
        return heir

    def _address(self, name: str | None) -> str:
        if name is None:
            name = str(self._ordinal)
            self._ordinal += 1
        visit = self._visits.get(name, 0)
        self._visits[name] = visit + 1
        return f"{self._prefix}{name}#{visit}" if visit else self._prefix + name

    def _record(self, address: str, dist: Dist[Any] | None, value: Any) -> None:
        self.last = Choice(self.last, address, dist, value)

    def _resume(self, value: Any) -> None:
        try:
            self._effect = self._generator.send(value)
        except StopIteration as stop:
            self.value = stop.value
            self.log_twist = 0.0
            self.status = "finished"

    def _factor(self, log_weight: float) -> None:
        if self.program.normalised:
            raise PonderError(
                f"program {self.program.name} is declared normalised but yields a factor; "
                "remove normalised=True"
            )
        if math.isnan(log_weight) or log_weight == math.inf:
            raise PonderError(f"program {self.program.name} yields a factor of {log_weight}")
        self.log_potential += log_weight
        self._close_if_dead()
        if self.status == "running":
            self._resume(None)

    def _evaluate_twist(self, thunk: Callable[[], float | Program[float]]) -> Effects[None]:
        value = thunk()
        if isinstance(value, Program):
            # A particle of its own keeps its factors in the twist and out of the caller's measure.
            judge = Particle(value)
            yield from judge.advance()
            if judge.status == "unfinished":
                self.close("unfinished")
                return
            said = NEG_INF if judge.value is None else judge.value
            value = float(said) + judge.log_potential
        self.log_twist = yield from as_log_weight(value)
        self._close_if_dead()

    def _close_if_dead(self) -> None:
        if self.log_potential == NEG_INF or self.log_twist == NEG_INF:
            self.log_potential = NEG_INF
            self.log_twist = 0.0
            self.close("dead")

    def _run_each(self, effect: Each) -> Effects[None]:
        names = each_names(effect, self._ordinal)
        pairs = zip(effect.programs, names, strict=True)
        children = [Particle(program, f"{self._prefix}{name}/") for program, name in pairs]
        self._ordinal += 1
        yield Each([child.run() for child in children], effect.names)
        for child in children:  # in index order, so that batch order leaves no mark
            for choice in choices_since(child.last):
                self._record(choice.address, choice.dist, choice.value)
            self.log_potential += child.log_potential
        if self._adopt_status(children):
            self._resume([child.value for child in children])

    def _run_nested(self, effect: Nested) -> Effects[None]:
        child = Particle(effect.program)
        yield Each([child.run()])
        self.log_potential += child.log_potential
        self._record(self._address(None), None, (child.value, child.log_potential))
        if self._adopt_status([child]):
            self._resume(child.value)

    def _adopt_status(self, children: Sequence[Particle[Any]]) -> bool:
        if self.program.normalised and any(c.log_potential for c in children):
            raise PonderError(
                f"program {self.program.name} is declared normalised but a program that it runs "
                "yields a factor; remove normalised=True"
            )
        if any(child.status == "unfinished" for child in children):
            self.close("unfinished")
        else:
            self._close_if_dead()
        return self.status == "running"


class Replay:
    """Feeds recorded choices back to a fresh generator, verifying that it asks for the same.

    Factors, twists and messages were applied the first time, and are passed over.
    """

    def __init__(
        self, name: str, recorded: list[Choice], prefix: str, ordinal: int = 0, position: int = 0
    ) -> None:
        self.name = name
        self.recorded = recorded
        self.prefix = prefix
        self.ordinal = ordinal
        self.position = position

    def forward(self, generator: Effects[Any]) -> Effect:
        """Answers the first sample for which nothing is recorded."""
        try:
            effect = next(generator)
            while not (type(effect) is Sample and self.position == len(self.recorded)):
                effect = generator.send(self._answer(effect))
        except StopIteration:
            raise self._refusal("it returned early") from None
        return effect

    def _whole(self, program: Program[Any], prefix: str) -> Any:
        """The value of a sub-program, from the choices recorded under ``prefix``."""
        inner = Replay(self.name, self.recorded, prefix, position=self.position)
        generator = program.start()
        try:
            effect = next(generator)
            while True:
                effect = generator.send(inner._answer(effect))
        except StopIteration as stop:
            self.position = inner.position
            return stop.value

    def _answer(self, effect: Effect) -> Any:
        if isinstance(effect, Sample):
            return self._recorded_sample(effect)
        if isinstance(effect, Each):
            names = each_names(effect, self.ordinal)
            self.ordinal += 1
            pairs = zip(effect.programs, names, strict=True)
            return [self._whole(p, f"{self.prefix}{n}/") for p, n in pairs]
        if isinstance(effect, Nested):
            self.ordinal += 1
            choice = self._next(f"a nested program {effect.program.name}")
            if choice.dist is not None:
                raise self._refusal(f"{choice.address} was a sample before, now a nested program")
            return choice.value[0]
        return None

    def _recorded_sample(self, effect: Sample) -> Any:
        choice = self._next(f"a sample of {effect.dist!r}")
        address = self.prefix + (effect.name or str(self.ordinal))
        if effect.name is None:
            self.ordinal += 1
        if choice.address != address and not choice.address.startswith(address + "#"):
            raise self._refusal(f"address {address} was {choice.address} before")
        self.verify(effect, choice.dist, address)
        return choice.value

    def _next(self, wanted: str) -> Choice:
        if self.position == len(self.recorded):
            raise self._refusal(f"it now asks for {wanted}, which was not recorded")
        self.position += 1
        return self.recorded[self.position - 1]

    def verify(self, effect: Sample, dist: Dist[Any] | None, address: str) -> None:
        """Refuse a sample of another distribution than ``dist``."""
        if dist is not effect.dist and dist != effect.dist:
            raise self._refusal(f"at {address} it samples {effect.dist!r}, before {dist!r}")

    def _refusal(self, why: str) -> NotAFunctionOfItsChoices:
        return NotAFunctionOfItsChoices(
            f"program {self.name} is not a function of its choices: {why}; make it depend only on "
            "its arguments and sampled values"
        )
