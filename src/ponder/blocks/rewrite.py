"""Programs whose effects are rewritten one by one, sub-programs included."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ponder.effects import (
    Checkpoint,
    Each,
    Effect,
    Effects,
    Nested,
    Program,
    runs_inline,
)

Rewrite = Callable[[Effect], Effects[Any]]


def rewritten(program: Program[Any], rewrite: Rewrite, name: str) -> Program[Any]:
    """The program that does ``rewrite(effect)`` wherever ``program`` would yield ``effect``.

    What a rewrite returns is what the program is answered. Sub-programs are rewritten too, and a
    restart from a checkpoint stays rewritten.
    """
    return Program(partial(_run, program.start, rewrite, name), f"{program.name} | {name}")


def _run(start: Callable[[], Effects[Any]], rewrite: Rewrite, name: str) -> Effects[Any]:
    generator = start()
    send: Any = None
    while True:
        try:
            effect = generator.send(send)
        except StopIteration as stop:
            return stop.value
        if isinstance(effect, Each):
            programs = [rewritten(p, rewrite, name) for p in effect.programs]
            send = yield Each(programs, effect.names)
        elif isinstance(effect, Nested):
            send = yield Nested(rewritten(effect.program, rewrite, name))
        elif isinstance(effect, Checkpoint):
            if not runs_inline(generator):
                yield Checkpoint(partial(_run, effect.restart, rewrite, name))
            send = None
        else:
            send = yield from rewrite(effect)
