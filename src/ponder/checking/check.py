"""``check``: every claim of a method, exactly where it can be, by betting where it is too large."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ponder.blocks.kernel import Kernel
from ponder.checking.cases import Case, as_pipeline, cases_of, largest
from ponder.checking.claims import Finding, Report, Verdict
from ponder.checking.cutting import check_cut
from ponder.checking.decisions import check_bounded, check_plug_in, crafted
from ponder.checking.enumerated import WEIGHTED, check_case, small_enough, undecided
from ponder.checking.heuristics import describe
from ponder.checking.kernel_matrix import check_kernels
from ponder.checking.merge import merged
from ponder.checking.sampled import Sampling, sample_cases, samplings_of
from ponder.errors import (
    CannotEnumerate,
    NotAFunctionOfItsChoices,
    PonderError,
    TooManyRuns,
    told_of,
)
from ponder.interpret import evaluate
from ponder.measure import Population
from ponder.strategy import Decide, Pipeline

SAMPLED_ON = ("answering model", "chain", "close", "early", "rare", "gaussian")
LEAST_RUNS, MOST_RUNS = 1_500, 10_000
Told = Callable[[str], None]


class Check:
    """One check: its subject, its time, and what has been found so far."""

    def __init__(self, subject: Any, seconds: float, seed: int, told: Told) -> None:
        self.pipeline: Pipeline = as_pipeline(subject)
        self.cases = list(cases_of(subject))
        self.seconds, self.seed, self.told = seconds, seed, told
        # A number of runs, not a time: what is found must not depend on how busy the machine is.
        self.limit = min(MOST_RUNS, max(LEAST_RUNS, int(100 * seconds)))
        self.unlisted: dict[str, str] = {}
        self.started = time.perf_counter()
        self.findings: list[Finding] = []
        self.populations: list[Population[Any]] = crafted()
        self.failed: dict[str, str] = {}
        self.slow = ""
        self.samplings: list[Sampling] = []

    def run(self) -> Report:
        """All claims in turn."""
        for case in self.cases:
            self.told(f"enumerating on {case.toy}")
            if not case.known:
                self._attempt(case, self._enumerate)
            if case.binding.model is not None:
                self._attempt(case, self._cut)
        for case in self.cases:
            if case.own or case.toy in SAMPLED_ON:
                self._attempt(case, self._prepare)
        if not any(f.verdict == "refuted" for f in self.findings):
            self.told("sampling at its own size")
            self._sample()
        self._decide()
        self._heuristic()
        self._explain()
        found = tuple(merged(self.findings))
        return Report(repr(self.pipeline), str(self.pipeline.law), found, self._spent())

    def _spent(self) -> float:
        return time.perf_counter() - self.started

    def _attempt(self, case: Case, step: Callable[[Case], None]) -> None:
        try:
            step(case)
        except NotAFunctionOfItsChoices as error:
            claim = "a function of its choices"
            self.findings.append(Finding(claim, "enumerated", "refuted", case.toy, note=str(error)))
        except CannotEnumerate as error:
            if case.own and len(self.cases) > 1:
                note = f"{error}; its blocks were checked on the toys"
                fact = Finding("its own program was not checked", "none", "known", note=note)
                self.findings += [] if fact in self.findings else [fact]
            else:
                self.unlisted[case.toy] = str(error)
        except (Exception, SystemExit) as error:
            self.failed.setdefault(case.toy, told_of(error))

    def _enumerate(self, case: Case) -> None:
        for small in small_enough(case, self.limit):
            try:
                findings, expectation = check_case(small, 4 * self.limit)
            except TooManyRuns:
                continue  # the estimate was too low
            break
        else:
            self.unlisted[case.toy] = (
                f"more than about {self.limit} runs even at the smallest sizes"
            )
            return
        self.findings += findings
        if len(self.populations) < 300:
            self.populations += expectation.populations[:40]
        if any(isinstance(b, Kernel) for b in case.pipeline.blocks):
            self.findings += check_kernels(small, self.limit)
        if case.pipeline.law.kind == "bounded" and small == case:
            self.findings.append(check_bounded(case))

    def _cut(self, case: Case) -> None:
        self.findings.append(check_cut(case.resized(8)))

    def _prepare(self, case: Case) -> None:
        # One run at a small size tells how long one of its own takes.
        small = case.resized(10)
        started = time.perf_counter()
        evaluate(small.pipeline.bind(small.binding))
        each = (time.perf_counter() - started) * max(1.0, largest(case) / 10)
        if each > self.seconds / 4:
            self.slow = f"one run at its own size takes about {each:.0f} s; give more --seconds"
            case = small
        self.samplings += samplings_of(case)

    def _sample(self) -> None:
        left = max(self.seconds - self._spent(), 0.25 * self.seconds)
        found, failed = sample_cases(self.samplings, left, self.seed)
        self.findings += found
        self.failed = {**failed, **self.failed}
        for sampling in self.samplings:
            self.populations += sampling.populations

    def _decide(self) -> None:
        block = self.pipeline.blocks[-1]
        if isinstance(block, Decide) and self.pipeline.law.kind == "consistent":
            self.told("deciding")
            binding = self.cases[-1].binding
            self._attempt(
                self.cases[-1],
                lambda case: self.findings.extend(check_plug_in(block, self.populations, binding)),
            )

    def _heuristic(self) -> None:
        if self.pipeline.law.kind != "heuristic":
            return
        facts: list[Finding] = []

        def first(case: Case) -> None:
            for small in small_enough(case, self.limit):
                fact = describe(small)
                facts.extend([] if fact is None else [fact])
                return

        for case in self.cases:
            if not facts and not case.known:
                self._attempt(case, first)
        nothing = Finding("heuristic: it claims nothing", "none", "heuristic")
        self.findings.append(facts[0] if facts else nothing)

    def _explain(self) -> None:
        """What was not tested, and why."""
        law = undecided(self.pipeline).law
        if law.kind == "consistent":
            note = "a population that is consistent claims nothing that a finite size could refute"
            self.findings.append(Finding("consistent", "none", "untested", note=note))
        if self.unlisted:
            why = next(iter(self.unlisted.values()))
            tested = any(f.claim.startswith("weighted") for f in self.findings)
            verdict: Verdict = "known" if tested or law.kind == "heuristic" else "untested"
            note = f"{why}; so on {', '.join(self.unlisted)}"
            if not any(f.claim == WEIGHTED for f in self.findings):
                note += "; sizes are the whole numbers among a block's fields, or those in `sizes`"
            self.findings.append(Finding("not enumerated everywhere", "none", verdict, note=note))
        if self.slow:
            fact = Finding("not sampled at its own size", "none", "untested", note=self.slow)
            self.findings.append(fact)
        if self.failed:
            toy, why = next(iter(self.failed.items()))
            note = f"failed on {len(self.failed)} of {len(self.cases)} toys, first on {toy}: {why}"
            self.findings.append(Finding("runs on every toy", "none", "untested", toy, note=note))


def check(
    subject: Any, *, seconds: float = 30.0, seed: int = 0, told: Told = lambda message: None
) -> Report:
    """Whether a strategy, block or program keeps the law that it claims.

    ``subject`` is a strategy (or its text), a block, a program, what reports of itself (as
    ``ponder.vi.Gradients`` do), or a function without arguments that returns one of them.
    ``seconds`` is how long to look; a valid method is refuted with probability below 10^-6 whatever
    it is. Raises PonderError for what cannot be checked.
    """
    if not 0.1 <= seconds <= 1e6:
        raise PonderError(f"check needs between 0.1 and a million seconds, got {seconds}")
    from ponder.checking.subjects import Reporting, resolve

    resolved = resolve(subject)
    if isinstance(resolved, Reporting):
        return resolved.report(seconds, seed, told)
    return Check(resolved, seconds, seed, told).run()
