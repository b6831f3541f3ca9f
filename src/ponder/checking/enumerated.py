"""Exact claims: the strategy itself is run under the enumerator of its own randomness."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from ponder.checking.cases import Case
from ponder.checking.claims import Finding
from ponder.checking.leaves import estimated_leaves
from ponder.interpret import enumerate_runs
from ponder.meaning import Atom, atoms, by_value
from ponder.measure import Population
from ponder.strategy import Decide, Pipeline

TOLERANCE = 1e-12
LIMIT = 100_000
WEIGHTED = "weighted: E sum w delta(x) is the target"
Masses = dict[Any, float]


def undecided(pipeline: Pipeline) -> Pipeline:
    """The strategy up to its population."""
    blocks = tuple(b for b in pipeline.blocks if not isinstance(b, Decide))
    return Pipeline(pipeline.source, blocks)


def specified(case: Case) -> list[Atom]:
    """The target: the program's measure, changed by what its blocks are specified to do."""
    measure: Sequence[Atom] = atoms(case.pipeline.source.bind(case.binding), LIMIT)
    for block in case.pipeline.blocks:
        measure = block.meaning(measure, case.binding)
    return list(measure)


def key_of(value: Any) -> Any:
    """The value, or what it prints if it cannot be hashed."""
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value


@dataclass
class Expectation:
    """What a strategy's populations are on average, added up run by run."""

    mass: list[float] = field(default_factory=list)
    terms: dict[Any, list[float]] = field(default_factory=lambda: defaultdict(list))
    pairs: dict[Any, list[float]] = field(default_factory=lambda: defaultdict(list))
    unequal: float = 0.0
    runs: int = 0
    populations: list[Population[Any]] = field(default_factory=list)

    def add(self, population: Population[Any], log_prob: float) -> None:
        """One run of the strategy and its probability."""
        self.runs += 1
        if self.runs <= 200:
            self.populations.append(population)
        probability = math.exp(log_prob)
        self.mass.append(probability)
        values = [key_of(t.value) for t in population.traces]
        weights = np.exp(population.log_weights)
        for value, weight in zip(values, weights.tolist(), strict=True):
            if weight > 0:
                self.terms[value].append(probability * weight)
        n = len(values)
        self.unequal = max(self.unequal, float(np.abs(weights - 1 / n).max(initial=0.0)))
        for a, b in combinations(values, 2):
            self.pairs[a, b].append(probability * 2 / (n * (n - 1)))


def enumerate_case(case: Case) -> Expectation:
    """Every run of the strategy up to its population. Raises PonderError if there are too many."""
    found = Expectation()
    program = undecided(case.pipeline).bind(case.binding)
    for population, log_prob in enumerate_runs(program, LIMIT):
        found.add(population, log_prob)
    return found


def small_enough(case: Case, seconds: float) -> Iterator[Case]:
    """The case at sizes of at most 3, 2 and 1 that can be enumerated within ``seconds``."""
    tried = set()
    for most in (3, 2, 1):
        small = case.resized(most)
        if repr(small.pipeline) in tried:
            continue
        tried.add(repr(small.pipeline))
        started = time.perf_counter()
        leaves, probes = estimated_leaves(undecided(small.pipeline).bind(small.binding))
        each = (time.perf_counter() - started) / probes
        if leaves <= LIMIT / 4 and leaves * each <= seconds:
            yield small


def worst(estimates: dict[Any, list[float]], exact: Masses) -> tuple[float, float, float]:
    """(largest difference, estimate there, exact value there)."""
    differences = []
    for value in {**estimates, **exact}:
        estimate = math.fsum(estimates.get(value, ()))
        truth = exact.get(value, 0.0)
        differences.append((abs(estimate - truth), estimate, truth))
    return max(differences, default=(0.0, 0.0, 0.0))


def check_case(case: Case) -> tuple[list[Finding], Expectation]:
    """What the population of this case claims by the table of laws, exactly."""
    law = undecided(case.pipeline).law
    found = enumerate_case(case)
    target = {}
    for value, mass in by_value(specified(case)).items():
        target[key_of(value)] = mass
    name = f"{case.toy}: {case.pipeline!r}" if case.own else f"{case.toy} | {_after(case)}"
    total = math.fsum(found.mass)
    findings = [
        _finding(
            "weighted: E sum w delta(x) is the target", name, worst(found.terms, target), found
        )
    ]
    if abs(total - 1) > TOLERANCE * 10:
        findings.append(
            _finding(
                "the strategy itself has no factors", name, (abs(total - 1), total, 1.0), found
            )
        )
    if law.kind == "exact":
        mass = math.fsum(target.values())
        squared = {(a, b): target[a] * target[b] / mass**2 for a in target for b in target}
        if found.pairs:
            pairs = worst(found.pairs, squared)
            findings.append(_finding("exact: pairs are independent", name, pairs, found))
        equal = (found.unequal, 1 + found.unequal, 1.0)
        findings.append(_finding("exact: weights are equal", name, equal, found))
    return findings, found


def _after(case: Case) -> str:
    return " | ".join(map(repr, case.pipeline.blocks))


def _finding(
    claim: str, toy: str, differences: tuple[float, float, float], found: Expectation
) -> Finding:
    difference, estimate, exact = differences
    return Finding(
        claim,
        "enumerated",
        "valid" if difference <= TOLERANCE else "refuted",
        toy,
        estimate,
        exact,
        difference,
        TOLERANCE,
        found.runs,
    )
