"""``passes`` and ``passing``: how many of its tests a program passes, or whether all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ponder.binding import Binding, Potential, PotentialSource
from ponder.dist import NEG_INF
from ponder.effects import Effects, Program, sample
from ponder.errors import PonderError
from ponder.outside import Outside
from ponder.question import Question
from ponder.recipes.coding import entry_point, runnable, shown_tests
from ponder.recipes.prompting import Reply


def run_tests(question: Question, reply: Reply) -> tuple[str, ...]:
    """The tests that can be run: those that the question shows, then those written for a reply."""
    if question.kind != "code":
        return ()
    return tuple(dict.fromkeys((*shown_tests(question), *reply.tests)))


def passed(binding: Binding, reply: Reply, tests: Sequence[str]) -> Effects[tuple[bool, ...]]:
    """Which of the tests the program of a reply passes, in order; asks the service "python".

    None of them if the reply has no program or abstains, or if the program cannot be run.
    """
    failed = (False,) * len(tests)
    if not tests or not has_program(reply):
        return failed
    question = binding.question
    request = Outside.ask(
        binding.service("python"),
        program=runnable(question, str(reply.program)),
        tests=list(tests),
        entry_point=entry_point(question),
        setup="",
    )
    answer = yield from sample(request, "tests")
    results = answer.get("results") or ()
    return tuple(bool(r["ok"]) for r in results) if len(results) == len(tests) else failed


def has_program(reply: Any) -> bool:
    """Whether a value is a reply with a program for its answer."""
    return isinstance(reply, Reply) and reply.program is not None and reply.answer is not None


def log_passed(verdicts: Sequence[bool]) -> float:
    """log((k + 1/2) / (n + 1)) for k of n tests passed: the mean of a Jeffreys posterior."""
    return math.log((sum(verdicts) + 0.5) / (len(verdicts) + 1))


def _source(name: str, score: Callable[[Sequence[bool]], float], doc: str) -> PotentialSource:
    """What a score makes of the tests of a program; of what has no program, -inf."""

    def build(binding: Binding) -> Potential:
        def scored(reply: Reply) -> Effects[float]:
            tests = run_tests(binding.question, reply)
            if not tests:
                raise PonderError(
                    f"{name} has no test to run for {binding.question.id or 'the question'!r}: "
                    "it needs kind code and meta.test_list or doctests, or write_tests before it"
                )
            return score((yield from passed(binding, reply, tests)))

        def complete(reply: Any) -> float | Program[float]:
            return Program(partial(scored, reply), name) if has_program(reply) else NEG_INF

        return Potential(name, complete)

    build.__doc__ = doc
    return PotentialSource(name, build)


def log_all_passed(verdicts: Sequence[bool]) -> float:
    """log 1 if every test is passed, else log 0."""
    return 0.0 if all(verdicts) else NEG_INF


passes = _source("passes", log_passed, "The log of the share of tests that a program passes.")
passing = _source("passing", log_all_passed, "Whether a program passes all of its tests.")
