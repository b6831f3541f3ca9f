"""Proposals are corrected exactly; a defensive share makes up for what they cannot reach."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from exact import assert_same, measure
from ponder.binding import Binding
from ponder.blocks import draw, propose, smc, temper
from ponder.dist import NEG_INF, Bernoulli, Categorical, Dist, Mixture, Normal, Stream
from ponder.effects import Effects, program, sample
from ponder.errors import PonderError
from ponder.interpret import enumerate_measure, enumerate_runs, evaluate
from ponder.lm.protocol import Completion, NextToken
from ponder.lm.sampling_law import SamplingLaw
from ponder.meaning import atoms, by_value
from ponder.particle import Particle
from ponder.strategy import Pipeline
from toys import PROGRAMS, chain, coins, steps, whole, writer


def one_sided(name: str | None, dist: Dist[Any]) -> Dist[Any] | None:
    """Never draws False, which most targets need."""
    return Bernoulli(1.0) if isinstance(dist, Bernoulli) else None


def greedy(name: str | None, dist: Dist[Any]) -> Dist[Any] | None:
    """Writes only what is most probable."""
    return replace(dist, law=SamplingLaw(temperature=0)) if isinstance(dist, Completion) else None


@pytest.mark.parametrize("name", list(PROGRAMS))
@pytest.mark.parametrize("block", [draw(1), smc(2, ess=1.0)], ids=repr)
def test_a_defensive_share_reaches_what_the_proposal_misses(name: str, block: Any) -> None:
    p = PROGRAMS[name]
    assert_same(measure(p | propose(one_sided, defensive=0.3) | block), enumerate_measure(p))


@pytest.mark.parametrize("name", ["chain", "coins", "spread", "opaque", "iterated", "inlined"])
def test_without_it_the_measure_is_wrong(name: str) -> None:
    p = PROGRAMS[name]
    biased, target = measure(p | propose(one_sided) | draw(1)), enumerate_measure(p)
    lost = math.fsum(target.values()) - math.fsum(biased.values())
    assert lost > 0.05
    assert_same(biased, {value: target[value] for value in biased})  # right where it gets to


def test_a_language_model_is_proposed_for_defensively() -> None:
    for law in (SamplingLaw(), SamplingLaw(temperature=0.7, top_k=3)):
        for p in (whole(writer(context=2), law), steps(writer(context=2), law)):
            target = enumerate_measure(p)
            assert_same(measure(p | propose(greedy, 0.25) | draw(1)), target)
            assert_same(measure(p | propose(greedy, 0.25) | smc(2, ess=1.0)), target)
            missing = sum(measure(p | propose(greedy) | draw(1)).values())
            assert missing < 0.9 * sum(target.values())


@pytest.mark.parametrize("eps", [0.05, 0.5, 0.9])
def test_weights_are_bounded_and_the_bound_is_reached(eps: float) -> None:
    strategy = coins(2) | propose(one_sided, defensive=eps) | draw(1)
    largest = 0.0
    for population, _ in enumerate_runs(strategy.bind(Binding())):
        [trace] = population.traces
        largest = max(largest, trace.log_potential)
    assert largest == pytest.approx(-2 * math.log(eps), abs=1e-12)  # one bound a sample


def test_the_defensive_share_bounds_the_variance() -> None:
    @program(normalised=True)
    def coin() -> Effects[bool]:
        return (yield from sample(Bernoulli(0.5)))

    def second_moment(eps: float) -> float:
        strategy = coin() | propose(lambda name, dist: Bernoulli(1e-3), eps) | draw(1)
        runs = enumerate_runs(strategy.bind(Binding()))
        return math.fsum(math.exp(lm + 2 * pop.log_evidence) for pop, lm in runs)

    assert second_moment(0.0) == pytest.approx(0.25 / 1e-3 + 0.25 / 0.999)
    assert second_moment(0.2) < 1 / 0.2
    assert second_moment(0.9) < second_moment(0.2) < second_moment(0.0)


def test_the_law_drops_the_assumption() -> None:
    plain, defended = coins() | propose(one_sided), coins() | propose(one_sided, 0.1)
    assert plain.law.assumptions == ("q = 0 only where the target is",)
    assert str(defended.law) == "weighted for coins"
    assert repr(defended) == "coins | propose(one_sided, defensive=0.1)"
    assert (chain() | propose(one_sided, 0.1) | smc(4)).law.kind == "weighted"


@pytest.mark.parametrize("eps", [-0.1, 1.0, 2.0, math.nan])
def test_a_share_that_makes_no_sense_is_refused(eps: float) -> None:
    with pytest.raises(PonderError, match="defensive share"):
        propose(one_sided, defensive=eps)


def test_forks_and_restarts_keep_the_defence() -> None:
    binding = Binding()
    p = propose(one_sided, 0.3).transform(PROGRAMS["iterated"], binding)
    particle: Particle[Any] = Particle(p)
    evaluate(particle.run(stop=True), 3)
    heir = particle.fork()
    assert heir.trace() == particle.trace()
    assert isinstance(heir.trace().choices[0].dist, Mixture)
    evaluate(heir.run(stop=True), 4)
    dists = [c.dist for c in heir.trace().choices]
    assert len(dists) > 1
    assert all(isinstance(d, Mixture) for d in dists)


def test_mixtures_are_distributions() -> None:
    left, right = Categorical((1, 3), ("a", "b")), Categorical((1, 1), ("b", "c"))
    mixed = Mixture((left, right), (3, 1))
    assert mixed == Mixture((left, right), (0.75, 0.25))
    assert mixed != Mixture((right, left), (0.75, 0.25))
    expected = {"a": 0.75 / 4, "b": 0.75 * 0.75 + 0.125, "c": 0.125}
    listed = mixed.support()
    assert listed is not None
    assert len(listed) == 3
    assert_same({v: math.exp(lp) for v, lp in listed}, expected)
    assert_same({v: math.exp(mixed.log_prob(v)) for v in "abc"}, expected)
    assert mixed.log_prob("d") == NEG_INF
    assert Mixture((left, Normal()), (1, 1)).support() is None
    assert Mixture((left, Normal()), (1, 0)).support() is not None
    counts = {"a": 0, "b": 0, "c": 0}
    for i in range(4000):
        counts[mixed.draw(Stream(i.to_bytes(8, "little")))] += 1
    for value, share in expected.items():
        assert abs(counts[value] / 4000 - share) < 5 * math.sqrt(share * (1 - share) / 4000)


def test_mixtures_merge_what_two_laws_of_a_model_write() -> None:
    model = writer(context=2)
    laws = (SamplingLaw(), SamplingLaw(temperature=0))
    parts = tuple(Completion(model, (), law, max_tokens=4) for law in laws)
    mixed = Mixture(parts, (0.5, 0.5)).support()
    assert mixed is not None
    assert math.fsum(math.exp(lp) for _, lp in mixed) == pytest.approx(1, abs=1e-12)
    assert len({d.tokens for d, _ in mixed}) == len(mixed)
    token = Mixture((NextToken(model, ()), NextToken(model, (), laws[1])), (0.5, 0.5))
    assert math.exp(token.log_prob(0)) == pytest.approx(0.75, abs=1e-12)


@pytest.mark.parametrize(
    ("parts", "weights"),
    [((Normal(),), (1, 1)), ((Normal(),), (-1,)), ((Normal(),), (0,)), ((), ())],
)
def test_mixtures_without_meaning_are_refused(parts: Any, weights: Any) -> None:
    with pytest.raises(PonderError):
        Mixture(parts, weights)


@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("name", list(PROGRAMS))
def test_the_meaning_of_temper_is_what_it_does(name: str, beta: float) -> None:
    meant = by_value(temper(beta).meaning(atoms(PROGRAMS[name]), Binding()))
    strategy: Pipeline = PROGRAMS[name] | temper(beta)
    assert_same(enumerate_measure(strategy.bind(Binding())), meant)
    assert_same(measure(strategy | smc(2, ess=1.0)), meant)


def test_the_meaning_of_temper_keeps_zero_at_zero() -> None:
    p = PROGRAMS["mortal"]
    dead = [replace(a, log_potential=NEG_INF) for a in atoms(p)]
    for beta in (0.0, 1.0):
        assert sum(by_value(temper(beta).meaning(dead, Binding())).values()) == 0.0


def test_a_proposal_means_the_target_it_came_from() -> None:
    before = atoms(chain())
    assert propose(one_sided, 0.1).meaning(before, Binding()) is before
