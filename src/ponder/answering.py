"""From question to answer: bind a strategy, run it, and say what came out and what it cost."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

from ponder.bank import Bank
from ponder.binding import Binding
from ponder.blocks import draw, vote
from ponder.blocks.equate import Equate
from ponder.dist import NEG_INF
from ponder.effects import Program
from ponder.errands import Desks
from ponder.errors import PonderError
from ponder.grading import is_right, program_of
from ponder.job import Outcome
from ponder.law import Law, heuristic
from ponder.ledger import Budget, Ledger
from ponder.lm.endpoint import is_endpoint, known_name
from ponder.lm.protocol import Draw, LanguageModel
from ponder.lm.remembered import RememberedLM
from ponder.measure import Abstain, Posterior, answer_of
from ponder.notation import parse
from ponder.question import Question
from ponder.runtime import Runtime
from ponder.strategy import Pipeline, Source
from ponder.verify.answers import display, written
from ponder.verify.services import Services, equality

RAW = "model posterior"
SHARE = "share of the votes, no law"


class Worthy(NamedTuple):
    """What an answer is worth: a probability, what of, and why it is not given, if it is not."""

    probability: float
    of: str
    abstained: str | None


class Worth(Protocol):
    """Says what answers are worth; ``fingerprint`` tells it from what would say otherwise."""

    @property
    def fingerprint(self) -> str: ...

    def of(self, posterior: Posterior) -> Worthy:
        """Of a posterior that has an answer."""
        ...


@dataclass(frozen=True)
class Answer:
    """What is returned for a question.

    ``text`` is the answer as a person writes it, None if no trace gave one or if it ``abstained``,
    which says why. ``probability`` is the answer's share of the posterior, or what a card makes of
    it; ``probability_of`` says what it is a probability of. ``ledger`` is what it has cost now,
    ``price`` what it costs by itself, with nothing in the bank. ``cut_short`` names the cap, or
    "interrupt", that ended the work early; ``correct`` says whether the answer is right, where one
    is given and that is known.
    """

    question: Question
    text: str | None
    probability: float | None
    posterior: Posterior
    law: Law
    ledger: Ledger
    price: Ledger
    strategy: str
    model: str
    cut_short: str | None = None
    probability_of: str = RAW
    correct: bool | None = None
    abstained: str | None = None

    @property
    def why_none(self) -> str:
        """Why there is no answer, where none is given and it has not ``abstained``."""
        if self.posterior.shares:
            return "none that was found is settled; draw more, or ask for less certainty"
        if self.cut_short:
            return "no trace finished with one"
        if self.posterior.population.log_evidence == NEG_INF:
            return "every trace has weight zero"
        return "no trace gave one that could be read; --show-traces shows them"

    def shares(self) -> list[dict[str, Any]]:
        """The posterior for JSON: answer, share, standard error, number of traces."""
        return [
            {
                "answer": written(s.answer, self.question.kind),
                "share": round(s.share, 6),
                "error": None if s.error is None else round(s.error, 6),
                "count": s.count,
            }
            for s in self.posterior.shares
        ]

    def traces(self) -> list[dict[str, Any]]:
        """The traces for JSON: text, answer, status, finish, self-normalised weight."""
        population = self.posterior.population
        said = [answer_of(trace) for trace in population.traces]
        return [
            {
                "text": getattr(trace.value, "text", None),
                "answer": None if isinstance(a, Abstain) else written(a, self.question.kind),
                "status": trace.status,
                "finish": getattr(trace.value, "finish", None),
                "weight": round(float(weight), 6),
            }
            for trace, a, weight in zip(population.traces, said, population.weights, strict=True)
        ]

    def as_dict(self) -> dict[str, Any]:
        """One JSON object."""
        return {
            "answer": None
            if self.text is None
            else written(self.posterior.answer, self.question.kind),
            "probability": None if self.probability is None else round(self.probability, 6),
            "probability_of": self.probability_of,
            "abstained": self.abstained,
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
            **({"program": program_of(self.posterior)} if self.question.kind == "code" else {}),
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
    ``load`` loads the other models that a strategy may name. ``worth`` says what answers are worth;
    without it they carry their share of the posterior. ``desks`` are of :class:`Runtime`.
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
    load: Callable[[str], LanguageModel] | None = None
    services: Mapping[str, Any] = field(default_factory=Services)
    worth: Worth | None = None
    desks: Desks | None = None

    def __post_init__(self) -> None:
        if self.replay and self.bank is None:
            raise PonderError("replay needs a bank; leave out --no-bank")
        self.strategy.check_learnt()  # here, and not once a question
        self.runtime = Runtime(
            seed=self.seed,
            budget=self.budget,
            bank=self.bank,
            replay=self.replay,
            told=self.told,
            watch=self.watch,
            desks=self.desks,
        )
        self._lm: LanguageModel | None = self.model
        name = self.model_name or (self.model.name if self.model else "")
        if self.bank is not None and not isinstance(self.model, RememberedLM):
            self._lm = RememberedLM(self.bank, name, self.model)
        self.model_name = name
        self._others = Others(self._loaded)

    def _loaded(self, name: str) -> LanguageModel:
        """Another model by name; from the bank alone if this is a replay."""
        if self.replay and self.bank is not None:
            known = known_name(name) if is_endpoint(name) else name
            return RememberedLM(self.bank, known or name, None)
        if self.load is None:
            raise PonderError(f"the strategy names the model {name!r}; give the session a load=")
        model = self.load(name)
        if self.bank is None or isinstance(model, RememberedLM):
            return model
        return RememberedLM(self.bank, model.name, model)

    def answers(
        self, questions: Iterable[Question]
    ) -> Iterator[tuple[Question, Answer | BaseException]]:
        """Answer questions, many at once, in the order in which they end.

        A question that fails gives its error instead; the others go on. Questions that a budget
        kept from starting give nothing.
        """
        with closing(self._found(questions, self.runtime.run)) as found:
            yield from (pair for pair in found if pair is not None)

    def turns(
        self, questions: Iterable[Question]
    ) -> Generator[tuple[Question, Answer | BaseException] | None, None, None]:
        """Like :meth:`answers`, but None whenever it must wait: see :meth:`Runtime.turns`."""
        return self._found(questions, self.runtime.turns)

    def _found(
        self,
        questions: Iterable[Question],
        run: Callable[[Iterator[tuple[str, Any]]], Generator[Outcome | None, None, None]],
    ) -> Generator[tuple[Question, Answer | BaseException] | None, None, None]:
        asked: dict[str, Question] = {}

        def jobs() -> Iterator[tuple[str, Any]]:
            for question in questions:
                if question.id in asked:
                    raise PonderError(f"two questions have the id {question.id!r}; make ids unique")
                asked[question.id] = question
                yield question.id, self._bound(question)

        with closing(run(jobs())) as outcomes:
            for outcome in outcomes:
                if outcome is None:
                    yield None
                    continue
                question = asked.pop(outcome.id)
                found: Answer | BaseException
                try:
                    found = outcome.error or self._answer(question, outcome)
                except PonderError as error:  # it cannot be graded
                    found = error
                yield question, found

    def _bound(self, question: Question) -> Program[Posterior]:
        binding = Binding(
            question=question,
            model=self._lm,
            drafts=self._others,
            services=self.services,
            same=equality(self.services, question.kind),
        )
        return comparing(self.strategy, question).bind(binding)

    def _answer(self, question: Question, outcome: Outcome) -> Answer:
        posterior: Posterior = outcome.value
        if getattr(self._lm, "stitched", False) and _in_pieces(posterior):
            bent = "replies were gone on with in another turn, see docs/scale.md"
            posterior = replace(posterior, law=heuristic(posterior.law, bent))
        cut = self.runtime.cut
        unfinished = any(t.status == "unfinished" for t in posterior.population.traces)
        cut_short = cut if unfinished or "cut short" in posterior.law.assumptions else None
        raw = SHARE if posterior.law.kind == "heuristic" else RAW
        probability, said, abstained = posterior.probability, raw, None
        if self.worth is not None and posterior.answer is not None:
            probability, said, abstained = self.worth.of(posterior)
        given = posterior.answer is not None and abstained is None
        return Answer(
            question,
            display(posterior.answer, question.kind) if given else None,
            probability,
            posterior,
            posterior.law,
            outcome.ledger,
            outcome.price,
            repr(self.strategy),
            self.model_name,
            cut_short,
            said,
            None if abstained is not None else is_right(question, posterior, self.services),
            abstained,
        )


def _in_pieces(posterior: Posterior) -> bool:
    """Whether a trace was written in more than one piece."""
    return any(
        sum(isinstance(choice.value, Draw) for choice in trace.choices) > 1
        for trace in posterior.population.traces
    )


def comparing(strategy: Pipeline, question: Question) -> Pipeline:
    """The strategy that compares formulas by what they mean before it decides among them."""
    blocks = strategy.blocks
    if question.kind != "math" or any(isinstance(block, Equate) for block in blocks):
        return strategy
    return Pipeline(strategy.source, (*blocks[:-1], Equate(), blocks[-1]))


class Others(Mapping[str, LanguageModel]):
    """Models by name, each loaded when it is first asked for."""

    def __init__(self, load: Callable[[str], LanguageModel]) -> None:
        self._load = load
        self._loaded: dict[str, LanguageModel] = {}

    def __getitem__(self, name: str) -> LanguageModel:
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded)

    def __len__(self) -> int:
        return len(self._loaded)
