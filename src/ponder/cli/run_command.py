"""``ponder run``: a file of questions."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ponder import defaults
from ponder.cli.setup import (
    BankOption,
    CallsOption,
    CardOption,
    ConfidenceOption,
    ContextOption,
    EndpointOption,
    Interrupts,
    ModelOption,
    NoBankOption,
    ReplayOption,
    RiskOption,
    SecondsOption,
    SeedOption,
    StrategyOption,
    SystemOption,
    TokensOption,
    UnsafeOption,
    make_session,
    model_of,
)

if TYPE_CHECKING:
    from ponder.running import Summary
    from ponder.runtime import Runtime


def run(
    file: Annotated[Path, typer.Argument(help="Questions, one JSON object a line.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where result lines are appended.")],
    strategy: StrategyOption = None,
    card: CardOption = None,
    risk: RiskOption = None,
    confidence: ConfidenceOption = defaults.CONFIDENCE,
    model: ModelOption = None,
    endpoint: EndpointOption = None,
    system: SystemOption = None,
    seed: SeedOption = 0,
    max_tokens: TokensOption = None,
    max_seconds: SecondsOption = None,
    max_calls: CallsOption = None,
    bank: BankOption = None,
    no_bank: NoBankOption = False,
    replay: ReplayOption = False,
    context: ContextOption = defaults.CELLS,
    unsafe_exec: UnsafeOption = False,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Only the first so many questions.", min=1)
    ] = None,
    even: Annotated[
        bool,
        typer.Option("--even", help="Under --max-tokens: all samples to each question in turn."),
    ] = False,
) -> None:
    """Answer a file of questions, resumably; caps are for the whole file."""
    interrupts = Interrupts()
    from ponder.api import method, model_name
    from ponder.ledger import Budget
    from ponder.running import answer_file

    budget = Budget(max_tokens, max_seconds, max_calls)
    how = method(strategy, card, risk, confidence)

    def session(_: Any, questions: Any) -> Any:
        made = make_session(
            how,
            questions,
            model=model,
            seed=seed,
            budget=budget,
            bank=bank,
            no_bank=no_bank,
            replay=replay,
            context=context,
            endpoint=endpoint,
            unsafe=unsafe_exec,
            watch=bar.watch,
        )
        interrupts.watch(made.runtime)
        return made

    with _Bar() as bar:
        summary = answer_file(
            file,
            out,
            session=session,
            strategy=how.pipeline,
            model=model_name(model_of(model, endpoint)),
            seed=seed,
            card=how.fingerprint,
            system=system,
            limit=limit,
            even=even,
            progress=bar.show,
        )
    _print_summary(summary, out)
    if summary.cut_short == "interrupt":
        sys.exit(130)
    if summary.failed:
        sys.exit(1)


class _Bar:
    """A progress bar over questions, on the error output if that is a terminal."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._last = 0.0
        self._summary: Summary | None = None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, summary: Summary, answer: Any) -> None:
        """Draw the state so far; nothing yet while the model is still to be loaded."""
        self._summary = summary
        if self._bar is None:
            return
        right = f"{summary.correct}/{summary.known} right" if summary.known else ""
        tokens = f"{summary.ledger.tokens} tokens"
        self._bar.update(self._task, completed=summary.answered, right=right, tokens=tokens)

    def watch(self, runtime: Runtime) -> None:
        """Show what has been spent, a few times a second."""
        now = time.monotonic()
        if now - self._last < 0.3 or not sys.stderr.isatty():
            return
        self._last = now
        if self._bar is None:
            self._start()
        self._bar.update(self._task, tokens=f"{runtime.spent.tokens} tokens")

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[right]}  {task.fields[tokens]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
        )
        self._bar.start()
        total = self._summary.total if self._summary else None
        self._task = self._bar.add_task("", total=total, right="", tokens="")
        if self._summary:
            self.show(self._summary, None)


def _print_summary(summary: Summary, out: Path) -> None:
    for what, why in summary.failed:
        print(f"ponder: {what}: {why}", file=sys.stderr)
    ledger = summary.ledger
    resumed = f" ({summary.resumed} of them before)" if summary.resumed else ""
    print(f"{summary.answered} of {summary.total} questions answered{resumed}, in {out}")
    if summary.abstained:
        print(f"{summary.abstained} of these abstained: too uncertain for the risk asked for")
    if summary.silent:
        print(f"{summary.silent} of these without an answer: no trace gave one that counts")
    if summary.known:
        print(f"{summary.correct} of {summary.known} right ({summary.correct / summary.known:.3f})")
    if summary.unsettled:
        print(f"{summary.unsettled} of these are worth more samples; start again to go on")
    if summary.cut_short:
        left = summary.unanswered
        print(f"cut short by {summary.cut_short}, {left} not answered; start again to go on")
    print(
        f"cost: prompt tokens {ledger.prompt_computed} computed, {ledger.prompt_reused} reused; "
        f"{ledger.generated} generated; {ledger.judge} judge; {ledger.banked} from the bank; "
        f"{ledger.checks} checks; "
        f"{ledger.seconds:.1f} s; {ledger.tokens_per_second:.0f} tokens/s"
    )
