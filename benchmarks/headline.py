"""The README's headline table: what a tuned card is worth on questions that it was not tuned on.

    python benchmarks/headline.py --set gsm8k gsm8k.jsonl gsm8k.cot.jsonl.gz gsm8k.pot.jsonl.gz \
        --set mbpp mbpp.jsonl benchmarks/data/mbpp.direct.jsonl.gz

Recorded replies, in random orders. Questions are divided into halves at random, ten times; a method
or a card is chosen on one half and scored on the other, both ways. The card is what ``ponder tune``
makes of a half: two thirds of it choose, all of it calibrates. Its budget is a share of what
self-consistency of 16 costs; the best single method, the most accurate, has none. Tokens are a
method's price: the prompt read once, and all that is written.

A question's credit is the mean over orders and divisions; intervals (95%) are over questions, and
more divisions do not make them narrower. Not in them is that other labels would have chosen
otherwise, nor that the methods on offer were written down by people who had seen these replies.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from harness import machine

from ponder.answering import Answer, as_strategy
from ponder.bank import Bank
from ponder.blocks.sizes import ladder
from ponder.errors import PonderError
from ponder.evidence.abstaining import selector_of
from ponder.evidence.candidates import Candidate, candidates
from ponder.evidence.card import Card
from ponder.evidence.classes import Ints, told_by
from ponder.evidence.compare import accuracy_interval, at_tokens, paired
from ponder.evidence.evaluate import Evaluation, Floats, Measured
from ponder.evidence.recordings import import_recordings, recipe_of
from ponder.evidence.replaying import evaluation
from ponder.evidence.search import Tried
from ponder.evidence.tasks import Tasks, read_tasks
from ponder.evidence.tune import Tuning
from ponder.evidence.verifiers import clustered
from ponder.guarantee.signals import signals
from ponder.strategy import Pipeline
from ponder.verify.services import Services

RISK, CONFIDENCE = 0.2, 0.95
NUMBERS = (
    "{cot,pot} | draw(16) | vote",
    "{cot,pot} | draw(16) | weigh(perplexity) | vote",
    "{cot,pot} | draw(16, stop=agreement(0.95)) | vote",
    "cot | draw(16) | likely(perplexity) | distinct | weigh(perplexity) | vote",
    "either(cot, pot) | {stratify(8, 16),stratify(16, 16)} | {vote,product}",
    "either(cot, pot) | stratify(8, 16, stop={corroborated,corroborated(2)}) | product",
)
PROGRAMS = (
    "direct | draw(16) | vote",
    "direct | draw(16) | best(passes)",
    "direct | draw(16) | weigh(passes) | vote",
    "direct | weigh(passes) | draw(16, stop=above(1.0)) | best",
)
CODE = ("direct | draw(16) | vote", PROGRAMS)
OFFERED = {"gsm8k": ("cot | draw(16) | vote", NUMBERS), "mbpp": CODE, "humaneval": CODE}
"""Of each set self-consistency of 16, and what is chosen among, at all nested sizes."""


@dataclass
class Kept(Evaluation):
    """Measures each strategy once, by ``whole`` on all questions, and answers for some of them."""

    whole: Any = None
    first: dict[str, list[Answer | PonderError]] = field(default_factory=dict)
    known: dict[Any, Measured] = field(default_factory=dict)
    turn: int = 0  # the order of the samples that stands first: cards are certified by that one

    def sample(self, strategy: Pipeline, stages: Any = None) -> list[Answer | PonderError]:
        if (name := repr(strategy)) not in self.first:
            self.first[name] = self.whole.sample(strategy)
            print(f"{len(self.first):4} {name}", file=sys.stderr, flush=True)
        return [self.first[name][i] for i in self._places().values()]

    def measure(self, strategy: Pipeline, first: Any = None) -> Measured:
        self.sample(strategy)
        if (key := (repr(strategy), self.signals)) not in self.known:
            self.whole.signals = self.signals
            self.known[key] = self.whole.measure(strategy, self.first[key[0]])
        return self.known[key].part(self._places(), self.turn)

    def on(self, places: Ints, turn: int = 0) -> Kept:
        """The same on some questions only."""
        return replace(self, questions=[self.whole.questions[i] for i in places], turn=turn)

    def _places(self) -> dict[str, int]:
        asked = [question.id for question in self.whole.questions]
        return {question.id: asked.index(question.id) for question in self.questions}


def recorded(given: Sequence[str], bank: Bank, orders: int) -> Kept:
    """An evaluation on the questions of the first file whose replies the others have."""
    asked: set[str] = set()
    for path in map(Path, given[1:]):
        replies = import_recordings(path, bank, recipe_of(path) or "direct", "recorded")
        asked |= {reply.question for reply in replies}
    tasks = read_tasks(given[:1])
    tasks.questions = [question for question in tasks.questions if question.id in asked]
    whole, _ = evaluation(tasks, bank, None, Services(), orders=orders, signals=told_by)
    return Kept(**{f.name: getattr(whole, f.name) for f in fields(whole)}, whole=whole)


class Scored:
    """What was chosen on halves, on the others: means over divisions by question (Q,)."""

    def __init__(self, questions: int, splits: int) -> None:
        self.right, self.tokens, self.answered, self.wrong = np.zeros((4, questions))
        self.chosen: Counter[str] = Counter()
        self.certified, self._splits = 0, splits

    def add(self, there: Ints, found: Measured, card: Pipeline | Card) -> None:
        """The choice of one half; of a card also what it answers at RISK."""
        self.right[there] += found.right / self._splits
        self.tokens[there] += found.tokens / self._splits
        self.chosen[found.strategy] += 1
        if not isinstance(card, Card):
            return
        selector = selector_of(card.points, RISK, CONFIDENCE)
        self.certified += not selector.why
        given, runs = [r for r in found.runs if r.signals], self._splits * found.orders
        for run, p in zip(given, card.calibrator.predict([r.signals for r in given]), strict=True):
            if selector.answers(p):
                self.answered[there[run.question]] += 1 / runs
                self.wrong[there[run.question]] += (1 - run.credit) / runs


def best(part: Kept, offered: Sequence[Candidate]) -> Pipeline:
    """The most accurate method, of equals the cheapest."""
    tried = [Tried(c, part.measure(c.strategy)) for c in offered]
    return min(tried, key=lambda t: (-round(t.accuracy, 9), t.tokens)).candidate.strategy


def tuned(part: Kept, offered: Sequence[Candidate], most: float) -> Card:
    """The card of at most ``most`` tokens a question in the mean."""
    tasks = Tasks(list(part.questions), [""] * len(part.questions))
    return Tuning(tasks, offered, part, {}, most).run()


def scored(kept: Kept, splits: int, choose: Callable[[Kept], Pipeline | Card]) -> Scored:
    """What ``choose`` chooses on each half, on the other."""
    rng, n = np.random.default_rng(0), len(kept.questions)
    found = Scored(n, splits)
    for split in range(splits):
        mixed = rng.permutation(n)
        halves = [np.sort(half) for half in (mixed[: n // 2], mixed[n // 2 :])]
        for here, there in (halves, halves[::-1]):
            choice = choose(kept.on(here, split % kept.orders))
            strategy = choice.pipeline if isinstance(choice, Card) else choice
            other = replace(kept.on(there), signals=signals)
            found.add(there, other.measure(strategy), choice)
        print(f"division {split + 1} of {splits}", file=sys.stderr, flush=True)
    return found


def rows(name: str, kept: Kept, splits: int, budgets: Sequence[float]) -> list[dict[str, Any]]:
    """The rows of a set; ``less`` than 16 votes, and than votes as costly: None where it is one."""
    offered = candidates(OFFERED[name][1])
    curve = [kept.measure(smaller) for _, smaller in ladder(as_strategy(OFFERED[name][0]))]
    many = curve[-1]

    def row(method: str, right: Floats, tokens: Floats, **more: Any) -> dict[str, Any]:
        rivals = many.right, at_tokens(curve, float(tokens.mean())).right
        less = [None if np.array_equal(right, r) else paired(right, r) for r in rivals]
        accuracy = [float(right.mean()), *accuracy_interval(right)]
        found = {"set": name, "questions": len(right), "method": method, "right": accuracy}
        return found | {"tokens": float(tokens.mean()), "less": less, **more}

    single = scored(kept, splits, partial(best, offered=offered))
    found = [
        row("one sample", curve[0].right, curve[0].tokens),
        row("self-consistency of 16", many.right, many.tokens),
        row("best single method", single.right, single.tokens, chosen=single.chosen),
    ]
    for budget in budgets:
        most = budget * float(many.tokens.mean())
        card = scored(kept, splits, partial(tuned, offered=offered, most=most))
        error = clustered(card.wrong, card.answered)
        held: dict[str, Any] = {"certified": card.certified, "answered": card.answered.mean()}
        held |= {"error": [error.value or 0.0, error.low, error.high]}
        title = f"tuned card, at most {most:.0f} tokens"
        found.append(row(title, card.right, card.tokens, chosen=card.chosen, held=held))
    return found


def table(found: Sequence[dict[str, Any]], splits: int) -> Iterator[str]:
    """Markdown: the rows, and what was chosen."""
    yield "| set | method | right | tokens | less self-consistency of 16 | less votes as costly |"
    yield "|---|---|---|---|---|---|"
    for row in found:
        value, low, high = row["right"]
        less = " | ".join(
            "" if d is None else f"{d.mean:+.3f} [{d.low:+.3f}, {d.high:+.3f}]" for d in row["less"]
        )
        head, cost = f"| {row['set']}, {row['questions']} | {row['method']}", f"{row['tokens']:.0f}"
        yield f"{head} | {value:.3f} [{low:.2f}, {high:.2f}] | {cost} | {less} |"
        if "held" in row:
            yield f"{head}, `--risk {RISK}` | {_withheld(row['held'], 2 * splits)} | {cost} | | |"
    yield ""
    for row in (row for row in found if "chosen" in row):
        names = ", ".join(f"`{name}` {n}" for name, n in row["chosen"].most_common(3))
        yield f"- {row['set']}, {row['method']}: of {2 * splits} halves {names}"


def _withheld(held: dict[str, Any], halves: int) -> str:
    """What became of a risk, in words."""
    if not held["certified"]:
        return f"none of {halves} halves certifies it: answers nothing"
    rate, low, high = held["error"]
    said = f"{held['certified']} of {halves} halves certify it, the others answer nothing; in all "
    return said + f"{held['answered']:.2f} answered, {rate:.3f} [{low:.2f}, {high:.2f}] of it wrong"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", action="append", nargs="+", required=True, metavar="NAME FILES")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--orders", type=int, default=20)
    parser.add_argument("--budget", type=float, nargs="+", default=[0.5, 1.0])
    parser.add_argument("--out", type=Path, help="where to write the figures, as JSON")
    given = parser.parse_args()
    where, found = machine(("ponder", "numpy", "scipy")), list[dict[str, Any]]()
    for name, *files in given.set:
        if name not in OFFERED or len(files) < 2:
            parser.error(f"--set is one of {', '.join(OFFERED)}, its questions and its replies")
        with TemporaryDirectory() as folder:
            kept = recorded(files, Bank(Path(folder) / "bank.sqlite"), given.orders)
            found += rows(name, kept, given.splits, given.budget)
    print(f"{where['processor']}, {where['date']}: {given.orders} orders of the replies\n")
    print("\n".join(table(found, given.splits)))
    if given.out is not None:
        made = {"machine": where, "orders": given.orders, "splits": given.splits, "rows": found}
        given.out.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
