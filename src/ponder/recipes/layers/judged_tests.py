"""``judged_tests(k)``: the k replies that pass most of their tests in the model's opinion."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from ponder.binding import Binding
from ponder.blocks.arguments import check_count
from ponder.effects import Effects, Program
from ponder.measure import Population
from ponder.recipes.layers.asking import gone_on
from ponder.recipes.layers.layer import Layer, Replies, Worked, by_score, every
from ponder.recipes.prompting import Reply

_REQUEST = (
    "Does your reply pass these tests?\n{tests}\n"
    "For every test write its number and [Passed] or [Failed], one a line, nothing else."
)
_MARK = re.compile(r"\[[ ]?(passed|failed)[ ]?\]", re.IGNORECASE)
_NUMBER = re.compile(r"\D{0,8}([0-9]{1,6})\b")


@dataclass(frozen=True, repr=False)
class JudgedTests(Layer):
    """The unit test evaluator of Archon (Saad-Falcon et al. 2024): one request a reply.

    Follows ``write_tests``. The model says of every test whether the reply passes it; a test of
    which it says nothing readable is not passed. The k replies that pass most are kept, of equal
    ones those that stand first, and share the mass of the population evenly; all else is
    dropped. A reply without tests passes none and is not asked about.
    """

    k: int
    notation: ClassVar[str] = "judged_tests"
    reads_trace: ClassVar[bool] = True
    why: ClassVar[str] = "keeps what passes most judged tests"

    def work(
        self, population: Population[Any], replies: Replies, binding: Binding
    ) -> Effects[Worked]:
        programs = [
            Program(partial(_judge, binding, reply), "judge tests") for reply in replies.values()
        ]
        passed = yield from every(programs)
        return by_score(population, dict(zip(replies, passed, strict=True)), self.k), True


def judged_tests(k: int) -> JudgedTests:
    """``judged_tests(k)``: the k that pass most tests. See :class:`JudgedTests`."""
    return JudgedTests(check_count("judged_tests", k))


def _judge(binding: Binding, reply: Reply) -> Effects[int]:
    if not reply.tests:
        return 0
    tests = "\n".join(f"{number}. {test}" for number, test in enumerate(reply.tests, 1))
    request = _REQUEST.format(tests=tests)
    said = yield from gone_on(binding, reply, request, 16 + 12 * len(reply.tests), "tests")
    return sum(verdicts_in(said.text, len(reply.tests)))


def verdicts_in(text: str, count: int) -> Sequence[bool]:
    """Which of ``count`` tests a text calls passed; what it says nothing of is not.

    A verdict belongs to the number that begins its line. If no line has one, verdicts are read in
    order, provided that there are as many as tests: with one missing nobody knows which.
    """
    numbered: dict[int, bool] = {}
    unnumbered: list[bool] = []
    for line in text.splitlines():
        marks = [mark.lower() == "passed" for mark in _MARK.findall(line)]
        number = _NUMBER.match(line)
        if number and marks:
            numbered.setdefault(int(number.group(1)), marks[-1])
        unnumbered += marks
    if not numbered and len(unnumbered) == count:
        return unnumbered
    return [numbered.get(number, False) for number in range(1, count + 1)]
