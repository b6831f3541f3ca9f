"""The process that holds the tests: forks the program's process, runs the tests, reports."""

from __future__ import annotations

import ast
import builtins
import importlib
import os
import random
import sys
import time
from contextlib import suppress
from types import FunctionType
from typing import Any, NoReturn

from . import candidate, frames, kernel
from .cage import Cage, keep_open
from .link import CallFailed, Link
from .plain import NotPlain, decode

FILE = "<test>"


class Function:
    """A function of the tested program, as tests see it."""

    __slots__ = ("__name__", "_link")

    def __init__(self, link: Link, name: str) -> None:
        self._link = link
        self.__name__ = name

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self._link.call(self.__name__, arguments, keywords)


def verify(channel: int, cage: Cage, scratch: str, output_bytes: int) -> NoReturn:
    """Answer the one request on ``channel``, and end. Both processes are locked up first."""
    try:
        os.setsid()
        child, pipes = _start_program(channel, cage, scratch)
        cage.lock()
        random.seed(0)
        request = frames.read(channel)
        deadline = time.monotonic() + request["seconds"]
        link = Link(child, pipes, deadline, (output_bytes, cage.cpu_seconds))
        work = _run_tests if "tests" in request else _evaluate
        frames.write(channel, work(link, request))
    finally:
        os._exit(0)


def _start_program(channel: int, cage: Cage, scratch: str) -> tuple[int, tuple[int, int, int]]:
    """(process, pipes): the program's process, forked while there are no tests to be seen."""
    calls, to_call = os.pipe()
    to_reply, replies = os.pipe()
    to_print, output = os.pipe()
    if cage.namespaces:
        kernel.unshare(kernel.NEWPID)
    child = os.fork()
    if child == 0:
        try:
            null = os.open(os.devnull, os.O_RDWR)  # shared with no other request
            keep_open([null, output, null, calls, replies])
            if cage.namespaces:
                os.setsid()
            cage.scratch(scratch)
            cage.lock()
            os.environ.clear()
            os.environ.update(HOME=scratch, LANG="C.UTF-8", TZ="UTC")
            random.seed(0)
            candidate.serve(3, 4)
        finally:
            os._exit(1)
    keep_open([0, 0, 0, channel, to_call, to_reply, to_print])
    return child, (4, 5, 6)


def _run_tests(link: Link, request: dict[str, Any]) -> dict[str, Any]:
    tests = request["tests"]
    try:
        loaded = link.ask({"load": request["program"], "main": False})
        problem = loaded.get("why", "")
    except CallFailed as failed:
        problem = str(failed)
    if problem:
        why = f"the program cannot be loaded: {problem}"
        return {"results": [[False, why] for _ in tests]}
    return {"results": [_result(link, request, test) for test in tests]}


def _result(link: Link, request: dict[str, Any], test: str) -> list[Any]:
    """[ok, why not] of one test. A failed call fails it, whatever the test makes of it."""
    link.fault = link.broken
    if link.broken:
        return [False, f"not run: {link.broken}"]
    why = ""
    try:
        _run(link, request["setup"], test, request["entry_point"])
    except BaseException as error:
        why = _why(error, test)
    why = link.fault or why
    return [not why, why]


def _run(link: Link, setup: str, test: str, entry_point: str | None) -> None:
    scope: dict[str, Any] = {"__name__": "tests"}
    _execute(link, setup, "<setup>", scope)
    if entry_point is not None:
        scope[entry_point] = Function(link, entry_point)
    names = _execute(link, test, FILE, scope)
    check = scope.get("check")
    if entry_point is not None and "check" not in names and isinstance(check, FunctionType):
        check(Function(link, entry_point))


def _execute(link: Link, source: str, file: str, scope: dict[str, Any]) -> set[str]:
    """Run a source in which unknown names are functions of the program. Gives the names it reads.

    The names come from here, not from the program: it cannot put its own ``set`` in a test. An
    unknown ``math.`` with its dot is the module: many published tests leave the import out.
    """
    tree = ast.parse(source, file)
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = node.value.id
            if name not in scope and name in sys.stdlib_module_names:
                with suppress(ImportError):
                    scope[name] = importlib.import_module(name)
    for name in read:
        if name not in scope and not hasattr(builtins, name):
            scope[name] = Function(link, name)
    exec(compile(tree, file, "exec"), scope)
    return read


def _why(error: BaseException, test: str) -> str:
    """One line: the line of the test that failed, and how."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILE:
            line = trace.tb_lineno
        trace = trace.tb_next
    text = f"{type(error).__name__}: {candidate.describe(error)}".removesuffix(": ")
    if line:
        text += f" in {test.splitlines()[line - 1].strip()}"
    return " ".join(text.split())[:500]


def _evaluate(link: Link, request: dict[str, Any]) -> dict[str, Any]:
    call = request["call"]
    try:
        answer = link.ask({"load": request["program"], "main": call is None})
        if call is not None and "raised" not in answer:
            answer = link.ask({"evaluate": call})
        found = _found(answer)
    except CallFailed as failed:
        found = {"detail": str(failed)}
    return {**found, "stdout": link.output.decode(errors="replace")}


def _found(answer: dict[str, Any]) -> dict[str, Any]:
    if "raised" in answer:
        return {"detail": str(answer.get("why"))[:500]}
    try:
        form = answer["value"]
        decode(form)
    except (NotPlain, KeyError, RecursionError, MemoryError):
        return {"detail": "malformed answer"}
    return {"value": form, "type": str(answer.get("type"))[:80], "detail": ""}
