"""Statistical claims: the strategy at its own size, by bounded statistics of known mean."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ponder.blocks.weigh import Weigh
from ponder.checking.betting import log_threshold
from ponder.checking.cases import Case
from ponder.checking.claims import Finding
from ponder.checking.enumerated import LIMIT, specified, undecided
from ponder.checking.wagers import Statistic, Wager
from ponder.effects import Effects, Program
from ponder.errors import told_of
from ponder.interpret import enumerate_runs, evaluate, key_of
from ponder.meaning import by_value
from ponder.measure import Population
from ponder.particle import Particle
from ponder.strategy import Collapse, Decide, Infer, Transform

HEAVIEST = 3
SUSPICIOUS = math.log(100)
ENOUGH = 0.03  # a bias, relative to the value, below which nobody needs to look longer


@dataclass
class Sampling:
    """A case that is run again and again, and what is wagered on it."""

    case: Case
    program: Program[Any]
    wagers: list[Wager]
    runs: int = 0
    populations: list[Population[Any]] = field(default_factory=list)

    def run(self, seconds: float, seed: int) -> None:
        """Runs for about this long."""
        started = time.perf_counter()
        seen: list[list[float]] = [[] for _ in self.wagers]
        while time.perf_counter() - started < seconds:
            outcome = evaluate(self.program, seed, f"{self.case.toy} {self.runs}")
            self.runs += 1
            if len(self.populations) < 10 and isinstance(outcome, Population):
                self.populations.append(outcome)
            for values, wager in zip(seen, self.wagers, strict=True):
                values.append(wager.statistic(outcome))
        for values, wager in zip(seen, self.wagers, strict=True):
            wager.observe(values)


def samplings_of(case: Case) -> Iterator[Sampling]:
    """A case at its own size; on one toy also nearer to those enumerated."""
    if case.pipeline.law.kind == "bounded":
        yield bounded_sampling_of(case)
    sampling = sampling_of(case)
    if sampling is None:
        return
    yield sampling
    halfway = case.resized(5)
    if case.toy == "chain" and halfway != case:
        smaller = sampling_of(halfway, "at sizes up to 5")
        if smaller is not None:
            yield smaller


def sampling_of(case: Case, how: str = "at its own size") -> Sampling | None:
    """What can be wagered on a case; None where nothing is claimed, or the target has no mass."""
    target = by_value(specified(case))
    evidence = math.fsum(target.values())
    law = undecided(case.pipeline).law
    if evidence == 0 or law.kind not in ("exact", "weighted"):
        return None
    sampling = Sampling(case, undecided(case.pipeline).bind(case.binding), [])
    heaviest = sorted(target, key=lambda v: -target[v])[:HEAVIEST]
    if law.kind == "exact":
        sampling.wagers = list(_exact(target, evidence, heaviest, how))
    high = heaviest_population(case)
    claim = f"weighted, {how}: {_after(case)}"
    sampling.wagers.append(Wager(claim, "evidence", mass_of(None), evidence, high))
    if len(target) > 1:
        for value in heaviest:
            what = f"mass of {value!r}"
            sampling.wagers.append(Wager(claim, what, mass_of(value), target[value], high))
    return sampling


def bounded_sampling_of(case: Case) -> Sampling:
    """How often a bounded decision errs, against its bound."""
    block = case.pipeline.blocks[-1]
    assert isinstance(block, Decide)
    target = specified(case)
    wager = Wager(
        f"bounded, at its own size: {block!r} errs at most {block.bound:g}",
        "error",
        lambda posterior: block.error(posterior, target),
        block.bound,
        1.0,
        at_most=True,
    )
    return Sampling(case, case.pipeline.bind(case.binding), [wager])


def mass_of(value: Any) -> Statistic:
    """The population's mass on a value; None: all of it."""

    def mass(population: Population[Any]) -> float:
        weights = np.exp(population.log_weights)
        if value is None:
            return float(weights.sum())
        hits = [key_of(t.value) == value for t in population.traces]
        return float(weights[np.asarray(hits, dtype=bool)].sum())

    return mass


def _exact(
    target: dict[Any, float], evidence: float, heaviest: list[Any], how: str
) -> Iterator[Wager]:
    """Shares of values, and how often traces agree: that sees a shared seed, or one used again."""
    claim = f"exact, {how}: shares, and agreement of pairs"

    agreed = math.fsum((m / evidence) ** 2 for m in target.values())

    def same(i: int, j: int) -> Statistic:
        def agree(population: Population[Any]) -> float:
            values = [key_of(t.value) for t in population.traces]
            i_, j_ = i % len(values), j % len(values)
            return float(values[i_] == values[j_]) if i_ != j_ else agreed

        return agree

    def share_of(value: Any) -> Statistic:
        return lambda p: sum(key_of(t.value) == value for t in p.traces) / len(p)

    def agreement(population: Population[Any]) -> float:
        n = len(population)
        counts: dict[Any, int] = {}
        for trace in population.traces:
            counts[key_of(trace.value)] = counts.get(key_of(trace.value), 0) + 1
        return sum(c * (c - 1) for c in counts.values()) / (n * (n - 1)) if n > 1 else agreed

    yield Wager(claim, "agreement of pairs", agreement, agreed, 1.0)
    yield Wager(claim, "agreement of the first and the last", same(0, -1), agreed, 1.0)
    yield Wager(claim, "agreement of the first two", same(0, 1), agreed, 1.0)
    for value in heaviest:
        mean = target[value] / evidence
        yield Wager(claim, f"share of {value!r}", share_of(value), mean, 1.0)


def heaviest_population(case: Case) -> float:
    """A bound on the mass of a population: the product over stages of the largest increments.

    Twice what whatever averages, selects or moves particles could reach: a method that weighs them
    heavier than this cannot be tested for too little mass, and that is reported.
    """
    if case.known:
        return case.high
    program = case.pipeline.source.bind(case.binding)
    bound, population = 1.0, False
    for block in case.pipeline.blocks:
        if isinstance(block, Infer) and not population:
            bound *= math.exp(_most_by_stages(program))
            population = True
        elif isinstance(block, Weigh) and population:
            bound *= math.exp(_most_said(case, block))
        elif isinstance(block, Transform) and not population:
            program = block.transform(program, case.binding)
        elif isinstance(block, Collapse):
            break
    return 2 * bound


def _most_by_stages(program: Program[Any]) -> float:
    """Sum over stages of the largest increment of a particle's log-weight (nats)."""

    def staged() -> Effects[tuple[float, ...]]:
        particle = Particle(program)
        seen = []
        while particle.status == "running":
            yield from particle.advance(stop=True)
            seen.append(particle.log_weight)
        return tuple(seen)

    most: dict[int, float] = {}
    paths = [(0.0, *path) for path, _ in enumerate_runs(Program(staged, program.name), LIMIT)]
    for stage in range(1, max(map(len, paths))):
        for path in paths:
            before, now = path[min(stage, len(path)) - 1], path[min(stage, len(path) - 1)]
            if now > -math.inf:  # one that has ended gains nothing, one that dies had its gains
                most[stage] = max(most.get(stage, -math.inf), now - before)
    return math.fsum(most.values())


def _most_said(case: Case, block: Weigh) -> float:
    base = specified(case)
    said = block.meaning(base, case.binding)
    known = {id(a.trace): a.log_potential for a in base}
    return max((a.log_potential - known[id(a.trace)] for a in said), default=0.0)


def _after(case: Case) -> str:
    return " | ".join(map(repr, undecided(case.pipeline).blocks))


def sample_cases(
    samplings: Sequence[Sampling], seconds: float, seed: int
) -> tuple[list[Finding], dict[str, str]]:
    """Runs all cases in turn until something is refuted, enough is known, or the time is up.

    As long as an e-value is within 100 of refuting, there is as much time again. Answers the
    findings, and the toys on which a run failed, with the reason.
    """
    failed: dict[str, str] = {}
    running = list(samplings)
    needed = log_threshold(max(1, sum(len(w.bets) for s in running for w in s.wagers)))
    start = time.perf_counter()
    turn = min(0.5, seconds / (4 * max(1, len(running))))
    while running:
        spent = time.perf_counter() - start
        most = max(w.log_e for s in running for w in s.wagers)
        if most >= needed or spent > (2 * seconds if most >= needed - SUSPICIOUS else seconds):
            break
        if all(_known(w, needed) for s in running for w in s.wagers):
            break
        for sampling in list(running):
            try:
                sampling.run(turn, seed)
            except (Exception, SystemExit) as error:
                failed[sampling.case.toy] = told_of(error)
                running.remove(sampling)
    return [_finding(s, w, needed) for s in running for w in s.wagers if w.count], failed


def _known(wager: Wager, needed: float) -> bool:
    found = wager.would_find(needed)
    return found is not None and found <= ENOUGH * wager.mean


def _finding(sampling: Sampling, wager: Wager, needed: float) -> Finding:
    refuted = wager.log_e >= needed
    suspicious = wager.log_e >= needed - SUSPICIOUS
    note = f"{wager.what}; refuted at e >= 10^{needed / math.log(10):.1f}"
    if suspicious and not refuted:
        note += "; suspicious: look longer with --seconds"
    if wager.escaped:
        note += f"; heavier than {wager.high:.3g} in {wager.escaped} runs, so that only too "
        note += "much mass could be found"
    elif refuted and wager.above.log_e < needed:
        note += f"; supposing that no population is heavier than {wager.high:.3g}"
    return Finding(
        wager.claim,
        "sampled",
        "refuted" if refuted else "untested" if suspicious else "valid",
        sampling.case.toy,
        wager.total / max(1, wager.count),
        wager.mean,
        wager.log_e / math.log(10),
        wager.would_find(needed),
        wager.count,
        note,
    )
