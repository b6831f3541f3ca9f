"""Particles: executions of a program that can stop, fork and be weighed on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from ponder.addresses import Addresses
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
from ponder.errors import CutShort, PonderError
from ponder.replay import Replay
from ponder.trace import Choice, Status, Trace, choices_since

X = TypeVar("X")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a replay starts: how to restart, after which choice, counting from which address."""

    start: Callable[[], Effects[Any]]
    last: Choice | None
    addresses: Addresses


class Particle(Generic[X]):
    """A live execution of a program that records its choices.

    :meth:`advance` is itself a generator of effects: it forwards the samples of its program to
    whoever interprets the caller, and keeps factors and twists to itself. So an inference
    algorithm is a program, and any interpreter can run it.
    """

    __slots__ = (
        "_addresses",
        "_effect",
        "_generator",
        "_origin",
        "_prefix",
        "_twist",
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
        self._addresses = Addresses()
        self._generator = program.start()
        self._effect: Effect | None = None
        self._twist: Callable[[], float | Program[float]] | None = None
        self._origin = Origin(program.start, None, Addresses())

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
                    self._record(self._addresses.next(effect.name), effect.dist, value)
                    self._resume(value)
                elif type(effect) is Factor:
                    self._factor(effect.log_weight)
                elif type(effect) is Twist:
                    # Evaluated at the next sample, so that a twist before the return costs nothing.
                    self._twist = effect.thunk
                    self._resume(None)
                elif type(effect) is Checkpoint:
                    if not runs_inline(self._generator):
                        self._origin = Origin(effect.restart, self.last, self._addresses.copy())
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
        heir._addresses = self._addresses.copy()
        if self.status == "running":
            origin = self._origin
            heir._generator = origin.start()
            if self._effect is None:
                return heir
            recorded = choices_since(self.last, origin.last)
            replay = Replay(self.program.name, recorded, self._prefix, origin.addresses.copy())
            heir._effect = replay.forward(heir._generator)
            if isinstance(heir._effect, Sample) and isinstance(self._effect, Sample):
                replay.verify(heir._effect, self._effect.dist, "the next choice")
        return heir

    def _record(self, part: str, dist: Dist[Any] | None, value: Any) -> None:
        self.last = Choice(self.last, self._prefix + part, dist, value)

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
        pairs = zip(effect.programs, self._addresses.each(effect), strict=True)
        children = [Particle(program, f"{self._prefix}{part}/") for program, part in pairs]
        yield Each([child.run() for child in children], effect.names)
        for child in children:  # in index order, so that batch order leaves no mark
            for choice in choices_since(child.last):
                self.last = Choice(self.last, choice.address, choice.dist, choice.value)
            self.log_potential += child.log_potential
        if self._adopt_status(children):
            self._resume([child.value for child in children])

    def _run_nested(self, effect: Nested) -> Effects[None]:
        child = Particle(effect.program)
        yield Each([child.run()])
        self.log_potential += child.log_potential
        self._record(self._addresses.next(None), None, (child.value, child.log_potential))
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
