"""Questions whose answer is a program: how they are put, and the tests that come with them."""

from __future__ import annotations

import ast
import doctest
import re
from typing import Any

from ponder.errors import PonderError
from ponder.question import Question

_QUOTES = re.compile("\"\"\"|'''")
_ARROWS = re.compile(r"==|=>|->|➞")
BLOCK = "one ```python block"


def code_task(question: Question) -> str:
    """What is to be written, with what a user is told of it: a name and a first example."""
    if _completes(question):
        return "Complete the function above"
    name = entry_point(question)
    if not name:
        return "Write the code"
    shown = "".join(f"\n{test}" for test in shown_tests(question))
    example = f" For example:{shown}\n" if shown else " "
    return f"Name the function {name}.{example}Write the code"


def shown_tests(question: Question) -> tuple[str, ...]:
    """The tests that the question itself shows, as asserts: its examples, or the first of its list.

    They may be used to select an answer. The others only say whether it is right.
    """
    if _completes(question):
        return _doctests(question.text) or _equations(question.text, entry_point(question))
    return _listed(question)[:1]


def all_tests(question: Question) -> tuple[str, ...]:
    """Every test of the question; () if it has none."""
    tests = question.meta.get("tests")
    return _listed(question) or ((str(tests),) if tests else ())


def entry_point(question: Question) -> str | None:
    """The name of the function that is asked for, None if any will do."""
    name = question.meta.get("entry_point")
    if name is not None and not (isinstance(name, str) and name.isidentifier()):
        raise PonderError(
            f"meta.entry_point of the question {question.id!r} must be the name of a function, "
            f'got {name!r}; write it like "solve"'
        )
    return name


def _listed(question: Question) -> tuple[str, ...]:
    """The tests of ``meta.test_list``; () if there is none."""
    listed = question.meta.get("test_list") or ()
    if isinstance(listed, str) or not all(isinstance(test, str) for test in listed):
        raise PonderError(
            f"meta.test_list of the question {question.id!r} must be a list of asserts; write it "
            'like ["assert solve(1) == 2"]'
        )
    return tuple(listed)


def runnable(question: Question, program: str) -> str:
    """The program after the imports of the function that the question began."""
    if not _completes(question):
        return program
    lines = [x for x in question.text.splitlines() if x.startswith(("import ", "from "))]
    return "\n".join([*lines, program])


def _completes(question: Question) -> bool:
    """Whether the question is the beginning of a function, to be completed."""
    return question.meta.get("tests_style") == "check(candidate)"


def _doctests(text: str) -> tuple[str, ...]:
    found = []
    try:
        examples: list[Any] = doctest.DocTestParser().get_examples(text)
    except ValueError:
        return ()
    for example in examples:
        # The last example may be followed by the quotes that end the docstring.
        found.append(_assert(example.source, _QUOTES.split(example.want)[0]))
    return tuple(test for test in found if test is not None)


def _equations(text: str, name: str | None) -> tuple[str, ...]:
    """Examples on lines of their own, such as ``f(2) == 4``, ``f(2) => 4`` or ``f(2) ➞ 4``."""
    found = []
    for line in text.splitlines():
        call, *wanted = _ARROWS.split(line.strip(), maxsplit=1)
        if name and call.startswith(f"{name}(") and wanted:
            found.append(_assert(call, wanted[0]))
    return tuple(test for test in found if test is not None)


def _assert(call: str, wanted: str) -> str | None:
    """The test that a call gives what is wanted; None if one of them is no expression."""
    try:  # read and written again, since either may end in a comment
        left, right = (ast.unparse(ast.parse(x.strip(), mode="eval")) for x in (call, wanted))
    except (SyntaxError, ValueError):
        return None
    return f"assert ({left}) == ({right})"
