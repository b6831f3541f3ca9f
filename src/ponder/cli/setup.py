"""What ``ask`` and ``run`` share: options to a session, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ponder import defaults

if TYPE_CHECKING:
    from ponder.answering import Session
    from ponder.api import Method
    from ponder.bank import Bank
    from ponder.evidence.card import Card
    from ponder.question import Question
    from ponder.runtime import Runtime

StrategyOption = Annotated[
    str | None,
    typer.Option(
        "--strategy",
        "-s",
        help=f'How, like "cot | draw(16) | weigh(judge) | vote"; else "{defaults.STRATEGY}".',
    ),
]
CardOption = Annotated[
    Path | None,
    typer.Option("--card", help="What ponder tune found: its strategy, calibrated answers."),
]
RiskOption = Annotated[
    float | None,
    typer.Option("--risk", help="Answer only where at most this share is wrong; needs --card."),
]
ConfidenceOption = Annotated[
    float, typer.Option("--confidence", help="The confidence with which --risk holds.")
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", help="A model's name, a .gguf path, hf:..., or openai:URL#NAME."),
]
EndpointOption = Annotated[
    list[str] | None,
    typer.Option(
        "--endpoint", help="A server of the model, such as http://host:8000/v1; may be repeated."
    ),
]
SystemOption = Annotated[str | None, typer.Option("--system", help="The system prompt.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Another seed, other samples.")]
TokensOption = Annotated[
    int | None, typer.Option("--max-tokens", help="Cap on prompt and generated tokens, in all.")
]
SecondsOption = Annotated[float | None, typer.Option("--max-seconds", help="Cap on seconds.")]
CallsOption = Annotated[int | None, typer.Option("--max-calls", help="Cap on model requests.")]
BankOption = Annotated[
    Path | None, typer.Option("--bank", help="Where samples are kept, to be paid only once.")
]
NoBankOption = Annotated[bool, typer.Option("--no-bank", help="Keep no samples.")]
ReplayOption = Annotated[
    bool,
    typer.Option("--replay", help="Use the bank only: no model, a missing sample is an error."),
]
UnsafeOption = Annotated[
    bool,
    typer.Option(
        "--unsafe-exec", help="Run programs that the model writes without a sandbox, if need be."
    ),
]
ContextOption = Annotated[
    int,
    typer.Option(
        "--context", help="Tokens that all live traces together may hold.", min=defaults.LEAST_CELLS
    ),
]


def make_session(
    how: Method,
    questions: Sequence[Question],
    *,
    model: str | None,
    seed: int,
    budget: Any,
    bank: Path | None,
    no_bank: bool,
    replay: bool,
    context: int,
    endpoint: Sequence[str] | None = None,
    unsafe: bool = False,
    quiet: bool = False,
    told: Callable[[str, object], None] | None = None,
    watch: Callable[[Runtime], None] | None = None,
) -> Session:
    """Open the bank, load the model (with progress), and make the session.

    Says what is replayed, and if nothing will be answered; to the error output if ``quiet``.
    """
    from ponder.answering import Session
    from ponder.verify.services import Services

    opened = open_bank(bank, no_bank, replay)
    model = model_of(model or how.model, endpoint)
    options: dict[str, Any] = {
        "seed": seed,
        "budget": budget,
        "told": told,
        "watch": watch,
        "services": Services(unsafe=unsafe),
        "worth": how.worth,
    }
    if replay and opened is not None:
        from ponder.api import model_name
        from ponder.evidence import replaying

        bound = replaying.replay(opened, model_name(model), questions)
        for note in bound.notes:
            print(note, file=sys.stderr if quiet else sys.stdout)
        session = bound.session(how.pipeline, **options)
    else:
        options["load"] = lambda other: load_with_progress(other, context)
        session = Session(load_with_progress(model, context), how.pipeline, bank=opened, **options)
    if how.card is not None:
        how.card.refuse_other(session.model_name)
        warn_of_card(how.card, session.model_name)
    if how.note:
        print(f"ponder: {how.note}", file=sys.stderr)
    return session


def warn_of_card(card: Card, model: str) -> None:
    """Say so if a card was tuned on replies of another model."""
    if model != card.model:
        print(
            f"ponder: the card was tuned on replies of {card.model}; whether what it says holds "
            f"for {model} is not known",
            file=sys.stderr,
        )


def open_bank(bank: Path | None, no_bank: bool, replay: bool) -> Bank | None:
    """The bank that these options mean, None for none."""
    from ponder.bank import Bank
    from ponder.errors import PonderError

    if no_bank and replay:
        raise PonderError("--no-bank cannot be combined with --replay; leave one out")
    path = bank_path(bank, no_bank)
    return None if path is None else Bank(path, create=not replay)


def bank_path(bank: Path | None, no_bank: bool) -> Path | None:
    """Where the bank is that these options mean, None for none."""
    from ponder.errors import PonderError

    if no_bank and bank:
        raise PonderError("--no-bank cannot be combined with --bank; leave one out")
    return None if no_bank else bank or default_bank()


def default_bank() -> Path:
    """Where samples are kept unless said otherwise; PONDER_BANK moves it."""
    import platformdirs

    chosen = os.environ.get("PONDER_BANK")
    return Path(chosen) if chosen else platformdirs.user_data_path("ponder") / "bank.sqlite"


def model_of(model: str | None, endpoint: Sequence[str] | None) -> str | None:
    """The model's name with the servers that ``--endpoint`` gave."""
    from ponder.lm.endpoint import with_endpoints

    return with_endpoints(model, endpoint)


def load_with_progress(model: str | None, context: int) -> Any:
    """Load a model; assembling its weights the first time shows a bar."""
    from ponder.lm.endpoint import is_endpoint

    if model is not None and is_endpoint(model):
        return _open_endpoint(model)
    from ponder.cli.progress import byte_progress, spinner
    from ponder.lm.registry import resolve

    with byte_progress("assembling weights") as progress:
        file = resolve(model, progress)
    if file.spec is not None and file.spec.smoke_test:
        print(f"ponder: {file.name}: {file.spec.about}", file=sys.stderr)
    with spinner(f"loading {file.name}"):
        from ponder.lm.llama import LlamaLM

        return LlamaLM(file.path, name=file.name, fingerprint=file.sha256, cells=context)


def _open_endpoint(model: str) -> Any:
    from ponder.cli.progress import spinner
    from ponder.lm.endpoint.model import load_endpoint

    with spinner(f"asking {model}"):
        return load_endpoint(model, warn=lambda text: print(f"ponder: {text}", file=sys.stderr))


class Interrupts:
    """Ctrl-C: before there is a session it quits; then the first concludes, the second quits."""

    def __init__(self) -> None:
        self._runtime: Runtime | None = None
        self._asked = False
        signal.signal(signal.SIGINT, self._handle)

    def watch(self, runtime: Runtime) -> None:
        """From now on the first Ctrl-C asks ``runtime`` for what it has."""
        self._runtime = runtime

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._runtime is None or self._asked:
            sys.stderr.write("\nponder: interrupted\n")
            sys.stderr.flush()
            os._exit(130)
        self._asked = True
        self._runtime.interrupt()
