"""Votes and ranks: the law of the answer is enumerated."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from exact import population_of
from ponder.binding import Binding, Potential, PotentialSource
from ponder.blocks import best, draw, resample, smc, vote
from ponder.dist import Bernoulli
from ponder.effects import Effects, Factor, Program, program, sample
from ponder.interpret import enumerate_measure, enumerate_runs, evaluate
from ponder.measure import (
    ABSTAIN,
    Population,
    Posterior,
    effective_sample_size,
)
from ponder.strategy import Decide
from toys import NEG_INF, chain, coins


def decide(population: Population[Any], how: Decide = vote) -> dict[Any, float]:
    """The law of the answer: answer -> probability."""
    law: dict[Any, float] = {}
    for posterior, log_mass in enumerate_runs(how.decide(population, Binding())):
        law[posterior.answer] = law.get(posterior.answer, 0.0) + math.exp(log_mass)
        if how is vote and posterior.shares:
            assert posterior.shares[0].answer == posterior.answer
    return law


def posterior(population: Population[Any], how: Decide = vote) -> Posterior:
    return evaluate(how.decide(population, Binding()))


@dataclass(frozen=True)
class Said:
    answer: Any


def test_ties_split_evenly() -> None:
    assert decide(population_of(["b", "a", "a", "b"])) == pytest.approx({"a": 0.5, "b": 0.5})
    assert decide(population_of(["c", "a", "b"])) == pytest.approx(
        {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}
    )
    # 0.1 + 0.2 exceeds 0.3 by rounding only.
    rounded = population_of(["a", "b", "a"], [0.1, 0.3, 0.2])
    assert decide(rounded) == pytest.approx({"a": 0.5, "b": 0.5})


def test_the_majority_wins_wherever_it_stands() -> None:
    assert decide(population_of(["a", "a", "b", "a", "b"])) == {"a": 1.0}
    assert decide(population_of(["b", "a", "a", "a", "b"])) == {"a": 1.0}
    assert decide(population_of(["z", "z", "y"])) == {"z": 1.0}
    assert decide(population_of(["y", "z", "z"])) == {"z": 1.0}


def test_weights_are_respected() -> None:
    weighted = population_of(["a", "a", "a", "b"], [0.1, 0.1, 0.1, 0.5])
    assert decide(weighted) == {"b": 1.0}
    p = posterior(weighted)
    assert [(s.answer, s.count) for s in p.shares] == [("b", 1), ("a", 3)]
    assert [s.share for s in p.shares] == pytest.approx([0.625, 0.375])
    assert p.probability == pytest.approx(0.625)
    assert decide(population_of(["a", "a", "b"], [0.0, 0.0, 0.1])) == {"b": 1.0}


def test_abstentions_never_vote() -> None:
    values = [None, ABSTAIN, Said(None), Said(ABSTAIN), "b", Said("a"), "a", "c", "d"]
    statuses: list[Any] = ["finished"] * 7 + ["unfinished", "dead"]
    population = population_of(values, [1, 1, 1, 1, 1, 1, 2, 9, 0], statuses)
    p = posterior(population)
    assert p.answer == "a"
    assert [s.answer for s in p.shares] == ["a", "b"]
    assert [s.share for s in p.shares] == pytest.approx([0.75, 0.25])
    assert p.unparsed == 5
    assert p.abstaining == pytest.approx(13 / 17)
    assert p.ess == pytest.approx(effective_sample_size(np.log([1.0, 1.0, 2.0])))


def test_nobody_votes() -> None:
    for values, weights in ((["a", "b"], [0.0, 0.0]), ([None, ABSTAIN], [1.0, 1.0])):
        p = posterior(population_of(values, weights))
        assert (p.answer, p.shares, p.probability, p.ess) == (None, (), None, 0.0)
    assert posterior(population_of([None, "a"], [1.0, 0.0])).abstaining == pytest.approx(1.0)
    assert posterior(population_of(["a", "b"], [0.0, 0.0])).abstaining == 0.0


def test_shares_do_not_depend_on_the_order_of_the_traces() -> None:
    values, weights = ["a", "b", None, "c", "b", "a"], [0.3, 0.1, 0.4, 0.25, 0.2, 0.1]
    straight = posterior(population_of(values, weights))
    turned = posterior(population_of(values[::-1], weights[::-1]))
    assert [(s.answer, s.count) for s in straight.shares] == [("a", 2), ("b", 2), ("c", 1)]
    for s, t in zip(straight.shares, turned.shares, strict=True):
        assert (s.answer, s.share, s.error) == pytest.approx((t.answer, t.share, t.error))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_shares_of_exact_draws_are_unbiased(n: int) -> None:
    expected: dict[Any, float] = {}
    for p, log_mass in enumerate_runs((coins() | draw(n) | vote).bind(Binding())):
        for s in p.shares:
            expected[s.answer] = expected.get(s.answer, 0.0) + s.share * math.exp(log_mass)
    assert expected == pytest.approx(enumerate_measure(coins()), abs=1e-12)


def score(x: tuple[bool, ...]) -> float:
    return 2.0 * x[0] + x[1]


def test_best_answers_the_highest_score() -> None:
    for strategy in (coins() | draw(4), chain() | draw(4) | resample(), chain() | smc(4, ess=1.0)):
        for seed in range(50):
            p = evaluate((strategy | best(score)).bind(Binding()), seed)
            assert score(p.answer) == max(score(t.value) for t in p.population.traces)


def test_best_ranks_only_what_has_weight_and_an_answer() -> None:
    population = population_of([3, 9, 5, None, 4], [0.4, 0.0, 0.1, 0.4, 0.1])
    assert decide(population, best(float)) == {5: 1.0}
    p = posterior(population, best(float))
    assert p.shares[0].answer == 3
    assert p.probability == pytest.approx(0.1 / 0.6)
    assert decide(population, best(lambda x: -float(x))) == {3: 1.0}
    assert decide(population_of([None, 2], [1.0, 0.0]), best(float)) == {None: 1.0}


def test_best_breaks_ties_evenly() -> None:
    tied = best(lambda x: abs(x))
    assert decide(population_of([-2, 2, 1]), tied) == pytest.approx({-2: 0.5, 2: 0.5})
    assert decide(population_of([-2, 2, 2]), tied) == pytest.approx({-2: 1 / 3, 2: 2 / 3})
    assert decide(population_of([1, 2]), best(lambda x: NEG_INF)) == {1: 0.5, 2: 0.5}


def test_best_asks_potentials_that_are_programs_or_named() -> None:
    def asked(x: int) -> Program[float]:
        @program
        def judge() -> Effects[float]:
            yield Factor(float(x))
            return 1.0 if (yield from sample(Bernoulli(1.0))) and x == 2 else 0.0

        return judge()

    population = population_of([1, 2, 4])
    named = PotentialSource("judge", lambda binding: Potential("judge", asked))
    assert decide(population, best(named)) == pytest.approx({4: 1.0})
    replaced = Binding(potentials={"judge": Potential("judge", lambda x: -x)})
    assert evaluate(best(named).decide(population, replaced)).answer == 1
