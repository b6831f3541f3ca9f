"""The winner's curse: the best score is too high, the shrunk one is right on average."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ponder.errors import PonderError
from ponder.guarantee.shrinkage import Winner, shrunk, shrunk_binomial, winner

Floats = NDArray[np.float64]


def mean_and_error(values: list[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values) / len(values) ** 0.5)


@pytest.mark.parametrize("k", [2, 5, 20])
def test_the_best_score_is_too_high_and_its_shrunk_one_is_not(k: int) -> None:
    """Averaged over the spread, as stated; the worst spread follows below."""
    rng = np.random.default_rng(k)
    naive, after = [], []
    for _ in range(2500):
        true = rng.normal(0.5, abs(rng.standard_cauchy()), k)
        seen = true + rng.normal(size=k)
        best = int(np.argmax(seen))
        naive.append(seen[best] - true[best])
        after.append(shrunk(seen, np.ones(k))[best] - true[best])
    bias, error = mean_and_error(naive)
    assert bias > 10 * error
    bias, error = mean_and_error(after)
    assert abs(bias) < 3 * error


@pytest.mark.parametrize(("spread", "most"), [(0.0, 0.4), (1.0, 0.15), (3.0, 0.3)])
def test_at_one_spread_what_is_left_is_small(spread: float, most: float) -> None:
    """In standard errors; the naive bias is 1.17, .84 and .40 of five candidates."""
    rng = np.random.default_rng(1)
    after = []
    for _ in range(2000):
        true = rng.normal(0, spread, 5)
        seen = true + rng.normal(size=5)
        after.append(shrunk(seen, np.ones(5))[np.argmax(seen)] - true[np.argmax(seen)])
    assert abs(np.mean(after)) < most


def test_shrinking_knows_what_is_noise() -> None:
    scores = np.array([0.2, 0.4, 0.9])
    assert shrunk(scores, np.zeros(3)).tolist() == scores.tolist()
    assert shrunk([0.7], [0.1]).tolist() == [0.7]
    assert shrunk(scores, np.full(3, 1e-6)) == pytest.approx(scores, abs=1e-4)
    vague = shrunk(scores, np.full(3, 10.0))
    assert vague == pytest.approx(np.full(3, 0.5), abs=0.2)
    assert np.all(np.diff(vague) > 0)
    assert shrunk(scores + 5, np.ones(3)) == pytest.approx(shrunk(scores, np.ones(3)) + 5)
    assert shrunk(scores * 7, np.ones(3) * 7) == pytest.approx(shrunk(scores, np.ones(3)) * 7)
    sharp, blunt = shrunk([0.9, 0.9, 0.1, 0.1], [0.05, 0.3, 0.05, 0.3])[:2]
    assert blunt < sharp < 0.9


@pytest.mark.parametrize("k", [3, 10])
def test_accuracies_on_questions_of_their_own(k: int) -> None:
    rng = np.random.default_rng(k)
    naive, after = [], []
    for _ in range(250):
        mean, concentration = rng.random(), 40 / rng.standard_cauchy() ** 2
        true = rng.beta(mean * concentration + 1e-9, (1 - mean) * concentration + 1e-9, k)
        right = rng.binomial(40, true)
        best = int(np.argmax(right))
        naive.append(right[best] / 40 - true[best])
        after.append(shrunk_binomial(right, 40)[best] - true[best])
    bias, error = mean_and_error(naive)
    assert bias > 5 * error
    bias, error = mean_and_error(after)
    assert abs(bias) < 3 * error


def test_fewer_questions_are_shrunk_further() -> None:
    few, many, rest = shrunk_binomial([9, 90, 50], [10, 100, 100])
    assert rest < few < many < 0.9
    assert shrunk_binomial([3], [4]).tolist() == [0.75]
    assert np.all(shrunk_binomial([5, 5], 5) < 1)


def simulated(k: int, questions: int, spread: float, times: int) -> list[tuple[Winner, float]]:
    """Winners and their true accuracy; candidates have the questions' difficulty in common."""
    from scipy.stats import norm

    rng, found = np.random.default_rng((k, questions)), []
    for _ in range(times):
        true = np.clip(0.6 + rng.normal(0, spread, k), 0.02, 0.98)
        hard = 0.8 * rng.normal(size=questions) + 0.6 * rng.normal(size=(k, questions))
        won = winner(hard < norm.ppf(true)[:, None])
        found.append((won, float(true[won.chosen])))
    return found


@pytest.mark.parametrize("k", [2, 20])
@pytest.mark.parametrize("spread", [0.03, 0.1])
def test_the_interval_covers_the_winner(k: int, spread: float) -> None:
    runs = simulated(k, 60, spread, 100)
    assert np.mean([won.low <= true <= won.high for won, true in runs]) >= 0.94
    assert all(won.low <= won.expected <= won.score + 1e-9 < won.high for won, _ in runs)
    bias, error = mean_and_error([won.expected - true for won, true in runs])
    assert abs(bias) < 0.01 + 2 * error
    if spread == 0.03:
        naive, _ = mean_and_error([won.score - true for won, true in runs])
        assert naive > 2 * abs(bias)


def test_an_interval_for_one_candidate_alone_fails_the_winner() -> None:
    """The same Wilson interval, as if nothing had been selected: one in five is wrong."""
    missed = []
    rng = np.random.default_rng(3)
    for _ in range(80):
        table = rng.random((20, 60)) < 0.6
        best = int(np.argmax(table.mean(axis=1)))
        missed.append((winner(table).low > 0.6, winner(table[best : best + 1]).low > 0.6))
    selected, alone = np.mean(missed, axis=0)
    assert selected <= 0.05
    assert alone > 0.2


def test_what_all_have_in_common_is_no_luck() -> None:
    """Candidates that differ by three questions only: the difference is what is shrunk."""
    rng = np.random.default_rng(0)
    common = np.repeat([0.0, 1.0], 50)
    better = common.copy()
    better[:3] = 1
    won = winner(np.array([common, better]))
    assert won.chosen == 1
    assert 0.5 < won.expected < won.score == 0.53
    noise = winner(np.array([rng.permutation(common), rng.permutation(better)]))
    assert noise.expected - 0.515 < won.expected - 0.515 < 0.015
    # The largest of two errors that are nearly one error is hardly larger than one.
    assert won.low > noise.low


def test_a_single_candidate_has_not_been_selected() -> None:
    won = winner([[1, 0, 1, 1]])
    assert (won.chosen, won.score, won.expected) == (0, 0.75, 0.75)
    assert (won.low, won.high) == pytest.approx((0.3006, 0.9544), abs=0.01)  # Wilson, 3 of 4
    chosen = winner([[1, 0, 1, 1], [1, 1, 1, 1]], chosen=0)
    assert (chosen.chosen, chosen.score) == (0, 0.75)


def test_all_right_is_not_certain() -> None:
    won = winner(np.ones((3, 20)))
    assert won.score == won.expected == won.high == 1
    assert 0.6 < won.low < 0.84
    shares = winner(np.full((1, 20), 0.5) + np.tile([0.01, -0.01], 10))
    assert shares.high - shares.low < 0.02


def test_what_makes_no_sense_is_refused() -> None:
    for credit in ([], [[1]], [1, 0]):
        with pytest.raises(PonderError, match="two questions"):
            winner(credit)
    with pytest.raises(PonderError, match="between 0 and 1"):
        winner([[1, 2]])
    with pytest.raises(PonderError, match="between 0 and 1"):
        winner([[1, float("nan")]])
    with pytest.raises(PonderError, match="probability"):
        winner([[1, 0]], level=1)
    with pytest.raises(PonderError, match="standard error"):
        shrunk([1, 2], [1])
    with pytest.raises(PonderError, match="right <= of"):
        shrunk_binomial([3], [2])
