"""Coverage and selection from stored samples: against enumeration and planted laws."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from ponder.errors import PonderError
from ponder.guarantee.coverage import (
    CoverageLaw,
    coverage_curve,
    fit_coverage,
    fitted,
    pass_at_k,
    subset_curve,
    vote_accuracy,
)


def test_pass_at_k_counts_subsets() -> None:
    for n in range(1, 9):
        for c in range(n + 1):
            for k in range(n + 1):
                chosen = list(combinations(range(n), k))
                share = sum(any(i < c for i in part) for part in chosen) / len(chosen)
                assert pass_at_k(n, c, k) == pytest.approx(share, abs=1e-14)


def test_pass_at_k_is_unbiased_and_the_plug_in_is_not() -> None:
    p, n, k = 0.07, 50, 10
    chances = [math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    mean = math.fsum(chance * pass_at_k(n, c, k) for c, chance in enumerate(chances))
    plugged = math.fsum(chance * (1 - (1 - c / n) ** k) for c, chance in enumerate(chances))
    assert mean == pytest.approx(1 - (1 - p) ** k, abs=1e-13)
    assert mean == pytest.approx(0.516, abs=5e-4)
    assert plugged < mean - 0.02


def test_pass_at_k_of_many() -> None:
    assert pass_at_k(10_000, 1, 5_000) == pytest.approx(0.5)
    assert pass_at_k(10_000, 9_000, 10_000) == 1.0
    with pytest.raises(PonderError, match="k <= n"):
        pass_at_k(5, 2, 6)


def test_coverage_is_a_mean_over_questions() -> None:
    assert coverage_curve([0, 1, 4], 4, [1, 4]) == pytest.approx([5 / 12, 2 / 3])
    with pytest.raises(PonderError, match="at least one"):
        coverage_curve([], 4, [1])


def test_a_planted_law_is_found() -> None:
    ks = np.unique(np.geomspace(1, 1000, 40).round().astype(int))
    found = fitted(ks, CoverageLaw(-1.5, -0.4)(ks))
    assert found is not None
    assert (found.a, found.b) == pytest.approx((-1.5, -0.4), abs=1e-6)


def test_a_population_with_hard_questions_grows_by_a_power_law() -> None:
    rng = np.random.default_rng(0)
    n = 1000
    correct = rng.binomial(n, rng.beta(0.5, 5, size=400)).tolist()
    band = fit_coverage(correct, n, resamples=60, seed=1)
    assert -1 < band.b[0] < band.law.b < band.b[1] < 0
    assert band.law.a < 0
    curve = coverage_curve(correct, n, band.ks.tolist())
    assert band.law(band.ks) == pytest.approx(curve, abs=0.03)
    assert np.all((band.low <= band.law(band.ks)) & (band.law(band.ks) <= band.high))
    again = fit_coverage(correct, n, resamples=60, seed=1)
    assert np.array_equal(again.low, band.low)
    assert not np.array_equal(fit_coverage(correct, n, resamples=60, seed=2).low, band.low)


def test_the_band_covers_what_other_questions_give() -> None:
    """Coverage of the population at k is 1 - E(1 - p)^k: B(a, b + k) / B(a, b)."""
    from scipy.special import betaln

    n, inside = 200, 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        correct = rng.binomial(n, rng.beta(0.5, 2, size=150)).tolist()
        band = fit_coverage(correct, n, resamples=60, seed=seed)
        at = int(np.searchsorted(band.ks, 14))
        truth = 1 - math.exp(betaln(0.5, 2 + band.ks[at]) - betaln(0.5, 2))
        inside += band.low[at] - 0.01 <= truth <= band.high[at] + 0.01  # the law is no exact one
    assert inside >= 16


def test_nothing_to_fit() -> None:
    for correct in ([0, 0, 0], [20, 20]):
        with pytest.raises(PonderError, match="use more samples"):
            fit_coverage(correct, 20)


def test_votes_of_subsets_exactly_and_at_random() -> None:
    a, b, none = ("a", True), ("b", False), (None, False)
    stored = [[a, a, b, b, b, none], [a, b, none, a, a, a]]
    exact = subset_curve(stored, vote_accuracy, [1, 2, 3, 6])
    expected = []
    for k in (1, 2, 3, 6):
        means = []
        for question in stored:
            parts = list(combinations(question, k))
            means.append(sum(map(vote_accuracy, parts)) / len(parts))
        expected.append(sum(means) / 2)
    assert exact == pytest.approx(expected, abs=1e-14)
    assert exact[0] == pytest.approx((2 / 6 + 4 / 6) / 2)
    roughly = subset_curve([s * 5 for s in stored], vote_accuracy, [1, 5], subsets=4000)
    assert roughly[0] == pytest.approx(exact[0], abs=0.03)
    other = subset_curve([s * 5 for s in stored], vote_accuracy, [5], subsets=4000)
    assert other[0] == roughly[1]  # whatever else is asked for


def test_votes_of_long_runs_tend_to_the_mode() -> None:
    rng = np.random.default_rng(6)
    stored = [[(int(x), x == 0) for x in rng.choice(3, 200, p=[0.5, 0.3, 0.2])] for _ in range(5)]
    curve = subset_curve(stored, vote_accuracy, [1, 9, 81], subsets=200)
    assert curve[0] == pytest.approx(0.5, abs=0.05)
    assert curve[0] < curve[1] < curve[2]
    assert curve[2] > 0.95


def test_ties_count_in_part_and_a_late_minority_does_not_win() -> None:
    a, b, none = ("a", True), ("b", False), (None, False)
    assert vote_accuracy([a, b]) == vote_accuracy([b, a]) == 0.5
    assert vote_accuracy([a, a, b]) == 1.0
    assert vote_accuracy([b, none, none]) == 0.0
    assert vote_accuracy([none, none, none, a]) == 1.0
    assert vote_accuracy([none]) == vote_accuracy([]) == 0.0


def test_subsets_need_enough_samples() -> None:
    with pytest.raises(PonderError, match="subsets need"):
        subset_curve([[("a", True)]], vote_accuracy, [2])
    with pytest.raises(PonderError, match="subsets need"):
        subset_curve([], vote_accuracy, [1])
