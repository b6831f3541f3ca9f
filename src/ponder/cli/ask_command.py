"""``ponder ask``: one question."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

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
)

if TYPE_CHECKING:
    from ponder.answering import Answer


def ask(
    question: Annotated[str, typer.Argument(help="The question; - reads standard input.")],
    strategy: StrategyOption = None,
    card: CardOption = None,
    risk: RiskOption = None,
    confidence: ConfidenceOption = defaults.CONFIDENCE,
    model: ModelOption = None,
    endpoint: EndpointOption = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", "-k", help="number|choice|bool|text|math|json|code|logic."),
    ] = None,
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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    show_traces: Annotated[
        bool, typer.Option("--show-traces", help="Print every trace, with its weight.")
    ] = False,
) -> None:
    """Answer one question, with a probability and a cost."""
    interrupts = Interrupts()
    from ponder.api import method
    from ponder.cli.view import AskView
    from ponder.errors import PonderError
    from ponder.ledger import Budget
    from ponder.question import make_question

    if question == "-" and sys.stdin is None:
        raise PonderError("the standard input is closed; give the question as an argument")
    text = sys.stdin.read() if question == "-" else question
    asked = make_question(text, kind=kind, system=system)
    how = method(strategy, card, risk, confidence)
    budget = Budget(max_tokens, max_seconds, max_calls)
    view = AskView(asked, budget, shown=not as_json and sys.stdout.isatty())
    session = make_session(
        how,
        [asked],
        model=model,
        seed=seed,
        budget=budget,
        bank=bank,
        no_bank=no_bank,
        replay=replay,
        context=context,
        endpoint=endpoint,
        unsafe=unsafe_exec,
        quiet=as_json,
        told=view.told,
        watch=view.watch,
    )
    interrupts.watch(session.runtime)
    with view:
        answers = list(session.answers([asked]))
    answer = answers[0][1]
    if isinstance(answer, BaseException):
        raise answer
    _show(answer, as_json=as_json, show_traces=show_traces)
    _exit(answer)


def _show(answer: Answer, *, as_json: bool, show_traces: bool) -> None:
    from ponder.cli.report import print_answer

    if as_json:
        shown = answer.as_dict() | ({"traces": answer.traces()} if show_traces else {})
        print(json.dumps(shown, ensure_ascii=False))
    else:
        print_answer(answer, show_traces=show_traces)


def _exit(answer: Answer) -> None:
    """130 after an interrupt, 1 without an answer."""
    if answer.cut_short == "interrupt":
        sys.exit(130)
    if answer.text is not None:
        return
    if answer.cut_short and answer.abstained is None:
        print(
            f"ponder: no trace gave an answer within --{answer.cut_short.replace('_', '-')}; "
            f"{answer.ledger.tokens} tokens and {answer.ledger.seconds:.1f} s were spent; "
            "raise the cap",
            file=sys.stderr,
        )
    sys.exit(1)
