"""What an answer is worth: whether it is right, or what a scorer says of it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from ponder.blocks.product import Product
from ponder.blocks.vote import Vote, tied
from ponder.errors import PonderError
from ponder.evidence.scorers import Scorer
from ponder.grading import passes_all
from ponder.measure import Abstain, Posterior, answer_of
from ponder.question import Question
from ponder.recipes.coding import all_tests
from ponder.strategy import Pipeline
from ponder.trace import Trace
from ponder.verify.announced import bare_answer, find_announcement
from ponder.verify.answers import canonical
from ponder.verify.markup import sentences
from ponder.verify.numbers import show_number


class Grader:
    """Grades answers, each of them once: by its canonical form, a program by its text.

    ``scorers`` are those of the questions that have one, by id; the others are right or not, by
    the form of their answer or by the tests of the question.
    """

    def __init__(
        self, services: Mapping[str, Any], scorers: Mapping[str, Scorer] | None = None
    ) -> None:
        self._services = services
        self._scorers = scorers or {}
        self._known: dict[tuple[str, Hashable], float] = {}

    def credit(self, question: Question, posterior: Posterior, *, by_share: bool = False) -> float:
        """What the answer of a posterior is worth, in [0, 1]; no answer is worth 0.

        ``by_share``: the strategy answers the largest share (:func:`decides_by_share`). Then
        answers that tie for it share the credit, which is the expectation over how the tie is
        broken. Of other decisions the shares do not say what was tied, so the answer that was
        drawn counts: the same in the mean over seeds.
        """
        if posterior.answer is None:
            return 0.0
        answers = [posterior.answer]
        if by_share:
            top = max((s.share for s in posterior.shares), default=0.0)
            answers = [s.answer for s in posterior.shares if tied(s.share, top)]
        givers = _givers(posterior)
        return sum(self._worth(question, a, givers.get(a)) for a in answers) / len(answers)

    def covered(self, question: Question, posterior: Posterior) -> float:
        """The largest credit that the answer of any trace has; without scorers, 1 if one is right.

        Traces of no weight count too: what a method rejected, it had. What an earlier block
        dropped from the population is not seen.
        """
        givers = _givers(posterior).items()
        return max((self._worth(question, answer, trace) for answer, trace in givers), default=0.0)

    def worth(self, question: Question, trace: Trace[Any]) -> float:
        """What the answer of one trace is worth; 0 if it gives none."""
        answer = answer_of(trace)
        return 0.0 if isinstance(answer, Abstain) else self._worth(question, answer, trace)

    def _worth(self, question: Question, answer: Hashable, trace: Trace[Any] | None) -> float:
        value = None if trace is None else trace.value
        program: str | None = getattr(value, "program", None) if question.kind == "code" else None
        key = question.id, answer if program is None else program
        if key not in self._known:
            self._known[key] = self._graded(question, answer, program, getattr(value, "text", ""))
        return self._known[key]

    def _graded(
        self, question: Question, answer: Hashable, program: str | None, reply: str
    ) -> float:
        scorer = self._scorers.get(question.id)
        if scorer is not None:
            return scorer(program or spelled(question, answer, reply), question)
        if question.kind == "code" and all_tests(question):
            return float(passes_all(question, program, self._services))
        right = question.correct(answer)
        if right is None:
            raise PonderError(
                f"nobody knows what is right for the question {question.id!r}; give it an "
                '"answer", or a scorer'
            )
        return float(right)


def decides_by_share(strategy: Pipeline) -> bool:
    """Whether a strategy answers the largest of the shares that it returns."""
    return bool(strategy.blocks) and isinstance(strategy.blocks[-1], Vote | Product)


def spelled(question: Question, answer: Hashable, reply: str) -> str:
    """An answer as text for a scorer: as the reply wrote it if it is free text, else canonical."""
    if question.kind == "text":
        announced = find_announcement(reply)
        line = bare_answer(reply) if announced is None else announced.body
        written = sentences(line)[0].strip(" .") if line else ""
        if canonical(written, "text") == answer:
            return written
    if isinstance(answer, bool):
        return "yes" if answer else "no"
    return show_number(answer) if question.kind == "number" else str(answer)  # type: ignore[arg-type]


def _givers(posterior: Posterior) -> dict[Hashable, Trace[Any]]:
    """Every answer, with the first trace that gives it."""
    givers: dict[Hashable, Trace[Any]] = {}
    for trace in posterior.population.traces:
        answer = answer_of(trace)
        if not isinstance(answer, Abstain):
            givers.setdefault(answer, trace)
    return givers
