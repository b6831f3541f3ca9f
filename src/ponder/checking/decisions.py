"""Exact contracts of blocks that decide: shares, ties, abstentions, and error bounds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ponder.binding import Binding
from ponder.checking.cases import Case
from ponder.checking.claims import Apart, Finding, enumerated
from ponder.checking.enumerated import LIMIT, specified
from ponder.effects import Program
from ponder.interpret import enumerate_runs
from ponder.law import Law
from ponder.measure import Abstain, Floats, Population, Posterior, answer_of
from ponder.strategy import Decide
from ponder.trace import Status, Trace

PLUG_IN = "consistent: shares are the plug-in of the population, abstentions apart"
TIES = "consistent: the answer is a largest share, ties uniformly"
ERRORS = "consistent: errors and effective size count families"


def crafted() -> list[Population[Any]]:
    """Populations with ties, late minorities, abstentions, dead and unfinished traces."""
    return [
        _population("aab"),
        _population("ab"),
        _population("abc", [0.2, 0.4, 0.4]),
        _population("abb", [0.3, 0.1, 0.2]),
        _population("abba", [0.0, 0.0, 0.0, 0.0]),
        _population("baa", [0.6, 0.2, 0.2]),
        _population(["a", None, None, "b"]),
        _population([None, None]),
        _population(["a", "b", "b"], [0.5, 0.3, 0.0]),
        _population(["a", "b", "b"], None, ["finished", "unfinished", "dead"]),
        _population(["a"], [1e-300]),
        _population("cacba", [0.25, 0.25, 0.125, 0.125, 0.25]),
        *(_crowd(n) for n in (6, 9, 17, 33, 100)),
    ]


def _crowd(n: int) -> Population[Any]:
    """Many traces in few families: a heavy minority against light ones, some without answer."""
    weights = [1.0 / (1 + i % 7) ** 2 + (0.3 if i % 5 == 0 else 0.0) for i in range(n)]
    crowd = _population([None if i % 6 == 4 else "abcd"[i % 4] for i in range(n)], weights)
    return replace(crowd, eves=tuple(i // 3 for i in range(n)))


def _population(
    values: Sequence[str | None],
    weights: Sequence[float] | None = None,
    statuses: Sequence[Status] | None = None,
) -> Population[Any]:
    program: Program[Any] = Program(lambda: iter(()), "crafted")  # type: ignore[arg-type,return-value]
    n = len(values)
    each: Sequence[Status] = statuses or ["finished"] * n
    traces = tuple(Trace(program, None, v, 0.0, s) for v, s in zip(values, each, strict=True))
    given = np.full(n, 1 / n) if weights is None else np.asarray(weights, dtype=float)
    given = np.where([s == "dead" for s in each], 0.0, given)
    with np.errstate(divide="ignore"):
        return Population(traces, np.log(given), Law("weighted", "crafted"))


def _relative(population: Population[Any]) -> Floats:
    """Weights (N,) with the heaviest at 1; not by the normalisation that is under check."""
    weights: Floats = np.exp(population.log_weights - population.log_weights.max(initial=-1e300))
    return weights


def plug_in(population: Population[Any]) -> tuple[dict[Hashable, float], float]:
    """(share of each answer among what votes, share of the weight that abstains)."""
    masses: dict[Hashable, float] = defaultdict(float)
    weights = _relative(population)
    for trace, weight in zip(population.traces, weights.tolist(), strict=True):
        answer = answer_of(trace)
        masses[None if isinstance(answer, Abstain) else answer] += weight
    silent = masses.pop(None, 0.0)
    voting = math.fsum(masses.values())
    shares = {a: m / voting for a, m in masses.items() if m > 0}
    return shares, silent / (silent + voting) if silent + voting > 0 else 0.0


def check_plug_in(
    block: Decide, populations: Sequence[Population[Any]], binding: Binding
) -> list[Finding]:
    """What a consistent decision promises of every single population."""
    shares_worst = ties_worst = errors_worst = (0.0, 0.0, 0.0)
    for population in populations:
        expected, silent = plug_in(population)
        top = max(expected.values(), default=0.0)
        first: list[Hashable] = [a for a, s in expected.items() if s >= top * (1 - 1e-12)]
        law = {answer: 1 / len(first or [None]) for answer in first or [None]}
        answers: dict[Hashable, float] = defaultdict(float)
        for posterior, log_prob in enumerate_runs(block.decide(population, binding)):
            answers[posterior.answer] += math.exp(log_prob)
            shares_worst = max(shares_worst, _shares_apart(posterior, expected, silent))
            errors_worst = max(errors_worst, _errors_apart(posterior, population))
        for answer in {**law, **answers}:
            said, wanted = answers.get(answer, 0.0), law.get(answer, 0.0)
            ties_worst = max(ties_worst, (abs(said - wanted), said, wanted))
    where = f"{len(populations)} populations"
    return [
        enumerated(PLUG_IN, where, shares_worst, len(populations)),
        enumerated(TIES, where, ties_worst, len(populations)),
        enumerated(ERRORS, where, errors_worst, len(populations)),
    ]


def _errors_apart(posterior: Posterior, population: Population[Any]) -> Apart:
    """Standard errors and effective size, against sums over families (Chan & Lai 2013)."""
    answers = [answer_of(trace) for trace in population.traces]
    weights = _relative(population)
    voters = [i for i, a in enumerate(answers) if not isinstance(a, Abstain) and weights[i] > 0]
    mass = math.fsum(weights[voters])
    pairs = [(posterior.ess, _effective(population, weights, voters))]
    for said in posterior.shares:
        terms: dict[int, float] = defaultdict(float)
        for i in voters:
            hit = float(answers[i] == said.answer)
            terms[population.eves[i]] += weights[i] / mass * (hit - said.share)
        if said.error is not None:
            # Of a single family nothing is known: any number there is wrong.
            wanted = -1.0 if len(terms) < 2 else math.hypot(*terms.values())
            pairs.append((said.error, wanted))
    return max((abs(a - b) / max(1.0, abs(b)), a, b) for a, b in pairs)


def _effective(population: Population[Any], weights: Floats, voters: Sequence[int]) -> float:
    sums: dict[int, float] = defaultdict(float)
    for i in voters:
        sums[population.eves[i]] += weights[i]
    square = math.fsum(v * v for v in sums.values())
    return math.fsum(sums.values()) ** 2 / square if square > 0 else 0.0


def check_bounded(case: Case) -> Finding:
    """The expected error of a bounded decision, against its bound."""
    block = case.pipeline.blocks[-1]
    assert isinstance(block, Decide)
    target = specified(case)
    terms = [
        math.exp(log_prob) * block.error(posterior, target)
        for posterior, log_prob in enumerate_runs(case.pipeline.bind(case.binding), LIMIT)
    ]
    rate = math.fsum(terms)
    claim = f"bounded: {block!r} errs at most {block.bound:g}"
    apart = (max(0.0, rate - block.bound), rate, block.bound)
    return enumerated(claim, case.toy, apart, len(terms))


def _shares_apart(
    posterior: Posterior, expected: dict[Hashable, float], silent: float
) -> tuple[float, float, float]:
    given = {s.answer: s.share for s in posterior.shares}
    pairs = [(given.get(a, 0.0), expected.get(a, 0.0)) for a in {**given, **expected}]
    pairs.append((posterior.abstaining, silent))
    return max((abs(a - b), a, b) for a, b in pairs)
