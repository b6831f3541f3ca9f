"""How often a verifier errs: false positives and negatives, by trace, questions as clusters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ponder.answering import Answer
from ponder.blocks.weigh import Weigh, notation_name
from ponder.errors import PonderError
from ponder.evidence.candidates import keeps_all
from ponder.evidence.compare import LEVEL
from ponder.evidence.credit import Grader
from ponder.guarantee.verifier import estimate
from ponder.measure import Abstain, Population, answer_of
from ponder.strategy import Pipeline

Table = NDArray[np.bool_]
WORDS = ("perplexity", "likelihood")
"""Potentials that are no verifiers: how probable the words are, not whether they are right."""
ACCEPTS = 0.5
"""The score from which on a trace is accepted; one that is weighed by yes and no has 1 and 0."""


@dataclass(frozen=True)
class Rate:
    """A share of ``of`` traces, with its interval at LEVEL; None of none."""

    value: float | None
    low: float
    high: float
    of: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"rate": self.value, "interval": [self.low, self.high], "traces": self.of}


def verifier_of(strategy: Pipeline) -> str | None:
    """The potential that alone weighs independent traces of a strategy, if it is a verifier."""
    weighs = [block for block in strategy.blocks if isinstance(block, Weigh)]
    if not keeps_all(strategy) or not strategy.source.normalised or len(weighs) != 1:
        return None
    name = notation_name(weighs[0].potential)
    return None if name in WORDS else name


def rates(name: str, answers: Sequence[Answer | PonderError], grader: Grader) -> dict[str, Any]:
    """What a verifier accepts of right and wrong traces, for JSON.

    ``answers`` are of a strategy whose :func:`verifier_of` is ``name``. A trace without an answer
    is nothing to verify. ``most_draws`` is K* of :mod:`ponder.guarantee.verifier`, after how many
    rejections to give up if a wrong answer costs as much as a right one earns ("unlimited": never);
    ``ceiling`` the accuracy that resampling until it accepts comes to. Raises PonderError if the
    weights are no scores from 0 to 1.
    """
    rows = [_judged(a, grader) for a in answers if isinstance(a, Answer)]
    accepted = [row[0] for row in rows]
    right = [row[1] for row in rows]
    given = [row[2] for row in rows]
    wrong = [g & ~r for g, r in zip(given, right, strict=True)]
    found: dict[str, Any] = {
        "name": name,
        "accepts_at": ACCEPTS,
        "false_positive": clustered(*_counts(accepted, wrong)).as_dict(),
        "false_negative": clustered(*_counts([~a for a in accepted], right)).as_dict(),
    }
    return found | _resampling(accepted, right)


def clustered(hits: ArrayLike, of: ArrayLike) -> Rate:
    """The rate of ``hits`` among ``of`` traces, both by question (Q,); means over runs, too.

    The exact interval (Clopper & Pearson 1934) with an effective number of traces: as many
    independent ones as vary by as much as questions do (Korn & Graubard 1998), between the number
    of questions and that of traces. Where all traces agree it is that of questions.
    """
    from scipy.special import betaincinv

    h, n = np.asarray(hits, dtype=np.float64), np.asarray(of, dtype=np.float64)
    h, n = h[n > 0], n[n > 0]
    total, questions = float(n.sum()), len(n)
    if not questions:
        return Rate(None, 0.0, 1.0, 0)
    rate = float(h.sum()) / total
    effective = min(float(questions), total)
    if questions > 1 and 0 < rate < 1:
        apart = h - rate * n
        variance = questions / (questions - 1) * float(apart @ apart) / total**2
        if variance > 0:
            effective = min(max(rate * (1 - rate) / variance, 1.0), total)
    hit, tail = rate * effective, (1 - LEVEL) / 2
    low = float(betaincinv(hit, effective - hit + 1, tail)) if rate > 0 else 0.0
    high = float(betaincinv(hit + 1, effective - hit, 1 - tail)) if rate < 1 else 1.0
    return Rate(rate, low, high, int(total))


def _judged(answer: Answer, grader: Grader) -> tuple[Table, Table, Table]:
    """Of the traces of an answer: accepted, right, given an answer at all."""
    population: Population[Any] = answer.posterior.population
    given = np.array([not isinstance(answer_of(t), Abstain) for t in population.traces])
    scores = np.array([t.log_potential for t in population.traces])
    if (scores[given] > 1e-9).any():
        raise PonderError("its scores are no probabilities: some are above 1")
    right = np.array([grader.worth(answer.question, t) >= 1 for t in population.traces])
    return given & (scores >= math.log(ACCEPTS)), right, given


def _counts(hits: Sequence[Table], of: Sequence[Table]) -> tuple[list[int], list[int]]:
    found = [(int((h & o).sum()), int(o.sum())) for h, o in zip(hits, of, strict=True)]
    return [h for h, _ in found], [o for _, o in found]


def _resampling(accepted: Sequence[Table], right: Sequence[Table]) -> dict[str, Any]:
    """K* and the ceiling, where all questions have as many traces."""
    if len({len(row) for row in accepted}) != 1:
        return {"most_draws": None, "ceiling": None}
    verifier = estimate(np.array(accepted), np.array(right))
    try:
        most = verifier.best_k(false_positive=-1.0)
    except PonderError:
        return {"most_draws": None, "ceiling": verifier.ceiling()}
    return {
        "most_draws": "unlimited" if most == math.inf else int(most),
        "ceiling": verifier.ceiling(),
    }
