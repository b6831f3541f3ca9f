"""The text notation of strategies: ``cot | draw(8) | vote``.

Read by a parser of whitelisted Python expressions that knows only registered names; nothing is
evaluated. ``repr`` of a strategy is its text, so the notation round-trips.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping
from typing import Any

from ponder.binding import Potential, given
from ponder.errors import PonderError
from ponder.strategy import Block, Pipeline, Source

NAMES: dict[str, Any] = {}
LARGEST = 10**9


def register(name: str, thing: Any) -> Any:
    """Make ``thing`` (a source, a block, a block's constructor, a potential...) known by name."""
    if NAMES.get(name, thing) is not thing:
        raise PonderError(f"the name {name!r} is taken; choose another")
    NAMES[name] = thing
    return thing


def parse(text: str, potentials: Mapping[str, Potential] | None = None) -> Pipeline:
    """The strategy that ``text`` writes. Raises PonderError naming what is wrong and what is near.

    ``potentials`` adds names for this text only.
    """
    found = parse_part(text, potentials)
    if not isinstance(found, Pipeline):
        raise PonderError(f"a strategy begins with a program ({_sources()}), not {found!r}")
    return found


def parse_part(text: str, potentials: Mapping[str, Potential] | None = None) -> Pipeline | Block:
    """A strategy, or a block alone. See :func:`parse`."""
    added = {name: given(name, potential) for name, potential in (potentials or {}).items()}
    names = {**NAMES, **added}
    if not text.strip():
        raise PonderError("the strategy is empty; write it like: cot | draw(8) | vote")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise PonderError(
            f"cannot read the strategy {text!r}; write it like: cot | draw(8) | vote"
        ) from None
    parts = _parts(tree)
    head = _made(parts[0], names, text)
    if isinstance(head, Block) and len(parts) == 1:
        return head
    pipeline = Pipeline(head, ()) if isinstance(head, Source) else head
    if not isinstance(pipeline, Pipeline):
        raise PonderError(f"a strategy begins with a program ({_sources()}), not {_show(parts[0])}")
    for part in parts[1:]:
        pipeline = pipeline | _made(part, names, text)
    return pipeline


def _sources() -> str:
    return ", ".join(sorted(name for name, thing in NAMES.items() if isinstance(thing, Source)))


def _made(node: ast.expr, names: Mapping[str, Any], text: str) -> Any:
    """A part of a strategy; a bare name of something that makes one is called."""
    thing = _value(node, names, text)
    bare = isinstance(node, ast.Name) and callable(thing) and not isinstance(thing, Block | Source)
    return _call(thing, [], {}, node) if bare else thing


def _parts(tree: ast.expr) -> list[ast.expr]:
    parts: list[ast.expr] = []
    while isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.BitOr):
        parts.append(tree.right)
        tree = tree.left
    return [tree, *reversed(parts)]


def _value(node: ast.expr, names: Mapping[str, Any], text: str) -> Any:
    match node:
        case ast.Constant(value=int() as value) if value > LARGEST:
            raise PonderError(f"a number is too large for a strategy; use at most {LARGEST}")
        case ast.Constant(value=value) if value is None or isinstance(value, int | float | str):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.Tuple(elts=parts):
            return tuple(_value(part, names, text) for part in parts)
        case ast.Name(id=name):
            if name not in names:
                raise PonderError(_unknown(name, names))
            return names[name]
        case ast.Call(func=ast.Name(), args=args, keywords=keywords):
            thing = _value(node.func, names, text)
            if any(k.arg is None for k in keywords) or any(
                isinstance(a, ast.Starred) for a in args
            ):
                raise PonderError(f"write the arguments of {_show(node.func)} out one by one")
            given = {k.arg: _value(k.value, names, text) for k in keywords if k.arg is not None}
            return _call(thing, [_value(a, names, text) for a in args], given, node.func)
    raise PonderError(
        f"{_show(node)} has no place in a strategy; only names, calls, numbers and | do"
    )


def _call(thing: Any, args: list[Any], keywords: dict[str, Any], node: ast.expr) -> Any:
    if not callable(thing):
        raise PonderError(f"{_show(node)} takes no arguments; write it without brackets")
    try:
        return thing(*args, **keywords)
    except TypeError as error:
        if isinstance(error, PonderError):
            raise
        message = str(error).replace("()", "")
        raise PonderError(f"{_show(node)}: {message}") from None


def _unknown(name: str, names: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(sorted(names))}"
    return f"unknown name {name!r} in a strategy; {hint}"


def _show(node: ast.expr) -> str:
    try:
        return ast.unparse(node)
    except RecursionError:
        return "what is nested so deeply"
