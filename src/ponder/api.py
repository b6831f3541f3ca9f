"""The Python interface: load a model, ask a question, run any program."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from ponder import defaults
from ponder.answering import Answer, Others, Session, as_strategy
from ponder.bank import Bank
from ponder.binding import Binding
from ponder.effects import Program
from ponder.ledger import Budget
from ponder.lm.protocol import LanguageModel
from ponder.question import Question, make_question
from ponder.running import Summary, answer_file
from ponder.runtime import Runtime
from ponder.strategy import Pipeline, Source
from ponder.verify.services import Services

X = TypeVar("X")
Strategy = str | Pipeline | Source


def load(name: str | None = None, **options: Any) -> LanguageModel:
    """Load a model: a known name, a path to a GGUF file, or ``hf:ORG/REPO/FILE.gguf``.

    None takes the best known model that is installed. Options are those of
    :class:`ponder.lm.llama.LlamaLM` (``cells``, ``width``, ``threads``). Raises PonderError, with
    what to install, if there is no such model.
    """
    from ponder.lm.llama import LlamaLM
    from ponder.lm.registry import resolve

    file = resolve(name)
    return LlamaLM(file.path, name=file.name, fingerprint=file.sha256, **options)


def ask(
    question: str | Question,
    *,
    strategy: Strategy = defaults.STRATEGY,
    model: LanguageModel | str | None = None,
    kind: str | None = None,
    system: str | None = None,
    seed: int = 0,
    budget: Budget | None = None,
    bank: Bank | str | Path | None = None,
    replay: bool = False,
) -> Answer:
    """Answer one question.

    The caps of ``budget`` are hard: at most one engine step goes beyond. With a ``bank`` samples
    are kept there and never paid twice; ``replay`` reads only the bank. Raises PonderError for
    anything that the caller can mend.
    """
    if isinstance(question, str):
        question = make_question(question, kind=kind, system=system)
    session = _session(as_strategy(strategy), model, seed, budget, bank, replay)
    ((_, answer),) = session.answers([question])
    if isinstance(answer, BaseException):
        raise answer
    return answer


def run(
    path: str | Path,
    out: str | Path,
    *,
    strategy: Strategy = defaults.STRATEGY,
    model: LanguageModel | str | None = None,
    system: str | None = None,
    seed: int = 0,
    budget: Budget | None = None,
    bank: Bank | str | Path | None = None,
    replay: bool = False,
    limit: int | None = None,
) -> Summary:
    """Answer the questions of a JSON-lines file into ``out``, many at once, resumably.

    Started again it keeps what ``out`` holds and goes on. ``budget`` is for the whole file; so
    that unfinished questions lose nothing either, give a ``bank``.
    """

    def session(pipeline: Pipeline) -> Session:
        return _session(pipeline, model, seed, budget, bank, replay)

    return answer_file(
        path,
        out,
        session=session,
        strategy=strategy,
        model=model_name(model),
        seed=seed,
        system=system,
        limit=limit,
    )


def model_name(model: LanguageModel | str | None) -> str | None:
    """The name under which a model's results are kept, if it is known without loading it."""
    if model is None:
        return None
    if not isinstance(model, str):
        return model.name
    return Path(model).name if model.endswith(".gguf") and not model.startswith("hf:") else model


def _session(
    pipeline: Pipeline,
    model: LanguageModel | str | None,
    seed: int,
    budget: Budget | None,
    bank: Bank | str | Path | None,
    replay: bool,
) -> Session:
    if isinstance(bank, str | Path):
        bank = Bank(bank, create=not replay)
    name = ""
    if replay and (model is None or isinstance(model, str)):
        name = model or (bank.fact("", "default") if bank else None) or ""
        model = None
    elif model is None or isinstance(model, str):
        model = load(model)
    return Session(
        model,
        pipeline,
        model_name=name,
        seed=seed,
        budget=budget or Budget(),
        bank=bank,
        replay=replay,
        load=load,
    )


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
