"""Runs of strategies: pooled by their evidence, or collapsed into a program again."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from exact import assert_same, measure, population_of
from ponder.binding import Binding
from ponder.blocks import draw, resample, smc, vote, weigh
from ponder.blocks.collapse import collapse
from ponder.blocks.pool import pool, pooled
from ponder.blocks.thin import thin
from ponder.dist import Bernoulli
from ponder.effects import Effects, Factor, Program, Sample, program, sample
from ponder.errors import CutShort, PonderError
from ponder.interpret import enumerate_measure, enumerate_runs, evaluate
from ponder.law import Law, heuristic
from ponder.measure import Population, family_ess
from ponder.strategy import StageError
from toys import NEG_INF, PROGRAMS, Bits, chain, coins, doomed, early, mortal, steps, whole, writer


def runs(pipeline: Any) -> list[tuple[Any, float]]:
    return [(value, math.exp(lp)) for value, lp in enumerate_runs(pipeline.bind(Binding()))]


def heads(bits: Bits) -> float:
    return math.log(0.2 + 0.5 * sum(bits))


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_pool_keeps_the_measure(name: str) -> None:
    assert_same(measure(PROGRAMS[name] | draw(1) | pool(2)), enumerate_measure(PROGRAMS[name]))


@pytest.mark.parametrize("p", [chain(), coins(), doomed(), chain(1)], ids=repr)
def test_pool_keeps_the_measure_of_smc(p: Program[Any]) -> None:
    assert_same(measure(p | smc(2, ess=1.0) | pool(2)), enumerate_measure(p))


def test_pool_keeps_the_measure_whatever_surrounds_it() -> None:
    target = enumerate_measure(chain(1))
    assert_same(measure(chain(1) | draw(1) | pool(2) | pool(2)), target)
    assert_same(measure(chain(1) | draw(3) | thin(2) | pool(2) | resample(3)), target)
    weighed = {x: m * math.exp(heads(x)) for x, m in target.items()}
    assert_same(measure(chain(1) | draw(2) | weigh(heads) | pool(2)), weighed)
    assert_same(measure(chain(1) | draw(2) | pool(2) | weigh(heads)), weighed)
    model = writer(context=1)
    assert_same(measure(whole(model) | draw(1) | pool(2)), enumerate_measure(steps(model)))


def test_runs_are_pooled_by_their_evidence() -> None:
    first = replace(population_of("ab", [0.2, 0.6]), eves=(5, 5))
    second = replace(population_of("bcd", [3.0, 0.0, 1.0]), eves=(3, 2, 0))
    both = pooled([first, second])
    assert [t.value for t in both.traces] == list("abbcd")
    assert np.exp(both.log_weights) == pytest.approx([0.1, 0.3, 1.5, 0.0, 0.5])
    assert both.log_evidence == pytest.approx(math.log((0.8 + 4.0) / 2))
    assert [both.eves.index(eve) for eve in both.eves] == [0, 0, 2, 3, 4]


def test_averaging_normalised_weights_would_be_biased() -> None:
    """However many runs there are: each keeps its own bias. The pool's shares lose theirs."""
    target = enumerate_measure(early())
    wanted = target[0] / math.fsum(target.values())
    averaged, by_evidence = 0.0, {1: 0.0, 2: 0.0, 4: 0.0}
    for k in by_evidence:
        for population, mass in runs(early() | draw(1) | pool(k)):
            hits = np.array([trace.value == 0 for trace in population.traces])
            by_evidence[k] += mass * float(population.weights[hits].sum())
    for population, mass in runs(early() | draw(1)):
        averaged += mass * (population.traces[0].value == 0)
    assert abs(averaged - wanted) > 0.1  # for every number of runs
    assert by_evidence[1] == pytest.approx(averaged)
    errors = [abs(share - wanted) for share in by_evidence.values()]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.5 * errors[0]


def test_pooled_exact_draws_are_exact() -> None:
    strategy = coins() | draw(2) | pool(2)
    assert strategy.law.kind == "exact"
    for population, _ in runs(strategy):
        assert population.log_weights.tolist() == [math.log(0.25)] * 4
        assert population.eves == (0, 1, 2, 3)
        assert population.law == strategy.law
    assert (chain() | smc(2) | pool(2)).law.kind == "weighted"


def test_runs_are_independent_families() -> None:
    """One run of one family says nothing of its error; two such runs do."""
    one = population_of("aa", [0.5, 0.5])
    alone = replace(one, eves=(0, 0))
    other = replace(population_of("bb", [0.5, 0.5]), eves=(0, 0))
    both = pooled([alone, other])
    assert family_ess(both.weights, both.eves) == pytest.approx(2.0)
    posterior = evaluate(vote.decide(both, Binding()))
    assert posterior.shares[0].error == pytest.approx(math.sqrt(0.125))


def test_the_first_runs_of_more_are_those_of_fewer() -> None:
    def values(k: int) -> list[Any]:
        population = evaluate((mortal() | smc(3) | pool(k)).bind(Binding()), seed=3)
        return [trace.value for trace in population.traces]

    assert values(5)[:6] == values(2)
    assert values(5)[:3] != values(5)[3:6] or values(5)[3:6] != values(5)[6:9]


def test_vote_follows_a_pool() -> None:
    answers: dict[Any, float] = {}
    for posterior, mass in runs(early() | smc(2) | pool(2) | vote):
        answers[posterior.answer] = answers.get(posterior.answer, 0.0) + mass
        assert posterior.law.kind == "consistent"
    assert math.fsum(answers.values()) == pytest.approx(1, abs=1e-12)
    assert set(answers) == {0, 1, 2, 3}


@program
def interrupted() -> Effects[Bits]:
    """Its longer half is cut short."""
    x = yield from sample(Bernoulli(0.5))
    yield Factor(math.log(0.7 if x else 0.4))
    if x:
        raise CutShort
    return (x,)


def test_a_run_that_was_cut_short_takes_the_law_away() -> None:
    for population, _ in runs(interrupted() | draw(1) | pool(2)):
        cut = any(trace.status == "unfinished" for trace in population.traces)
        assert population.law.kind == ("heuristic" if cut else "weighted")
        assert ("cut short" in population.law.assumptions) == cut


# collapse


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_collapse_keeps_the_measure(name: str) -> None:
    p = PROGRAMS[name]
    target = enumerate_measure(p)
    method = draw(2) if name == "spread" else smc(2, ess=1.0)
    collapsed = (p | method | collapse).bind(Binding())
    found = enumerate_measure(collapsed)
    found.pop(None, None)
    assert_same(found, target)
    assert_same(measure(p | method | collapse | draw(1)), target)


@pytest.mark.parametrize("p", [chain(), coins(), doomed(), chain(1)], ids=repr)
@pytest.mark.parametrize("outer", [draw(2), smc(2, ess=1.0)], ids=repr)
def test_nested_inference_keeps_the_measure(p: Program[Any], outer: Any) -> None:
    inner = smc(2) if p.name != "coins" else draw(1)
    assert_same(measure(p | inner | collapse | outer), enumerate_measure(p))


def test_collapse_composes() -> None:
    target = enumerate_measure(chain(1))
    assert_same(measure(chain(1) | draw(2) | collapse | draw(1) | collapse | draw(2)), target)
    assert_same(measure(chain(1) | draw(1) | pool(2) | collapse | draw(2)), target)
    assert_same(measure(chain(1) | draw(2) | collapse | draw(2) | pool(2)), target)
    assert_same(measure(chain(1) | draw(3) | thin(2) | collapse | draw(1)), target)
    weighed = {x: m * math.exp(heads(x)) for x, m in target.items()}
    assert_same(measure(chain(1) | draw(2) | weigh(heads) | collapse | draw(2)), weighed)
    assert_same(measure(chain(1) | draw(2) | collapse | weigh(heads) | draw(2)), weighed)
    model = writer(context=1)
    assert_same(
        measure(steps(model) | smc(2) | collapse | draw(1)), enumerate_measure(whole(model))
    )


@program
def containing() -> Effects[tuple[Any, bool]]:
    """A collapsed strategy in the midst of a program, which goes on and is forked."""
    bits = yield from (chain(1) | smc(2, ess=1.0) | collapse).bind(Binding())
    y = yield from sample(Bernoulli(0.7 if bits[0] else 0.1))
    yield Factor(math.log(0.6 if y else 0.9))
    return bits, y


def test_a_collapsed_strategy_within_a_program() -> None:
    direct = enumerate_measure(PROGRAMS["opaque"])
    assert_same(enumerate_measure(containing()), direct)
    assert_same(measure(containing() | smc(2, ess=1.0)), direct)


def test_the_collapsed_choice_is_opaque_and_weighs_its_evidence() -> None:
    evidences = {
        round(population.log_evidence, 12) for population, _ in runs(early() | smc(2, ess=1.0))
    }
    assert len(evidences) > 3
    for population, _ in runs(early() | smc(2, ess=1.0) | collapse | draw(1)):
        [trace] = population.traces
        [choice] = trace.choices
        assert choice.dist is None
        assert choice.value == (trace.value, trace.log_potential)
        assert round(trace.log_potential, 12) in evidences


def test_exact_stays_exact() -> None:
    strategy = coins(1) | draw(3) | collapse | draw(2)
    assert strategy.law.kind == "exact"
    for population, _ in runs(strategy):
        assert population.log_weights.tolist() == [-math.log(2)] * 2
        assert population.law == strategy.law

    @program(normalised=True)
    def within() -> Effects[Any]:
        return (yield from (coins() | draw(3) | collapse).bind(Binding()))

    assert_same(measure(within() | draw(1)), enumerate_measure(coins()))
    # The logarithms of ten weights of 1/10 do not quite add up to a mass of one.
    ten = evaluate((coins() | draw(5) | pool(2) | collapse | draw(3)).bind(Binding()))
    assert ten.log_weights.tolist() == [-math.log(3)] * 3


def test_the_law_of_what_is_collapsed() -> None:
    assert (chain() | draw(2) | collapse | draw(2)).law == (chain() | draw(2)).law
    assert (coins() | smc(2) | collapse | draw(2)).law.kind == "weighted"
    assert collapse.law(Law("heuristic", "p")) == Law("heuristic", "p")
    assert "as the collapsed runs grow" in str(collapse.law(Law("consistent", "p")))


def test_no_mass_collapses_to_a_dead_trace() -> None:
    for population, _ in runs(doomed() | draw(2) | collapse | draw(2)):
        assert {t.status for t in population.traces} == {"dead"}
        assert population.log_evidence == NEG_INF


@pytest.mark.parametrize("between", [[], [resample(1)]], ids=["kept", "resampled"])
def test_a_run_that_was_cut_short_abstains(between: list[Any]) -> None:
    """Also where another of its traces had finished, or the unfinished one is gone."""
    pipeline = interrupted() | draw(2)
    for block in between:
        pipeline = pipeline | block
    statuses: dict[str, float] = {}
    for population, mass in runs(pipeline | collapse | draw(1)):
        [trace] = population.traces
        statuses[trace.status] = statuses.get(trace.status, 0.0) + mass
        if trace.status == "finished":
            assert trace.value == (False,)
            assert population.law.kind == "weighted"
        else:
            assert trace.value is None
            assert population.law.kind == "heuristic"
            assert math.exp(population.log_evidence) in (pytest.approx(0.55), pytest.approx(0.7))
    assert statuses == {"finished": pytest.approx(0.25), "unfinished": pytest.approx(0.75)}


def test_heuristic_without_a_cut_is_no_abstention() -> None:
    """A population may make no claim for another reason; then it has values to go on with."""
    population = population_of("ab", [0.5, 1.0])
    guessed = replace(population, law=heuristic(population.law, "guessed"))

    def run() -> Effects[Population[Any]]:
        yield Sample(Bernoulli(1.0))
        return guessed

    program = collapse.collapse(Program(run, "guess"))
    assert enumerate_measure(program) == pytest.approx({"a": 0.5, "b": 1.0})


def test_notation_and_stages() -> None:
    strategy = coins() | smc(2) | pool(3) | collapse | draw(2) | vote
    assert repr(strategy) == "coins | smc(2) | pool(3) | collapse | draw(2) | vote"
    assert (coins() | draw(2) | collapse).stage == "program"
    for block in (pool(2), collapse):
        with pytest.raises(StageError, match="inference block"):
            coins() | block
    with pytest.raises(PonderError, match="at least 1"):
        pool(0)
