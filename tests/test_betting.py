"""The test by betting: fair under its claim, exactly; sharp enough; honest about how sharp."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ponder.checking.betting import FRACTIONS, Bet, log_threshold
from ponder.errors import PonderError

Floats = NDArray[np.float64]
Side = Literal["both", "above", "below"]
SIDES: tuple[Side, ...] = ("both", "above", "below")
REFUTED = log_threshold(1000)

TWO_VALUED = [
    pytest.param(0.0, 1.0, 0.3, 0.0, 1.0, id="bounds"),
    pytest.param(-1.0, 3.0, 0.6, -0.5, 2.5, id="inside"),
    pytest.param(0.0, 5.0, 0.2, 0.5, 5.0, id="skewed"),
]


def after(values: Floats | list[float], mean: float, low: float, high: float, side: Side) -> Bet:
    """A bet that has observed all of ``values``."""
    bet = Bet(mean, low=low, high=high, side=side)
    bet.observe(np.array(values, dtype=np.float64))
    return bet


def paths(n: int, p: float, x: float, y: float) -> list[tuple[float, list[float]]]:
    """All sequences of n values x or y, with their probabilities; y has probability p."""
    return [
        (p ** sum(ups) * (1 - p) ** (n - sum(ups)), [y if up else x for up in ups])
        for ups in itertools.product((False, True), repeat=n)
    ]


def expected_e(
    n: int, p: float, x: float, y: float, mean: float, low: float, high: float, side: Side
) -> float:
    """E[e_n], by enumeration."""
    return math.fsum(
        weight * math.exp(after(path, mean, low, high, side).log_e)
        for weight, path in paths(n, p, x, y)
    )


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("low", "high", "p", "x", "y"), TWO_VALUED)
def test_wealth_is_fair_under_the_claim(
    low: float, high: float, p: float, x: float, y: float, side: Side
) -> None:
    mean = p * y + (1 - p) * x
    for n in range(1, 9):
        assert expected_e(n, p, x, y, mean, low, high, side) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("side", "harmless"), [("above", 0.2), ("below", 0.4)])
def test_one_side_loses_where_the_claim_holds_and_wins_where_it_does_not(
    side: Side, harmless: float
) -> None:
    for n in range(1, 9):
        assert expected_e(n, harmless, 0, 1, 0.3, 0, 1, side) < 1
        assert expected_e(n, 0.6 - harmless, 0, 1, 0.3, 0, 1, side) > 1


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("low", "high", "p", "x", "y"), TWO_VALUED)
def test_false_alarms_obey_ville_at_every_look(
    low: float, high: float, p: float, x: float, y: float, side: Side
) -> None:
    mean, length = p * y + (1 - p) * x, 10
    log_e = {
        tuple(path): after(path, mean, low, high, side).log_e
        for n in range(length + 1)
        for _, path in paths(n, p, x, y)
    }
    peaks = [
        (weight, max(log_e[tuple(path[:n])] for n in range(length + 1)))
        for weight, path in paths(length, p, x, y)
    ]
    for level in (1.05, 1.5, 2, 5, 10):
        alarm = math.fsum(weight for weight, peak in peaks if peak >= math.log(level))
        assert alarm <= 1 / level
        assert alarm > 0 or level > 1.5


@pytest.mark.parametrize("side", SIDES)
def test_wealth_is_the_average_over_stakes_of_products(side: Side) -> None:
    low, mean, high = -1.0, 0.5, 4.0
    values = np.random.default_rng(0).uniform(low, high, size=40)
    up = [math.prod(1 + f / (mean - low) * (x - mean) for x in values) for f in FRACTIONS]
    down = [math.prod(1 - f / (high - mean) * (x - mean) for x in values) for f in FRACTIONS]
    terms = {"above": up, "below": down, "both": up + down}[side]
    expected = math.log(math.fsum(terms) / len(terms))
    assert after(values, mean, low, high, side).log_e == pytest.approx(expected, rel=1e-9)


unit = st.floats(0, 1)


@settings(derandomize=True, deadline=None)
@given(
    st.lists(unit, max_size=40),
    st.lists(st.integers(0, 40), max_size=5),
    st.floats(0.01, 0.99),
    st.sampled_from(SIDES),
)
def test_batches_and_order_do_not_matter(
    values: list[float], cuts: list[int], mean: float, side: Side
) -> None:
    whole = after(values, mean, 0, 1, side)
    parts = Bet(mean, high=1, side=side)
    for part in np.split(np.array(values[::-1]), sorted(cuts)):
        parts.observe(part)
    assert parts.log_e == pytest.approx(whole.log_e, rel=1e-9, abs=1e-9)
    assert parts.count == whole.count == len(values)
    assert parts.average == pytest.approx(whole.average, nan_ok=True, abs=1e-12)
    assert parts.variance == pytest.approx(whole.variance, nan_ok=True, abs=1e-12)


@settings(derandomize=True, deadline=None)
@given(st.lists(unit, min_size=1, max_size=30), st.floats(0.01, 0.99), st.floats(0, 0.5))
def test_evidence_follows_the_values(values: list[float], mean: float, lift: float) -> None:
    above = after(values, mean, 0, 1, "above").log_e
    below = after(values, mean, 0, 1, "below").log_e
    both = after(values, mean, 0, 1, "both").log_e
    assert math.isfinite(both)
    assert both == pytest.approx(np.logaddexp(above, below) - math.log(2), abs=1e-9)
    mirrored = after([5 - 2 * x for x in values], 5 - 2 * mean, 3, 5, "below").log_e
    assert mirrored == pytest.approx(above, rel=1e-6, abs=1e-9)
    lifted = [min(1.0, x + lift) for x in values]
    assert after(lifted, mean, 0, 1, "above").log_e >= above - 1e-12
    assert after(lifted, mean, 0, 1, "below").log_e <= below + 1e-12


def test_moments_are_those_of_the_values() -> None:
    values = np.random.default_rng(1).uniform(3, 9, size=20_000)
    bet = after(values, 5, 2, 9, "both")
    assert bet.count == len(values)
    assert bet.average == pytest.approx(float(values.mean()), rel=1e-12)
    assert bet.variance == pytest.approx(float(values.var(ddof=1)), rel=1e-10)
    assert math.isnan(Bet(0.5, high=1).average)
    assert math.isnan(after([0.5], 0.5, 0, 1, "both").variance)


def test_wealth_beyond_the_range_of_floats() -> None:
    once, twice = (after([1.0] * n, 0.5, 0, 1, "both").log_e for n in (50_000, 100_000))
    assert 10_000 < once < twice < math.inf
    assert twice - once == pytest.approx(50_000 * math.log(1.99), rel=1e-9)


@pytest.mark.parametrize("stray", [1.001, -0.001, math.nan, math.inf])
def test_the_first_escaped_value_stops_the_test(stray: float) -> None:
    rng = np.random.default_rng(2)
    before, later = rng.random(30), np.concatenate([rng.random(20), [stray], rng.random(5)])
    kept = after(before, 0.4, 0, 1, "both")
    whole = after(np.concatenate([before, [stray], later]), 0.4, 0, 1, "both")
    parts = after(before, 0.4, 0, 1, "both")
    for part in ([stray], later[:7], later[7:]):
        parts.observe(np.array(part))
    for bet in (whole, parts):
        assert bet.escaped == 2
        assert bet.count == kept.count
        assert bet.log_e == pytest.approx(kept.log_e)
        assert bet.average == pytest.approx(kept.average)
    assert kept.escaped == 0


def test_rounding_beyond_a_bound_is_no_escape() -> None:
    bet = after([6 * (1 + 5e-10), 2 - 5e-10], 3, 2, 6, "both")
    assert bet.escaped == 0
    assert bet.log_e == pytest.approx(after([6, 2], 3, 2, 6, "both").log_e, abs=1e-12)
    assert after([6 * (1 + 5e-9)], 3, 2, 6, "both").escaped == 1


@pytest.mark.parametrize(("bound", "side"), [(0.0, "above"), (1.0, "below")])
def test_a_claim_at_a_bound_is_refuted_by_one_value_off_it(bound: float, side: Side) -> None:
    other: Side = "below" if side == "above" else "above"
    for tested in (side, "both"):
        bet = after([bound] * 100, bound, 0, 1, tested)
        bet.observe(np.array([abs(bound - 1e-12)]))  # rounding
        assert bet.log_e == pytest.approx(0, abs=1e-12)
        bet.observe(np.array([abs(bound - 0.01), bound]))
        assert bet.log_e == math.inf
        # The largest bias that may never show itself sits on rare values at the other bound.
        bias = bet.detectable(500, REFUTED)
        assert bias is not None
        assert (1 - bias) ** 500 == pytest.approx(0.01)
    assert after([0.5] * 1000, bound, 0, 1, other).log_e <= 0, "nothing is claimed on this side"
    assert after([0.5] * 9, bound, 0, 1, other).detectable(10**6, REFUTED) is None


def test_a_constant_claimed_to_be_constant() -> None:
    bet = after([7.0, 7.0], 7, 7, 7, "both")
    assert bet.log_e == pytest.approx(0, abs=1e-12)
    assert (bet.escaped, bet.detectable(10**6, REFUTED)) == (0, None)
    bet.observe(np.array([7.1]))
    assert bet.escaped == 1


@pytest.mark.parametrize(
    ("mean", "low", "high"), [(1.1, 0, 1), (-0.1, 0, 1), (math.nan, 0, 1), (1, 0, math.inf)]
)
def test_impossible_claims_are_explained_in_one_line(mean: float, low: float, high: float) -> None:
    with pytest.raises(PonderError, match="cannot have mean") as caught:
        Bet(mean, low=low, high=high)
    assert "\n" not in str(caught.value)


def test_the_threshold_pays_for_every_claim() -> None:
    assert log_threshold(1) == pytest.approx(math.log(1e6))
    assert math.exp(REFUTED) == pytest.approx(1e9)


Draw = Callable[[np.random.Generator, int, float], Floats]


def beta(rng: np.random.Generator, n: int, mean: float) -> Floats:
    """On [0, 6]; at mean 1 the standard deviation is 0.9."""
    size = 5 / 0.81 - 1
    return 6 * rng.beta(mean / 6 * size, (1 - mean / 6) * size, size=n)


def coin(rng: np.random.Generator, n: int, mean: float) -> Floats:
    return (rng.random(n) < mean).astype(np.float64)


def heavy(rng: np.random.Generator, n: int, mean: float) -> Floats:
    """Lognormal weights of standard deviation near their mean."""
    s = math.sqrt(math.log(2))
    return np.minimum(mean * np.exp(s * rng.standard_normal(n) - s * s / 2), 50)


def narrow(rng: np.random.Generator, n: int, mean: float) -> Floats:
    return mean + rng.uniform(-0.1, 0.1, size=n)


HONEST = [
    pytest.param(beta, 1.0, 6.0, "above", 600, id="beta-above"),
    pytest.param(beta, 1.0, 6.0, "below", 600, id="beta-below"),
    pytest.param(beta, 1.0, 6.0, "both", 3000, id="beta"),
    pytest.param(coin, 0.5, 1.0, "both", 500, id="coin"),
    pytest.param(coin, 0.01, 1.0, "above", 1000, id="rare-above"),
    pytest.param(coin, 0.01, 1.0, "below", 5000, id="rare-below"),
    pytest.param(heavy, 1.0, 50.0, "above", 1000, id="heavy-above"),
    pytest.param(heavy, 1.0, 50.0, "below", 3000, id="heavy-below"),
    pytest.param(narrow, 0.5, 1.0, "both", 300, id="narrow"),
]


@pytest.mark.parametrize(("draw", "mean", "high", "side", "runs"), HONEST)
def test_a_detectable_bias_is_detected_and_a_third_of_it_is_not(
    draw: Draw, mean: float, high: float, side: Side, runs: int
) -> None:
    rng = np.random.default_rng(3)
    bias = after(draw(rng, 20_000, mean), mean, 0, high, side).detectable(runs, REFUTED)
    assert bias is not None
    signs = {"both": (1, -1), "above": (1,), "below": (-1,)}[side]

    def refuted(true_mean: float, simulations: int) -> float:
        bets = (after(draw(rng, runs, true_mean), mean, 0, high, side) for _ in range(simulations))
        return sum(bet.log_e >= REFUTED for bet in bets) / simulations

    for sign in signs:
        assert refuted(mean + sign * bias, 200) >= 0.95
        assert refuted(mean + sign * bias / 3, 50) <= 0.05, "the claim could be much stronger"


def test_detectable_biases_agree_with_the_textbook_growth_rate() -> None:
    """At power 1/2: runs * bias^2 / 2 variance = threshold, and what the average costs."""
    bet = after(beta(np.random.default_rng(4), 100_000, 1), 1, 0, 6, "both")
    for runs, close in ((1000, 0.2), (4000, 0.05), (100_000, 0.05)):
        needed = REFUTED + math.log(2 * len(FRACTIONS))
        expected = math.sqrt(2 * bet.variance * needed / runs)
        assert bet.detectable(runs, REFUTED, power=0.5) == pytest.approx(expected, rel=close)


@pytest.mark.parametrize("side", SIDES)
def test_more_runs_and_lower_demands_find_smaller_biases(side: Side) -> None:
    bet = after(beta(np.random.default_rng(5), 5000, 1), 1, 0, 6, side)

    def bias(runs: int, threshold: float = REFUTED, power: float = 0.99) -> float:
        found = bet.detectable(runs, threshold, power)
        return math.inf if found is None else found

    by_runs = [bias(runs) for runs in (300, 1000, 4000, 20_000, 100_000)]
    assert by_runs == sorted(by_runs, reverse=True)
    assert 0.02 < by_runs[-1] < 0.04 < by_runs[0] < math.inf
    assert bias(4000, log_threshold(1)) < bias(4000) < bias(4000, log_threshold(10**9))
    assert bias(4000, power=0.5) < bias(4000, power=0.9) < bias(4000, power=0.999)
    assert bet.detectable(5, REFUTED) is None


def test_a_side_without_hope_limits_what_is_promised() -> None:
    """Values below 0.01 are too few to be missed in 1000 runs, so only larger biases are found."""
    few = after(coin(np.random.default_rng(6), 1000, 0.01), 0.01, 0, 1, "below")
    assert few.detectable(1000, REFUTED) is None
    both = after(coin(np.random.default_rng(6), 1000, 0.01), 0.01, 0, 1, "both")
    assert both.detectable(1000, REFUTED) == pytest.approx(0.046, abs=0.002)
    assert both.detectable(20_000, REFUTED) == pytest.approx(0.0076, abs=0.0005)
    skewed = after(heavy(np.random.default_rng(7), 1000, 1), 1, 0, 50, "both")
    assert skewed.detectable(1000, REFUTED) == 1


@pytest.mark.parametrize("seen", [[], [0.3], [0.0] * 500])
def test_an_unknown_spread_is_taken_to_be_the_widest(seen: list[float]) -> None:
    known = after([0.0] * 95 + [1.0] * 5, 0.05, 0, 1, "above").detectable(1000, REFUTED)
    assert after(seen, 0.05, 0, 1, "above").detectable(1000, REFUTED) == pytest.approx(known)


def test_betting_against_a_long_tail_takes_a_larger_bias() -> None:
    tail = np.minimum(0.35 + 0.15 * np.random.default_rng(8).exponential(size=5000), 1)
    bias = {
        (side, mirrored): after(1 - tail if mirrored else tail, 0.5, 0, 1, side).detectable(
            500, REFUTED
        )
        for side in SIDES
        for mirrored in (False, True)
    }
    against, along = bias["below", False], bias["below", True]
    assert against is not None
    assert along is not None
    assert against > 1.05 * along
    assert bias["above", True] == pytest.approx(against)
    assert bias["above", False] == pytest.approx(along)
    assert bias["both", False] == pytest.approx(bias["both", True])
    moved = after(tail, 0.6, 0, 1, "above").detectable(500, REFUTED)
    assert moved == pytest.approx(along, rel=0.01), "moments are those about the average"
