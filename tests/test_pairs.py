"""Pair predictions: closed forms, bounds where they are tight, counting, calibration refuted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from ponder.checking.claims import Report
from ponder.checking.pairs import matches, pair_bounds, quarters, second_order
from ponder.errors import PonderError
from ponder.guarantee import pairs as module
from ponder.guarantee.pairs import (
    Counted,
    PairPrediction,
    accept,
    counted_answers,
    counted_pairs,
    epistemic_variance,
    hallucination_bound,
    interval,
    pair_table,
)

VARIANCE, MADE_UP, OUTSIDE = "is the variance", "outside the support", "outside the interval"
ONCE, TWICE = "responses are y as often", "pairs of responses"
SHAPES = [(1.0, 1.0), (0.5, 0.5), (2.0, 5.0), (0.1, 3.0), (30.0, 10.0)]


def refuted(report: Report, *names: str) -> list[str]:
    """The parts of the claims that were refuted."""
    claims = [f.claim for f in report.findings if f.verdict == "refuted"]
    return [name for name in names if any(name in c for c in claims)]


def of_beta(a: float, b: float) -> tuple[float, float]:
    """m and c of a predictor that knows only that p follows Beta(a, b)."""
    return a / (a + b), (a + 1) / (a + b + 1)


# Closed forms.


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_the_variance_of_a_beta_law_is_found(a: float, b: float) -> None:
    m, c = of_beta(a, b)
    assert epistemic_variance(m, c) == pytest.approx(stats.beta(a, b).var(), abs=1e-15)
    known = PairPrediction(m, c)
    assert known.variance + known.noise == pytest.approx(m * (1 - m))


@pytest.mark.parametrize(("a", "b"), SHAPES)
@pytest.mark.parametrize("beta", [0.01, 0.05, 0.2, 0.5])
def test_intervals_hold_for_a_beta_law(a: float, b: float, beta: float) -> None:
    m, c = of_beta(a, b)
    law = stats.beta(a, b)
    for side in ("both", "low", "high"):
        low, high = interval(m, c, beta, side)  # type: ignore[arg-type]
        assert law.cdf(low) + law.sf(high) <= beta
        assert high == 1 or side != "low"
        assert low == 0 or side != "high"
    # One-sided ends are the closer ones, by Cantelli.
    assert interval(m, c, beta, "low")[0] >= interval(m, c, beta)[0]


def test_one_group_is_the_population_and_groups_of_one_know_all() -> None:
    rng = np.random.default_rng(0)
    p = rng.beta(0.5, 2, size=50)
    m, c = p.mean(), (p**2).mean() / p.mean()
    assert epistemic_variance(m, c) == pytest.approx(p.var())
    assert np.array_equal(epistemic_variance(p, p), np.zeros(50))
    low, high = interval(p, p, 0.05)
    assert np.array_equal(low, p)
    assert np.array_equal(high, p)
    assert np.array_equal(hallucination_bound(p, p), np.zeros(50))


@pytest.mark.parametrize("q", [0.05, 0.3, 0.9])
def test_the_bound_on_made_up_answers_is_reached_by_two_points(q: float) -> None:
    height = 0.6  # p = 0 with probability q, else .6
    m, c = (1 - q) * height, height
    assert hallucination_bound(m, c) == pytest.approx(q)
    assert accept(m, c, q)
    assert not accept(m, c, q - 1e-9)


def test_c_below_m_is_reported_and_trusted_no_more_than_c_above_it() -> None:
    assert epistemic_variance(0.8, 0.6) == pytest.approx(-0.16)
    assert hallucination_bound(0.8, 0.6) == pytest.approx(0.25) == hallucination_bound(0.6, 0.8)
    assert interval(0.8, 0.6, 0.5) == pytest.approx((0.8 - math.sqrt(0.32), 1.0))
    assert hallucination_bound([0.3, 0.0, 0.0], [0.0, 0.0, math.nan]).tolist() == [1, 1, 1]
    assert not accept(0.9, 0.0, 0.2)
    law = PairPrediction(0.8, 0.6).law(calibrated=True)
    assert law.kind == "heuristic"
    assert "not exchangeable" in str(law)


def test_laws_name_their_assumption() -> None:
    law = PairPrediction(0.5, 0.52).law(0.1, calibrated=True)
    assert law.kind == "bounded"
    assert "if second-order calibrated" in law.assumptions
    assert "outside [0.184, 0.816] with probability <= 0.1" in str(law)
    assert "is 0 with probability <= 0.0385" in str(law)
    assert PairPrediction(0.5, 0.52).law(0.1).kind == "heuristic"


# Tables.


def test_a_table_of_a_mixture_has_its_covariance() -> None:
    rng = np.random.default_rng(1)
    laws, weights = rng.dirichlet(np.ones(4), size=6), rng.dirichlet(np.ones(6))
    found = pair_table(np.einsum("g,ga,gb->ab", weights, laws, laws))
    assert found.m == pytest.approx(weights @ laws)
    exact = np.cov(laws, rowvar=False, aweights=weights, ddof=0)
    assert found.covariance == pytest.approx(exact)
    assert epistemic_variance(found.m, found.c) == pytest.approx(np.diag(exact))
    assert found.asymmetry == pytest.approx(0)
    assert found.least_eigenvalue == pytest.approx(0)  # along (1, ..., 1) nothing varies


def test_a_table_that_no_mixture_has_is_found_out() -> None:
    apart = np.array([[0.0, 0.5], [0.5, 0.0]])  # two responses that are never the same
    assert pair_table(apart).least_eigenvalue == pytest.approx(-0.5)
    skewed = np.array([[0.4, 0.3], [0.1, 0.2]])
    both = pair_table(np.stack([skewed, apart]))
    assert both.asymmetry == pytest.approx([0.2, 0.0])
    assert both.m[0] == pytest.approx([0.6, 0.4])
    assert both.c[0] == pytest.approx([0.4 / 0.6, 0.5])


# Counting.

JOINT = {("a", "a"): 0.4, ("a", "b"): 0.1, ("b", "a"): 0.2, ("b", "b"): 0.3}


def expected(of: Callable[[Counted], float], n: int, **how: Any) -> float:
    """The exact mean over all samples of n pairs."""
    total = 0.0
    for sample in itertools.product(JOINT, repeat=n):
        first, second = zip(*sample, strict=True)
        chance = math.prod(JOINT[pair] for pair in sample)
        total += chance * of(counted_pairs(first, second, "a", **how))
    return total


@pytest.mark.parametrize("n", [2, 3, 5])
def test_counts_are_unbiased(n: int) -> None:
    assert expected(lambda x: x.m, n) == pytest.approx(0.5)
    assert expected(lambda x: x.m, n, symmetric=True) == pytest.approx(0.55)
    assert expected(lambda x: x.variance, n) == pytest.approx(0.4 - 0.5**2)
    assert expected(lambda x: x.variance, n, symmetric=True) == pytest.approx(0.4 - 0.55**2)
    uneven = {"weights": np.arange(1.0, n + 1)}
    assert expected(lambda x: x.variance, n, **uneven) == pytest.approx(0.4 - 0.5**2)
    assert expected(lambda x: x.asymmetry, n) == pytest.approx(0.1)
    assert expected(lambda x: x.m_error**2, n) == pytest.approx(0.25 / n)


def test_errors_are_those_of_large_samples() -> None:
    rng = np.random.default_rng(2)
    keys = list(JOINT)
    n, many = 400, 2000
    drawn = rng.choice(4, p=list(JOINT.values()), size=(many, n))
    found = []
    for row in drawn:
        first, second = zip(*(keys[i] for i in row), strict=True)
        found.append(counted_pairs(first, second, "a"))
    for value, error in (("m", "m_error"), ("c", "c_error"), ("variance", "variance_error")):
        spread = np.std([getattr(x, value) for x in found])
        # The spread of 2,000 values is known to 1.6%; off by 10% is six of those.
        assert np.mean([getattr(x, error) for x in found]) == pytest.approx(spread, rel=0.1)


def test_weights_count_as_copies() -> None:
    first, second = ["a", "b", "a"], ["a", "a", "b"]
    weighed = counted_pairs(first, second, "a", [2, 1, 1])
    copied = counted_pairs(["a", *first], ["a", *second], "a")
    assert (weighed.m, weighed.c) == (copied.m, copied.c) == (0.75, pytest.approx(2 / 3))


def test_an_answer_that_never_came_first() -> None:
    found = counted_pairs(["a", "b"], ["b", "a"], "z")
    assert found.m == 0
    assert math.isnan(found.c)
    assert found.prediction.hallucination == 1
    alone = counted_pairs(["a"], ["a"], "a")
    assert (alone.m, alone.c) == (1, 1)
    assert math.isnan(alone.variance)
    assert math.isnan(alone.m_error)


def test_independent_answers_tell_nothing_of_ignorance() -> None:
    found = counted_answers(["a", "a", "a", "b"], "a")
    assert (found.m, found.c, found.variance) == (0.75, pytest.approx(2 / 3), 0)
    assert found.m_error == pytest.approx(0.25)
    assert math.isnan(counted_answers(["a"], "b").c)


# Checks.


def test_the_bounds_are_valid() -> None:
    report = pair_bounds()
    assert report.verdict == "valid"
    assert refuted(report, VARIANCE, MADE_UP, OUTSIDE) == []


def test_broken_bounds_are_refuted() -> None:
    def narrow(m: Any, c: Any, beta: float, side: Any) -> Any:
        low, high = interval(m, c, beta, side)
        return m - 0.985 * (m - low), m + 0.985 * (high - m)

    def one_sided(m: Any, c: Any, beta: float, side: Any) -> Any:
        low, high = interval(m, c, beta, "low")[0], interval(m, c, beta, "high")[1]
        return low, high

    assert refuted(pair_bounds(ends=narrow), VARIANCE, MADE_UP, OUTSIDE) == [OUTSIDE]
    assert refuted(pair_bounds(ends=one_sided), VARIANCE, MADE_UP, OUTSIDE) == [OUTSIDE]
    low = pair_bounds(made_up=lambda m, c: 0.999 * hallucination_bound(m, c))
    assert refuted(low, VARIANCE, MADE_UP, OUTSIDE) == [MADE_UP]
    noise = pair_bounds(variance=lambda m, c: m * (1 - m))
    assert refuted(noise, VARIANCE, MADE_UP, OUTSIDE) == [VARIANCE]


def heldout(n: int, seed: int) -> tuple[NDArray[Any], ...]:
    """m, c and two responses, where p follows one of three Beta laws, and which is known."""
    rng = np.random.default_rng(seed)
    which = rng.integers(3, size=n)
    a, b = np.array([0.3, 3.0, 40.0])[which], np.array([0.6, 2.0, 10.0])[which]
    p = rng.beta(a, b)
    m, c = a / (a + b), (a + 1) / (a + b + 1)
    return m, c, rng.random(n) < p, rng.random(n) < p


def test_a_calibrated_predictor_is_not_refuted() -> None:
    for seed in range(5):  # each at 10^-6
        assert second_order(*heldout(3000, seed)).verdict == "valid"


def test_a_predictor_that_ignores_the_first_response_is_refuted() -> None:
    m, c, first, second = heldout(2000, 7)
    assert refuted(second_order(m, m, first, second), ONCE, TWICE) == [TWICE]
    assert refuted(second_order(m, np.ones_like(m), first, second), ONCE, TWICE) == [TWICE]
    bold = np.where(m > 0.5, 0.97, m)
    assert ONCE in refuted(second_order(bold, c, first, second), ONCE, TWICE)


def test_a_predictor_that_is_right_on_average_alone_is_refuted_by_groups() -> None:
    m, c, first, second = heldout(4000, 8)
    both = (m * c).mean()
    flat = np.full_like(m, m.mean())
    everyone = {"all": np.ones(len(m), dtype=bool)}
    assert second_order(flat, both / flat, first, second, everyone).verdict == "valid"
    split = everyone | {f"m = {x:.2f}": m == x for x in np.unique(m)}
    assert refuted(second_order(flat, both / flat, first, second, split), ONCE, TWICE) == [
        ONCE,
        TWICE,
    ]


def test_groups_by_prediction_keep_equal_values_together() -> None:
    m = np.array([0.1] * 6 + [0.5, 0.9])
    groups = quarters(m, m)
    assert groups["all"].all()
    by_m = [members for name, members in groups.items() if name.startswith("m in")]
    assert sum(members.sum() for members in by_m) == 8
    assert any(members.sum() == 6 for members in by_m)
    assert matches(["a", "b", None], ["a", "a", "a"]).tolist() == [1, 0, 0]


# Bad input.


def test_what_is_no_probability_is_refused() -> None:
    for m, c in ((1.2, 0.5), (0.5, -0.1), (math.nan, 0.5), (0.5, math.nan)):
        with pytest.raises(PonderError, match="must be a probability"):
            PairPrediction(m, c)
    with pytest.raises(PonderError, match="between 0 and 1"):
        interval(0.5, 0.5, 1.5)
    with pytest.raises(PonderError, match="both, low or high"):
        interval(0.5, 0.5, 0.1, "left")  # type: ignore[arg-type]
    for table in ([[0.5, 0.1], [0.1, 0.1]], [[1.2, -0.2], [0.0, 0.0]]):
        with pytest.raises(PonderError, match="sum to 1"):
            pair_table(table)
    with pytest.raises(PonderError, match="shape"):
        pair_table([0.5, 0.5])
    with pytest.raises(PonderError, match="at least one pair"):
        counted_pairs([], [], "a")
    with pytest.raises(PonderError, match="weight"):
        counted_pairs(["a"], ["a"], "a", [0.0])
    with pytest.raises(PonderError, match="at least one answer"):
        counted_answers([], "a")
    with pytest.raises(PonderError, match="for each question"):
        second_order([0.5], [0.5, 0.6], [1], [1])
    with pytest.raises(PonderError, match="1 where a response"):
        second_order([0.5], [0.5], [2], [1])
    with pytest.raises(PonderError, match="one truth value"):
        second_order([0.5], [0.5], [1], [1], {"g": [True, False]})


def test_rounding_of_a_network_is_no_error() -> None:
    assert PairPrediction(1 + 1e-7, 1.0).hallucination == 0
    assert module.accept(1 + 1e-7, 1.0)
