"""One budget spread over the questions of a session: asked again and again, each for more samples.

What a question has drawn already comes from the bank, so that it is paid once. The engine's state
of a prompt may be gone by then; reading it again is paid, and counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from ponder.answering import RAW, SHARE, Answer, Session
from ponder.blocks.sizes import draws_all, least_size, resized, whole_size
from ponder.errors import PonderError
from ponder.law import stopped
from ponder.ledger import Ledger
from ponder.measure import ABSTAIN
from ponder.question import Question
from ponder.spending.answers import Seen, seen
from ponder.spending.waves import Policy, spend

Found = tuple[Question, Answer | BaseException]


def can_spread(session: Session) -> bool:
    """Whether samples may be given to questions one by one: a cap on tokens, and plain draws."""
    capped = session.budget.max_tokens is not None
    return capped and session.bank is not None and draws_all(session.strategy)


def spread(
    session: Session,
    questions: Sequence[Question],
    told: Callable[[int], None] | None = None,
) -> Iterator[Found]:
    """Answers in the order of ``questions``, each from as many samples as were worth drawing.

    The cap of the session's budget holds. What kept it from asking on is ``cut_short`` of an
    answer that more samples might have changed; a question that was never asked is missing.
    ``told`` hears after every wave how many have been asked. Law: heuristic, since how many samples
    there are depends on what they say; a bounded one stays, which holds however one stops.
    """
    asking = _Asking(session, {question.id: question for question in questions})
    policy = Policy(first=least_size(session.strategy), cap=whole_size(session.strategy))
    asked = spend(
        asking,
        [question.id for question in questions],
        float(session.budget.max_tokens or 0),
        policy,
        told=None if told is None else lambda seen: told(len(seen)),
    )
    wanted = policy.rates({id: s for id, s in asked.items() if id in asking.answers})
    cut = session.runtime.cut or "max_tokens"
    for question in questions:
        if question.id in asking.failed:
            yield question, asking.failed[question.id]
        elif question.id in asking.answers:
            yield question, asking.finished(question.id, cut if question.id in wanted else None)


class _Asking:
    """Asks for totals of samples; keeps the last answer of every question and all that it cost."""

    def __init__(self, session: Session, questions: Mapping[str, Question]) -> None:
        self.answers: dict[str, Answer] = {}
        self.failed: dict[str, BaseException] = {}
        self._session = session
        self._strategy = session.strategy
        self._questions = questions
        self._paid: dict[str, Ledger] = {}

    def __call__(self, wanted: Mapping[str, int]) -> dict[str, Seen]:
        by_size: dict[int, list[str]] = defaultdict(list)
        for id, n in wanted.items():
            by_size[n].append(id)
        found = {}
        for n, ids in by_size.items():
            self._session.strategy = resized(self._strategy, n)
            for question, answer in self._session.answers([self._questions[id] for id in ids]):
                found[question.id] = self._seen(question.id, answer)
        self._session.strategy = self._strategy
        return found

    def _seen(self, id: str, answer: Answer | BaseException) -> Seen:
        if isinstance(answer, BaseException):
            if not isinstance(answer, PonderError):
                raise answer
            self.failed[id] = answer
            most = whole_size(self._strategy)
            return Seen((ABSTAIN,) * most, (0.0,) * most)  # it will not be asked again
        again = answer.ledger.prompt_computed
        paid = self._paid.get(id)
        if paid is None:
            self._paid[id] = paid = answer.ledger
        else:
            banked = paid.banked  # what it had before, not what it drew itself
            paid.add(answer.ledger)
            paid.banked, paid.seconds = banked, paid.seconds + answer.ledger.seconds
        self.answers[id] = answer
        # What reading the prompt cost this time it may cost the next time.
        return seen(answer.posterior, answer.price, paid.tokens, again)

    def finished(self, id: str, cut: str | None) -> Answer:
        """The last answer of a question, with what it is and what all of it has cost."""
        answer = self.answers[id]
        law = answer.law
        if law.kind != "bounded":
            law = stopped(answer.posterior.population.law, "what was seen of all questions")
        return replace(
            answer,
            law=law,
            posterior=replace(answer.posterior, law=law),
            probability_of=SHARE if answer.probability_of == RAW else answer.probability_of,
            ledger=self._paid[id],
            strategy=repr(self._strategy),
            cut_short=answer.cut_short or cut,
        )
