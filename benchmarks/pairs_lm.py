"""What pairs of answers in one reply tell of a language model, beside plain independent samples.

    python benchmarks/pairs_lm.py --data gsm8k.jsonl --limit 40 --bank pairs.sqlite \\
        --json pairs_lm.json --png pairs_lm.png

The answer that ``twice | draw(n) | pairs`` gives most often first, and what pairs say of it: m, c,
m / c and V; beside it the share of the same answer, and of their own, among n independent draws of
``direct``. Asked of each: does it rank right answers above wrong ones (AUROC), is it the
probability to be right (ECE), and how many of the answers accepted at beta are wrong. With --think
both write short chains (``cot``). Samples are kept in the bank: a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import ponder
from ponder.answering import Answer, Session
from ponder.bank import Bank
from ponder.blocks import draw, vote
from ponder.checking.pairs import second_order
from ponder.guarantee.reliability import auroc, ece
from ponder.question import Question, read_questions
from ponder.recipes import cot, direct
from ponder.recipes.pairs import PairPosterior, pairs, twice
from ponder.strategy import Pipeline

BETAS = (0.05, 0.1, 0.2)


def strategies(n: int, think: bool, temperature: float) -> tuple[Pipeline, Pipeline]:
    """Pairs, and independent samples of the same kind; settings to the benefit of neither."""
    law: dict[str, Any] = {"temperature": temperature}
    if think:
        paired = twice(think=True, max_tokens=400, **law) | draw(n) | pairs
        return paired, cot(max_tokens=240, **law) | draw(n) | vote
    return twice(max_tokens=40, **law) | draw(n) | pairs, direct(max_tokens=24, **law) | draw(
        n
    ) | vote


def answered(strategy: Pipeline, model: Any, bank: Bank, questions: Sequence[Question]) -> Any:
    """Answers by question."""
    session = Session(model, strategy, bank=bank)
    found: dict[str, Answer] = {}
    for question, answer in session.answers(questions):
        if isinstance(answer, BaseException):
            raise answer
        found[question.id] = answer
        print(f"{strategy!r}: {len(found)} of {len(questions)}", file=sys.stderr)
    return found


def row(question: Question, paired: Answer, plain: Answer) -> dict[str, Any]:
    """What is known of one question."""
    posterior = paired.posterior
    assert isinstance(posterior, PairPosterior)
    shares = {s.answer: s.share for s in plain.posterior.shares}
    pair = posterior.pair
    found: dict[str, Any] = {
        "id": question.id,
        "right": posterior.leader is not None and bool(question.correct(posterior.leader)),
        "unread": posterior.unparsed,
        "plain_right": plain.posterior.answer is not None
        and bool(question.correct(plain.posterior.answer)),
        "plain_share": max(shares.values(), default=None),
        "plain_share_of_same": shares.get(posterior.leader, 0.0),
        "plain_unread": plain.posterior.unparsed,
        "tokens": paired.price.generated,
        "plain_tokens": plain.price.generated,
    }
    if posterior.leader is not None and pair is not None:
        known = pair.prediction
        found |= {"pairs": pair.n, "m": pair.m, "c": known.c, "asymmetry": pair.asymmetry}
        found |= {"m/c": 1 - known.hallucination, "V": None, "V_plug_in": known.variance}
        if not math.isnan(pair.variance):
            found["V"] = pair.variance
    return found


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """AUROC, ECE and errors among the accepted, of what pairs and plain samples say."""
    told = [r for r in rows if "m" in r and r["V"] is not None]
    plain = [r for r in rows if r["plain_share"] is not None]
    right = np.array([r["right"] for r in told], dtype=float)
    own = np.array([r["plain_right"] for r in plain], dtype=float)
    column = {k: np.array([r[k] for r in told], dtype=float) for k in ("m", "c", "m/c", "V")}
    same = np.array([r["plain_share_of_same"] for r in told], dtype=float)
    share = np.array([r["plain_share"] for r in plain], dtype=float)
    scores = {
        "m": (column["m"], right),
        "c": (column["c"], right),
        "m/c": (column["m/c"], right),
        "small V": ((1 - column["V"]) / 2, right),
        "share of independent draws, of the same answer": (same, right),
        "share of independent draws, of their own answer": (share, own),
    }
    probabilities = ("m", *list(scores)[-2:])
    return {
        "questions": len(rows),
        "with two answers": len(told),
        "accuracy": float(np.mean([r["right"] for r in rows])),
        "accuracy of independent draws": float(np.mean([r["plain_right"] for r in rows])),
        "mean": {k: float(v.mean()) for k, v in column.items()} if told else {},
        "asymmetry": float(np.mean([r["asymmetry"] for r in told])) if told else None,
        "auroc": {name: _ranked(*pair) for name, pair in scores.items()},
        "ece": {name: _apart(*scores[name]) for name in probabilities},
        "accepted": {b: _accepted(b, column["m/c"], right, share, own) for b in BETAS},
        "calibration": _calibration(column, right),
    }


def _ranked(score: Any, right: Any, resamples: int = 1000) -> list[float] | None:
    """AUROC and a 95% percentile interval over questions; None if all are right or all wrong."""
    value = auroc(score, right) if len(score) else None
    if value is None:
        return None
    rng = np.random.default_rng(0)
    drawn = [rng.integers(len(score), size=len(score)) for _ in range(resamples)]
    found = [v for i in drawn if (v := auroc(score[i], right[i])) is not None]
    return [value, *np.quantile(found, (0.025, 0.975)).tolist()]


def _apart(probability: Any, right: Any) -> dict[str, float] | None:
    if not len(probability):
        return None
    found = ece(probability, right, np.arange(len(right)))
    return {"value": found.value, "low": found.low, "high": found.high, "noise": found.noise}


def _accepted(beta: float, ratio: Any, right: Any, share: Any, own: Any) -> dict[str, Any]:
    """(answers accepted, wrong ones among them), by m / c and by the plain share."""
    kept, plain = ratio >= 1 - beta - 1e-12, share >= 1 - beta - 1e-12
    return {
        "pairs": [int(kept.sum()), int((1 - right)[kept].sum())],
        "share": [int(plain.sum()), int((1 - own)[plain].sum())],
    }


def _calibration(column: dict[str, Any], right: Any) -> list[dict[str, Any]]:
    """Whether the right answer, which is the same twice, refutes m and c as calibrated."""
    if not len(right):
        return []
    return [f.as_dict() for f in second_order(column["m"], column["c"], right, right).findings]


def drawing(rows: Sequence[dict[str, Any]], found: dict[str, Any], path: Path) -> None:
    """m against c by whether the answer is right, and AUROCs with their intervals."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 4), width_ratios=(1, 1), layout="constrained"
    )
    jitter = np.random.default_rng(0).normal(0, 0.008, size=(len(rows), 2))
    for said, colour, name in ((True, "C0", "right"), (False, "C3", "wrong")):
        inside = [i for i, r in enumerate(rows) if "m" in r and r["right"] == said]
        at = np.array([(rows[i]["m"], rows[i]["c"]) for i in inside]).reshape(-1, 2)
        left.scatter(*(at + jitter[inside]).T, s=16, color=colour, alpha=0.7, label=name)
    left.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    left.set(xlabel="m: share of first answers", ylabel="c: repeated by the second")
    left.set(title="Leading answers (on the line: nothing to learn from the first)")
    left.title.set_fontsize(10)
    left.legend(frameon=False)
    names = [name for name, value in found["auroc"].items() if value is not None]
    for place, name in enumerate(reversed(names)):
        value, low, high = found["auroc"][name]
        right.plot([low, high], [place, place], color="C0")
        right.plot(value, place, "o", color="C0")
    right.axvline(0.5, color="grey", linewidth=0.8)
    labels = [
        name.replace("share of independent draws, ", "independent share,\n")
        for name in reversed(names)
    ]
    right.set_yticks(range(len(names)), labels)
    right.set(xlabel="AUROC, with 95% over questions", xlim=(0, 1))
    right.set_title("Does it rank right answers above wrong ones?", fontsize=10)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--model", default="qwen2.5-coder-1.5b")
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--think", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--png", type=Path)
    args = parser.parse_args()
    asked = [q for q in read_questions(args.data) if isinstance(q, Question)]
    questions = list(islice(asked, args.limit))
    paired, plain = strategies(args.n, args.think, args.temperature)
    model = ponder.load(args.model)
    with closing(Bank(args.bank)) as bank:
        by_pairs = answered(paired, model, bank, questions)
        by_draws = answered(plain, model, bank, questions)
    rows = [row(q, by_pairs[q.id], by_draws[q.id]) for q in questions]
    found = summary(rows) | {
        "model": args.model,
        "strategies": [repr(paired), repr(plain)],
        "tokens": [sum(r["tokens"] for r in rows), sum(r["plain_tokens"] for r in rows)],
        "data": args.data.name,
    }
    print(json.dumps(found, indent=1))
    if args.png:
        drawing(rows, found, args.png)
    if args.json:
        args.json.write_text(json.dumps(found | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
