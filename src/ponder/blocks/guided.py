"""A program whose named samples are drawn from a guide: a program with the same names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ponder.blocks.rewrite import walk
from ponder.dist import Dist, in_kind
from ponder.effects import (
    Checkpoint,
    Each,
    Effect,
    Effects,
    Factor,
    Nested,
    Program,
    Sample,
    refuse_no_effect,
    runs_inline,
)
from ponder.errors import NotAFunctionOfItsChoices, PonderError
from ponder.trace import handed

Draw = Callable[[Sample, Dist[Any]], Effects[Any]]  # (what is asked, what to draw from) -> value
Names = tuple[str, ...]


def guided(program: Program[Any], guide: Program[Any], draw: Draw, name: str) -> Program[Any]:
    """``program`` with ``draw(effect, q)`` at each sample whose name the guide asks for next.

    q is what the guide samples there, given what it has been answered before. The guide waits at
    a sample until the program asks for it; what it lacks the program samples itself. Programs
    of an ``Each`` are guided by those of the guide's ``Each``, place by place, if the names of
    both are the same; what a nested program samples is its own affair.

    A guide is a function of its choices, without factors or nested programs, and all that it
    samples is asked for, in its order. Anything else is a slip in a name, or leaves the density
    of what was drawn unknown: a PonderError names the sample when that shows.
    """
    names = f"guide {guide.name}", f"program {program.name}"
    begun = State(Place.first(guide, names[0]), ())
    step = partial(_step, names, draw)
    return Program(
        partial(walk, program.start, step, begun, partial(_finish, names)),
        f"{program.name} | {name}",
    )


@dataclass(frozen=True, eq=False)
class Place:
    """How far a guide has got: what it asks next (``effect``), or None and its ``value``.

    Never changed, for forks share it. ``after`` goes on with the guide's generator if nobody
    else has done so yet, and otherwise runs it again from its last checkpoint.
    """

    guide: str
    start: Callable[[], Effects[Any]]
    answers: tuple[Any, ...]  # since the start
    names: Names  # of all samples up to here, the one that is asked next included
    effect: Sample | Each | None
    value: Any
    live: list[Effects[Any]] = field(repr=False)

    @classmethod
    def first(cls, program: Program[Any], guide: str) -> Place:
        """Where a guide begins."""
        generator = program.start()
        return _reached(guide, generator, None, program.start, (), ())

    def after(self, answer: Any) -> Place:
        """Where it gets to with this answer."""
        try:
            generator = self.live.pop()
        except IndexError:
            generator = self._again()
        answers = (*self.answers, answer)
        return _reached(self.guide, generator, answer, self.start, answers, self.names)

    def _again(self) -> Effects[Any]:
        """A fresh generator that asks for ``effect``."""
        generator = self.start()
        try:
            _advance(self.guide, generator, None)
            for earlier in self.answers:
                _advance(self.guide, generator, earlier)
        except StopIteration:
            raise NotAFunctionOfItsChoices(
                f"{self.guide} is not a function of its choices: run again it returned early; make "
                "it depend only on its arguments and sampled values"
            ) from None
        return generator


@dataclass(frozen=True, eq=False)
class State:
    """What goes along with the program: the guide's place, and the names asked for so far."""

    place: Place
    asked: Names


def _reached(
    guide: str,
    generator: Effects[Any],
    send: Any,
    start: Callable[[], Effects[Any]],
    answers: tuple[Any, ...],
    names: Names,
) -> Place:
    try:
        effect, restart = _advance(guide, generator, send)
    except StopIteration as stop:
        return Place(guide, start, answers, names, None, stop.value, [])
    if restart is not None:
        start, answers = restart, ()
    if isinstance(effect, Sample):
        if effect.name is None:
            raise PonderError(
                f"{guide} samples {effect.dist!r} without a name; give it the name of the sample "
                "that it is for"
            )
        names = (*names, effect.name)
    return Place(guide, start, answers, names, effect, None, [generator])


def _advance(
    guide: str, generator: Effects[Any], send: Any
) -> tuple[Sample | Each, Callable[[], Effects[Any]] | None]:
    """(what it samples or runs next, the last checkpoint on the way there)."""
    restart: Callable[[], Effects[Any]] | None = None
    while True:
        effect = generator.send(handed(send))
        if isinstance(effect, Sample | Each):
            return effect, restart
        if isinstance(effect, Factor):
            raise PonderError(
                f"{guide} yields a factor, so that the density of its draws is not known; "
                "leave factors to the model"
            )
        if isinstance(effect, Nested):
            raise PonderError(
                f"{guide} runs a nested program, so that the density of its draws is not known; "
                "run it by yield from"
            )
        if isinstance(effect, Checkpoint) and not runs_inline(generator):
            restart = effect.restart
        refuse_no_effect(effect)
        send = None


def _step(
    names: tuple[str, str], draw: Draw, state: State, effect: Effect
) -> Effects[tuple[State, Any]]:
    place = state.place
    asks = place.effect
    if isinstance(effect, Sample):
        asked = state.asked if effect.name is None else (*state.asked, effect.name)
        if not isinstance(asks, Sample) or asks.name != effect.name:
            return State(place, asked), (yield effect)
        value = yield from draw(effect, asks.dist)
        after = place.after(in_kind(asks.dist, value))
        _refuse_late(after, asked, names)
        return State(after, asked), value
    if isinstance(effect, Each) and isinstance(asks, Each) and _alike(effect, asks):
        if len(effect.programs) != len(asks.programs):
            raise PonderError(
                f"{names[0]} runs {len(asks.programs)} programs where the {names[1]} runs "
                f"{len(effect.programs)}; run as many"
            )
        pairs = zip(effect.programs, asks.programs, strict=True)
        children = [_child(program, guide, names[0], draw) for program, guide in pairs]
        ended = yield Each(children, effect.names)
        after = place.after([said for _, said in ended])
        _refuse_late(after, state.asked, names)
        return State(after, state.asked), [value for value, _ in ended]
    return state, (yield effect)


def _child(program: Program[Any], guide: Program[Any], whose: str, draw: Draw) -> Program[Any]:
    """A program of an ``Each``, guided; it returns its value and the guide's."""
    names = whose, f"program {program.name}"

    def both(state: State, value: Any) -> Effects[tuple[Any, Any]]:
        yield from _finish(names, state, value)
        return value, state.place.value

    begun = State(Place.first(guide, whose), ())
    step = partial(_step, names, draw)
    return Program(partial(walk, program.start, step, begun, both), program.name)


def _alike(left: Each, right: Each) -> bool:
    """Whether two are called the same; two without names are."""
    return (left.names and list(left.names)) == (right.names and list(right.names))


def _refuse_late(place: Place, asked: Names, names: tuple[str, str]) -> None:
    """Raise PonderError if the guide asks for what the program has already sampled itself."""
    if not isinstance(place.effect, Sample):
        return
    name = place.names[-1]
    if place.names.count(name) <= asked.count(name):
        raise PonderError(
            f"{names[0]} samples {name!r} later than the {names[1]}, which asks in the order "
            f"{', '.join(asked)}; sample in that order"
        )


def _finish(names: tuple[str, str], state: State, value: Any) -> Effects[Any]:
    """The value. Raises PonderError if the guide still waits for something."""
    yield from ()
    asks = state.place.effect
    if asks is None:
        return value
    what = (
        f"samples {asks.name!r}"
        if isinstance(asks, Sample)
        else f"runs {len(asks.programs)} programs together"
    )
    raise PonderError(
        f"{names[0]} {what}, for which the {names[1]} did not ask (it asked for "
        f"{', '.join(state.asked) or 'no name'}); rename it or leave it out"
    )
