"""Exact claims: the strategy itself is run under the enumerator of its own randomness."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from ponder.checking.cases import Case
from ponder.checking.claims import TOLERANCE, Apart, Finding, enumerated
from ponder.checking.leaves import estimated_leaves
from ponder.interpret import enumerate_measure, enumerate_runs, key_of
from ponder.meaning import Atom, atoms, by_value
from ponder.measure import Population
from ponder.strategy import Decide, Pipeline

LIMIT = 20_000  # runs of what is not under check: the program alone, a potential
MOST_JOINT = 3  # traces whose joint law is written out
WEIGHTED = "weighted: E sum w delta(x) is the target"
CARRIED = "traces carry the factors of their program"
Masses = dict[Any, float]


def undecided(pipeline: Pipeline) -> Pipeline:
    """The strategy up to its population."""
    blocks = tuple(b for b in pipeline.blocks if not isinstance(b, Decide))
    return Pipeline(pipeline.source, blocks)


def specified(case: Case) -> list[Atom]:
    """The target: the program's measure, changed by what its blocks are specified to do."""
    program = case.pipeline.source.bind(case.binding)
    measure: Sequence[Atom] = case.known or atoms(program, LIMIT)
    for block in case.pipeline.blocks:
        measure = block.meaning(measure, case.binding)
    return list(measure)


@dataclass
class Expectation:
    """What a strategy's populations are on average, added up run by run."""

    mass: list[float] = field(default_factory=list)
    terms: dict[Any, list[float]] = field(default_factory=lambda: defaultdict(list))
    joint: dict[Any, list[float]] = field(default_factory=lambda: defaultdict(list))
    n: int = 0
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
        self.n = max(self.n, len(values))
        apart = np.abs(weights - 1 / max(1, len(values)))
        self.unequal = max(self.unequal, float(apart.max(initial=0.0)))
        if len(values) <= MOST_JOINT:
            self.joint[tuple(values)].append(probability)


def enumerate_case(case: Case, limit: int) -> Expectation:
    """Every run of the strategy up to its population. Raises TooManyRuns beyond ``limit``."""
    found = Expectation()
    program = undecided(case.pipeline).bind(case.binding)
    for population, log_prob in enumerate_runs(program, limit):
        found.add(population, log_prob)
    return found


def small_enough(case: Case, limit: int) -> Iterator[Case]:
    """The case at sizes of at most 3, 2 and 1, where it has about ``limit`` runs or fewer."""
    tried = set()
    for most in (3, 2, 1):
        small = case.resized(most)
        if repr(small.pipeline) in tried:
            continue
        tried.add(repr(small.pipeline))
        if estimated_leaves(undecided(small.pipeline).bind(small.binding)) <= limit:
            yield small


def worst(estimates: Mapping[Any, Sequence[float]], exact: Masses) -> Apart:
    """(largest difference as a share of all the exact mass, estimate there, exact value there)."""
    scale = math.fsum(exact.values()) or 1.0
    differences = []
    for value in {**estimates, **exact}:
        estimate = math.fsum(estimates.get(value, ()))
        truth = exact.get(value, 0.0)
        differences.append((abs(estimate - truth) / scale, estimate, truth))
    return max(differences, default=(0.0, 0.0, 0.0))


def check_case(case: Case, limit: int) -> tuple[list[Finding], Expectation]:
    """What the population of this case claims by the table of laws, exactly."""
    law = undecided(case.pipeline).law
    found = enumerate_case(case, limit)
    target = by_value(specified(case))
    name = f"{case.toy}: {case.pipeline!r}" if case.own else f"{case.toy} | {_after(case)}"
    findings = [enumerated(CARRIED, case.toy, _carried(case), found.runs)]
    if law.kind in ("exact", "weighted"):
        findings.append(enumerated(WEIGHTED, name, worst(found.terms, target), found.runs))
    total = math.fsum(found.mass)
    if abs(total - 1) > TOLERANCE * 10:
        stray = (abs(total - 1), total, 1.0)
        findings.append(enumerated("the strategy itself has no factors", name, stray, found.runs))
    if law.kind == "exact":
        if 1 < found.n <= MOST_JOINT:
            apart = worst(found.joint, _independent(target, found.n))
            findings.append(enumerated("exact: traces are independent", name, apart, found.runs))
        equal = (found.unequal, 1 + found.unequal, 1.0)
        findings.append(enumerated("exact: weights are equal", name, equal, found.runs))
    return findings, found


def _independent(target: Masses, n: int) -> Masses:
    """The joint law of n independent draws from the target."""
    mass = math.fsum(target.values())
    drawn = product(target.items(), repeat=n)
    return {tuple(v for v, _ in d): math.prod(m / mass for _, m in d) for d in drawn}


def _carried(case: Case) -> Apart:
    """The measure of traces, with which all targets begin, against the program's run as it is."""
    program = case.pipeline.source.bind(case.binding)
    traced = {value: [mass] for value, mass in by_value(atoms(program, LIMIT)).items()}
    return worst(traced, enumerate_measure(program, LIMIT))


def _after(case: Case) -> str:
    return " | ".join(map(repr, case.pipeline.blocks))
