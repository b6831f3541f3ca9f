"""Randomness comes from (seed, question, place), never from the order in which things happen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ponder.binding import Binding, Potential
from ponder.blocks import best, draw, resample, smc, systematic, vote, weigh
from ponder.dist import (
    Bernoulli,
    Categorical,
    Dist,
    Exponential,
    Independent,
    Normal,
    SciPy,
    Stream,
    Uniform,
    derive,
)
from ponder.effects import Effects, Program
from ponder.interpret import Simulation, evaluate, seed_key
from ponder.machine import Machine, Task
from ponder.measure import Population, Posterior
from ponder.strategy import Pipeline
from shuffled import evaluate_shuffled
from toys import PROGRAMS, early, repeated, steps, whole, writer


def everything(result: Any) -> Any:
    """A population or posterior as plain values, to the last bit."""
    if isinstance(result, Posterior):
        return result.answer, result.shares, result.ess, everything(result.population)
    if isinstance(result, Population):
        traces = [
            (t.value, t.status, t.log_potential, [(c.address, c.value) for c in t.choices])
            for t in result.traces
        ]
        return traces, result.log_weights.tobytes(), result.eves
    return result


REWARD = Potential(
    "reward", lambda t: -0.5 * t.count(0), lambda seen: -1.0 * sum("a" in s.text for s in seen)
)
STRATEGIES: dict[str, Pipeline] = {
    "self-consistency": whole(writer()) | draw(16) | vote,
    "particle filter": steps(writer(6)) | weigh(REWARD) | smc(16, ess=0.9) | vote,
    "best of n": repeated() | draw(8) | weigh(lambda x: 0.3 * sum(x)) | resample() | best(sum),
    "early": early() | smc(8, ess=1.0) | resample(4),
    "spread": PROGRAMS["spread"] | smc(8, ess=1.0) | vote,
    "judged": PROGRAMS["whimsical"] | smc(8, ess=1.0) | vote,
    "opaque": PROGRAMS["opaque"] | smc(8, ess=1.0) | vote,
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_one_seed_gives_one_result_and_another_another(name: str) -> None:
    p = STRATEGIES[name].bind(Binding())
    assert everything(evaluate(p, 11)) == everything(evaluate(p, 11))
    others = [everything(evaluate(p, seed)) for seed in range(12, 16)]
    assert all(other != everything(evaluate(p, 11)) for other in others)
    assert everything(evaluate(p, 11, "another question")) != everything(evaluate(p, 11))


@pytest.mark.parametrize("name", STRATEGIES)
def test_results_do_not_depend_on_batch_order(name: str) -> None:
    p = STRATEGIES[name].bind(Binding())
    for seed in range(3):
        expected = everything(evaluate(p, seed))
        for order in range(4):
            result, in_flight = evaluate_shuffled(p, seed, order)
            assert everything(result) == expected
            assert in_flight >= 8


@pytest.mark.parametrize("name", ["spread", "opaque", "inlined"])
def test_programs_do_not_depend_on_batch_order(name: str) -> None:
    for seed in range(20):
        expected = evaluate(PROGRAMS[name], seed)
        assert all(evaluate_shuffled(PROGRAMS[name], seed, o)[0] == expected for o in range(3))


def test_more_draws_begin_with_the_fewer() -> None:
    few = evaluate((repeated() | draw(8)).bind(Binding()), 5)
    many = evaluate((repeated() | draw(16)).bind(Binding()), 5)
    assert everything(few)[0] == everything(many)[0][:8]
    assert everything(many)[0][8:] != everything(few)[0]


def test_no_two_samples_of_a_run_share_their_randomness() -> None:
    seen: list[bytes] = []

    class Watching(Simulation):
        def sample(self, task: Task, address: str, dist: Dist[Any]) -> Any:
            seen.append(derive(task.key, address))
            return super().sample(task, address, dist)

    for strategy in STRATEGIES.values():
        seen.clear()
        machine = Machine(Watching())
        assert machine.start(strategy.bind(Binding()), seed_key(0)).failed is None
        assert len(set(seen)) == len(seen) > 8


def test_uniforms_are_uniform_and_independent() -> None:
    key = seed_key(0)
    one = Stream(derive(key, "x"))
    values = np.array([one.uniform() for _ in range(20_000)])
    assert values.min() >= 0
    assert values.max() < 1
    assert stats.kstest(values, "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 4 / math.sqrt(20_000)
    # The first uniform of many streams is as good as many of one stream.
    first = np.array([Stream(derive(key, str(i))).uniform() for i in range(20_000)])
    assert stats.kstest(first, "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(first, values)[0, 1]) < 4 / math.sqrt(20_000)
    again = Stream(derive(key, "x"), count=7)
    assert again.uniform() == values[7]


class Fixed(Stream):
    """A stream of one number."""

    def __init__(self, u: float) -> None:
        super().__init__(b"")
        self.u = u

    def uniform(self) -> float:
        return self.u


DISTS: list[tuple[Dist[Any], Any]] = [
    (Normal(1.0, 2.0), stats.norm(1.0, 2.0)),
    (Uniform(-1.0, 3.0), stats.uniform(-1.0, 4.0)),
    (Exponential(2.0), stats.expon(scale=0.5)),
    (SciPy(stats.gamma(2.5)), stats.gamma(2.5)),
]


@pytest.mark.parametrize(("dist", "reference"), DISTS, ids=str)
def test_draws_follow_their_density(dist: Dist[Any], reference: Any) -> None:
    stream = Stream(seed_key(3))
    values = [dist.draw(stream) for _ in range(2000)]
    assert stats.kstest(values, reference.cdf).pvalue > 1e-4
    for value in values[:20]:
        assert dist.log_prob(value) == pytest.approx(float(reference.logpdf(value)), abs=1e-12)


EXTREMES = [0.0, 2.0**-53, 0.5, 1 - 2.0**-53]


@pytest.mark.parametrize("u", EXTREMES)
def test_the_ends_of_the_unit_interval_are_drawable(u: float) -> None:
    for dist, _ in DISTS:
        assert math.isfinite(dist.log_prob(dist.draw(Fixed(u))))
    possible = Categorical([0.0, 0.3, 0.1 + 0.2, 0.0])
    both = Independent((possible, Bernoulli(0.0), Bernoulli(1.0)))
    value = both.draw(Fixed(u))
    assert value in [v for v, _ in both.support() or ()]


def test_listed_supports_have_their_frequencies() -> None:
    weights = np.array([0.35, 0.0, 0.15, 0.5])

    def ancestors() -> Effects[tuple[int, ...]]:
        return tuple((yield from systematic(weights, 3)))

    counts: dict[Any, int] = {}
    for seed in range(3000):
        value = evaluate(Program(ancestors, "ancestors"), seed)
        counts[value] = counts.get(value, 0) + 1
    law: dict[Any, float] = {}

    class Reading(Simulation):
        def sample(self, task: Task, address: str, dist: Dist[Any]) -> Any:
            law.update({tuple(v): math.exp(lp) for v, lp in dist.support() or ()})
            return super().sample(task, address, dist)

    Machine(Reading()).start(Program(ancestors, "ancestors"), b"")
    assert set(counts) == set(law)
    expected = [3000 * law[v] for v in law]
    assert stats.chisquare([counts[v] for v in law], expected).pvalue > 1e-4
