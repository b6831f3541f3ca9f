"""Programs whose effects are rewritten one by one, with a state that is carried along."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from ponder.effects import (
    Checkpoint,
    Each,
    Effect,
    Effects,
    Nested,
    Program,
    runs_inline,
)

S = TypeVar("S")
Rewrite = Callable[[Effect], Effects[Any]]
Step = Callable[[S, Effect], Effects[tuple[S, Any]]]
Change = Callable[[Program[Any]], Program[Any]]


def rewritten(program: Program[Any], rewrite: Rewrite, name: str) -> Program[Any]:
    """The program that does ``rewrite(effect)`` wherever ``program`` would yield ``effect``.

    What a rewrite returns is what the program is answered. Sub-programs are rewritten too, and a
    restart from a checkpoint stays rewritten.
    """

    def change(inner: Program[Any]) -> Program[Any]:
        return rewritten(inner, rewrite, name)

    def step(state: None, effect: Effect) -> Effects[tuple[None, Any]]:
        if isinstance(effect, Nested):
            return None, (yield Nested(change(effect.program), effect.name))
        return None, (yield from rewrite(with_parts(effect, change)))

    return Program(partial(walk, program.start, step, None), f"{program.name} | {name}")


def walk(
    start: Callable[[], Effects[Any]],
    step: Step[S],
    state: S,
    finish: Callable[[S, Any], Effects[Any]] | None = None,
) -> Effects[Any]:
    """Run a program, letting ``step(state, effect)`` do what each of its effects becomes.

    A step returns the next state and what the program is answered; ``finish(state, value)``, if
    given, what is returned. Checkpoints are not for steps: a restart goes on from the state that
    there was. Forks share states, so a step must never change one in place. Sub-programs are the
    step's to change (:func:`with_parts`).
    """
    generator = start()
    send: Any = None
    while True:
        try:
            effect = generator.send(send)
        except StopIteration as stop:
            return stop.value if finish is None else (yield from finish(state, stop.value))
        if not isinstance(effect, Checkpoint):
            state, send = yield from step(state, effect)
            continue
        if not runs_inline(generator):
            yield Checkpoint(partial(walk, effect.restart, step, state, finish))
        send = None


def with_parts(effect: Effect, change: Change) -> Effect:
    """An ``Each`` with its programs changed; any other effect as it is."""
    if isinstance(effect, Each):
        return Each([change(program) for program in effect.programs], effect.names)
    return effect
