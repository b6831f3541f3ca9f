"""Traces that go on: on programs and on populations the same measure, and laws that stay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from exact import assert_same, measure
from ponder.binding import Binding
from ponder.blocks import draw, resample, smc, weigh
from ponder.blocks.then import Then
from ponder.checking.check import check
from ponder.dist import Bernoulli
from ponder.effects import Effects, Factor, Program, program, sample
from ponder.interpret import enumerate_runs
from toys import chain, coins


def odd(value: Any) -> bool:
    """Something about a value of any kind."""
    return len(repr(value)) % 2 == 1


@program(normalised=True)
def flipped(value: Any) -> Effects[Any]:
    x = yield from sample(Bernoulli(0.25 if odd(value) else 0.5))
    return value, x


@program
def judged(value: Any) -> Effects[Any]:
    x = yield from sample(Bernoulli(0.4), "mood")
    yield Factor(math.log(0.9 if x == odd(value) else 0.2))
    return value, x


@dataclass(frozen=True, repr=False)
class Flip(Then):
    notation: ClassVar[str] = "flip"

    def after(self, value: Any, binding: Binding) -> Program[Any]:
        return flipped(value)


@dataclass(frozen=True, repr=False)
class Judge(Then):
    notation: ClassVar[str] = "judge_on"
    normalised: ClassVar[bool] = False

    def after(self, value: Any, binding: Binding) -> Program[Any]:
        return judged(value)


@pytest.mark.parametrize("block", [Flip(), Judge()])
@pytest.mark.parametrize("head", [coins(2), chain(2)])
def test_on_a_program_and_on_a_population_it_is_one_measure(head: Any, block: Then) -> None:
    direct = measure(head | block | draw(2))
    later = measure(head | draw(2) | block)
    assert_same(direct, later)
    assert len(direct) > 4


def test_laws() -> None:
    assert (coins(2) | Flip() | draw(2)).law.kind == "exact"
    assert (coins(2) | draw(2) | Flip()).law.kind == "exact"
    assert (coins(2) | draw(2) | Flip()).law.ordered
    assert (coins(2) | draw(2) | Judge()).law.kind == "weighted"
    assert (chain(2) | smc(2) | Flip()).law.kind == "weighted"


@pytest.mark.parametrize("block", [Flip(), Judge()])
def test_the_check_finds_it_valid(block: Then) -> None:
    after, before = chain(2) | smc(3) | block, chain(1) | block | draw(2)
    for subject in (after, before, coins(2) | draw(3) | block):
        report = check(subject, seconds=1)
        assert report.verdict == "valid", report


def test_a_trace_is_one_of_the_longer_program() -> None:
    """What went on can be moved, weighed and continued again: its addresses are the program's."""
    pipeline = coins(1) | draw(1) | Flip() | Flip()
    for population, _ in enumerate_runs(pipeline.bind(Binding())):
        (trace,) = population.traces
        assert [c.address for c in trace.choices] == ["coin0", "#0", "#1"]
        assert trace.program.name == "coins | flip | flip"
        first, second, third = (c.value for c in trace.choices)
        assert trace.value == (((first,), second), third)


def test_doubled_traces_go_on_each_by_itself() -> None:
    pipeline = coins(1) | weigh(lambda v: 0.0 if v[0] else -math.inf) | draw(2) | resample(2)
    both = {
        tuple(t.value for t in population.traces)
        for population, _ in enumerate_runs((pipeline | Flip()).bind(Binding()))
        if population.log_evidence > -math.inf
    }
    flips = [((True,), a) for a in (True, False)]
    assert both == {(a, b) for a in flips for b in flips}


def test_a_block_that_keeps_the_old_factors_is_refuted() -> None:
    @dataclass(frozen=True, repr=False)
    class Forgetful(Judge):
        def move(self, population: Any, binding: Binding) -> Any:
            from dataclasses import replace

            moved = super().move(population, binding)

            def run() -> Effects[Any]:
                result = yield from moved
                return replace(result, log_weights=population.log_weights)

            return Program(run, "forgetful")

    assert check(chain(2) | smc(2) | Forgetful(), seconds=1).verdict == "refuted"
