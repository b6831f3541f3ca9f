"""Particles: executions of a program that can stop, fork and be weighed on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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
    refuse_no_effect,
    runs_inline,
)
from ponder.errors import CutShort, PonderError
from ponder.replay import Replay
from ponder.trace import Choice, Status, Trace, choices_since, handed

X = TypeVar("X")
Kept = Mapping[str, Choice]


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

    ``kept`` are choices of another execution, by address, to be used again instead of sampling:
    each where its distribution is of the same type as before, a nested one as long as nothing
    before it has been sampled afresh (its inner law is not known to us). ``log_kept`` is the sum
    of their log-probabilities now minus then. With ``retrace`` there is nothing else: it dies
    where it would sample.
    """

    __slots__ = (
        "_addresses",
        "_changed",
        "_effect",
        "_generator",
        "_kept",
        "_origin",
        "_prefix",
        "_retrace",
        "_twist",
        "diverged",
        "last",
        "log_kept",
        "log_potential",
        "log_twist",
        "program",
        "status",
        "value",
    )

    def __init__(
        self,
        program: Program[X],
        prefix: str = "",
        kept: Kept | None = None,
        retrace: bool = False,
    ) -> None:
        self.program = program
        self.last: Choice | None = None
        self.log_potential = 0.0
        self.log_twist = 0.0
        self.value: X | None = None
        self.status: Status = "running"
        self.log_kept = 0.0
        self.diverged = False
        self._changed = False
        self._kept: Kept = kept or {}
        self._retrace = retrace
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

    @classmethod
    def of(cls, trace: Trace[X]) -> Particle[X]:
        """The particle whose trace this is; it has ended and stays as it is."""
        particle = cls(trace.program)
        particle.close("unfinished" if trace.status == "running" else trace.status)
        particle.last, particle.value = trace.last, trace.value
        particle.log_potential = trace.log_potential
        return particle

    @property
    def choices(self) -> list[Choice]:
        """Oldest first."""
        return choices_since(self.last)

    def advance(self, *, stop: bool = False, stages: int = 1) -> Effects[None]:
        """Run to the end or, with ``stop``, through ``stages`` stages.

        A stage ends before the first sample, or nested program, after a factor or a twist, so
        that how many there are is a function of the choices. Twists are evaluated only with
        ``stop``, at the end of the last stage. A particle whose weight is zero is closed at once:
        nothing it could still do would count.
        """
        if self._effect is None and self.status == "running":
            self._resume(None)
        try:
            while self.status == "running":
                effect = self._effect
                if stop and self._changed and isinstance(effect, Sample | Nested):
                    self._changed = False
                    stages -= 1
                    if stages == 0:
                        yield from self._settle_twist()
                        return
                if type(effect) is Sample:
                    yield from self._sample(effect)
                elif type(effect) is Factor:
                    self._factor(effect.log_weight)
                elif type(effect) is Twist:
                    # Evaluated at the next sample, so that a twist before the return costs nothing.
                    self._twist = effect.thunk
                    self._changed = True
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
                    refuse_no_effect(effect)
                    assert effect is not None
                    yield effect
                    self._resume(None)
        except CutShort:
            self.close("unfinished")

    def run(self, *, stop: bool = False, stages: int = 1) -> Program[None]:
        """:meth:`advance` as a program, to be run by ``Each`` or an interpreter."""
        return Program(partial(self.advance, stop=stop, stages=stages), self.program.name)

    def trace(self) -> Trace[X]:
        """What has been executed so far; a running particle gives an unfinished trace."""
        status: Status = "unfinished" if self.status == "running" else self.status
        return Trace(self.program, self.last, self.value, self.log_potential, status)

    def close(self, status: Status) -> None:
        """Stop for good."""
        self.status = status
        self._generator.close()

    def follow(self, future: Kept | None) -> None:
        """From here on, retrace these choices; None: sample what comes."""
        self._kept = future or {}
        self._retrace = future is not None

    def fork(self) -> Particle[X]:
        """An independent heir with the same choices, found again by replaying the program.

        It samples what comes, even if this particle keeps choices of another execution.
        Replays from the last checkpoint, if there is one. Raises NotAFunctionOfItsChoices if the
        program asks for something else than it did.
        """
        heir: Particle[X] = Particle.__new__(Particle)
        for slot in Particle.__slots__:
            setattr(heir, slot, getattr(self, slot))
        heir._addresses = self._addresses.copy()
        heir.follow(None)
        if self.status == "running":
            origin = self._origin
            heir._generator = origin.start()
            if self._effect is None:
                return heir
            recorded = choices_since(self.last, origin.last)
            replay = Replay(self.program.name, recorded, self._prefix, origin.addresses.copy())
            heir._effect = replay.forward(heir._generator)
            if type(heir._effect) is not type(self._effect):
                raise replay.refusal(f"it goes on with {heir._effect!r}, before {self._effect!r}")
            if isinstance(heir._effect, Sample) and isinstance(self._effect, Sample):
                replay.verify(heir._effect, self._effect.dist, "the next choice")
        return heir

    def _sample(self, effect: Sample) -> Effects[None]:
        part = self._addresses.next(effect.name)
        kept = self._kept.get(self._prefix + part)
        if kept is None or type(kept.dist) is not type(effect.dist):
            if self._retrace:
                self._die()
                return
            self.diverged = True
            value = yield effect
        else:
            value = kept.value
            if kept.dist is not effect.dist and kept.dist != effect.dist:
                self.log_kept += effect.dist.log_prob(value) - kept.log_prob
                if self.log_kept == NEG_INF:
                    self._die()
                    return
        self._record(part, effect.dist, value)
        self._resume(handed(value))

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
        self.log_potential += float(log_weight)
        self._changed = True
        self._close_if_dead()
        if self.status == "running":
            self._resume(None)

    def _settle_twist(self) -> Effects[None]:
        if self._twist is None:
            return
        value, self._twist = self._twist(), None
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
            self._die()

    def _die(self) -> None:
        self.log_potential = NEG_INF
        self.log_twist = 0.0
        self.close("dead")

    def _run_each(self, effect: Each) -> Effects[None]:
        pairs = zip(effect.programs, self._addresses.each(effect), strict=True)
        children = [
            Particle(program, f"{self._prefix}{part}/", self._kept, self._retrace)
            for program, part in pairs
        ]
        for child in children:
            child.diverged = self.diverged
        yield Each([child.run() for child in children], effect.names)
        for child in children:  # in index order, so that batch order leaves no mark
            for choice in choices_since(child.last):
                self.last = Choice(self.last, choice.address, choice.dist, choice.value)
            self._absorb(child)
        if self._adopt_status(children):
            self._resume([child.value for child in children])

    def _run_nested(self, effect: Nested) -> Effects[None]:
        part = self._addresses.next(effect.name)
        kept = self._kept.get(self._prefix + part)
        child: Particle[Any]
        if kept is not None and kept.dist is None and not self.diverged:
            value, log_weight = kept.value
            child = Particle.of(Trace(effect.program, None, value, log_weight, "finished"))
        elif self._retrace:
            self._die()
            return
        else:
            child = Particle(effect.program)
            child.diverged = True
            yield Each([child.run()])
        self._absorb(child)
        self._record(part, None, (child.value, child.log_potential))
        if self._adopt_status([child]):
            self._resume(child.value)

    def _absorb(self, child: Particle[Any]) -> None:
        self.log_potential += child.log_potential
        self.log_kept += child.log_kept
        self.diverged |= child.diverged
        self._changed |= child.log_potential != 0.0

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
