"""The errors of shares; and, where nothing can be enumerated, tests that rarely err.

A strategy too large to enumerate is tested by betting against its claimed mean: under the claim
the wealth exceeds 1/delta with probability at most delta (Ville), so no bound is assumed beyond
the range of the statistic. Each such test also shows that it would have noticed a small bias.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exact import population_of
from ponder.binding import Binding, Potential
from ponder.blocks import draw, multinomial, resample, smc, vote, weigh
from ponder.interpret import evaluate
from ponder.lm.protocol import Completion, Tokens
from ponder.measure import (
    Population,
    effective_sample_size,
    families,
    family_ess,
    normalise,
    share_error,
)
from toys import NEG_INF, chain, early, steps, writer

FALSE_ALARM = 1e-9


def log_wealth(values: NDArray[np.float64], mean: float, bound: float) -> float:
    """Log-wealth of a bettor against E = ``mean``, for i.i.d. values in [0, ``bound``].

    Half of the money bets that the mean is larger, half that it is smaller, spread evenly over
    fixed fractions.
    """
    assert values.min() >= 0
    assert values.max() <= bound
    y, m = values / bound, mean / bound
    fractions = 0.9 * 2.0 ** -np.arange(10)
    stakes = np.concatenate([fractions / m, -fractions / (1 - m)])
    logs = np.log1p(stakes[:, None] * (y - m)).sum(axis=1)
    return float(np.logaddexp.reduce(logs) - math.log(len(stakes)))


def assert_mean(values: Sequence[float], mean: float, bound: float, notices: float) -> None:
    """E = ``mean`` is not refuted, and a mean that is off by a part ``notices`` would have been."""
    limit = math.log(1 / FALSE_ALARM)
    array = np.asarray(values)
    assert log_wealth(array, mean, bound) < limit
    for wrong in (mean * (1 - notices), mean * (1 + notices)):
        assert log_wealth(array, wrong, bound) > limit, "this test has no power; use more runs"


def reward(tokens: Tokens) -> float:
    return -0.7 * tokens.count(0)


REWARD = Potential(
    "reward",
    reward,
    # Weaker than the factor, so that no weight exceeds 1: then Z-hat lies in [0, 1].
    lambda seen: -0.3 * sum(segment.tokens.count(0) for segment in seen),
)


def test_smc_on_a_language_model_is_unbiased() -> None:
    model = writer(context=6)
    target: dict[Tokens, float] = {}
    for written, log_prob in model.completions(Completion(model, ())):
        target[written.tokens] = math.exp(log_prob + reward(written.tokens))
    assert len(target) > 300
    evidence = math.fsum(target.values())
    short = math.fsum(mass for x, mass in target.items() if len(x) <= 3)
    strategy = (steps(model) | weigh(REWARD) | smc(16, ess=0.9)).bind(Binding())
    runs: list[Population[Any]] = [evaluate(strategy, seed) for seed in range(300)]
    assert_mean([math.exp(p.log_evidence) for p in runs], evidence, 1.0, notices=0.13)
    assert_mean([p.estimate(lambda x: len(x) <= 3) for p in runs], short, 1.0, notices=0.3)


def test_the_bettor_is_right() -> None:
    generator = np.random.default_rng(0)
    refuted = 0
    for _ in range(2000):
        values = generator.random(50) * 2.0
        refuted += log_wealth(values, 1.0, 2.0) > math.log(20)
    assert refuted <= 100  # at most 5 percent, whatever the number of values


def test_the_error_of_independent_draws_is_the_usual_one() -> None:
    hits = np.array([1.0, 0.0, 0.0, 1.0, 1.0])
    equal = np.full(5, 0.2)
    assert share_error(equal, hits, range(5)) == pytest.approx(math.sqrt(0.6 * 0.4 / 5))
    weights = normalise(np.log([1.0, 2.0, 3.0, 4.0, 5.0]))
    by_hand = math.sqrt(
        sum(w * w * (h - weights @ hits) ** 2 for w, h in zip(weights, hits, strict=True))
    )
    assert share_error(weights, hits, range(5)) == pytest.approx(by_hand)
    p = evaluate(vote.decide(population_of(["a", "b", "b", "a", "a"]), Binding()))
    assert p.shares[0].error == pytest.approx(math.sqrt(0.6 * 0.4 / 5))
    assert p.ess == pytest.approx(5)


def test_relatives_count_as_one_draw() -> None:
    hits = np.array([1.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    copied = share_error(np.full(6, 1 / 6), hits, [0, 0, 1, 2, 2, 1])
    once = share_error(np.full(3, 1 / 3), np.array([1.0, 0.0, 1.0]), [0, 1, 2])
    assert copied == pytest.approx(once)
    assert share_error(np.full(6, 1 / 6), hits, [3] * 6) is None
    assert list(families(np.arange(4.0), [7, 2, 7, 2])) == [4.0, 2.0]
    assert family_ess(np.full(6, 1 / 6), [0, 0, 1, 2, 2, 1]) == pytest.approx(3)
    assert family_ess(np.zeros(2), [0, 1]) == 0.0


def test_resampled_traces_remember_their_ancestors() -> None:
    for strategy in (early() | draw(6), chain(3) | smc(6, ess=1.0)):
        for seed in range(5):
            before = evaluate(strategy.bind(Binding()), seed)
            after = evaluate((strategy | resample(9, multinomial)).bind(Binding()), seed)
            families_before = list(zip(before.traces, before.eves, strict=True))
            assert len(after) == len(after.eves) == 9
            for trace, eve in zip(after.traces, after.eves, strict=True):
                assert any(t.last == trace.last and e == eve for t, e in families_before)


def test_errors_hold_after_resampling() -> None:
    """The mean of the estimated variance is the variance over replicates, to their error."""
    strategy = (chain(3) | smc(64, multinomial, ess=1.0) | vote).bind(Binding())
    answer = (True, True, True)
    shares, variances, naive = [], [], []
    for seed in range(400):
        p = evaluate(strategy, seed)
        [entry] = [s for s in p.shares if s.answer == answer]
        assert entry.error is not None
        shares.append(entry.share)
        variances.append(entry.error**2)
        naive.append(entry.share * (1 - entry.share) / 64)
    # A variance estimated from R replicates has a relative standard error of sqrt(2 / R).
    tolerance = 4 * math.sqrt(2 / len(shares))
    actual = np.var(shares, ddof=1)
    assert abs(np.mean(variances) / actual - 1) < tolerance
    assert abs(np.mean(naive) / actual - 1) > tolerance, (
        "the test could not tell the formulas apart"
    )


def test_populations_sum_up() -> None:
    population = evaluate((early() | draw(6)).bind(Binding()), 2)
    weights = np.exp(population.log_weights)
    assert population.log_evidence == pytest.approx(math.log(weights.sum()))
    assert population.estimate(lambda x: 1.0) == pytest.approx(weights.sum())
    assert population.weights.sum() == pytest.approx(1)
    assert population.ess == pytest.approx(weights.sum() ** 2 / (weights @ weights))
    assert len(population) == 6
    assert effective_sample_size(np.full(3, NEG_INF)) == 0.0
    assert list(normalise(np.full(3, NEG_INF))) == [0.0, 0.0, 0.0]
