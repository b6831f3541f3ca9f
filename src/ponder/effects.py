"""Programs and their effects.

A program is a generator function that yields effects and returns a value. It denotes a measure
on its finished traces: the law of its samples times exp(sum of its factors). What runs it, and
how, is somebody else's business: simulation, replay, enumeration and the model runtime all
interpret the same effects.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar, overload

from ponder.dist import Dist
from ponder.errors import PonderError

X = TypeVar("X")
S = TypeVar("S")
P = ParamSpec("P")


class Scoring:
    """How log-weights are made; an interpreter that differentiates has another (``tensors``)."""

    def number(self, value: Any) -> Any:
        """The log-weight of a factor."""
        return float(value)

    def log_prob(self, dist: Dist[Any], value: Any) -> Any:
        """The log-weight of an observation."""
        return dist.log_prob(value)


scoring: ContextVar[Scoring] = ContextVar("scoring", default=Scoring())  # noqa: B039 - no state


@dataclass(frozen=True, slots=True)
class Sample:
    """Draw a value from ``dist``. The address is ``name``, or the ordinal of the draw."""

    dist: Dist[Any]
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Factor:
    """Multiply the measure by ``exp(log_weight)``; -inf kills the trace."""

    log_weight: float


@dataclass(frozen=True, slots=True)
class Twist:
    """A temporary log-weight, standing until the next twist or the return.

    ``thunk`` returns a float or a program of a float; only interpreters that resample evaluate
    it. It is not part of the measure. -inf asserts that every extension has weight zero.
    """

    thunk: Callable[[], float | Program[float]]


@dataclass(frozen=True, slots=True)
class Each:
    """Run independent programs together; answers the list of their values, in order.

    ``names`` are the parts they add to the address; by default the ordinal of this effect and
    the index.
    """

    programs: Sequence[Program[Any]]
    names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.names is not None and len(self.names) != len(self.programs):
            raise PonderError(
                f"each got {len(self.names)} names for {len(self.programs)} programs; give as many"
            )


@dataclass(frozen=True, slots=True)
class Nested:
    """Run a program whose randomness is one opaque, randomly weighted choice of the caller."""

    program: Program[Any]
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The program can be restarted from here, so that a fork replays only what follows."""

    restart: Callable[[], Generator[Effect, Any, Any]]


def runs_inline(generator: Effects[Any]) -> bool:
    """Whether the effect just yielded comes from a program run by ``yield from``.

    Its checkpoints do not count: it could restart itself, but not its caller.
    """
    return getattr(generator, "gi_yieldfrom", None) is not None


@dataclass(frozen=True, slots=True)
class Tell:
    """Something for the eyes of whoever watches; has no meaning."""

    message: object


Effect = Sample | Factor | Twist | Each | Nested | Checkpoint | Tell
Effects = Generator[Effect, Any, X]


def sample(dist: Dist[X], name: str | None = None) -> Effects[X]:
    """``x = yield from sample(dist)``: a draw, with its type."""
    value: X = yield Sample(dist, name)
    return value


def factor(log_weight: float) -> Effects[None]:
    """``yield from factor(w)``: multiply the measure by exp(w)."""
    yield Factor(scoring.get().number(log_weight))


def observe(dist: Dist[Any], value: Any) -> Effects[None]:
    """``yield from observe(dist, value)``: factor by the log-probability of ``value``."""
    yield Factor(scoring.get().log_prob(dist, value))


def twist(thunk: Callable[[], float | Program[float]]) -> Effects[None]:
    """``yield from twist(thunk)``: set the temporary log-weight. See :class:`Twist`."""
    yield Twist(thunk)


def each(programs: Sequence[Program[X]], names: Sequence[str] | None = None) -> Effects[list[X]]:
    """``xs = yield from each(programs)``: run independent programs together. See :class:`Each`."""
    values: list[X] = yield Each(programs, names)
    return values


def nested(program: Program[X], name: str | None = None) -> Effects[X]:
    """``x = yield from nested(program)``: see :class:`Nested`."""
    value: X = yield Nested(program, name)
    return value


class Program(Generic[X]):
    """A probabilistic program: call :meth:`start` for a fresh run, ``yield from`` it to inline it.

    ``program | block`` is a strategy.

    ``normalised`` promises that it has no factors, so that its draws are exact samples of the
    measure; a normalised program that yields a factor is refused when it does.
    """

    __slots__ = ("_begin", "name", "normalised")

    def __init__(
        self, begin: Callable[[], Effects[X]], name: str, *, normalised: bool = False
    ) -> None:
        self._begin = begin
        self.name = name
        self.normalised = normalised

    def start(self) -> Effects[X]:
        """A fresh generator of effects that returns the value."""
        return self._begin()

    def __iter__(self) -> Effects[X]:
        return self._begin()

    def __repr__(self) -> str:
        return self.name


@overload
def program(function: Callable[P, Effects[X]]) -> Callable[P, Program[X]]: ...
@overload
def program(
    *, normalised: bool = ..., name: str | None = ...
) -> Callable[[Callable[P, Effects[X]]], Callable[P, Program[X]]]: ...


def program(
    function: Callable[P, Effects[X]] | None = None,
    *,
    normalised: bool = False,
    name: str | None = None,
) -> Any:
    """Make a generator function into a function that returns a :class:`Program`.

    The function must be a function of its choices: run again with the same sampled values, it
    must ask for the same addresses and distributions. Forking relies on it and verifies it.
    """

    def decorate(f: Callable[P, Effects[X]]) -> Callable[P, Program[X]]:
        begin = f if inspect.isgeneratorfunction(f) else _generating(f)

        @functools.wraps(f)
        def build(*args: P.args, **kwargs: P.kwargs) -> Program[X]:
            label = name or f.__name__
            return Program(lambda: begin(*args, **kwargs), label, normalised=normalised)

        return build

    return decorate if function is None else decorate(function)


def _generating(function: Callable[P, Effects[X]]) -> Callable[P, Effects[X]]:
    """A function that yields nothing itself: it must return what does."""

    @functools.wraps(function)
    def begin(*args: P.args, **kwargs: P.kwargs) -> Effects[X]:
        found: object = function(*args, **kwargs)
        if isinstance(found, Program):
            return found.start()
        if isinstance(found, Generator):
            return found
        raise PonderError(
            f"{function.__name__} is no program, it yields nothing; write yield from in front of "
            "each sample, factor and observe"
        )

    return begin


@dataclass(frozen=True, slots=True)
class Done(Generic[X]):
    """What a step of :func:`iterate` returns when it has finished, with the program's value."""

    value: X


def iterate(
    step: Callable[[Any], Program[Any]], state: Any, *, normalised: bool = False
) -> Program[Any]:
    """The program that repeats ``state = step(state)`` until a step returns :class:`Done`.

    It restarts from any state without replay, so that a fork costs the same however long the
    trace is. States may be anything, arrays included, as long as no step changes one in place.
    """

    def run(state: Any) -> Effects[Any]:
        while True:
            yield Checkpoint(functools.partial(run, state))
            result = yield from step(state)
            if isinstance(result, Done):
                return result.value
            state = result

    name = f"iterate({getattr(step, '__name__', 'step')})"
    return Program(lambda: run(state), name, normalised=normalised)


def refuse_no_effect(effect: object) -> None:
    """PonderError if a program yielded something else than an effect; a missing ``from``, often."""
    if isinstance(effect, Effect):
        return
    name = effect.name if isinstance(effect, Program) else None
    name = getattr(effect, "__name__", name) if isinstance(effect, Generator) else name
    if name:
        raise PonderError(f"a program yields {name}(...); write yield from {name}(...)")
    raise PonderError(
        f"a program yields {effect!r:.80}, which is no effect; yield from sample(...)"
    )


def require_program(value: object, who: str) -> None:
    """PonderError if ``value`` is not a program; ``who`` needs one."""
    if not isinstance(value, Program):
        name = getattr(value, "__name__", None)
        remedy = f"{name}; call it: {name}(...)" if name else f"{value!r:.80}"
        raise PonderError(f"{who} needs a program, got {remedy}")


def as_log_weight(value: float | Program[float]) -> Effects[float]:
    """Evaluate what a potential or a twist returned: a number, or a program of one."""
    if isinstance(value, Program):
        value = yield from value
    log_weight = float(value)
    if log_weight != log_weight or log_weight == float("inf"):
        raise PonderError(
            f"a potential returned {log_weight}; return a finite log-weight, or -inf for zero"
        )
    return log_weight
