"""Strategies are run under the enumerator: their measures must be the target's, to rounding.

For a weighted law, E[sum_i w_i delta(x_i)] is the unnormalised target, whatever the number of
particles, the resampler and the threshold. Both sides are computed exactly.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exact import assert_same, measure
from ponder.binding import Binding, Potential
from ponder.blocks import draw, propose, resample, smc, temper, vote, weigh
from ponder.blocks.resample import Resampler
from ponder.dist import Bernoulli, Dist
from ponder.effects import Done, Effects, Factor, Program, iterate, program, sample
from ponder.interpret import enumerate_measure, enumerate_runs
from toys import (
    NEG_INF,
    PROGRAMS,
    RESAMPLERS,
    Bits,
    chain,
    coins,
    doomed,
    early,
    inception,
    misled,
)

NAMES = list(PROGRAMS)


@pytest.mark.parametrize("name", NAMES)
def test_draw_is_importance_sampling(name: str) -> None:
    for n in (1, 2):
        assert_same(measure(PROGRAMS[name] | draw(n)), enumerate_measure(PROGRAMS[name]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ess", [0.0, 0.5, 1.0])
def test_smc_keeps_the_target_at_every_threshold(name: str, ess: float) -> None:
    assert_same(measure(PROGRAMS[name] | smc(2, ess=ess)), enumerate_measure(PROGRAMS[name]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("resampler", RESAMPLERS)
def test_smc_keeps_the_target_with_every_resampler(name: str, resampler: Resampler) -> None:
    strategy = PROGRAMS[name] | smc(2, resampler, ess=1.0)
    assert_same(measure(strategy), enumerate_measure(PROGRAMS[name]))


@pytest.mark.parametrize("n", [1, 3])
def test_smc_keeps_the_target_for_other_numbers(n: int) -> None:
    for p in (chain(), early()):
        assert_same(measure(p | smc(n, ess=1.0)), enumerate_measure(p))


def test_states_of_iterate_may_be_arrays() -> None:
    @program
    def step(state: NDArray[np.float64]) -> Effects[Any]:
        x = yield from sample(Bernoulli(0.3 + 0.4 * float(state.mean())))
        yield Factor(-0.7 * x)
        after = np.append(state, x)
        return Done(tuple(after)) if len(after) == 4 else after

    p = iterate(step, np.array([0.5]))
    assert_same(measure(p | smc(2, ess=1.0)), enumerate_measure(p))


def test_smc_really_resamples_and_twists_steer_it() -> None:
    def survivors(threshold: float) -> float:
        runs = enumerate_runs((misled() | smc(2, ess=threshold)).bind(Binding()))
        return math.fsum(math.exp(lm) for pop, lm in runs if len(set(pop.eves)) == 1)

    assert survivors(0.0) == 0.0
    assert survivors(1.0) > 0.2


def test_smc_inside_a_program_inside_smc() -> None:
    direct = enumerate_measure(chain())
    assert_same(enumerate_measure(inception()), direct)
    assert_same(measure(inception() | smc(2, ess=1.0)), direct)


@pytest.mark.parametrize("resampler", RESAMPLERS)
@pytest.mark.parametrize("n", [None, 1, 3])
def test_resample_keeps_the_measure_and_the_evidence(resampler: Resampler, n: int | None) -> None:
    strategy = early() | draw(2)
    after = strategy | resample(n, resampler)
    assert_same(measure(after), measure(strategy))
    evidence = {pop.log_evidence for pop, _ in enumerate_runs(after.bind(Binding()))}
    before = {pop.log_evidence for pop, _ in enumerate_runs(strategy.bind(Binding()))}
    assert all(min(abs(e - b) for b in before) < 1e-12 for e in evidence)


@pytest.mark.parametrize("resampler", RESAMPLERS)
def test_every_resampler_is_unbiased(resampler: Resampler) -> None:
    weights = np.array([0.3, 0.0, 0.1, 0.6, 0.0])
    for n in (1, 2, 3, 5):

        def chosen(n: int = n) -> Effects[tuple[int, ...]]:
            return tuple((yield from resampler(weights, n)))

        copies = np.zeros(5)
        for ancestors, log_mass in enumerate_runs(Program(chosen, "ancestors")):
            assert len(ancestors) == n
            copies += math.exp(log_mass) * np.bincount(ancestors, minlength=5)
        np.testing.assert_allclose(copies, n * weights, atol=1e-12)


def heads(bits: Bits) -> float:
    return math.log(0.2 + 0.5 * sum(bits))


def uneven(bits: Bits) -> float:
    return NEG_INF if not any(bits) else 0.7 * bits[0]


GUIDED = Potential("guided", heads, lambda seen: 0.8 * sum(seen))


@pytest.mark.parametrize("block", [draw(2), smc(2, ess=1.0)])
@pytest.mark.parametrize("potential", [heads, uneven, GUIDED])
def test_weigh_commutes_with_inference(block: Any, potential: Any) -> None:
    for p in (chain(), coins()):
        complete: Any = potential.complete if isinstance(potential, Potential) else potential
        target = {x: m * math.exp(complete(x)) for x, m in enumerate_measure(p).items()}
        assert_same(measure(p | weigh(potential) | block), target)
        assert_same(measure(p | block | weigh(potential)), target)


@pytest.mark.parametrize("block", [draw(2), smc(2, ess=1.0)])
def test_weigh_twice_is_weigh_by_the_product(block: Any) -> None:
    p = chain()
    product = Potential("product", lambda x: heads(x) + uneven(x))
    target = measure(p | weigh(product) | block)
    assert_same(measure(p | weigh(GUIDED) | weigh(uneven) | block), target)
    assert_same(measure(p | block | weigh(heads) | weigh(uneven)), target)
    assert_same(measure(p | weigh(uneven) | block | weigh(GUIDED)), target)


def test_weigh_lets_the_twists_of_the_program_stand() -> None:
    target = {x: m * math.exp(heads(x)) for x, m in enumerate_measure(misled()).items()}
    assert_same(measure(misled() | weigh(GUIDED) | smc(2, ess=1.0)), target)


@pytest.mark.parametrize("name", ["iterated", "inlined", "spread", "opaque"])
def test_weigh_steers_programs_of_programs(name: str) -> None:
    misguided = Potential("misguided", lambda x: 0.3 * len(x), lambda seen: 0.9 * sum(seen))
    target = {x: m * math.exp(0.3 * len(x)) for x, m in enumerate_measure(PROGRAMS[name]).items()}
    assert_same(measure(PROGRAMS[name] | weigh(misguided) | smc(2, ess=1.0)), target)


def test_a_potential_may_be_a_program_with_randomness_and_factors() -> None:
    def judged(x: Bits) -> Program[float]:
        @program
        def judge() -> Effects[float]:
            kind = yield from sample(Bernoulli(0.25))
            yield Factor(math.log(0.5 if kind else 2.0))
            return heads(x) if kind else 0.0

        return judge()

    potential = Potential("judged", judged)
    p = coins()
    target = {
        x: m * (0.25 * 0.5 * math.exp(heads(x)) + 0.75 * 2.0)
        for x, m in enumerate_measure(p).items()
    }
    assert_same(measure(p | weigh(potential) | draw(1)), target)
    assert_same(measure(p | draw(1) | weigh(potential)), target)
    assert_same(measure(p | weigh(potential) | smc(2, ess=1.0)), target)


@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0])
def test_temper_raises_the_factors_to_a_power(beta: float) -> None:
    for name in ("chain", "early", "misled", "mortal", "spread", "opaque", "iterated", "inlined"):
        target: dict[Any, float] = {}
        for value, mass in _tempered_by_hand(PROGRAMS[name], beta):
            target[value] = target.get(value, 0.0) + mass
        assert_same(enumerate_measure((PROGRAMS[name] | temper(beta)).bind(Binding())), target)
        assert_same(measure(PROGRAMS[name] | temper(beta) | smc(2, ess=1.0)), target)


def _tempered_by_hand(p: Program[Any], beta: float) -> list[tuple[Any, float]]:
    """(value, prior * factors^beta) of every trace, from the choices that draw(1) recorded."""
    found = []
    for population, log_mass in enumerate_runs((p | draw(1)).bind(Binding())):
        [trace] = population.traces
        if trace.status == "finished":
            found.append((trace.value, math.exp(log_mass + beta * trace.log_potential)))
    return found


def contrary(name: str | None, dist: Dist[Any]) -> Dist[Any] | None:
    """Draws the bits the other way round; leaves what is called coin0, and what is certain."""
    left = name == "coin0" or not isinstance(dist, Bernoulli) or dist.p == 1.0
    return None if left else Bernoulli(1 - dist.p)


@pytest.mark.parametrize("name", NAMES)
def test_propose_keeps_the_target(name: str) -> None:
    p = PROGRAMS[name]
    assert_same(measure(p | propose(contrary) | draw(1)), enumerate_measure(p))
    assert_same(measure(p | propose(contrary) | smc(2, ess=1.0)), enumerate_measure(p))


def test_no_mass_is_a_value() -> None:
    for block in (draw(3), smc(3, ess=1.0)):
        for posterior, _ in enumerate_runs((doomed() | block | resample() | vote).bind(Binding())):
            assert posterior.answer is None
            assert posterior.shares == ()
            assert posterior.probability is None
            assert posterior.population.log_evidence == NEG_INF
