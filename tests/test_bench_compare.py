"""Intervals that cover, differences by question, curves at equal tokens."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, binomtest

from ponder.errors import PonderError
from ponder.evidence import compare
from ponder.evidence.compare import (
    accuracy_interval,
    adjusted,
    at_tokens,
    comparisons,
    coverage_ceiling,
    paired,
    pareto,
    random_option,
    random_sample,
    simultaneous,
)
from ponder.question import Question

Floats = NDArray[np.float64]
Make = Callable[[np.random.Generator, int], Floats]


@dataclass(frozen=True)
class At:
    right: Floats
    tokens: Floats
    covered: Floats


def at(tokens: float, *right: float) -> At:
    credits = np.array(right)
    return At(credits, np.full(len(right), tokens), np.ceil(credits))


def hits(n: int, of: int) -> Floats:
    return np.array([1.0] * n + [0.0] * (of - n))


def test_of_zeros_and_ones_it_is_the_exact_interval() -> None:
    for n, of in ((0, 10), (3, 10), (10, 10), (1, 1), (30, 60), (57, 60)):
        exact = binomtest(n, of).proportion_ci(0.95, method="exact")
        found = accuracy_interval(hits(n, of))
        assert found == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_fractions_know_more_than_zeros_and_ones() -> None:
    low, high = accuracy_interval(np.tile([0.2, 0.8], 30))
    coarse_low, coarse_high = accuracy_interval(hits(30, 60))
    assert low < 0.5 < high
    assert high - low < 0.75 * (coarse_high - coarse_low)
    # Agreement of few is no certainty.
    low, high = accuracy_interval(np.full(5, 0.5))
    assert high - low > 0.2


def covers(make: Make, n: int, truth: float, runs: int = 400) -> float:
    rng = np.random.default_rng(n)
    found = [accuracy_interval(make(rng, n)) for _ in range(runs)]
    return float(np.mean([low <= truth <= high for low, high in found]))


@pytest.mark.parametrize("n", [10, 40])
@pytest.mark.parametrize(
    ("make", "truth"),
    [
        (lambda rng, n: rng.binomial(20, rng.beta(0.3, 0.5, n)) / 20, 0.375),
        (lambda rng, n: (rng.random(n) < 0.05) * 1.0, 0.05),
        (lambda rng, n: np.where(rng.random(n) < 0.9, 0.0, rng.beta(2, 2, n)), 0.05),
    ],
    ids=["mean over orders", "rare", "hard"],
)
def test_intervals_of_accuracy_cover(make: Make, truth: float, n: int) -> None:
    # 95% of 400 runs; fewer than 368 come by chance less than once in a hundred times.
    assert binom.cdf(367, 400, 0.95) < 0.01
    assert covers(make, n, truth) >= 368 / 400


def test_paired_differences_of_zeros_and_ones() -> None:
    # Bonett & Price: 30 questions, 8 that only the first gets right and 2 that only the second.
    a, b = hits(8, 30), np.array([0.0] * 8 + [1.0] * 2 + [0.0] * 20)
    found = paired(a, b)
    more, less = (8 + 1) / 32, (2 + 1) / 32
    error = math.sqrt((more + less - (more - less) ** 2) / 32)
    assert found.mean == pytest.approx(0.2)
    assert found.low == pytest.approx(more - less - 1.959964 * error, abs=1e-6)
    assert found.high == pytest.approx(more - less + 1.959964 * error, abs=1e-6)
    back = paired(b, a)
    assert back == pytest.approx((-found.mean, -found.high, -found.low))


def test_pairing_narrows() -> None:
    rng = np.random.default_rng(3)
    hard = rng.beta(0.4, 0.4, 60)
    a, b = np.clip(hard + 0.1, 0, 1), hard
    with_pairs, without = paired(a, b), paired(a, rng.permutation(b))
    assert with_pairs.high - with_pairs.low < 0.4 * (without.high - without.low)
    assert with_pairs.low > 0
    assert without.low < 0


def test_no_difference_seen_is_not_none_there() -> None:
    same = paired(hits(10, 20), hits(10, 20))
    assert same.mean == 0.0
    assert same.low == pytest.approx(-same.high)
    assert 0.1 < same.high < 0.2
    all_apart = paired(np.ones(10), np.zeros(10))
    assert all_apart.mean == all_apart.high == 1.0
    assert 0.2 < all_apart.low < 0.8


@pytest.mark.parametrize("n", [20, 60])
@pytest.mark.parametrize("rates", [(0.03, 0.03), (0.1, 0.05), (0.3, 0.1)])
def test_intervals_of_differences_cover(n: int, rates: tuple[float, float]) -> None:
    rng = np.random.default_rng(n)
    up, down = rates
    inside = 0
    for _ in range(400):
        u = rng.random(n)
        found = paired((u < up).astype(float), (u > 1 - down).astype(float))
        inside += found.low <= up - down <= found.high
    assert inside >= 368


def test_a_bootstrap_would_not_cover() -> None:
    """What the docstring of ``paired`` says of the percentile bootstrap."""
    rng = np.random.default_rng(0)
    bootstrapped = ours = 0
    for _ in range(300):
        apart = (rng.random(20) < 0.04).astype(float)
        means = apart[rng.integers(20, size=(500, 20))].mean(axis=1)
        low, high = np.quantile(means, [0.025, 0.975])
        bootstrapped += low <= 0.04 <= high
        found = paired(apart, np.zeros(20))
        ours += found.low <= 0.04 <= found.high
    assert bootstrapped / 300 == pytest.approx(0.59, abs=0.08)
    assert ours >= 0.95 * 300


def test_between_two_sizes_the_straight_line() -> None:
    curve = [at(100, 0.0, 0.5), at(300, 1.0, 0.5)]
    assert at_tokens(curve, 150).right == pytest.approx([0.25, 0.5])
    assert at_tokens(curve[::-1], 150).right == pytest.approx([0.25, 0.5])
    for tokens, right, beyond in (
        (100, [0.0, 0.5], None),
        (300, [1.0, 0.5], None),
        (99, [0.0, 0.5], "below"),
        (301, [1.0, 0.5], "above"),
    ):
        found = at_tokens(curve, tokens)
        assert found.right == pytest.approx(right)
        assert found.beyond == beyond
    assert at_tokens(curve, 300 * (1 + 1e-15)).beyond is None
    with pytest.raises(PonderError, match="at least one size"):
        at_tokens([], 1.0)


def test_the_front_is_what_nothing_betters() -> None:
    points = [(100, 0.5), (200, 0.4), (200, 0.7), (50, 0.1), (300, 0.7), (100, 0.5), (50, 0.05)]
    assert pareto(points) == [3, 0, 2]
    assert pareto([]) == []


def test_each_method_meets_the_best_other_at_its_tokens() -> None:
    methods = {
        "a": [at(100, 0, 0, 1, 0), at(200, 1, 0, 1, 0)],
        "b": [at(100, 0, 1, 0, 0), at(300, 1, 1, 0, 1)],
        "c": [at(50, 0, 0, 0, 0)],
    }
    first, second, third = comparisons(methods)
    assert (first.a, first.b, first.tokens, first.beyond) == ("a", "b", 200, None)
    # b at 200 tokens is half-way: 0.5, 1, 0, 0.5.
    assert first.apart == paired(np.array([1.0, 0, 1, 0]), np.array([0.5, 1, 0, 0.5]))
    assert first.apart.mean == pytest.approx(0.0)
    assert (second.b, second.beyond) == ("a", "above")
    assert (third.b, third.beyond) == ("a", "below")
    for row in (first, second, third):
        assert row.together.mean == row.apart.mean
        assert row.together.low <= row.apart.low <= row.apart.high <= row.together.high
    assert comparisons({"a": methods["a"]}) == []


def test_many_comparisons_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten methods that are all the same: how many of 300 tables call some of them different."""
    monkeypatch.setattr(compare, "DRAWS", 1000)
    rng = np.random.default_rng(5)
    single = joint = 0
    for _ in range(300):
        hard = rng.beta(1, 1, 60)
        runs = (rng.random((11, 60)) < hard) * 1.0
        apart = runs[1:] - runs[0]  # which share a rival, so that they go together
        width = simultaneous(apart, seed=1)
        assert 1.95 < width < 2.81
        single += any(not (d.low <= 0 <= d.high) for d in (adjusted(row, 1.96) for row in apart))
        joint += any(not (d.low <= 0 <= d.high) for d in (adjusted(row, width) for row in apart))
    assert single > 0.15 * 300
    assert joint <= binom.ppf(0.99, 300, 0.05)


def test_baselines() -> None:
    sample = random_sample(at(40, 1, 0, 0.5, 0.5))
    assert (sample.accuracy, sample.tokens) == (0.5, 40)
    assert sample.interval == accuracy_interval(np.array([1, 0, 0.5, 0.5]))
    ceiling = coverage_ceiling([at(40, 1, 0, 0, 0), at(80, 0, 0, 0.3, 0)])
    assert (ceiling.accuracy, ceiling.tokens) == (0.5, None)
    four = Question("?", "choice", options=("w", "x", "y", "z"))
    words = Question("?", "choice", labels=("yes", "no"))
    option = random_option([four, words, Question("?", "bool"), Question("?", "logic")])
    assert option is not None
    assert option.accuracy == pytest.approx((1 / 4 + 1 / 2 + 1 / 2 + 1 / 3) / 4)
    assert random_option([four, Question("?", "number")]) is None


def test_credits_are_credits() -> None:
    for wrong in (np.array([]), np.array([0.5, 1.5]), np.array([np.nan])):
        with pytest.raises(PonderError, match="credits from 0 to 1"):
            accuracy_interval(wrong)
