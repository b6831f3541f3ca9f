"""The Python interface: compare methods, and choose one, on questions with known answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ponder import defaults
from ponder.answering import as_strategy
from ponder.api import Strategy, load
from ponder.bank import Bank
from ponder.errors import PonderError
from ponder.evidence.bench import Benching, made
from ponder.evidence.candidates import candidates
from ponder.evidence.card import Card
from ponder.evidence.evaluate import Evaluation
from ponder.evidence.replaying import evaluation
from ponder.evidence.results import write_results
from ponder.evidence.tasks import Tasks, read_tasks
from ponder.evidence.tune import Tuning
from ponder.ledger import Budget
from ponder.lm.protocol import LanguageModel
from ponder.verify.services import Services

Sources = str | Path | Sequence[str | Path]


def bench(
    tasks: Sources,
    strategies: Sequence[Strategy] = (defaults.STRATEGY,),
    *,
    out: str | Path | None = None,
    model: LanguageModel | str | None = None,
    bank: Bank | str | Path | None = None,
    replay: bool = False,
    limit: int | None = None,
    orders: int = 20,
    seed: int = 0,
    scorer: Any = None,
    budget: Budget | None = None,
) -> dict[str, Any]:
    """Compare strategies at equal cost: every figure, as in ``results.json``.

    ``tasks`` are JSON-lines files with answers, or ``gym:NAME[:n[:seed]]``; with ``out``, a folder,
    ``results.json`` and ``report.html`` are written there. ``orders`` of the samples are averaged
    over, ``scorer`` grades answers, ``budget`` caps what is sampled in all; the others are as in
    :func:`ponder.ask`. Raises PonderError for anything that the caller can mend.
    """
    pipelines = [as_strategy(strategy) for strategy in strategies]
    found = _tasks(tasks, limit, scorer)
    ready, notes = _evaluation(
        found, model, bank, replay, orders=orders, seed=seed, budget=budget or Budget()
    )
    how = made(ready.name, replay, seed, "ponder.bench")
    results = Benching(found, pipelines, ready, how, notes).run()
    if out is not None:
        from ponder.evidence.report import write_report

        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        write_results(results, folder)
        write_report(results, folder / "report.html")
    return results


def tune(
    tasks: Sources,
    strategies: Sequence[Strategy] = (),
    *,
    max_tokens: float | None = None,
    model: LanguageModel | str | None = None,
    bank: Bank | str | Path | None = None,
    replay: bool = False,
    limit: int | None = None,
    orders: int = 20,
    seed: int = 0,
    scorer: Any = None,
    search: Literal["exhaustive", "halving"] = "exhaustive",
    again: Card | str | Path | None = None,
) -> Card:
    """Choose a strategy and its size on questions with known answers; calibrate what it says.

    ``max_tokens`` is what it may cost a question in the mean. ``strategies`` may have braces, and
    each is tried at all its nested sizes; without any, some common ones are. The others are as in
    :func:`bench`. The card goes to :func:`ponder.ask` and :func:`ponder.run`; ``card.write(path)``
    keeps it. Raises PonderError for anything that the caller can mend.
    """
    tried = candidates(strategies)
    found = _tasks(tasks, limit, scorer)
    earlier = again if again is None or isinstance(again, Card) else Card.read(again)
    ready, _ = _evaluation(found, model, bank, replay, orders=orders, seed=seed)
    how = made(ready.name, replay, seed, "")
    return Tuning(found, tried, ready, how, max_tokens, search, earlier).run()


def _tasks(tasks: Sources, limit: int | None, scorer: Any) -> Tasks:
    sources = [tasks] if isinstance(tasks, str | Path) else tasks
    return read_tasks([str(source) for source in sources], limit, scorer)


def _evaluation(
    tasks: Tasks,
    model: LanguageModel | str | None,
    bank: Bank | str | Path | None,
    replay: bool,
    **options: Any,
) -> tuple[Evaluation, list[str]]:
    if replay and bank is None:
        raise PonderError("replay needs a bank; give the one that has the samples as bank=")
    if isinstance(bank, str | Path):
        bank = Bank(bank, create=not replay)
    if not replay and (model is None or isinstance(model, str)):
        model = load(model)
    kept = Bank(":memory:") if bank is None else bank
    return evaluation(tasks, kept, model, Services(), load=load, **options)
