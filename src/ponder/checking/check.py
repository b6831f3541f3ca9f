"""``check``: every claim of a method, exactly where it can be, by betting where it is too large."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ponder.blocks.kernel import Kernel
from ponder.checking.cases import Case, as_pipeline, cases_of
from ponder.checking.claims import Finding, Report
from ponder.checking.decisions import check_bounded, check_plug_in, crafted
from ponder.checking.enumerated import check_case, small_enough
from ponder.checking.heuristics import describe
from ponder.checking.kernel_matrix import check_kernels
from ponder.checking.merge import merged
from ponder.checking.sampled import Sampling, bounded_sampling_of, sample_cases, sampling_of
from ponder.errors import NotAFunctionOfItsChoices, PonderError, TooManyRuns
from ponder.measure import Population
from ponder.strategy import Decide, Pipeline

SAMPLED_ON = ("answering model", "chain", "early", "crowded")
Told = Callable[[str], None]


class Check:
    """One check: its subject, its time, and what has been found so far."""

    def __init__(self, subject: Any, seconds: float, seed: int, told: Told) -> None:
        self.pipeline: Pipeline = as_pipeline(subject)
        self.cases = list(cases_of(subject))
        self.seconds, self.seed, self.told = seconds, seed, told
        self.started = time.perf_counter()
        self.findings: list[Finding] = []
        self.populations: list[Population[Any]] = crafted()
        self.failed: dict[str, str] = {}
        self.samplings: list[Sampling] = []

    def run(self) -> Report:
        """All claims in turn."""
        for case in self.cases:
            self._attempt(case, self._enumerate)
        for case in self.cases:
            if (case.own or case.toy in SAMPLED_ON) and case.toy not in self.failed:
                self._attempt(case, self._prepare)
        self._decide()
        self.told("sampling at its own size")
        left = max(self.seconds - self._spent(), 0.25 * self.seconds)
        refuted = any(f.verdict == "refuted" for f in self.findings)
        if not refuted:
            self.findings += sample_cases(self.samplings, left, self.seed)
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
        except TooManyRuns:
            pass  # other toys are smaller
        except Exception as error:
            if isinstance(error, PonderError) and case.own and len(self.cases) > 1:
                note = f"{error}; its blocks were checked on the toys"
                fact = Finding("its own program was not checked", "none", "known", note=note)
                self.findings += [] if fact in self.findings else [fact]
            else:
                self.failed[case.toy] = f"{type(error).__name__}: {error}"

    def _enumerate(self, case: Case) -> None:
        self.told(f"enumerating on {case.toy}")
        each = 0.5 * self.seconds / len(self.cases)
        for small in small_enough(case, each):
            try:
                findings, expectation = check_case(small)
            except TooManyRuns:
                continue  # the estimate was too low
            break
        else:
            return
        self.findings += findings
        if len(self.populations) < 300:
            self.populations += expectation.populations[:40]
        if any(isinstance(b, Kernel) for b in case.pipeline.blocks):
            self.findings += check_kernels(small, each)
        if self.pipeline.law.kind == "bounded":
            self.findings.append(check_bounded(small))

    def _prepare(self, case: Case) -> None:
        sampling = sampling_of(case)
        if sampling is not None:
            self.samplings.append(sampling)
            if self.pipeline.law.kind == "bounded":
                self.samplings.append(bounded_sampling_of(case))

    def _decide(self) -> None:
        block = self.pipeline.blocks[-1]
        if not isinstance(block, Decide):
            return
        self.told("deciding")
        if self.pipeline.law.kind == "consistent":
            binding = self.cases[-1].binding
            self.findings += check_plug_in(block, self.populations, binding)

    def _heuristic(self) -> None:
        if self.pipeline.law.kind != "heuristic":
            return
        for case in self.cases:
            for small in small_enough(case, 1.0):
                fact = describe(small)
                if fact is not None:
                    self.findings.append(fact)
                    return
        self.findings.append(Finding("heuristic: it claims nothing", "none", "heuristic"))

    def _explain(self) -> None:
        if self.failed:
            toy, why = next(iter(self.failed.items()))
            note = f"failed on {len(self.failed)} of {len(self.cases)} toys, first on {toy}: {why}"
            self.findings.append(Finding("runs on every toy", "none", "untested", toy, note=note))


def check(
    subject: Any, *, seconds: float = 30.0, seed: int = 0, told: Told = lambda message: None
) -> Report:
    """Whether a strategy, block or program keeps the law that it claims.

    ``subject`` is a strategy (or its text), a block, a program, or a function without arguments
    that returns one of them. ``seconds`` is how long to look; a valid method is refuted with
    probability below 10^-6 whatever it is. Raises PonderError for what cannot be checked.
    """
    from ponder.checking.subjects import resolve

    return Check(resolve(subject), seconds, seed, told).run()
