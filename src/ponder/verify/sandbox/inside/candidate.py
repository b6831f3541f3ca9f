"""The process of the tested program: loads it, then answers calls with plain data."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any, NoReturn

from . import frames
from .plain import NotPlain, decode, encode

FILE = "<program>"


def serve(calls: int, replies: int) -> NoReturn:
    """Answer the messages on ``calls`` until it ends.

    ``{"load": source, "main": bool}`` runs a program, ``{"call": name, "arguments": [...],
    "keywords": {...}}`` calls one of its functions, ``{"evaluate": expression}`` evaluates. Each
    is answered by one of ``{"value": form, "type": name}`` (with ``arguments`` if the call changed
    them), ``{"raised": [builtin exception, arguments], "why": line}`` and ``{"unfit": line}``,
    with the ``id`` of the message.
    """
    program = ModuleType("program")
    while True:
        try:
            message = frames.read(calls)
        except (EOFError, frames.Garbled):
            os._exit(0)
        answer = _answer(program, message)
        _flush()
        frames.write(replies, {**answer, "id": message["id"]})


def _answer(program: ModuleType, message: dict[str, Any]) -> dict[str, Any]:
    try:
        if "load" in message:
            return _load(program, message["load"], message["main"])
        if "evaluate" in message:
            code = compile(message["evaluate"], "<call>", "eval")
            return _value(eval(code, vars(program)))
        return _call(program, message)
    except Exception as error:
        return _raised(error)
    except BaseException as error:
        return {"unfit": _line(error)}


def _load(program: ModuleType, source: str, main: bool) -> dict[str, Any]:
    name = "__main__" if main else "program"
    program.__name__ = name
    sys.modules[name] = program  # dataclasses and typing look there
    sys.argv[:] = ["program.py"]
    try:
        exec(compile(source, FILE, "exec"), vars(program))
    except SystemExit as error:
        if not main or error.code not in (None, 0):
            raise
    return _value(None)


def _call(program: ModuleType, message: dict[str, Any]) -> dict[str, Any]:
    name = message["call"]
    function = vars(program).get(name)
    if not callable(function):
        return {"unfit": f"the program defines no function {name}"}
    arguments = decode(message["arguments"])
    keywords = {key: decode(form) for key, form in message["keywords"].items()}
    try:
        answer = _value(function(*arguments, **keywords))
    except Exception as error:
        answer = _raised(error)
    after = _form(arguments)
    return answer if after == message["arguments"] else {**answer, "arguments": after}


def _form(value: Any) -> Any:
    try:
        form = encode(value)
        frames.pack(form)
    except (NotPlain, frames.Garbled) as error:
        raise _Unfit(str(error)) from None
    except Exception as error:
        raise _Unfit(f"not plain data: {_line(error)}") from None
    return form


class _Unfit(BaseException):
    """An answer that cannot be sent; no program catches it by accident."""


def _value(value: Any) -> dict[str, Any]:
    return {"value": _form(value), "type": str(type(value).__name__)}


def _raised(error: Exception) -> dict[str, Any]:
    """An exception as the nearest builtin one."""
    kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
    try:
        arguments = [encode(part) for part in error.args]
        frames.pack(arguments)
    except Exception:
        arguments = [_line(error)]
    return {"raised": [kinds[0], arguments], "why": _line(error)}


def _line(error: BaseException) -> str:
    """Where in the program, what kind, and what it says: one line."""
    line = 0
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, _Unfit):
        return str(error)
    if isinstance(error, SyntaxError) and error.filename == FILE:
        line, text = error.lineno or 0, error.msg
    else:
        text = describe(error)
    where = f"line {line}: " if line else ""
    return where + " ".join(f"{type(error).__name__}: {text}".removesuffix(": ").split())[:400]


def describe(error: BaseException) -> str:
    """What an exception says of itself, "" if that fails: a number too long to print, say."""
    try:
        return str(error)
    except Exception:
        return ""


def _flush() -> None:
    for stream in {sys.stdout, sys.__stdout__}:
        try:
            stream.flush()  # type: ignore[union-attr]
        except Exception:
            continue
