"""Whether an answer is right, where that is known: by its form, or by running its tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ponder.measure import Posterior, answer_of
from ponder.question import Question
from ponder.recipes.coding import all_tests, entry_point, runnable


def is_right(question: Question, posterior: Posterior, services: Mapping[str, Any]) -> bool | None:
    """Whether the answer of a posterior is right; None where nobody knows."""
    if question.kind != "code" or not all_tests(question):
        return question.correct(posterior.answer)
    return passes_all(question, program_of(posterior), services)


def program_of(posterior: Posterior) -> str | None:
    """The program that is the answer, from the first trace that gives it; None without one."""
    for trace in posterior.population.traces:
        if posterior.answer is not None and answer_of(trace) == posterior.answer:
            program: str | None = getattr(trace.value, "program", None)
            return program
    return None


def passes_all(question: Question, program: str | None, services: Mapping[str, Any]) -> bool:
    """Whether a program passes every test of its question, those that it is not shown included."""
    if program is None:
        return False
    tests: Sequence[str] = all_tests(question)
    request = {
        "program": runnable(question, program),
        "tests": list(tests),
        "entry_point": entry_point(question),
        "setup": "",
    }
    return bool(services["python"].answer(request)["status"] == "passed")
