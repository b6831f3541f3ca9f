"""One budget over many questions: tokens to reach what 16 samples of each reach, spent evenly.

    python benchmarks/spending.py --data gsm8k.jsonl --samples gsm8k.pot.jsonl.gz --program pot

Recorded samples in random orders. An answer counts 1 (plain), the exponential of its reply's mean
log-probability (perplexity), or the odds that a reply like it is right, learnt on one half of the
questions and used on the other: by logistic regression on the mean log-probability (words), or on
that, whether the answer is whole and whether it is negative (form). Samples are spent evenly, by a
stop rule, or by ``ponder.spending``. ``known`` is what no method can do: of each question the
number of samples that is right the most often for its tokens.

Tokens are those generated, a question. Ratios are to 16 samples of each question; their intervals,
and those of differences, are 95% of bootstraps over questions, the allocation staying what it was.
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from harness import machine
from orders import LEARNT, Floats, Ints, Recorded, Run, load, votes_of

from ponder.answering import Answer, Session, as_strategy
from ponder.bank import Bank
from ponder.evidence.recordings import read_recordings
from ponder.evidence.rerun import Rerun, Samples
from ponder.evidence.sharing import AskedOnce
from ponder.guarantee.stopping import agreement
from ponder.ledger import Budget
from ponder.question import Question, read_questions
from ponder.spending import Policy, Seen, spend
from ponder.spending.spread import spread
from ponder.verify.sandbox import Sandbox

STOPS = (0.5, 0.7, 0.76, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.99)
EVEN = 200  # orders for what is cheap
SHOWN = (1, 1.5, 2, 3, 4, 5, 6, 8, 12)


@dataclass(frozen=True)
class Curve:
    """Levels of spending: how often right, tokens, times asked: (levels, questions) each."""

    right: Floats
    tokens: Floats
    asks: Floats


def evenly(run: Run) -> Curve:
    """Every number of samples, the same for all."""
    once = np.ones_like(run.right.T)
    return Curve(run.right.T, run.paid.T, once)


def stopping(run: Run) -> Curve:
    """Adaptive-Consistency's rule, at several confidences."""
    levels = []
    for confidence in STOPS:
        rule, n = agreement(confidence), np.full(len(run.right), run.right.shape[1])
        for i, row in enumerate(run.answers):
            for m in range(1, len(row) + 1):
                said = [a for a in row[:m].tolist() if a >= 0]
                if rule.stops(said):
                    n[i] = m
                    break
        levels.append((*run.at(n), n.astype(float)))
    return Curve(*(np.array(x) for x in zip(*levels, strict=True)))


def spending(run: Run, grid: Floats, policy: Policy, again: Floats) -> Curve:
    """``ponder.spending`` with more money than it can use: where it stood at each level."""
    n = np.zeros(len(run.right), dtype=int)
    asks = np.zeros(len(run.right))
    states: list[tuple[Floats, Floats, Floats]] = []

    def ask(wanted: Mapping[str, int]) -> dict[str, Seen]:
        for id, many in wanted.items():
            n[int(id)] = many
            asks[int(id)] += 1
        if (n > 0).all():
            right, tokens = run.at(n)
            states.append((right, tokens + again * (asks - 1), asks.copy()))
        return {id: run.seen(int(id), many, float(again[int(id)])) for id, many in wanted.items()}

    spend(ask, [str(i) for i in range(len(n))], float("inf"), policy)
    totals = np.array([tokens.mean() for _, tokens, _ in states])
    last = np.maximum(np.searchsorted(totals, grid, side="right") - 1, 0)
    return Curve(*(np.array([states[i][part] for i in last]) for part in range(3)))


def known(even: Curve) -> Curve:
    """Numbers of samples of each question chosen by what is right most often for their tokens."""
    right, tokens = (np.vstack([0 * x[:1], x]) for x in (even.right, even.tokens))
    prices = np.geomspace(1e-6, 1, 400)[::-1]
    best = [np.argmax(right - price * tokens, axis=0)[None] for price in prices]
    levels = [[np.take_along_axis(x, b, axis=0)[0] for x in (right, tokens)] for b in best]
    levels = [level for level in levels if level[1].any()]
    found = [np.array(x) for x in zip(*levels, strict=True)]
    return Curve(found[0], found[1], np.ones_like(found[0]))


def mean_curve(curves: list[Curve]) -> Curve:
    """The mean over orders."""
    parts = ("right", "tokens", "asks")
    return Curve(*(np.mean([getattr(c, part) for c in curves], axis=0) for part in parts))


def reached(curve: Curve, target: Floats, drawn: Ints) -> Floats:
    """Mean tokens at which accuracy first is the target, of resampled questions: inf if never."""
    found = []
    for questions, wanted in zip(drawn, target, strict=True):
        right = np.maximum.accumulate(curve.right[:, questions].mean(axis=1))
        tokens = curve.tokens[:, questions].mean(axis=1)
        place = int(np.searchsorted(right, wanted - 1e-9))
        if place == len(right):
            found.append(np.inf)
        elif place == 0:
            found.append(tokens[0])
        else:
            span = right[place] - right[place - 1]
            part = (wanted - right[place - 1]) / span
            found.append(tokens[place - 1] + part * (tokens[place] - tokens[place - 1]))
    return np.array(found)


def at_tokens(curve: Curve, tokens: float) -> Floats:
    """How often right, by question, at so many mean tokens; flat beyond the ends."""
    spent = curve.tokens.mean(axis=1)
    return np.array([np.interp(tokens, spent, column) for column in curve.right.T])


def compared(curve: Curve, goal: Curve) -> str:
    """The ratio to the goal's tokens, and the difference at a quarter of them, with intervals.

    ``goal`` has 16 samples of each question for its last level.
    """
    rng = np.random.default_rng(0)
    questions = goal.right.shape[1]
    drawn = np.vstack([np.arange(questions), rng.integers(questions, size=(4000, questions))])
    target, full = (x[-1][drawn].mean(axis=1) for x in (goal.right, goal.tokens))
    ratios = reached(curve, target, drawn) / full
    low, high = np.quantile(ratios[1:], [0.025, 0.975], method="nearest")
    apart = at_tokens(curve, full[0] / 4) - goal.right[-1]
    below, above = np.quantile(apart[drawn[1:]].mean(axis=1), [0.025, 0.975])
    ratio, gap = f"{ratios[0]:.2f} [{low:.2f}, {high:.2f}]", f"{apart.mean():+.3f}"
    return f"  {ratio:<19}  {gap} [{below:+.3f}, {above:+.3f}]"


def live(session: Session, questions: list[Question]) -> tuple[float, float]:
    """(accuracy, tokens a question) of ``ponder run`` under the session's cap."""
    right = 0.0
    for _, answer in spread(session, questions):
        if isinstance(answer, BaseException):
            raise answer
        right += bool(answer.correct)
    return right / len(questions), session.runtime.spent.tokens / len(questions)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--program", choices=("cot", "pot"), default="pot")
    parser.add_argument("--orders", type=int, default=20)
    parser.add_argument("--reread", action="store_true", help="and if no prompt's state is kept")
    parser.add_argument("--votes", nargs="*", default=["plain", "perplexity", *LEARNT])
    given = parser.parse_args()
    recordings = list(read_recordings(given.samples, given.program))
    asked = {recording.question for recording in recordings}
    questions = [q for q in read_questions(given.data) if isinstance(q, Question) and q.id in asked]
    samples = Samples()
    samples.bind(recordings, questions)
    services = AskedOnce({"python": Sandbox()})
    most = max(recording.index for recording in recordings) + 1
    everything = as_strategy(f"{given.program} | draw({most}) | vote")
    answers: dict[str, Answer] = {}
    first = Session(Rerun(samples, None, "recorded", shuffled=False), everything, services=services)
    for question, answer in first.answers(questions):
        if isinstance(answer, BaseException):
            raise answer
        answers[question.id] = answer
    lengths = {recording.question: recording.prompt_tokens for recording in recordings}
    prompt = np.array([lengths[q.id] for q in questions], dtype=float)
    data = load(questions, answers, prompt)
    tables(data, given.votes, given.orders, reread=given.reread)
    for weigh in ("", " | weigh(perplexity)"):
        strategy, found = f"{given.program} | draw({most}){weigh} | vote", []
        for seed in range(8):
            session = Session(
                Rerun(samples, None, "recorded", shuffled=True),
                as_strategy(strategy),
                services=services,
                bank=Bank(":memory:"),
                seed=seed,
                budget=Budget(max_tokens=int(data.tokens.sum() / 4)),
            )
            found.append(live(session, questions))
        right, tokens = np.mean(found, axis=0)
        print(f"as ponder run, {strategy}: {right:.3f} at {tokens:.0f} tokens, 8 seeds")


def tables(data: Recorded, votes: list[str], orders: int, *, reread: bool) -> None:
    """One table for each kind of votes."""
    most, unit = data.shape[1], float(data.tokens.mean())
    grid = np.geomspace(unit, most * unit, 120)
    print(f"{machine()['processor']}, {datetime.date.today()}: {data.shape[0]} questions,")
    print(f"{orders} orders; a sample has {unit:.0f} tokens, a prompt {data.prompt.mean():.0f}")
    drawn = data.orders(EVEN)
    goal = mean_curve([evenly(Run.of(data, votes_of(data, "plain", 0), o)) for o in drawn])
    covered = float((data.right.sum(axis=1) > 0).mean())
    print(f"{most} samples each, plain votes: {goal.right[-1].mean():.3f}; covered {covered:.3f}")
    head = " ".join(f"{x * unit:5.0f}" for x in SHOWN)
    print(f"{'tokens a question':24} {head}  ratio to plain        at a quarter of the tokens")
    for kind in votes:
        runs = [Run.of(data, votes_of(data, kind, i), order) for i, order in enumerate(drawn)]
        few = runs[:orders]
        even = mean_curve([evenly(run) for run in runs])
        policy, free = Policy(cap=most), np.zeros(data.shape[0])
        spent = mean_curve([spending(run, grid, policy, free) for run in few])
        curves = {
            "even": even,
            "Beta stop": mean_curve([stopping(run) for run in few]),
            "spending": spent,
            "known": known(even),
        }
        if reread:
            runs_again = [spending(run, grid, policy, data.prompt) for run in few]
            curves["  prompt read every time"] = mean_curve(runs_again)
        print(f"{kind} votes: {even.right[-1].mean():.3f} with {most} samples each")
        for name, curve in curves.items():
            row = " ".join(f"{at_tokens(curve, x * unit).mean():.3f}" for x in SHOWN)
            print(f"{name:24} {row}{compared(curve, goal)}", flush=True)
        quarter = int(np.argmin(abs(spent.tokens.mean(axis=1) - most * unit / 4)))
        print(f"  spending to {most} samples with the same votes: {compared(spent, even)}")
        print(
            f"  ends by itself at {spent.tokens[-1].mean():.0f} tokens; asks a question "
            f"{spent.asks[quarter].mean():.1f} times for a quarter"
        )


if __name__ == "__main__":
    main()
