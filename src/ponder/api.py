"""The Python interface: load a model, ask a question, run any program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ponder import defaults
from ponder.answering import Answer, Others, Session, Worth, as_strategy
from ponder.bank import Bank
from ponder.binding import Binding
from ponder.effects import Program
from ponder.errors import PonderError
from ponder.ledger import Budget
from ponder.lm.endpoint import is_endpoint, known_name
from ponder.lm.protocol import LanguageModel
from ponder.question import Question, make_question
from ponder.running import Summary, answer_file
from ponder.runtime import Runtime
from ponder.strategy import Pipeline, Source
from ponder.verify.services import Services

if TYPE_CHECKING:
    from ponder.evidence.card import Card

X = TypeVar("X")
Strategy = str | Pipeline | Source


def load(name: str | None = None, **options: Any) -> LanguageModel:
    """Load a model: a known name, a path to a GGUF file, or ``hf:ORG/REPO/FILE.gguf``.

    None takes the best known model that is installed. Options are those of
    :class:`ponder.lm.llama.LlamaLM` (``cells``, ``width``, ``threads``). Raises PonderError, with
    what to install, if there is no such model.

    ``openai:http://HOST/v1#MODEL`` is a model behind an OpenAI-compatible server, or several
    (``openai:URL1,URL2#MODEL``): see :func:`ponder.lm.endpoint.model.load_endpoint`, whose options
    are ``width`` and ``patience``.
    """
    if name is not None and is_endpoint(name):
        from ponder.lm.endpoint.model import load_endpoint

        return load_endpoint(name, **options)
    from ponder.lm.llama import LlamaLM
    from ponder.lm.registry import resolve

    file = resolve(name)
    return LlamaLM(file.path, name=file.name, fingerprint=file.sha256, **options)


def ask(
    question: str | Question,
    *,
    strategy: Strategy | None = None,
    model: LanguageModel | str | None = None,
    kind: str | None = None,
    system: str | None = None,
    seed: int = 0,
    budget: Budget | None = None,
    bank: Bank | str | Path | None = None,
    replay: bool = False,
    card: Card | str | Path | None = None,
    risk: float | None = None,
    confidence: float = defaults.CONFIDENCE,
) -> Answer:
    """Answer one question.

    The caps of ``budget`` are hard: at most one engine step goes beyond. With a ``bank`` samples
    are kept there and never paid twice; ``replay`` reads only the bank. A ``card`` of :func:`tune`
    takes the place of a strategy and says what the answer is worth; with a ``risk`` there is an
    answer only where at most that share of answers is wrong, with this ``confidence``. Raises
    PonderError for anything that the caller can mend.
    """
    if isinstance(question, str):
        question = make_question(question, kind=kind, system=system)
    how = method(strategy, card, risk, confidence)
    session = _session(how, model, seed, budget, bank, replay, [question])
    ((_, answer),) = session.answers([question])
    if isinstance(answer, BaseException):
        raise answer
    return answer


def run(
    path: str | Path,
    out: str | Path,
    *,
    strategy: Strategy | None = None,
    model: LanguageModel | str | None = None,
    system: str | None = None,
    seed: int = 0,
    budget: Budget | None = None,
    bank: Bank | str | Path | None = None,
    replay: bool = False,
    limit: int | None = None,
    even: bool = False,
    card: Card | str | Path | None = None,
    risk: float | None = None,
    confidence: float = defaults.CONFIDENCE,
) -> Summary:
    """Answer the questions of a JSON-lines file into ``out``, many at once, resumably.

    Started again it keeps what ``out`` holds and goes on. ``budget`` is for the whole file; so
    that unfinished questions lose nothing either, give a ``bank``. ``card``, ``risk`` and
    ``confidence`` are as in :func:`ask`.
    """
    how = method(strategy, card, risk, confidence)

    def session(_: Pipeline, questions: list[Question]) -> Session:
        return _session(how, model, seed, budget, bank, replay, questions)

    return answer_file(
        path,
        out,
        session=session,
        strategy=how.pipeline,
        model=model_name(model),
        seed=seed,
        card=how.fingerprint,
        system=system,
        limit=limit,
        even=even,
    )


def model_name(model: LanguageModel | str | None) -> str | None:
    """The name under which a model's results are kept, if it is known without loading it."""
    if model is None:
        return None
    if not isinstance(model, str):
        return model.name
    if is_endpoint(model):
        return known_name(model)
    return Path(model).name if model.endswith(".gguf") and not model.startswith("hf:") else model


@dataclass(frozen=True)
class Method:
    """How to answer: a strategy, and what its answers are worth if a card says so."""

    pipeline: Pipeline
    card: Card | None = None
    worth: Worth | None = None
    note: str = ""
    """A line to tell: why it will answer nothing."""

    @property
    def model(self) -> str | None:
        """The name of the model that the card was tuned on, if a model has it."""
        return None if self.card is None or self.card.recorded else self.card.model

    @property
    def fingerprint(self) -> str | None:
        """Tells the card and the risk from others; None without a card."""
        return None if self.worth is None else self.worth.fingerprint


def method(
    strategy: Strategy | None,
    card: Card | str | Path | None,
    risk: float | None = None,
    confidence: float = defaults.CONFIDENCE,
) -> Method:
    """The method that a strategy or a card means; the default one of neither.

    Raises PonderError for both, and for a risk without a card.
    """
    if card is None:
        if risk is not None:
            raise PonderError(
                "a risk is certified on labelled questions: make a card with ponder tune, and "
                "give it as --card"
            )
        return Method(as_strategy(strategy or defaults.STRATEGY))
    for name, given in (("risk", risk), ("confidence", confidence)):
        if given is not None and not 0 < given < 1:
            raise PonderError(f"--{name} needs a number between 0 and 1, got {given:g}")
    if strategy is not None:
        raise PonderError("a card has its own strategy; give --card or --strategy, not both")
    from ponder.evidence.card import Card

    read = card if isinstance(card, Card) else Card.read(card)
    worth = read.worth(risk, confidence)
    return Method(read.pipeline, read, worth, worth.note)


def _session(
    how: Method,
    model: LanguageModel | str | None,
    seed: int,
    budget: Budget | None,
    bank: Bank | str | Path | None,
    replay: bool,
    questions: Sequence[Question],
) -> Session:
    if isinstance(bank, str | Path):
        bank = Bank(bank, create=not replay)
    options: dict[str, Any] = {
        "seed": seed,
        "budget": budget or Budget(),
        "load": load,
        "worth": how.worth,
    }
    model = model or how.model
    if replay and (model is None or isinstance(model, str)):
        if bank is None:
            raise PonderError("replay needs a bank; give the one that has the samples as bank=")
        from ponder.evidence import replaying

        session = replaying.replay(bank, model_name(model), questions).session(
            how.pipeline, **options
        )
    else:
        loaded = load(model) if model is None or isinstance(model, str) else model
        session = Session(loaded, how.pipeline, bank=bank, replay=replay, **options)
    if how.card is not None:
        how.card.refuse_other(session.model_name)
    return session


def infer(
    program: Program[X] | Pipeline,
    *,
    seed: int = 0,
    question: str | Question = "",
    model: LanguageModel | None = None,
    bank: Bank | None = None,
    budget: Budget | None = None,
) -> Any:
    """Run a program or a strategy once and answer its value.

    For a strategy ``my_program() | smc(100) | vote`` that is a Posterior, for ``... | smc(100)``
    a Population. The programs may sample from language models. Raises what the program raises.
    """
    if isinstance(program, Pipeline):
        if isinstance(question, str) and question:
            question = make_question(question)
        binding = Binding(
            question=question or None, model=model, drafts=Others(load), services=Services()
        )
        program = program.bind(binding)
    runtime = Runtime(seed=seed, budget=budget, bank=bank)
    outcome = next(iter(runtime.run([(getattr(question, "id", ""), program)])))
    if outcome.error is not None:
        raise outcome.error
    return outcome.value
