"""Bounded laws that rest on labelled questions: risk control and prediction sets.

Exactly, where all that can come about is listed: every sample of a small discrete population; or
every question of a fixed bag as the new one, the others labelled, which is what exchangeability
comes to once the bag is known. And at a real size by 2,000 simulated calibrations on populations
whose true risk and coverage are known in closed form, with bets on how often the promise is broken.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ponder.checking.betting import log_threshold
from ponder.checking.claims import Apart, Finding, Report, enumerated
from ponder.checking.merge import merged
from ponder.checking.wagers import Wager
from ponder.guarantee.conformal import PredictionSets
from ponder.guarantee.risk import Selector, conformal_risk, learn_then_test

Floats = NDArray[np.float64]
CALIBRATIONS = 2_000

Levels = Sequence[tuple[float, float, float]]  # (score, its probability, P(wrong | score))
LEVELS: dict[str, Levels] = {
    "useless score": [(1.0, 0.3, 0.401), (0.5, 0.7, 0.401)],
    "not all answered": [(1.0, 0.6, 0.401), (-math.inf, 0.4, 1.0)],
    "votes that tie": [(1.0, 0.4, 0.1), (0.5, 0.3, 0.81), (0.25, 0.3, 0.9)],
    "confidently wrong": [(1.0, 0.15, 0.6), (0.5, 0.85, 0.366)],
}
"""Scores that tie. Where the risk is just beyond 0.4, which is asked for, a test that is passed too
easily shows at once."""

SLOPES: dict[str, tuple[float, float]] = {
    "useless score": (0.201, 0.201),
    "useful score": (0.0, 0.5),
    "confidently wrong": (0.3, 0.12),
}
"""P(wrong) at the surest and at the least sure of uniform scores; a line between."""


class Question(NamedTuple):
    """One of a bag."""

    shares: dict[str, float]
    right: str | None


def _bag(right: Sequence[float], missing: int = 0) -> list[Question]:
    """Questions whose right answer has these shares, and some to which nobody gave it."""
    others = {"a": 0.7, "b": 0.3}
    return [
        *(
            Question({"right": r} | {a: (1 - r) * s for a, s in others.items()}, "right")
            for r in right
        ),
        *[Question(others, None)] * missing,
    ]


BAGS: dict[str, list[Question]] = {
    "ten that differ": _bag([0.05 + i / 11 for i in range(10)]),
    "ties": _bag([0.9] * 5 + [0.2] * 3 + [0.1] * 2),
    "all alike": _bag([0.4] * 8),
    "one never given": _bag([0.1 * i for i in range(1, 10)], missing=1),
    "half never given": _bag([0.1 * i for i in range(1, 6)], missing=5),
}


def risk_control(
    exact: Callable[..., Selector] = learn_then_test,
    average: Callable[..., Selector] = conformal_risk,
) -> Report:
    """Too many wrong answers are given at most as often as promised: both kinds of control."""
    started = time.perf_counter()
    findings = [_broken_exactly(exact, name, law) for name, law in LEVELS.items()]
    findings += _bet([_broken_by(exact, name, line) for name, line in SLOPES.items()])
    findings += [_loss_in_bag(average, name, bag) for name, bag in BAGS.items()]
    spent = time.perf_counter() - started
    return Report("learn_then_test, conformal_risk", "bounded", tuple(merged(findings)), spent)


def prediction_sets(fit: Callable[..., PredictionSets] = PredictionSets.fit) -> Report:
    """Sets hold the right answer as often as promised, on average and given the calibration."""
    started = time.perf_counter()
    findings = [
        _coverage_in_bag(fit, name, bag, score)
        for name, bag in BAGS.items()
        for score in ("share", "above")
    ]
    findings += _bet(_covered_by(fit))
    spent = time.perf_counter() - started
    return Report("prediction sets", "bounded", tuple(merged(findings)), spent)


def _broken_exactly(control: Callable[..., Selector], name: str, law: Levels) -> Finding:
    """P(the risk is beyond what was asked), over all samples of nine labelled questions."""
    n, risk, confidence = 9, 0.4, 0.75
    outcomes = [(s, 0.0, p * w) for s, p, w in law] + [(s, 1.0, p * (1 - w)) for s, p, w in law]
    outcomes = [outcome for outcome in outcomes if outcome[2] > 0]
    broken, runs = [], 0
    for sample in combinations_with_replacement(outcomes, n):
        runs += 1
        scores, credit, chances = zip(*sample, strict=True)
        chosen = control(scores, credit, risk=risk, confidence=confidence)
        answered = [(p, w) for s, p, w in law if chosen.answers(s)]
        wrong = math.fsum(p * w for p, w in answered)
        if wrong > risk * math.fsum(p for p, _ in answered) + 1e-12:
            alike = math.prod(map(math.factorial, Counter(sample).values()))
            broken.append(math.factorial(n) / alike * math.prod(chances))
    claim = "bounded: the error among the answered is beyond the risk as rarely as promised"
    return enumerated(claim, name, _beyond(math.fsum(broken), 1 - confidence), runs)


def _broken_by(control: Callable[..., Selector], name: str, line: tuple[float, float]) -> Wager:
    """The same of 120 labelled questions, whose scores never tie."""
    n, risk, confidence = 120, 0.2, 0.95
    first, last = line
    claim = "bounded: the same, of 120 labelled questions"
    wager = Wager(claim, name, _number, 1 - confidence, 1.0, at_most=True)
    rng = np.random.default_rng(0)

    def broken() -> float:
        depth = rng.random(n)  # the share of questions that are surer
        right = rng.random(n) >= first + (last - first) * depth
        chosen = control(-depth, right.astype(float), risk=risk, confidence=confidence)
        answered = min(max(-chosen.threshold, 0.0), 1.0)
        return float(answered > 0 and first + (last - first) * answered / 2 > risk)

    wager.observe([broken() for _ in range(CALIBRATIONS)])
    return wager


def _loss_in_bag(control: Callable[..., Selector], name: str, bag: Sequence[Question]) -> Finding:
    """The mean loss, over which question of the bag is the new one, at the worst of some risks."""
    apart, runs = (0.0, 0.0, 0.0), 0
    score = [max(q.shares.values()) for q in bag]
    # A top share that is right or wrong, and answers in part right.
    for credit in ([q.shares.get("right", 0.0) > 0.5 for q in bag], [s / 2 for s in score]):
        for risk in (0.1, 0.2, 0.25, 0.4):
            lost = []
            for new, others in _one_out(len(bag)):
                runs += 1
                known = [score[i] for i in others], [float(credit[i]) for i in others]
                answered = control(*known, risk=risk).answers(score[new])
                lost.append(answered * (1 - float(credit[new])))
            apart = max(apart, _beyond(math.fsum(lost) / len(bag), risk))
    claim = "bounded: answered and wrong at most as often as promised, on average"
    return enumerated(claim, name, apart, runs)


def _coverage_in_bag(
    fit: Callable[..., PredictionSets], name: str, bag: Sequence[Question], score: str
) -> Finding:
    """P(missed), over which question of the bag is the new one, at the worst of some levels."""
    apart, runs = (0.0, 0.0, 0.0), 0
    for alpha in (0.1, 0.2, 0.25, 0.3, 0.5):
        missed = 0
        for new, others in _one_out(len(bag)):
            runs += 1
            known = [bag[i] for i in others]
            sets = fit([q.shares for q in known], [q.right for q in known], alpha, score)
            missed += bag[new].right not in sets.set(bag[new].shares)
        apart = max(apart, _beyond(missed / len(bag), alpha))
    claim = "bounded: the right answer is missed at most as often as promised"
    return enumerated(claim, f"{name}, {score}", apart, runs)


def _covered_by(fit: Callable[..., PredictionSets]) -> list[Wager]:
    """What sets of 19 questions cover, where the right share is uniform: as large as the threshold.

    Scores do not tie, so that the coverage has its law, Beta(16, 4), and not only a bound.
    """
    n, alpha, sure = 19, 0.2, 0.9
    rng = np.random.default_rng(0)
    mean = Wager("bounded: coverage has its mean", "share", _number, 1 - alpha, 1.0)
    law = "bounded: given the labelled questions, coverage has its quantiles"
    tail = Wager(law, "share", _number, sure, 1.0)
    for _ in range(CALIBRATIONS):
        shares = [{"right": u, "wrong": 1 - u} for u in rng.random(n).tolist()]
        sets = fit(shares, ["right"] * n, alpha, "share")
        covered = min(max(sets.threshold, 0.0), 1.0)
        mean.observe([covered])
        tail.observe([float(covered >= sets.coverage(sure))])
    return [mean, tail]


def _one_out(n: int) -> Iterator[tuple[int, list[int]]]:
    for new in range(n):
        yield new, [i for i in range(n) if i != new]


def _beyond(rate: float, bound: float) -> Apart:
    """How far a rate is beyond its bound; below it, not at all."""
    return max(0.0, rate - bound), rate, bound


def _number(value: Any) -> float:
    return float(value)


def _bet(wagers: Sequence[Wager]) -> list[Finding]:
    """Refuted where the wealth of a bet could be seen once in a million valid checks."""
    needed = log_threshold(sum(len(wager.bets) for wager in wagers))
    return [
        Finding(
            wager.claim,
            "sampled",
            "refuted" if wager.log_e >= needed else "valid",
            wager.what,
            wager.total / wager.count,
            wager.mean,
            wager.log_e / math.log(10),
            wager.would_find(needed),
            wager.count,
            f"refuted at e >= 10^{needed / math.log(10):.1f}",
        )
        for wager in wagers
    ]
