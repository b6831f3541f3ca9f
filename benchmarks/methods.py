"""Methods at equal tokens, replayed on recorded samples: accuracy, tokens, paired differences.

    python benchmarks/methods.py --data gsm8k.jsonl --cot cot.jsonl.gz --pot pot.jsonl.gz

Every row is the composition itself, run on the recorded samples in a random order, again for each
seed. ``against`` is the better of two votes, over chains of thought and over programs, at the
same tokens (between two sizes, the straight line). Its difference is paired by question; the
interval is a bootstrap over questions.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from harness import machine
from numpy.typing import NDArray
from recorded import RecordedLM, read_samples

from ponder.answering import Session, as_strategy
from ponder.question import Question, read_questions
from ponder.recipes.programs import pot_instruction
from ponder.recipes.prompting import ask_messages
from ponder.recipes.replies import cot_instruction
from ponder.verify.sandbox import Sandbox

Floats = NDArray[np.float64]
SIZES = (1, 2, 3, 4, 6, 8, 12, 16)
METHODS = (
    "cot | draw(8) | weigh(perplexity) | vote",
    "cot | draw(8) | best(perplexity)",
    "cot | draw(8) | likely(perplexity) | distinct | weigh(perplexity) | vote",
    "cot | draw(16) | likely(perplexity) | distinct | weigh(perplexity) | vote",
    "cot | draw(16, stop=agreement(0.95)) | vote",
    "cot | draw(16, stop=dirichlet(0.95)) | vote",
    "cot | draw(16, stop=settled(0.05)) | vote",
    "cot | draw(16, stop=settled(0.2)) | vote",
    "cot | draw(16, stop=settled(0.2)) | certify(0.2)",
    "pot | draw(16, stop=agreement(0.95)) | vote",
    "either(cot, pot) | stratify(1, 4) | vote",
    "either(cot, pot) | stratify(2, 4) | vote",
    "either(cot, pot) | stratify(4, 8) | vote",
    "either(cot, pot) | stratify(2, 4) | product",
    "either(cot, pot) | stratify(2, 8) | product",
    "either(cot, pot) | stratify(4, 8) | product",
    "either(cot, pot) | stratify(8, 16) | product",
    "either(cot, pot) | stratify(4, 8, stop=corroborated) | product",
    "either(cot, pot) | stratify(8, 16, stop=corroborated) | product",
    "either(cot, pot) | stratify(8, 16, stop=corroborated(2)) | product",
)


class Remembered:
    """A service that is asked the same only once."""

    def __init__(self, service: Any) -> None:
        self.name, self.fingerprint = service.name, service.fingerprint
        self._service = service
        self._known: dict[str, dict[str, Any]] = {}

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        key = json.dumps(request, sort_keys=True)
        if key not in self._known:
            self._known[key] = self._service.answer(request)
        return self._known[key]


@dataclass(frozen=True)
class Result:
    """Of one method, by question (Q,): how often right, how often answered, tokens generated."""

    right: Floats
    answered: Floats
    tokens: Floats


@dataclass(frozen=True)
class Bench:
    """The questions, what was replied to them, and how often a method is run on each."""

    questions: list[Question]
    replies: dict[str, list[dict[str, Any]]]
    services: dict[str, Any]
    seeds: int

    def run(self, strategy: str) -> Result:
        """The method on every question, once a seed."""
        place = {question.id: i for i, question in enumerate(self.questions)}
        sums = np.zeros((3, len(place)))
        for seed in range(self.seeds):
            session = Session(
                RecordedLM(self.replies), as_strategy(strategy), seed=seed, services=self.services
            )
            for question, answer in session.answers(self.questions):
                if isinstance(answer, BaseException):
                    raise answer
                found = (bool(answer.correct), answer.text is not None, answer.ledger.generated)
                sums[:, place[question.id]] += found
        return Result(*(sums / self.seeds))


def at_tokens(curve: list[Result], tokens: float) -> Floats:
    """Accuracy by question where a curve's mean tokens are ``tokens``; flat beyond its ends."""
    spent = [float(result.tokens.mean()) for result in curve]
    by_question = np.stack([result.right for result in curve])
    return np.array([np.interp(tokens, spent, column) for column in by_question.T])


def interval(differences: Floats, seed: int = 0) -> tuple[float, float]:
    """95% of the bootstrap means over questions."""
    rng = np.random.default_rng(seed)
    drawn = rng.choice(differences, (10_000, len(differences))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def row(strategy: str, result: Result, curves: dict[str, list[Result]]) -> str:
    """One line of the table."""
    tokens = float(result.tokens.mean())
    rivals = {name: at_tokens(curve, tokens) for name, curve in curves.items()}
    rival = max(rivals, key=lambda name: float(rivals[name].mean()))
    apart = result.right - rivals[rival]
    low, high = interval(apart)
    return (
        f"{strategy:70} {result.right.mean():6.3f} {result.answered.mean():6.2f} {tokens:7.0f}  "
        f"{rivals[rival].mean():.3f} ({rival})  {apart.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--data", "--cot", "--pot"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", default="", help="only methods that contain this")
    given = parser.parse_args()
    recorded = {kind: read_samples(getattr(given, kind)) for kind in ("cot", "pot")}
    questions = [
        q for q in read_questions(given.data) if isinstance(q, Question) and q.id in recorded["cot"]
    ]
    replies = {
        ask_messages(q, instruction(q))[-1]["content"]: recorded[kind][q.id]
        for kind, instruction in (("cot", cot_instruction), ("pot", pot_instruction))
        for q in questions
    }
    bench = Bench(questions, replies, {"python": Remembered(Sandbox())}, given.seeds)
    where = f"{machine()['processor']}, {datetime.date.today()}"
    print(f"{where}: {len(questions)} questions, {given.seeds} seeds")
    print(f"{'method':70} {'right':>6} {'said':>6} {'tokens':>7}  against")
    votes = {(head, n): f"{head} | draw({n}) | vote" for head in ("cot", "pot") for n in SIZES}
    found = {place: bench.run(strategy) for place, strategy in votes.items()}
    curves = {head: [found[head, n] for n in SIZES] for head in ("cot", "pot")}
    for place, strategy in votes.items():
        print(row(strategy, found[place], curves))
    for strategy in METHODS:
        if given.only in strategy:
            print(row(strategy, bench.run(strategy), curves), flush=True)


if __name__ == "__main__":
    main()
