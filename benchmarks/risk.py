"""Abstention and prediction sets on recorded samples, by repeated splits of the questions.

    python benchmarks/risk.py --tasks gsm8k.jsonl --bank bank.sqlite

Half of the questions calibrates (``learn_then_test``, split conformal), the other half tests; again
for each of 200 random splits, on one order of the samples each. The score is the answer's share:
fixed before any label was seen. ``chosen`` takes, in each split, the strategy that is most
accurate on the half that calibrates, as ``ponder tune`` chooses and calibrates on the same
questions.

How to read it. A certificate holds for the error of *new* questions, in 95% of calibrations. What a
split shows is only near that: the error among the answered of a test half comes from few of them,
so that it exceeds the risk R in about half of the splits where R is exactly true; and the halves
complement each other, so that a half with few errors, which certifies, leaves the others to the
half that tests. ``above R`` (the share of all splits that certify and whose test half exceeds R)
may therefore be above .05 without any certificate being false. The interval of the pooled error
resamples questions.

``false`` has neither noise. It takes all questions in all orders for the population, whose error at
a threshold is known, and calibrates on as many questions as there are, drawn from it with
replacement: the share of 2,000 calibrations that certify a threshold whose error is above R. That
is what is promised to be at most .05. ``all`` is the share of the orders on which the questions as
they are certify R.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from harness import machine
from numpy.typing import NDArray

from ponder.answering import Answer, as_strategy
from ponder.bank import Bank
from ponder.evidence.evaluate import Evaluation
from ponder.evidence.replaying import evaluation
from ponder.evidence.tasks import Tasks, read_tasks
from ponder.guarantee.conformal import PredictionSets
from ponder.guarantee.risk import learn_then_test
from ponder.verify.services import Services

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]
STRATEGIES = (
    "cot | draw(16) | vote",
    "pot | draw(16) | vote",
    "pot | draw(16) | weigh(perplexity) | vote",
    "either(cot, pot) | stratify(8, 16, stop=corroborated) | product",
)
SPLITS = 200
CALIBRATIONS = 2000
RESAMPLES = 2000


@dataclass
class Seen:
    """One strategy on all questions, in ``orders`` orders: scores and credit (orders, Q).

    ``shares`` are the posteriors of each order and question, by answer, ``right`` the answers among
    them that are right.
    """

    strategy: str
    score: Floats
    credit: Floats
    shares: list[list[dict[Any, float]]] = field(default_factory=list)
    right: list[list[list[Any]]] = field(default_factory=list)


def seen(ready: Evaluation, text: str, orders: int) -> Seen:
    """Run a strategy on ``orders`` orders of the samples."""
    posteriors: list[Any] = []

    def keep(posterior: Any) -> dict[str, float]:
        posteriors.append(posterior)
        return {}

    strategy = as_strategy(text)
    first = ready.sample(strategy)
    failed = [answer for answer in first if not isinstance(answer, Answer)]
    if failed:
        raise failed[0]
    ready.orders, ready.signals = orders, keep
    measured = ready.measure(strategy, first)
    ready.signals = None
    if measured.orders != orders:
        raise SystemExit(f"{text} cannot be run in other orders")
    n = len(ready.questions)
    score = [-np.inf if r.probability is None else r.probability for r in measured.runs]
    credit = [run.credit for run in measured.runs]
    found = Seen(text, np.array(score).reshape(orders, n), np.array(credit).reshape(orders, n))
    for o in range(orders):
        rows = posteriors[o * n : (o + 1) * n]
        found.shares.append([{s.answer: s.share for s in p.shares} for p in rows])
        found.right.append(
            [
                [s.answer for s in p.shares if q.correct(s.answer)]
                for p, q in zip(rows, ready.questions, strict=True)
            ]
        )
    return found


@dataclass
class Row:
    """Of one strategy at one level: see the module."""

    strategy: str
    level: float
    certified: float
    whole: float
    answered: float
    error: float
    low: float
    high: float
    exceeds: float
    false: float


def abstention(pick: Callable[[int, Ints], Seen], name: str, risk: float, n: int) -> Row:
    """Certify on one half, answer the other, SPLITS times."""
    rng = np.random.default_rng(0)
    answered, wrong = np.zeros((SPLITS, n)), np.zeros((SPLITS, n))
    certified, whole, exceeds = 0, 0, 0
    for split in range(SPLITS):
        order = rng.permutation(n)
        here, there = order[: n // 2], order[n // 2 :]
        method = pick(split, here)
        # Ties are broken by a small random number, added to every score.
        score = method.score[split] + 1e-9 * rng.random(n)
        credit = method.credit[split]
        selector = learn_then_test(score[here], credit[here], risk=risk)
        certified += not selector.why
        whole += not learn_then_test(score, credit, risk=risk).why
        given = there[score[there] > selector.threshold]
        answered[split, given] = 1
        wrong[split, given] = 1 - credit[given]
        k = len(given)
        exceeds += k > 0 and wrong[split].sum() > risk * k
    low, high = _interval(wrong, answered)
    total = answered.sum()
    return Row(
        name,
        risk,
        certified / SPLITS,
        whole / SPLITS,
        float(answered.sum() / (SPLITS * (n - n // 2))),
        float(wrong.sum() / total) if total else float("nan"),
        low,
        high,
        exceeds / SPLITS,
        false_certificates(pick, risk, n),
    )


def false_certificates(pick: Callable[[int, Ints], Seen], risk: float, n: int) -> float:
    """The share of calibrations on n draws that certify a threshold of too large an error."""
    rng = np.random.default_rng(2)
    false = 0
    for _ in range(CALIBRATIONS):
        question, order = rng.integers(0, n, n), rng.integers(0, SPLITS, n)
        method = pick(int(order[0]), question)
        score = method.score + 1e-9 * rng.random(method.score.shape)
        selector = learn_then_test(
            score[order, question], method.credit[order, question], risk=risk
        )
        given = score > selector.threshold
        false += bool(given.any()) and float((1 - method.credit[given]).mean()) > risk
    return false / CALIBRATIONS


def _interval(wrong: Floats, answered: Floats) -> tuple[float, float]:
    """Of the pooled error, questions resampled."""
    a, w = answered.sum(axis=0), wrong.sum(axis=0)
    if not a.sum():
        return float("nan"), float("nan")
    rng = np.random.default_rng(1)
    drawn = rng.multinomial(len(a), [1 / len(a)] * len(a), size=RESAMPLES)
    found = (drawn @ w) / np.maximum(drawn @ a, 1e-12)
    return float(np.quantile(found, 0.025)), float(np.quantile(found, 0.975))


@dataclass
class Sets:
    """Prediction sets at one level: coverage of the test halves, size, share of "any answer"."""

    strategy: str
    score: str
    coverage_wanted: float
    coverage: float
    size: float
    any: float


def prediction_sets(method: Seen, alpha: float, score: str) -> Sets:
    """Fit on one half, cover the other, SPLITS times."""
    n = method.score.shape[1]
    rng = np.random.default_rng(0)
    covered: list[float] = []
    sizes: list[int] = []
    anything = 0
    for split in range(SPLITS):
        order = rng.permutation(n)
        shares, right = method.shares[split], method.right[split]
        fitted = PredictionSets.fit(
            [shares[i] for i in order[: n // 2]],
            [right[i][0] if right[i] else None for i in order[: n // 2]],
            alpha,
            score,
        )
        for i in order[n // 2 :]:
            found = fitted.set(shares[i])
            anything += found.any
            covered.append(found.any or any(answer in found for answer in right[i]))
            sizes += [] if found.any else [len(found.answers)]
    return Sets(
        method.strategy,
        score,
        1 - alpha,
        float(np.mean(covered)),
        float(np.mean(sizes)) if sizes else float("nan"),
        anything / len(covered),
    )


def show(rows: Sequence[Row], sets: Sequence[Sets]) -> None:
    """Two small tables."""
    print("\nabstention: risk certified on half of the questions, at confidence 0.95")
    print(
        f"{'strategy':<66}{'R':>5}{'certified':>10}{'all':>6}{'answered':>9}{'error':>7}{'95%':>13}"
        f"{'above R':>9}{'false':>7}"
    )
    for r in rows:
        print(
            f"{r.strategy:<66}{r.level:>5.2f}{r.certified:>10.2f}{r.whole:>6.2f}{r.answered:>9.2f}{r.error:>7.3f}"
            f"{f'{r.low:.2f}-{r.high:.2f}':>13}{r.exceeds:>9.2f}{r.false:>7.3f}"
        )
    print("\nprediction sets: of the test halves")
    print(f"{'strategy':<66}{'score':>6}{'wanted':>8}{'covered':>8}{'size':>6}{'any':>6}")
    for s in sets:
        print(
            f"{s.strategy:<66}{s.score:>6}{s.coverage_wanted:>8.2f}{s.coverage:>8.3f}{s.size:>6.2f}"
            f"{s.any:>6.2f}"
        )


def main() -> None:
    """Read, replay, split, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", required=True, help="questions with answers, JSON lines")
    parser.add_argument("--bank", type=Path, required=True, help="a bank with their recordings")
    parser.add_argument("--limit", type=int, help="only the first so many questions")
    parser.add_argument("--risk", type=float, nargs="*", default=[0.2, 0.3])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    given = parser.parse_args()
    tasks: Tasks = read_tasks([given.tasks], given.limit)
    ready, notes = evaluation(
        tasks, Bank(given.bank, create=False), None, Services(), orders=SPLITS
    )
    where = machine(("ponder", "numpy", "scipy"))
    for line in [json.dumps(where), *notes]:
        print(line)
    methods = [seen(ready, text, SPLITS) for text in STRATEGIES]
    n = len(tasks.questions)

    def best(split: int, here: Ints) -> Seen:
        return max(methods, key=lambda m: float(m.credit[split, here].mean()))

    rows = []
    for risk in given.risk:
        for method in methods:
            rows.append(abstention(lambda *_, m=method: m, method.strategy, risk, n))
        rows.append(abstention(best, "chosen", risk, n))
    sets = [
        prediction_sets(method, alpha, score)
        for method in methods
        for score in ("share", "above")
        for alpha in (0.3, 0.2)
    ]
    show(rows, sets)
    if given.json:
        found = {"machine": where, "abstention": rows, "sets": sets}
        given.json.write_text(json.dumps(found, default=asdict, indent=1) + "\n")


if __name__ == "__main__":
    main()
