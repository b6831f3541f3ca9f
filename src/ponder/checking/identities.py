"""Claims that are not about one strategy: equalities of laws, resamplers, bounds."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from ponder.binding import Binding
from ponder.blocks import equate, multinomial, residual, smc, stratified, systematic
from ponder.blocks.bounds import evidence_bounds
from ponder.blocks.staged import staged
from ponder.blocks.thin import without_replacement
from ponder.checking.bounded import prediction_sets, risk_control
from ponder.checking.claims import Finding, Report, enumerated
from ponder.checking.enumerated import worst
from ponder.checking.pairs import pair_bounds
from ponder.checking.toy_models import BINDINGS
from ponder.checking.toys import chain, coins, early, misled
from ponder.effects import Effects, Program
from ponder.interpret import enumerate_measure, enumerate_runs, key_of
from ponder.meaning import atoms
from ponder.recipes import cot, steps

WEIGHTS = ([0.3, 0.0, 0.1, 0.6, 0.0], [0.25, 0.25, 0.25, 0.25], [0.1, 0.2, 0.7], [1.0])


def _report(subject: str, law: str, findings: list[Finding], started: float) -> Report:
    return Report(subject, law, tuple(findings), time.perf_counter() - started)


def resamplers() -> Report:
    """Every index is copied n W_i times on average, or keeps its weight on average."""
    started = time.perf_counter()
    findings = []
    for resampler in (multinomial, stratified, systematic, residual, without_replacement):
        apart, runs = (0.0, 0.0, 0.0), 0
        for given in WEIGHTS:
            weights = np.array(given)
            for n in (1, 2, 3):
                program = _selection(resampler, weights, n)
                copies: dict[Any, list[float]] = defaultdict(list)
                for ancestors, log_prob in enumerate_runs(program):
                    runs += 1
                    for index, weight in ancestors:
                        copies[index].append(math.exp(log_prob) * weight)
                exact = {i: float(w) for i, w in enumerate(weights) if w > 0}
                apart = max(apart, worst(copies, exact))
        claim = f"{resampler.__name__}: every index keeps its weight on average"
        findings.append(enumerated(claim, "", apart, runs))
    return _report("resamplers", "weighted", findings, started)


def _selection(resampler: Any, weights: Any, n: int) -> Program[list[tuple[int, float]]]:
    def run() -> Effects[list[tuple[int, float]]]:
        chosen: list[Any] = yield from resampler(weights, n)
        return [c if isinstance(c, tuple) else (c, 1 / n) for c in chosen]

    return Program(run, resampler.__name__)


def steps_is_cot() -> Report:
    """Drawn in segments or at once, a reply has the same law, where it is cut off too."""
    started = time.perf_counter()
    findings = []
    for name, binding in BINDINGS.items():
        for most in (2, 512):
            laws = []
            for source in (steps, cot):
                replies: dict[Any, list[float]] = defaultdict(list)
                for atom in atoms(source(max_tokens=most).bind(binding)):
                    reply = atom.value
                    replies[reply.text, reply.answer, reply.finish].append(atom.mass)
                laws.append(replies)
            exact = {reply: math.fsum(masses) for reply, masses in laws[1].items()}
            apart = worst(laws[0], exact)
            toy = f"{name}, {most} tokens"
            findings.append(enumerated("steps has the law of cot", toy, apart, 1))
    return _report("steps = cot", "exact", findings, started)


def staged_is_program() -> Report:
    """Estimated stage by stage inside of a program, a program has the same measure."""
    started = time.perf_counter()
    findings = []
    for program in (chain(2), early(), misled()):
        inside = enumerate_measure(staged(program, 2, ess=1.0))
        apart = worst({v: [m] for v, m in inside.items()}, enumerate_measure(program))
        claim = "staged has the measure of its program"
        findings.append(enumerated(claim, program.name, apart, 1))
    return _report("staged", "weighted", findings, started)


def bounds() -> Report:
    """exp(lower) has mean Z, exp(-upper) mean 1 / Z, and the interval covers log Z."""
    started = time.perf_counter()
    findings = []
    for program in (chain(2), early()):
        evidence = math.fsum(enumerate_measure(program).values())
        lower, upper, missed, runs = [], [], [], 0
        level = 0.5
        for atom in atoms(program):
            bounded = evidence_bounds(program, atom.trace, n=2, ess=1.0, level=level)
            for found, log_prob in enumerate_runs(bounded):
                runs += 1
                probability = atom.mass / evidence * math.exp(log_prob)
                lower.append(probability * math.exp(found.lower))
                upper.append(probability * math.exp(-found.upper))
                outside = not found.low <= math.log(evidence) <= found.high
                missed.append(probability * outside)
        for claim, terms, exact in (
            ("weighted: exp(lower) has mean Z", lower, evidence),
            ("weighted: exp(-upper) has mean 1 / Z", upper, 1 / evidence),
        ):
            mean = math.fsum(terms)
            apart = (abs(mean - exact), mean, exact)
            findings.append(enumerated(claim, program.name, apart, runs))
        rate = math.fsum(missed)
        apart = (max(0.0, rate - (1 - level)), rate, 1 - level)
        claim = f"bounded: log Z is missed at most {1 - level:.0%} of the time"
        findings.append(enumerated(claim, program.name, apart, runs))
    return _report("evidence_bounds", "bounded", findings, started)


def _alike(a: Any, b: Any) -> bool:
    """An equivalence relation on values of every kind."""
    return len(repr(a)) % 2 == len(repr(b)) % 2


def classes_keep_their_law() -> Report:
    """Under ``equate`` the mass of every class of answers is on average that of the target."""
    started = time.perf_counter()
    findings = []
    for program in (chain(2), early(), coins(2)):
        exact: dict[Any, float] = defaultdict(float)
        for value, mass in enumerate_measure(program).items():
            exact[len(repr(value)) % 2] += mass
        found: dict[Any, list[float]] = defaultdict(list)
        runs = 0
        pipeline = program | smc(3, ess=1.0) | equate(_alike)
        for population, log_prob in enumerate_runs(pipeline.bind(Binding())):
            runs += 1
            names = {key_of(t.value) for t in population.traces}
            if len(names) > len({len(repr(name)) % 2 for name in names}):
                found["two names for one class"].append(1.0)
            for trace, weight in zip(population.traces, population.log_weights, strict=True):
                mass = math.exp(log_prob + weight)
                found[len(repr(trace.value)) % 2].append(mass)
        claim = "equate: classes keep their mass on average, each under one name"
        findings.append(enumerated(claim, program.name, worst(found, exact), runs))
    return _report("equate", "weighted, of the classes", findings, started)


IDENTITIES: dict[str, Callable[[], Report]] = {
    "resamplers": resamplers,
    "steps = cot": steps_is_cot,
    "staged": staged_is_program,
    "evidence bounds": bounds,
    "equate": classes_keep_their_law,
    "risk control": risk_control,
    "prediction sets": prediction_sets,
    "pair predictions": pair_bounds,
}
