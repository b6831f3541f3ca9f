"""What a user may give to check: a text, a file and a name, or an object."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import ponder.recipes  # noqa: F401 - registers the names
from ponder.checking.claims import Report
from ponder.checking.toy_models import graded
from ponder.effects import Program
from ponder.errors import PonderError, failing
from ponder.loading import loaded
from ponder.notation import NAMES, parse_part
from ponder.strategy import Block, Pipeline, Source


@runtime_checkable
class Reporting(Protocol):
    """What checks itself, in its own way; e.g. ``ponder.vi.Gradients``."""

    def report(self, seconds: float, seed: int, told: Callable[[str], None]) -> Report:
        """What was found in about ``seconds``."""
        ...


def resolve(subject: Any) -> Any:
    """The strategy, block, program or :class:`Reporting` that ``subject`` means."""
    if isinstance(subject, str):
        path, colon, name = subject.rpartition(":")
        if colon and path.endswith(".py"):
            return resolve(loaded(Path(path), name))
        return of_text(subject)
    if isinstance(subject, Pipeline | Source | Block | Program):
        return subject
    if isinstance(subject, Reporting) and not isinstance(subject, type):
        return subject
    if callable(subject):
        return resolve(_called(subject))
    raise PonderError(
        f"cannot check {subject!r:.80}; give a strategy, a block, a program, Gradients(objective, "
        "parameters), or a function without arguments that returns one; an Amortized: with --sbc"
    )


def _called(function: Any) -> Any:
    needed = [
        p.name
        for p in inspect.signature(function).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    name = getattr(function, "__name__", repr(function))
    if needed:
        raise PonderError(
            f"{name} needs {', '.join(needed)}; give a function without arguments that returns "
            "the strategy, the block or the program"
        )
    with failing(f"{name} fails"):
        made = function()
    if callable(made) and not isinstance(made, Pipeline | Source | Block | Program):
        raise PonderError(f"{name} returned a function; return a strategy, a block or a program")
    return made


def of_text(text: str) -> Any:
    """A strategy by its text, or a block alone: names not known are those of toy potentials."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return parse_part(text)
    arguments = {
        inner.id
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        for argument in [*call.args, *(k.value for k in call.keywords)]
        for inner in ast.walk(argument)
        if isinstance(inner, ast.Name)
    }
    unknown = {name: graded(name) for name in arguments if name not in NAMES}
    return parse_part(text, unknown)
