"""``ponder bench``: compare methods on questions whose answers are known."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
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
    ReplayOption,
    SeedOption,
    TokensOption,
    UnsafeOption,
    model_of,
    open_bank,
)

if TYPE_CHECKING:
    from ponder.evidence.evaluate import Evaluation

StrategiesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--strategy", "-s", help='A method, like "cot | draw(16) | vote"; again for more.'
    ),
]
TasksArgument = Annotated[
    list[str], typer.Argument(help="JSON-lines files with answers, or gym:NAME[:n[:seed]].")
]
ScorerOption = Annotated[
    str | None,
    typer.Option("--scorer", help="module:function or file.py:function of (answer, question)."),
]
OrdersOption = Annotated[
    int, typer.Option("--orders", help="Random orders of the samples to average over.", min=1)
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", help="Only the first so many of each task.", min=1)
]


def bench(
    tasks: TasksArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder for the report.")],
    strategy: StrategiesOption = None,
    model: ModelOption = None,
    endpoint: EndpointOption = None,
    limit: LimitOption = None,
    orders: OrdersOption = 20,
    scorer: ScorerOption = None,
    seed: SeedOption = 0,
    max_tokens: TokensOption = None,
    bank: BankOption = None,
    no_bank: NoBankOption = False,
    replay: ReplayOption = False,
    context: ContextOption = defaults.CELLS,
    unsafe_exec: UnsafeOption = False,
) -> None:
    """Compare methods at equal cost: a table, results.json, and report.html with pictures.

    Every sample goes to the bank and is shared by all methods, so that a bench that was stopped
    goes on where it was. Costs are what a method costs by itself, whoever paid for its samples.
    """
    from ponder.answering import as_strategy
    from ponder.cli.bench_view import Bar, print_table
    from ponder.cli.main import fail
    from ponder.errors import PonderError
    from ponder.evidence.bench import Benching, made
    from ponder.evidence.report import write_report
    from ponder.evidence.results import write_results
    from ponder.evidence.tasks import read_tasks

    strategies = [as_strategy(text) for text in strategy or [defaults.STRATEGY]]
    found = read_tasks(tasks, limit, scorer)
    for line in found.bad:
        print(f"ponder: left out: {line}", file=sys.stderr)
    _make(out)
    interrupts = Interrupts()
    with Bar() as bar:
        evaluation, notes = prepare(
            found,
            model=model_of(model, endpoint),
            orders=orders,
            seed=seed,
            max_tokens=max_tokens,
            bank=bank,
            no_bank=no_bank,
            replay=replay,
            context=context,
            unsafe=unsafe_exec,
            bar=bar,
            interrupts=interrupts,
        )
        notes = told(notes, strategies)
        how = made(evaluation.name, replay, seed, "ponder " + " ".join(map(_quoted, sys.argv[1:])))
        benching = Benching(found, strategies, evaluation, how, notes, stage=bar.stage)
        try:
            results = benching.run()
        except PonderError as error:
            fail(str(error), 130 if evaluation.cut == "interrupt" else 2)
    written = write_results(results, out)
    page = out / "report.html"
    write_report(results, page)
    for name, why in benching.left_out.items():
        print(f"ponder: left out: {name}: {why}", file=sys.stderr)
    print_table(results)
    print(f"{page} has the pictures, {written} every figure")
    if benching.left_out or any(method["failures"] for method in results["methods"]):
        sys.exit(1)


def prepare(
    tasks: Any,
    *,
    model: str | None,
    orders: int,
    seed: int,
    max_tokens: int | None,
    bank: Path | None,
    no_bank: bool,
    replay: bool,
    context: int,
    unsafe: bool,
    bar: Any,
    interrupts: Interrupts,
) -> tuple[Evaluation, list[str]]:
    """Open the bank, bind what was recorded or load the model; with what to say about that."""
    from ponder.api import model_name
    from ponder.bank import Bank
    from ponder.cli.setup import load_with_progress
    from ponder.evidence.replaying import evaluation
    from ponder.ledger import Budget
    from ponder.verify.services import Services

    opened = open_bank(bank, no_bank, replay)
    if opened is None:  # samples are shared all the same, for as long as this runs
        opened = Bank(":memory:")

    def watch(runtime: Any) -> None:
        interrupts.watch(runtime)
        bar.watch(runtime)

    return evaluation(
        tasks,
        opened,
        model_name(model) if replay else load_with_progress(model, context),
        Services(unsafe=unsafe),
        orders=orders,
        seed=seed,
        load=lambda other: load_with_progress(other, context),
        budget=Budget(max_tokens),
        progress=bar.show,
        watch=watch,
    )


def told(notes: list[str], strategies: Sequence[object]) -> list[str]:
    """Print what stands for the recipes that are used, and answer it."""
    words = set(re.findall(r"\w+", " ".join(map(repr, strategies))))
    used = [note for note in notes if note.split()[1].rstrip(":") in words]
    for note in used:
        print(note)
    return used


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        from ponder.errors import PonderError

        raise PonderError(
            f"cannot make {folder} ({error.strerror}); choose another --out"
        ) from None


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)
