"""``ponder tune``: choose a method under a token budget, and say what its answers are worth."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ponder import defaults
from ponder.cli.bench_command import (
    LimitOption,
    OrdersOption,
    ScorerOption,
    TasksArgument,
    prepare,
    told,
)
from ponder.cli.setup import (
    BankOption,
    ContextOption,
    EndpointOption,
    Interrupts,
    ModelOption,
    NoBankOption,
    ReplayOption,
    SeedOption,
    UnsafeOption,
    model_of,
)

if TYPE_CHECKING:
    from ponder.evidence.card import Card


class Search(StrEnum):
    """How candidates are tried."""

    exhaustive = "exhaustive"
    halving = "halving"


def tune(
    tasks: TasksArgument,
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy", "-s", help='What to choose from, like "cot | draw({8,16}) | vote".'
        ),
    ] = None,
    max_tokens: Annotated[
        float | None,
        typer.Option(
            "--max-tokens", help="The most that it may cost a question in the mean.", min=1
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The card.")] = Path("card.json"),
    search: Annotated[
        Search, typer.Option("--search", help="Try all on all, or halve the field and go on.")
    ] = Search.exhaustive,
    again: Annotated[
        Path | None,
        typer.Option("--again", help="An earlier card on these tasks, whose looks are spent."),
    ] = None,
    model: ModelOption = None,
    endpoint: EndpointOption = None,
    limit: LimitOption = None,
    orders: OrdersOption = 20,
    scorer: ScorerOption = None,
    seed: SeedOption = 0,
    bank: BankOption = None,
    no_bank: NoBankOption = False,
    replay: ReplayOption = False,
    context: ContextOption = defaults.CELLS,
    unsafe_exec: UnsafeOption = False,
) -> None:
    """Choose a method and its size on questions with known answers, and write its card.

    Two thirds of the questions choose, one third is held out. Braces are alternatives, and every
    size of a strategy is tried. ponder ask and ponder run take the card with --card.
    """
    from ponder.cli.bench_view import Bar
    from ponder.evidence.bench import made
    from ponder.evidence.candidates import candidates
    from ponder.evidence.card import Card
    from ponder.evidence.tasks import read_tasks
    from ponder.evidence.tune import Tuning

    tried = candidates(strategy or [])
    found = read_tasks(tasks, limit, scorer)
    earlier = None if again is None else Card.read(again)
    for line in found.bad:
        print(f"ponder: left out: {line}", file=sys.stderr)
    with Bar() as bar:
        evaluation, notes = prepare(
            found,
            model=model_of(model, endpoint),
            orders=orders,
            seed=seed,
            max_tokens=None,
            bank=bank,
            no_bank=no_bank,
            replay=replay,
            context=context,
            unsafe=unsafe_exec,
            bar=bar,
            interrupts=Interrupts(),
        )
        told(notes, tried)
        how = made(evaluation.name, replay, seed, "")
        tuning = Tuning(
            found,
            tried,
            evaluation,
            how,
            max_tokens,
            "halving" if search is Search.halving else "exhaustive",
            earlier,
            stage=bar.stage,
        )
        card = tuning.run()
    for left_out, why in tuning.left_out.items():
        print(f"ponder: left out: {left_out}: {why}", file=sys.stderr)
    card.write(out)
    print_card(card)
    print(f"{out}: use it with ponder ask --card, or ponder run --card")


def print_card(card: Card) -> None:
    """What was chosen and what it is worth, a line for each thing to know."""
    accuracy, on = card.accuracy, card.tuned_on
    low, high = accuracy["interval"]
    print(f"chosen of {on['candidates']}: {card.pipeline!r}")
    print(f"law: {card.law}")
    print(
        f"right: {accuracy['naive']:.3f} on the {accuracy['questions']} questions that chose it; "
        f"{accuracy['shrunk']:.3f} less the luck of the best of {accuracy['among']} "
        f"[{low:.2f}, {high:.2f}]; {accuracy['tokens']:.0f} tokens a question"
    )
    held = accuracy["held_out"]
    what = (
        f"{held['value']:.3f} +- {held['error']:.2f} on {held['questions']} questions, which differ"
        if held["from_held_out"]
        else f"{held['questions']} questions do not contradict the above, which spends no look"
    )
    print(f"held out: {what}; {held['looks_left']} looks left")
    print(f"classes: {card.classes['why']}")
    said, raw = card.calibration, card.calibration["raw_share"]
    ranks = "not defined" if said["auroc"] is None else f"{said['auroc']:.2f}"
    print(
        f"calibration: {card.calibrator.method}, error {said['ece']:.3f} "
        f"[{said['ece_interval'][0]:.2f}, {said['ece_interval'][1]:.2f}] (the raw share "
        f"{raw['ece']:.3f}), Brier {said['brier']:.3f}, AUROC {ranks}"
    )
    for risk in card.risks:
        print(_risk(risk))
    for verifier in card.verifiers or []:
        print(_verifier(verifier))
    print(_cost(card.cost))


def _risk(row: Any) -> str:
    if row["missing"]:
        return f"--risk {row['risk']:g}: answers nothing; {row['missing']}"
    wrong, answered = row["wrong"]
    return (
        f"--risk {row['risk']:g}: answers {row['answers']:.0%} of questions, here {wrong} of "
        f"{answered} wrong; at most {row['risk']:.0%} with confidence {row['confidence']:g}"
    )


def _verifier(row: Any) -> str:
    if "why" in row:
        return f"verifier {row['name']}: {row['why']}"
    said = []
    for name in ("false_positive", "false_negative"):
        rate, (low, high) = row[name]["rate"], row[name]["interval"]
        shown = "none seen" if rate is None else f"{rate:.2f} [{low:.2f}, {high:.2f}]"
        said.append(f"{name.replace('_', ' ')} rate {shown}")
    return f"verifier {row['name']}: {', '.join(said)}; K* {row['most_draws']}"


def _cost(row: Any) -> str:
    if "why" in row:
        return f"cost model: {row['why']}"
    _, base, step = row["steps"][0]
    return (
        f"cost model: {base:.3f} s and {row['rate'] * 1000:.2f} ms a prompt token beyond "
        f"{row['flat']:.0f}, {step * 1000:.1f} ms a token written; R^2 {row['r2']:.3f}"
    )
