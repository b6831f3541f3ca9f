"""From question to answer: bind a strategy, run it, and say what came out and what it cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ponder.bank import Bank
from ponder.binding import Binding
from ponder.blocks import draw, vote
from ponder.errors import PonderError
from ponder.law import Law
from ponder.ledger import Budget, Ledger
from ponder.lm.protocol import LanguageModel
from ponder.lm.remembered import RememberedLM
from ponder.measure import Posterior
from ponder.notation import parse
from ponder.question import Question
from ponder.runtime import Outcome, Runtime
from ponder.strategy import Pipeline, Source
from ponder.verify.answers import display

RAW = "model posterior"


@dataclass(frozen=True)
class Answer:
    """What is returned for a question.

    ``text`` is the answer as a person writes it, None if no trace gave one. ``probability`` is
    the answer's share of the posterior and ``probability_of`` says what that is a probability
    of. ``cut_short`` names the cap, or "interrupt", that ended the work early.
    """

    question: Question
    text: str | None
    probability: float | None
    posterior: Posterior
    law: Law
    ledger: Ledger
    strategy: str
    model: str
    cut_short: str | None = None
    probability_of: str = RAW

    @property
    def correct(self) -> bool | None:
        """Whether the answer is right, where that is known."""
        return self.question.correct(self.posterior.answer)

    def shares(self) -> list[dict[str, Any]]:
        """The posterior for JSON: answer, share, standard error, number of traces."""
        return [
            {
                "answer": display(s.answer, self.question.kind),
                "share": round(s.share, 6),
                "error": None if s.error is None else round(s.error, 6),
                "count": s.count,
            }
            for s in self.posterior.shares
        ]

    def as_dict(self) -> dict[str, Any]:
        """One JSON object."""
        return {
            "answer": self.text,
            "probability": None if self.probability is None else round(self.probability, 6),
            "probability_of": self.probability_of,
            "posterior": self.shares(),
            "ess": round(self.posterior.ess, 3),
            "unparsed": self.posterior.unparsed - self.posterior.unfinished,
            "unfinished": self.posterior.unfinished,
            "law": str(self.law),
            "ledger": self.ledger.as_dict(),
            "kind": self.question.kind,
            "strategy": self.strategy,
            "model": self.model,
            "cut_short": self.cut_short,
        }


def as_strategy(strategy: str | Pipeline | Source) -> Pipeline:
    """A strategy that ends in a posterior: text is parsed, and what is left out is added.

    A program alone is drawn as often as by default; a population is voted on.
    """
    import ponder.recipes  # noqa: F401 - registers the names that a text may use

    pipeline = parse(strategy) if isinstance(strategy, str) else strategy
    if isinstance(pipeline, Source):
        pipeline = Pipeline(pipeline, ())
    if pipeline.stage == "program":
        pipeline = pipeline | draw(8)
    return pipeline if pipeline.stage == "posterior" else pipeline | vote


@dataclass
class Session:
    """One model, one strategy, one budget; questions in, answers out as they are ready.

    ``model`` may be None with ``replay``: then ``model_name`` says whose samples are replayed.
    """

    model: LanguageModel | None
    strategy: Pipeline
    model_name: str = ""
    seed: int = 0
    budget: Budget = field(default_factory=Budget)
    bank: Bank | None = None
    replay: bool = False
    told: Callable[[str, object], None] | None = None
    watch: Callable[[Runtime], None] | None = None

    def __post_init__(self) -> None:
        if self.replay and self.bank is None:
            raise PonderError("replay needs a bank; leave out --no-bank")
        self.runtime = Runtime(
            seed=self.seed,
            budget=self.budget,
            bank=self.bank,
            replay=self.replay,
            told=self.told,
            watch=self.watch,
        )
        self._lm: LanguageModel | None = self.model
        name = self.model_name or (self.model.name if self.model else "")
        if self.bank is not None:
            self._lm = RememberedLM(self.bank, name, self.model)
        self.model_name = name

    def answers(
        self, questions: Iterable[Question]
    ) -> Iterator[tuple[Question, Answer | BaseException]]:
        """Answer questions, many at once, in the order in which they end.

        A question that fails gives its error instead; the others go on. Questions that a budget
        kept from starting give nothing.
        """
        asked: dict[str, Question] = {}

        def jobs() -> Iterator[tuple[str, Any]]:
            for question in questions:
                if question.id in asked:
                    raise PonderError(f"two questions have the id {question.id!r}; make ids unique")
                asked[question.id] = question
                binding = Binding(question=question, model=self._lm)
                yield question.id, self.strategy.bind(binding)

        for outcome in self.runtime.run(jobs()):
            question = asked.pop(outcome.id)
            yield question, outcome.error or self._answer(question, outcome)

    def _answer(self, question: Question, outcome: Outcome) -> Answer:
        posterior: Posterior = outcome.value
        cut = self.runtime.cut
        unfinished = any(t.status == "unfinished" for t in posterior.population.traces)
        cut_short = cut if unfinished else None
        text = None if posterior.answer is None else display(posterior.answer, question.kind)
        return Answer(
            question,
            text,
            posterior.probability,
            posterior,
            posterior.law,
            outcome.ledger,
            repr(self.strategy),
            self.model_name,
            cut_short,
        )
