"""Running strategies on questions whose answers are known, on samples that all of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponder.answering import Answer, Session
from ponder.bank import Bank
from ponder.blocks.sizes import unstopped
from ponder.errors import PonderError
from ponder.evidence.credit import Grader, decides_by_share
from ponder.evidence.genealogy import Genealogy, Stages
from ponder.evidence.rerun import Exhausted, Rerun, Samples
from ponder.evidence.sharing import Frozen, Witness
from ponder.ledger import Budget
from ponder.lm.protocol import LanguageModel
from ponder.question import Question
from ponder.strategy import Pipeline

Floats = NDArray[np.float64]
Progress = Callable[[str, int, int], None]  # strategy, questions done, of how many
_SPENT = {
    "prompt": "prompt_computed",
    "generated": "generated",
    "judge": "judge",
    "calls": "calls",
    "checks": "checks",
}


@dataclass(frozen=True)
class Run:
    """One strategy on one question: what it stated, what that was worth (0 to 1)."""

    question: int
    probability: float | None
    credit: float
    signals: dict[str, float]


@dataclass(frozen=True)
class Measured:
    """A strategy on Q questions, each the mean over orders of the samples.

    ``right`` (Q,) is the expected credit: ties share, no answer is wrong. ``answered`` (Q,) is how
    often it gave one, ``tokens`` (Q,) what it costs by itself (prompt, generated, judge),
    ``covered`` (Q,) how often any of its candidates is right, ``spent`` the mean cost by name.
    ``failures`` holds (question, why); a failed question counts as wrong.
    """

    strategy: str
    law: str
    right: Floats
    answered: Floats
    tokens: Floats
    covered: Floats
    spent: dict[str, float]
    orders: int
    runs: tuple[Run, ...] = field(repr=False)
    failures: tuple[tuple[str, str], ...] = ()

    def part(self, at: Mapping[str, int], first: int = 0) -> Measured:
        """The same of some of the questions: ``at`` has their places, by id, in their new order.

        No question's samples, nor their orders, depend on the others, so that this is what these
        alone would give, except that ``spent`` stays the mean of all. The order number ``first`` of
        the samples stands first; the others follow in turn.
        """
        places, every = list(at.values()), len(self.right)
        turns = [(first + turn) % self.orders for turn in range(self.orders)]
        runs = [
            replace(self.runs[o * every + i], question=j)
            for o in turns
            for j, i in enumerate(places)
        ]
        return replace(
            self,
            right=self.right[places],
            answered=self.answered[places],
            tokens=self.tokens[places],
            covered=self.covered[places],
            runs=tuple(runs),
            failures=tuple(failure for failure in self.failures if failure[0] in at),
        )


@dataclass
class Evaluation:
    """Runs strategies on ``questions``, first as they are, then on ``orders`` random orders.

    Without a ``model`` this is a replay of ``bank``, whose recordings are bound in ``samples``.
    What is drawn is drawn once, whatever strategies need it. Other orders are run of strategies
    that draw independent samples, if all that they may ask for has been drawn; the others are run
    once, and their ``Measured.orders`` is 1.
    """

    questions: Sequence[Question]
    bank: Bank
    services: Any
    grader: Grader
    model: LanguageModel | None = None
    base: LanguageModel | None = None
    name: str = ""
    samples: Samples = field(default_factory=Samples)
    orders: int = 20
    seed: int = 0
    load: Callable[[str], LanguageModel] | None = None
    budget: Budget = field(default_factory=Budget)
    progress: Progress | None = None
    watch: Callable[[Any], None] | None = None
    signals: Callable[[Any], dict[str, float]] | None = None

    def __post_init__(self) -> None:
        self._witness = Witness(self.bank, self.samples)
        self._frozen = Frozen(self._witness)
        self.spent = 0
        self.cut: str | None = None

    def sample(
        self, strategy: Pipeline, stages: Stages | None = None
    ) -> list[Answer | PonderError]:
        """Run a strategy once, drawing what is not in the bank; answers in the questions' order.

        Those that the budget kept from starting are errors. Sets ``cut`` if a cap ended it.
        """
        replay = self.model is None
        self._frozen.sampled = True
        self._frozen.restart()
        model = self.model or Rerun(self.samples, self.base, self.name, shuffled=False)
        left = None if self.budget.max_tokens is None else self.budget.max_tokens - self.spent
        session = Session(
            model,
            strategy,
            seed=self.seed,
            budget=self.budget if left is None else Budget(max(1, left)),
            bank=self._frozen if replay else self._witness,  # type: ignore[arg-type]
            services=self.services,
            load=self.load,
            told=stages.hear if stages is not None else None,
            watch=self.watch,
        )
        found = self._answers(session, repr(strategy))
        self.spent += session.runtime.spent.tokens if not replay else 0
        self.cut = self.cut or session.runtime.cut
        return found

    def measure(self, strategy: Pipeline, first: Sequence[Answer | PonderError]) -> Measured:
        """What a strategy is worth, given its ``first`` run, by random orders of the samples.

        A question that fails does so in all of them, which is no reason not to run the others.
        """
        tally = _Tally(self, strategy)
        for order in range(self._orders(strategy)):
            again = self._again(strategy, order, shuffled=True)
            if again is None:
                tally = _Tally(self, strategy)
                break
            tally.add(again)
        if not tally.orders:
            tally.add(first)
        return tally.result()

    def _orders(self, strategy: Pipeline) -> int:
        """On how many orders a strategy may be run: 0 if they would not be as good as new draws."""
        whole = unstopped(strategy)
        if whole is None:
            return 0
        stops = repr(whole) != repr(strategy)
        return 0 if stops and self._again(whole, -1, shuffled=False) is None else self.orders

    def _again(
        self, strategy: Pipeline, order: int, *, shuffled: bool
    ) -> list[Answer | PonderError] | None:
        """Another order of the same samples; None if they do not suffice."""
        self._frozen.sampled = False
        session = Session(
            Rerun(self.samples, self.base or self.model, self.name, shuffled=shuffled),
            strategy,
            seed=self.seed + 1 + order,
            bank=self._frozen,  # type: ignore[arg-type]
            services=self.services,
        )
        found = self._answers(session, None)
        return None if any(isinstance(answer, Exhausted) for answer in found) else found

    def _answers(self, session: Session, name: str | None) -> list[Answer | PonderError]:
        place = {question.id: i for i, question in enumerate(self.questions)}
        kept = PonderError("not begun: the budget was spent; start again with a larger cap")
        found: list[Answer | PonderError] = [kept] * len(place)
        for done, (question, answer) in enumerate(session.answers(self.questions), 1):
            if isinstance(answer, BaseException) and not isinstance(answer, PonderError):
                raise answer
            found[place[question.id]] = answer
            if name is not None and self.progress is not None:
                self.progress(name, done, len(place))
        return found


class _Tally:
    """Sums of runs."""

    def __init__(self, evaluation: Evaluation, strategy: Pipeline) -> None:
        self._of = evaluation
        self._by_share = decides_by_share(strategy)
        self._strategy = strategy
        self._sums = np.zeros((4, len(evaluation.questions)))
        self._spent = dict.fromkeys(_SPENT, 0.0)
        self._runs: list[Run] = []
        self._failures: dict[str, str] = {}
        self.orders = 0
        self._law = ""

    def add(self, answers: Sequence[Answer | PonderError]) -> None:
        """One run on all questions."""
        self.orders += 1
        for i, answer in enumerate(answers):
            question = self._of.questions[i]
            if isinstance(answer, PonderError):
                self._failures[question.id] = str(answer)
                self._runs.append(Run(i, None, 0.0, {}))
                continue
            credit = self._of.grader.credit(question, answer.posterior, by_share=self._by_share)
            covered = self._of.grader.covered(question, answer.posterior)
            self._law = str(answer.law)
            self._sums[:, i] += (credit, answer.text is not None, answer.price.tokens, covered)
            for name, entry in _SPENT.items():
                self._spent[name] += getattr(answer.price, entry) / len(answers)
            signals = self._of.signals(answer.posterior) if self._of.signals else {}
            self._runs.append(Run(i, answer.probability, credit, signals))

    def result(self) -> Measured:
        """The means."""
        right, answered, tokens, covered = self._sums / self.orders
        return Measured(
            repr(self._strategy),
            self._law,
            right,
            answered,
            tokens,
            covered,
            {name: total / self.orders for name, total in self._spent.items()},
            self.orders,
            tuple(self._runs),
            tuple(self._failures.items()),
        )


def genealogy_of(answers: Sequence[Answer | PonderError], stages: Stages) -> Genealogy | None:
    """The traces of the question on which a strategy was least decided."""
    found = [answer for answer in answers if isinstance(answer, Answer) and answer.probability]
    if not found:
        return None
    chosen = min(
        found, key=lambda answer: (abs((answer.probability or 0) - 0.5), answer.question.id)
    )
    return stages.genealogy(chosen)
