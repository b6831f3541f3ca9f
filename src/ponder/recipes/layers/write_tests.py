"""``write_tests(cap)``: tests that a right reply should pass, written by the model."""

from __future__ import annotations

import ast
import dataclasses
import re
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from ponder.binding import Binding
from ponder.blocks.arguments import check_least
from ponder.effects import Effects
from ponder.measure import Population
from ponder.question import Question
from ponder.recipes.coding import entry_point as named_function
from ponder.recipes.coding import shown_tests
from ponder.recipes.layers.asking import asked
from ponder.recipes.layers.layer import Layer, Replies, Worked, rewritten
from ponder.recipes.prompting import Reply

_LONGEST = 500  # characters of a test
_STATEMENTS = (
    "Do not answer yet. List {cap} short statements that a right reply to this must satisfy, "
    "numbered, one a line."
)
_ASSERTS = (
    "Do not write the function. Write {cap} different tests of it, one a line, each like: {example}"
)
_BULLET = re.compile(r"^[ \t]*(?:[0-9]{1,3}[.):]|[-*•])[ \t]+(\S.*)$", re.MULTILINE)
_ASSERT = re.compile(r"\bassert\b.*")
_PARSE_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError)


@dataclass(frozen=True, repr=False)
class WriteTests(Layer):
    """The unit test generator of Archon (Saad-Falcon et al. 2024): one request.

    Of a question of kind code the tests are asserts that call its function, to be run
    (``executed_tests``, ``passes``, ``consensus``); the function is the one that the question
    names in ``meta["entry_point"]``, or else the one that most replies define. Of any other they
    are statements, to be judged (``judged_tests``). At most ``cap`` of them are kept, the same
    in the ``tests`` of every reply. Traces and weights stay. A block that runs the program of a
    trace again makes its reply without tests.
    """

    cap: int = 5
    notation: ClassVar[str] = "write_tests"
    why: ClassVar[str] = "tests written by the model"

    def work(
        self, population: Population[Any], replies: Replies, binding: Binding
    ) -> Effects[Worked]:
        question = binding.question
        if question.kind == "code":
            function = entry_point(question, replies.values())
            if function is None:
                return population, True
            shown = shown_tests(question)
            example = shown[0] if shown else f"assert {function}(...) == ..."
            request = _ASSERTS.format(cap=self.cap, example=example)
            text = yield from asked(binding, request, 100 * self.cap, "tests")
            found = [test for test in asserts_in(text, function) if test not in shown]
        else:
            text = yield from asked(
                binding, _STATEMENTS.format(cap=self.cap), 50 * self.cap, "tests"
            )
            found = statements_in(text)
        tests = tuple(found[: self.cap])
        tested = {i: dataclasses.replace(reply, tests=tests) for i, reply in replies.items()}
        return rewritten(population, tested), True


def write_tests(cap: int = 5) -> WriteTests:
    """``write_tests(cap)``: at most ``cap`` tests for every reply. See :class:`WriteTests`."""
    return WriteTests(check_least("write_tests", "cap", cap, 1))


def entry_point(question: Question, replies: Iterable[Reply]) -> str | None:
    """The function that tests call: the one that the question names, or that most replies define.

    Of several in one program the last counts, which uses the others. None if there is none.
    """
    named = named_function(question)
    if isinstance(named, str) and named:
        return named
    defined: Counter[str] = Counter()
    for reply in replies:
        tree = _parsed(reply.program or "", None)
        functions = [node.name for node in tree if isinstance(node, ast.FunctionDef)]
        defined.update(functions[-1:])
    return max(defined, key=lambda name: defined[name], default=None)


def asserts_in(text: str, function: str) -> list[str]:
    """The asserts that call ``function``, one a line; each once, in order.

    What does not parse is left out, and so is what holds whatever the function returns because it
    asserts a tuple.
    """
    found = []
    for line in text.splitlines():
        match = _ASSERT.search(line)
        source = match.group().strip(" \t`") if match else ""
        for statement in _parsed(source, _LONGEST):
            if isinstance(statement, ast.Assert) and _calls(statement.test, function):
                found.append(source)
    return list(dict.fromkeys(found))


def statements_in(text: str) -> list[str]:
    """The entries of a list, or else the lines of a text; each once, in order."""
    lines = _BULLET.findall(text) or text.splitlines()
    short = (line.strip()[:_LONGEST] for line in lines)
    return list(dict.fromkeys(line for line in short if line))


def _parsed(source: str, longest: int | None) -> list[ast.stmt]:
    if longest is not None and len(source) > longest:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of invalid escapes, which are the model's business
        try:
            return ast.parse(source).body
        except _PARSE_ERRORS:
            return []


def _calls(test: ast.expr, function: str) -> bool:
    return not isinstance(test, ast.Tuple) and any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function
        for node in ast.walk(test)
    )
