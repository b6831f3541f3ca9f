"""``ponder serve``: an OpenAI-compatible server, whose replies say what they are worth."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ponder import defaults
from ponder.cli.setup import (
    BankOption,
    ContextOption,
    EndpointOption,
    Interrupts,
    ModelOption,
    NoBankOption,
    UnsafeOption,
    bank_path,
    warn_of_card,
)

if TYPE_CHECKING:
    from ponder.evidence.card import Card
    from ponder.serve.loop import Loop
    from ponder.strategy import Pipeline

AliasOption = Annotated[
    list[str] | None,
    typer.Option("--alias", help="A name for a strategy: sc16='cot | draw(16) | vote'; again."),
]
CardOption = Annotated[
    Path | None, typer.Option("--card", help="What ponder tune found, as the model NAME@card.")
]
SeedOption = Annotated[
    int | None,
    typer.Option("--seed", help="Of requests without one: these then repeat themselves."),
]
TokensOption = Annotated[
    int | None,
    typer.Option(
        "--max-tokens-per-request", min=1, help="A request's prompts and replies together."
    ),
]
SecondsOption = Annotated[
    float, typer.Option("--max-seconds-per-request", min=0.1, help="Then it has what it has.")
]
KeysOption = Annotated[
    Path | None,
    typer.Option("--api-key-file", help="Keys, one a line; or set PONDER_API_KEYS."),
]
InsecureOption = Annotated[
    bool, typer.Option("--insecure", help="Without keys, also for other machines.")
]
LogOption = Annotated[
    bool, typer.Option("--log-requests", help="Write what is asked into the log too.")
]


def serve(
    model: ModelOption = None,
    card: CardOption = None,
    alias: AliasOption = None,
    endpoint: EndpointOption = None,
    name: Annotated[
        str | None, typer.Option("--name", help="What clients call the model; else its own name.")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any.")] = 8000,
    bank: BankOption = None,
    no_bank: NoBankOption = False,
    context: ContextOption = defaults.CELLS,
    seed: SeedOption = None,
    max_concurrent: Annotated[
        int, typer.Option("--max-concurrent", min=1, help="Requests at work at once.")
    ] = 32,
    max_queue: Annotated[
        int, typer.Option("--max-queue", min=0, help="Requests that may wait; then 429.")
    ] = 64,
    max_body: Annotated[
        int, typer.Option("--max-body", min=1, help="Bytes of a request; then 413.")
    ] = 1 << 20,
    max_tokens: TokensOption = None,
    max_seconds: SecondsOption = 600.0,
    api_key_file: KeysOption = None,
    insecure: InsecureOption = False,
    log_requests: LogOption = False,
    grace: Annotated[
        float, typer.Option("--grace", min=0, help="Seconds to finish in, at the end.")
    ] = 30.0,
    unsafe_exec: UnsafeOption = False,
) -> None:
    """Answer over HTTP, as OpenAI's API does, by any strategy: the model NAME@sc16, or NAME@ and a
    notation. A page to ask from is at /.
    """
    Interrupts()  # until it serves, Ctrl-C quits
    _require_extra()
    from ponder.evidence.card import Card
    from ponder.serve.aliases import read_aliases
    from ponder.serve.asking import Ceilings
    from ponder.serve.keys import is_local, read_keys, refuse_open
    from ponder.serve.limits import Places
    from ponder.serve.naming import Naming, served_name
    from ponder.serve.server import address_of, bind
    from ponder.serve.server import serve as serve_at
    from ponder.serve.service import Service

    aliases = read_aliases(alias or ())
    tuned = None if card is None else Card.read(card)
    keys = read_keys(api_key_file)
    refuse_open(host, keys, insecure)
    kept = bank_path(bank, no_bank)
    bound = bind(host, port)
    loop = _loop(model, endpoint, context, tuned, aliases, kept, unsafe_exec)
    loop.start()
    service = Service(
        loop,
        Naming(name or served_name(loop.model_name), aliases, tuned, loop.model_name),
        Places(max_concurrent, max_queue),
        Ceilings(max_tokens, max_seconds),
        keys=keys,
        max_body=max_body,
        seed=seed,
        log_requests=log_requests,
        local=is_local(host),
    )
    if tuned is not None:
        warn_of_card(tuned, loop.model_name)
    _start_log()
    address = address_of(bound)
    serve_at(
        service,
        bound,
        grace,
        lambda: print(f"ponder: serving {service.naming.model} at {address}", flush=True),
    )


def _require_extra() -> None:
    """Raise PonderError if a package of the extra is missing."""
    from importlib.util import find_spec

    from ponder.errors import PonderError

    for package in ("starlette", "uvicorn", "pydantic", "prometheus_client"):
        if find_spec(package) is None:
            raise PonderError(
                f"ponder serve needs the package {package}: pip install 'ponder[serve]'"
            )


def _loop(
    model: str | None,
    endpoint: list[str] | None,
    context: int,
    card: Card | None,
    aliases: dict[str, Pipeline],
    bank: Path | None,
    unsafe: bool,
) -> Loop:
    """The loop, whose model is loaded when it starts."""
    from ponder.cli.setup import load_with_progress, model_of
    from ponder.serve.aliases import loading
    from ponder.serve.loop import Loop

    if model is None and card is not None and not card.recorded:
        model = card.model
    name = model_of(model, endpoint)

    def load(other: str | None) -> Any:
        return load_with_progress(other, context)

    strategies = [*aliases.values(), *([] if card is None else [card.pipeline])]
    return Loop(lambda: load(name), bank=bank, load=loading(load, strategies), unsafe=unsafe)


def _start_log() -> None:
    """The server's log goes to the error output, a line an event."""
    import logging

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("ponder.serve")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
