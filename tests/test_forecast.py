"""What more samples would give: laws of answers against enumeration, bands against simulation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from ponder.errors import PonderError
from ponder.guarantee.coverage import vote_accuracy
from ponder.guarantee.forecast import (
    UNEVEN,
    _laws,
    _log_likelihood,
    _vote_accuracy,
    forecast,
    forecast_accuracy,
    forecast_coverage,
)

Floats = NDArray[np.float64]
Shares = Callable[[np.random.Generator, int], Floats]


def partitions(total: int, largest: int) -> Iterator[tuple[int, ...]]:
    if total == 0:
        yield ()
    for first in range(1, min(total, largest) + 1):
        for rest in partitions(total - first, first):
            yield (*rest, first)


def orders(none: int, right: int, wrong: tuple[int, ...]) -> float:
    """In how many orders, and ways to group the wrong ones, a pattern can come."""
    places = math.factorial(none + right + sum(wrong))
    places //= math.factorial(none) * math.factorial(right)
    for size in wrong:
        places //= math.factorial(size)
    for size in set(wrong):
        places //= math.factorial(wrong.count(size))
    return places


def test_the_patterns_of_a_question_have_all_the_probability() -> None:
    laws, n = _laws(), 5
    total = np.zeros(len(laws.none))
    for none in range(n + 1):
        for right in range(n - none + 1):
            for wrong in partitions(n - none - right, n):
                with np.errstate(divide="ignore"):
                    chance = np.exp(_log_likelihood((none, right, wrong), laws))
                total += orders(none, right, wrong) * chance
    assert total == pytest.approx(np.ones(len(total)))


def test_wrong_answers_agree_as_often_as_they_should() -> None:
    """The rival's with each other, and the tail's: one in k, or one in two if uneven."""
    laws = _laws()
    with np.errstate(divide="ignore"):
        agree = np.exp(_log_likelihood((0, 0, (2,)), laws))
    one_in = np.where(laws.among == UNEVEN, 2, laws.among)
    assert agree == pytest.approx(laws.rival**2 + laws.tail**2 / one_in)


def test_votes_are_what_they_are_by_arithmetic() -> None:
    laws = _laws()
    assert _vote_accuracy(1) == pytest.approx(laws.right, abs=0.07)
    assert np.mean(_vote_accuracy(1) - laws.right) == pytest.approx(0, abs=0.002)
    two = (laws.rival + laws.right > 0) & (laws.none == 0) & (laws.tail == 0)
    p = laws.right[two]
    exact = sum(math.comb(9, k) * p**k * (1 - p) ** (9 - k) for k in range(5, 10))
    assert _vote_accuracy(9)[two] == pytest.approx(exact, abs=0.06)
    # Nothing but answers that nobody gives twice, or hardly: two right ones win.
    scattered = (laws.rival == 0) & (laws.none == 0) & (laws.among == 100)
    right = np.interp(0.5, laws.right[scattered], _vote_accuracy(32)[scattered])
    assert right > 0.97
    assert np.all(_vote_accuracy(9)[laws.none == 1] == 0)


def limits(right: int, questions: int) -> tuple[float, float]:
    """Profile likelihood limits of a binomial share, by bisection; the drop as in the module."""
    few = min(right, questions - right)
    drop = 1.9207 + (math.log(40) - 1.9207) / (1 + few)

    def log_likelihood(p: float) -> float:
        terms = [(right, p), (questions - right, 1 - p)]
        return sum(k * math.log(q) for k, q in terms if k)

    best, ends = log_likelihood(right / questions), []
    for end in (1e-9, 1 - 1e-9):
        inside, outside = right / questions, end
        for _ in range(60):
            middle = (inside + outside) / 2
            if log_likelihood(middle) >= best - drop:
                inside = middle
            else:
                outside = middle
        ends.append(inside)
    return ends[0], ends[1]


@pytest.mark.parametrize("right", [0, 3, 25, 50])
def test_one_sample_a_question_leaves_all_between_two_populations(right: int) -> None:
    """Only the mean of p is known: questions may be all alike, or each known or hopeless."""
    low, high = limits(right, 50)
    for found in forecast_coverage([(1, 1)] * right + [(1, 0)] * (50 - right), [1, 4, 20]):
        assert found.low == pytest.approx(low, abs=0.01)
        assert found.high == pytest.approx(1 - (1 - high) ** found.at, abs=0.01)
        assert found.low <= found.value <= found.high


def counts(p: Floats, n: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    return [(n, int(c)) for c in rng.binomial(n, p)]


POPULATIONS: dict[str, Shares] = {
    "u-shaped": lambda rng, size: rng.beta(0.4, 0.6, size),
    "a hard tail": lambda rng, size: rng.beta(0.15, 1, size),
    "three points": lambda rng, size: rng.choice([0, 0.1, 0.9], size, p=[0.3, 0.4, 0.3]),
    "known or hopeless": lambda rng, size: rng.choice([0.0, 1.0], size),
    "all hard": lambda rng, size: np.full(size, 0.05),
}


@pytest.mark.parametrize("name", POPULATIONS)
def test_the_band_covers_what_the_population_gives(name: str) -> None:
    every = POPULATIONS[name](np.random.default_rng(0), 200_000)
    hits = []
    for seed in range(15):
        rng = np.random.default_rng((seed, 7))
        pilot = counts(POPULATIONS[name](rng, 40), 4, rng)
        for found in forecast_coverage(pilot, [16, 64]):
            truth = np.mean(1 - (1 - every) ** found.at)
            hits.append(found.low - 1e-3 <= truth <= found.high + 1e-3)
            assert 0 <= found.low <= found.value <= found.high <= 1
    assert np.mean(hits) >= 0.9


def test_a_wider_pilot_and_more_questions_narrow_the_band() -> None:
    def width(questions: int, n: int) -> float:
        """Of uniform p, so that every number right is as frequent."""
        (found,) = forecast_coverage([(n, i % (n + 1)) for i in range(questions)], [16])
        assert found.low <= 16 / 17 <= found.high
        return found.high - found.low

    assert width(400, 4) < 0.6 * width(40, 4)
    assert width(400, 8) < 0.8 * width(400, 2)
    with_level = [forecast_coverage([(2, 1)] * 9 + [(2, 0)] * 9, [8], level=x) for x in (0.5, 0.99)]
    assert with_level[0][0].low > with_level[1][0].low + 0.05


def test_coverage_far_out_is_not_known() -> None:
    """Half of the questions never right in 4: hopeless, or merely hard."""
    (found,) = forecast_coverage([(4, 0)] * 100 + [(4, 4)] * 100, [10_000])
    assert found.low < 0.5 < 0.99 < found.high
    (sure,) = forecast_coverage([(4, 4)] * 200, [64])
    assert sure.low > 0.95


def asked(shares: Floats, n: int, rng: np.random.Generator) -> list[tuple[str | None, bool]]:
    """Samples of one question: no answer, the right one, then wrong ones."""
    names = [None, "right", *(f"wrong {i}" for i in range(len(shares) - 2))]
    drawn = rng.choice(len(shares), size=n, p=shares)
    return [(names[i], names[i] == "right") for i in drawn]


def misled(rng: np.random.Generator, size: int) -> Floats:
    """A third known; a third where the right answer is second; a third scattered: exactly."""
    kinds = [[0.0, 0.9, 0.1, *[0.0] * 8], [0.1, 0.3, 0.6, *[0.0] * 8], [0.2, 0.24, *[0.56 / 9] * 9]]
    return np.array(kinds)[rng.permutation(size) % 3]


def test_the_vote_is_forecast_where_it_helps_and_where_it_harms() -> None:
    rng = np.random.default_rng(0)
    truth = np.mean([vote_accuracy(asked(q, 16, rng)) for q in misled(rng, 8000)])
    assert 0.55 < truth < 0.65  # and of one sample, .48
    hits, values = [], []
    for seed in range(4):
        rng = np.random.default_rng((seed, 1))
        pilot = [asked(q, 4, rng) for q in misled(rng, 60)]
        (found,) = forecast_accuracy(pilot, [16])
        hits.append(found.low <= truth <= found.high)
        values.append(found.value)
        assert found.high - found.low < 0.5
    assert all(hits)
    assert np.mean(values) == pytest.approx(truth, abs=0.06)


def test_wrong_answers_scattered_evenly_lose_the_vote() -> None:
    """A fifth right, half over 20 other answers: no majority, and yet the vote is right."""
    even = np.array([0.3, 0.2, *[0.025] * 20])
    rng = np.random.default_rng(0)
    truth = np.mean([vote_accuracy(asked(even, 64, rng)) for _ in range(2000)])
    assert truth > 0.99
    for seed in range(3):
        rng = np.random.default_rng((seed, 3))
        (found,) = forecast_accuracy([asked(even, 4, rng) for _ in range(60)], [64])
        assert found.high > truth - 0.005
        assert found.low < truth


def test_a_vote_that_harms_is_seen() -> None:
    rng = np.random.default_rng(5)
    pilot = [asked(np.array([0, 0.35, 0.65]), 8, rng) for _ in range(60)]
    one, many = forecast_accuracy(pilot, [1, 32])
    assert one.low < 0.35 < one.high
    assert many.high < 0.3


def test_coverage_and_accuracy_come_in_one_list() -> None:
    rng = np.random.default_rng(2)
    pilot = [asked(q, 2, rng) for q in misled(rng, 30)]
    found = forecast(pilot, [1, 8])
    assert [(f.what, f.at) for f in found] == [
        (what, m) for what in ("coverage", "accuracy") for m in (1, 8)
    ]
    assert found == forecast(pilot, [1, 8])
    single, alone = found[0], found[2]  # one sample: the two are one number
    assert (single.low, single.high) == pytest.approx((alone.low, alone.high), abs=0.03)
    assert found[1].value > found[3].value
    nothing = forecast([[(None, False)] * 3] * 20, [12])
    assert [f.low for f in nothing] == [0, 0]
    assert all(f.value < 0.2 for f in nothing)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(PonderError, match="at least one sample"):
        forecast([], [4])
    with pytest.raises(PonderError, match="at least one sample"):
        forecast([[("a", True)], []], [4])
    with pytest.raises(PonderError, match="one sample a question or more"):
        forecast([[("a", True)]], [0])
    with pytest.raises(PonderError, match="level"):
        forecast([[("a", True)]], [4], level=95)
    with pytest.raises(PonderError, match="more right samples"):
        forecast_coverage([(2, 3)], [4])
