"""Selecting among programs by running them: accuracy on code questions, from a bank of samples.

    ponder run mbpp.jsonl --out mbpp.results.jsonl --bank code.sqlite --limit 40 \\
        --strategy "direct(top_p=0.95) | draw(16) | vote"
    python benchmarks/coding.py --data mbpp.jsonl --bank code.sqlite --limit 40

``passes`` runs the tests that the question shows (doctests, or the first assert); an answer is
right if it passes all its tests, those that nothing but the grading sees included. ``--tests`` lets
the model write tests too, which costs a request a question. Differences are paired by question;
the interval is a bootstrap over questions.
"""

from __future__ import annotations

import argparse
import datetime
from itertools import islice
from pathlib import Path

import numpy as np
from harness import machine
from methods import Floats, Remembered, interval

import ponder
from ponder.answering import Answer, Session, as_strategy
from ponder.bank import Bank
from ponder.grading import passes_all
from ponder.guarantee import pass_at_k
from ponder.question import Question, read_questions
from ponder.verify.sandbox import Sandbox

HEAD = "direct(top_p=0.95)"
SELECTIONS = ("vote", "best(passes)", "weigh(passes) | vote", "weigh(passing) | vote")
WRITTEN = (
    "write_tests | best(passes)",
    "write_tests | executed_tests(4) | vote",
    "write_tests | consensus | vote",
)
SIZES = (4, 16)


def answers(session: Session, questions: list[Question]) -> dict[str, Answer]:
    """The answer of every question that the bank knows."""
    pairs = session.answers(questions)
    return {question.id: found for question, found in pairs if isinstance(found, Answer)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--tests", action="store_true", help="with tests that the model writes")
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    given = parser.parse_args()
    listed = islice(read_questions(given.data), given.limit)
    questions = [question for question in listed if isinstance(question, Question)]
    bank = Bank(given.bank, create=False)
    services = {"python": Remembered(Sandbox())}
    model = ponder.load(given.model) if given.tests else None

    def run(strategy: str) -> dict[str, Answer]:
        session = Session(
            model,
            as_strategy(strategy),
            model_name=given.model,
            bank=bank,
            replay=model is None,
            services=services,
        )
        return answers(session, questions)

    drawn = run(f"{HEAD} | draw({SIZES[-1]}) | vote")
    known = [question for question in questions if question.id in drawn]
    right = np.array(
        [
            sum(
                passes_all(q, getattr(t.value, "program", None), services)
                for t in drawn[q.id].posterior.population.traces
            )
            for q in known
        ]
    )
    tokens = np.mean([drawn[q.id].ledger.banked for q in known]) / SIZES[-1]
    print(f"{machine()['processor']}, {datetime.date.today()}: {given.data.stem}")
    print(f"{len(known)} questions, {tokens:.0f} tokens a sample")
    for k in (1, *SIZES):
        print(f"pass@{k}: {np.mean([pass_at_k(SIZES[-1], int(c), k) for c in right]):.3f}")
    one: Floats = right / SIZES[-1]
    for n in SIZES:
        for selection in (*SELECTIONS, *(WRITTEN if given.tests else ())):
            strategy = f"{HEAD} | draw({n}) | {selection}"
            found = run(strategy)
            scores = np.array([bool(found[q.id].correct) for q in known], dtype=float)
            low, high = interval(scores - one)
            gain = f"{(scores - one).mean():+.3f} [{low:+.3f}, {high:+.3f}]"
            print(f"{strategy:66} {scores.mean():.3f}  against one sample {gain}")


if __name__ == "__main__":
    main()
