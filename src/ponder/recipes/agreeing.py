"""``agrees``: a reply is translated into a program, which is run, and should say the same."""

from __future__ import annotations

import math
from typing import Any

from ponder.binding import Binding, Potential, PotentialSource
from ponder.effects import Effects, Program
from ponder.errors import PonderError
from ponder.question import Question
from ponder.recipes.layers.asking import gone_on
from ponder.recipes.programs import CALL, executed
from ponder.recipes.prompting import Reply, wanted

DOUBT = 0.05
_LONGEST = 320  # tokens of a program


def odds_ratio(right: float, coincidence: float) -> float:
    """Odds that a reply is right if its program disagrees, as a part of those if it agrees.

    Noisy-AND: a reply is right with probability a, its program with ``right`` = b, independently;
    where both are wrong they say the same with probability ``coincidence`` = e. Then the odds are
    a / (1 - a) times b / ((1 - b) e) after agreement, that is P(right) = ab / (ab + (1-a)(1-b)e),
    and times (1 - b) / (1 - (1 - b) e) after disagreement. a cancels.
    """
    b, e = right, coincidence
    return (1 - b) ** 2 * e / (b * (1 - (1 - b) * e))


def _request(question: Question) -> str:
    result = "the number" if question.kind == "number" else wanted(question)
    return (
        f"Now write a Python function {CALL} that computes and returns {result} in the same steps. "
        "Only code, no explanation."
    )


class Agrees(PotentialSource):
    """Collaborative verification (Liang et al. 2024): chain of thought and program of thought.

    log 1 for a reply whose program gives its answer, log ``doubt`` otherwise, also where it does
    not run; without an answer nothing is asked. The default is :func:`odds_ratio` at b = .5 and
    e = .1, .053, rounded: a program right half of the time and one wrong answer in ten the same.
    The program is one request after the live reply, at temperature 0, and one run. As all
    potentials it may depend on chance: ``weigh(agrees)`` is importance sampling with a weight that
    is right on average, law weighted for the replies times P(agree) + doubt P(disagree).
    """

    def __call__(self, doubt: float) -> Agrees:
        if isinstance(doubt, bool) or not isinstance(doubt, int | float) or not 0 <= doubt <= 1:
            raise PonderError(f"agrees needs a doubt between 0 and 1, such as 0.05, got {doubt!r}")
        return _agrees(doubt)


def _agrees(doubt: float) -> Agrees:
    name = "agrees" if doubt == DOUBT else f"agrees({doubt!r})"

    def build(binding: Binding) -> Potential:
        doubted = math.log(doubt) if doubt else -math.inf

        def checked(reply: Reply) -> Effects[float]:
            request = _request(binding.question)
            code = yield from gone_on(binding, reply, request, _LONGEST, "program")
            found = yield from executed(binding, code)
            return 0.0 if found.answer == reply.answer else doubted

        def complete(reply: Any) -> float | Program[float]:
            if not isinstance(reply, Reply) or reply.answer is None:
                return doubted
            return Program(lambda: checked(reply), name)

        return Potential(name, complete)

    return Agrees(name, build, reads_trace=True)


agrees = _agrees(DOUBT)
