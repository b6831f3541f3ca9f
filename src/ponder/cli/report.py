"""An answer as a person reads it."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ponder.answering import Answer
from ponder.grading import program_of
from ponder.guarantee.pareto import diagnose
from ponder.verify.answers import one_line


def print_answer(answer: Answer, *, show_traces: bool = False) -> None:
    """Answer, probability, posterior, what was not parsed, law, and the ledger."""
    console = Console(highlight=False)
    posterior = answer.posterior
    if show_traces:
        _print_traces(console, answer)
    if answer.abstained is not None:
        console.print(f"[bold yellow]abstains[/]: {escape(answer.abstained)}", soft_wrap=True)
        console.print(f"probability {answer.probability:.2f} ({answer.probability_of})")
    elif answer.text is None:
        console.print(f"[bold]no answer[/]: {answer.why_none}", soft_wrap=True)
    else:
        program = program_of(posterior) if answer.question.kind == "code" else None
        shown = escape(program.rstrip() if program else answer.text)
        console.print(f"[bold green]{shown}[/]", soft_wrap=True)
        console.print(f"probability {answer.probability:.2f} ({answer.probability_of})")
    if posterior.shares:
        console.print(_posterior_table(answer))
    voters = sum(s.count for s in posterior.shares)
    console.print(f"effective sample size {posterior.ess:.1f} of {voters} voting traces")
    weights = diagnose(posterior.population) if posterior.population.traces else None
    if weights is not None and weights.pareto_k is not None:
        console.print(f"Pareto k of the weights {weights.pareto_k:.2f}: {weights.note}")
    unread = posterior.unparsed - posterior.unfinished
    if unread:
        console.print(
            f"{unread} of {voters + posterior.unparsed} traces gave no readable answer "
            f"(kind: {answer.question.kind}); they do not vote"
        )
    if answer.cut_short:
        console.print(
            f"[yellow]cut short by {answer.cut_short}[/]: {posterior.unfinished} of "
            f"{voters + posterior.unparsed} traces did not finish; they do not vote"
        )
    console.print(f"law: {escape(str(answer.law))}", soft_wrap=True)
    console.print(_cost(answer), soft_wrap=True)
    console.print(f"[dim]{escape(answer.strategy)}  on  {escape(answer.model)}[/]", soft_wrap=True)


def _posterior_table(answer: Answer) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("answer", overflow="fold")
    table.add_column("share", justify="right")
    table.add_column("± error", justify="right")
    table.add_column("traces", justify="right")
    table.add_column("")
    for row in answer.shares()[:10]:
        error = "?" if row["error"] is None else f"{row['error']:.2f}"
        bar = "█" * round(20 * row["share"])
        table.add_row(
            escape(one_line(row["answer"])), f"{row['share']:.2f}", error, str(row["count"]), bar
        )
    if len(answer.posterior.shares) > 10:
        table.add_row(f"and {len(answer.posterior.shares) - 10} more", "", "", "", "")
    return table


def _cost(answer: Answer) -> str:
    ledger = answer.ledger
    parts = [
        f"prompt tokens {ledger.prompt_computed} computed, {ledger.prompt_reused} reused",
        f"{ledger.generated} generated",
    ]
    if ledger.judge:
        parts.append(f"{ledger.judge} judge tokens")
    if ledger.checks:
        parts.append(f"{ledger.checks} checks in {ledger.check_seconds:.1f} s")
    if ledger.banked:
        parts.append(f"{ledger.banked} from the bank")
    if ledger.wasted:
        parts.append(f"{ledger.wasted} wasted")
    parts.append(f"{ledger.seconds:.1f} s")
    if ledger.generated:
        parts.append(f"{ledger.tokens_per_second:.0f} tokens/s")
    return "cost: " + "; ".join(parts)


def _print_traces(console: Console, answer: Answer) -> None:
    for number, row in enumerate(answer.traces(), 1):
        shown = one_line(row["answer"] or "none")
        head = f"trace {number}: weight {row['weight']:.3f}, answer {shown}"
        console.rule(f"{escape(head)} ({row['finish'] or row['status']})", align="left")
        console.print(escape(row["text"] or "(nothing)"), soft_wrap=True)
    console.rule()
