"""Thresholdout: what it answers, what it spends, and how far from the truth it is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from ponder.errors import PonderError
from ponder.guarantee.holdout import Look, Thresholdout

Floats = NDArray[np.float64]
Answer = Callable[[Floats, Floats], float]


def test_what_does_not_surprise_costs_nothing() -> None:
    guard = Thresholdout(100, 50, 2, sigma=1e-6)
    train, holdout = np.repeat([0.0, 1.0], [40, 60]), np.repeat([0.0, 1.0], [15, 35])
    look = guard.ask(train, holdout)  # .6 and .7, threshold .22
    assert (look.value, look.tripped, look.left) == (0.6, False, 2)
    look = guard.ask(lambda: np.ones(100), lambda: np.full(50, 0.25))
    assert look.value == pytest.approx(0.25, abs=1e-4)
    assert (look.tripped, look.left, guard.asked) == (True, 1, 2)


def test_an_answer_from_the_holdout_lies_on_the_grid() -> None:
    guard = Thresholdout(50, 50, 40, threshold=0.1, sigma=0.01)
    looks = [guard.ask(np.ones(50), np.full(50, 0.515)) for _ in range(40)]
    steps = np.array([look.value for look in looks]) / 0.01
    assert steps == pytest.approx(steps.round(), abs=1e-9)
    assert np.mean([look.value for look in looks]) == pytest.approx(0.515, abs=0.01)
    assert len(set(steps.round())) > 3  # noise
    assert all(abs(look.value - 0.515) <= look.error for look in looks)
    low = Thresholdout(50, 50, 40, threshold=0.1, sigma=0.01)
    assert min(low.ask(np.ones(50), np.zeros(50)).value for _ in range(40)) == 0


def test_spent_looks_are_not_had_again() -> None:
    guard = Thresholdout(40, 40, 2)
    for left in (1, 0):
        assert guard.ask(np.ones(40), np.zeros(40)).left == left
    asked: list[int] = []

    def holdout() -> Floats:
        asked.append(1)
        return np.ones(40)

    again = Thresholdout.from_dict(json.loads(json.dumps(guard.as_dict())))
    for spent in (guard, again):
        with pytest.raises(PonderError, match="all 2 looks at this holdout are spent"):
            spent.ask(np.ones(40), holdout)
    assert not asked


def test_a_card_carries_on_where_it_was() -> None:
    rng = np.random.default_rng(0)
    queries = [(rng.random(60), rng.random(80) ** rng.integers(1, 4)) for _ in range(20)]

    def run(interrupted: bool, seed: int) -> list[Look]:
        guard = Thresholdout(60, 80, 20, seed=seed)
        looks = []
        for train, holdout in queries:
            looks.append(guard.ask(train, holdout))
            if interrupted:
                guard = Thresholdout.from_dict(json.loads(json.dumps(guard.as_dict())))
        return looks

    assert run(True, 3) == run(False, 3)
    assert run(False, 3) != run(False, 4)
    assert {look.tripped for look in run(False, 3)} == {True, False}


def test_states_that_do_not_add_up_are_refused() -> None:
    good = Thresholdout(40, 40, 2).as_dict()
    for change in (
        {"tripped": 3, "asked": 9},
        {"tripped": 2, "asked": 1},
        {"tripped": -1},
        {"budget": 0},
        {"sigma": 0.0},
        {"holdout": "many"},
        {"looks": 3},
    ):
        with pytest.raises(PonderError):
            Thresholdout.from_dict({**good, **change})
    with pytest.raises(PonderError):
        Thresholdout.from_dict({"budget": 2})
    guard = Thresholdout.from_dict(good)
    for train, holdout in [
        (np.ones(40), np.ones(39)),
        (np.ones(40), np.full(40, 1.01)),
        (np.ones(40), np.full(40, math.nan)),
    ]:
        with pytest.raises(PonderError, match="score"):
            guard.ask(train, holdout)
    assert guard.asked == 0  # a mistake costs nothing


def test_the_bound_counts_every_transcript() -> None:
    """N_j, against all sequences of j - 1 answers: from the training mean, or one of K values."""
    for budget, sigma in [(1, 0.5), (2, 0.5), (3, 0.4)]:
        guard = Thresholdout(30, 30, budget, sigma=sigma)
        values = {min(max(sigma * round(x / sigma), 0), 1) for x in np.linspace(-1, 2, 400)}
        for j in range(1, 6):
            alive = [
                past
                for past in product([None, *values], repeat=j - 1)
                if sum(v is not None for v in past) < budget
            ]
            bound = math.sqrt(math.log(2 * j * (j + 1) * len(alive) / 0.05) / 60)
            if 1 / sigma == round(1 / sigma):  # then 1 is on the grid, and counted twice
                assert bound - 1e-12 <= guard.uncertainty(j) <= 1.2 * bound
            else:
                assert guard.uncertainty(j) == pytest.approx(bound)


def test_false_alarms_are_rare_and_differences_are_found() -> None:
    trips = {0.0: 0, 5.0: 0}
    for gap in trips:
        for seed in range(300):
            rng = np.random.default_rng([seed, int(gap)])
            guard = Thresholdout(100, 100, 1, seed=seed)
            higher = gap * math.sqrt(0.25 * 2 / 100)
            train = (rng.random(100) < 0.5 + higher).astype(float)
            trips[gap] += guard.ask(train, (rng.random(100) < 0.5).astype(float)).tripped
    assert binom.sf(trips[0.0] - 1, 300, 0.08) > 1e-6
    assert binom.cdf(trips[5.0], 300, 0.9) > 1e-6


def test_without_peeking_every_look_is_within_its_error() -> None:
    missed, near = 0, []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        guard = Thresholdout(200, 200, 5, seed=seed)
        for truth in rng.random(5):
            look = guard.ask(rng.random(200) < truth, rng.random(200) < truth)
            missed += abs(look.value - truth) > look.error
            near.append(look.value - truth)
    assert missed <= 5  # of 100 runs, at 95% for a whole run; it is far wider than it needs to be
    assert np.std(near) < 1.3 * np.sqrt(1 / 6 / 200)  # as good as a mean of 200 questions
    assert abs(np.mean(near)) < 0.01


def freedman(answer: Answer, train: Floats, holdout: Floats, fresh: Floats) -> tuple[float, float]:
    """The holdout's word on a vote of the features that it agreed on, and the truth.

    Rows are questions, columns features that are right by chance, (n, d).
    """
    seen = train.mean(axis=0)
    heard = np.array([answer(train[:, j], holdout[:, j]) for j in range(train.shape[1])])
    least = 0.5 / math.sqrt(len(train))
    agree = (heard - 0.5) * (seen - 0.5) > 0
    strong = np.minimum(np.abs(heard - 0.5), np.abs(seen - 0.5)) > least
    kept = np.flatnonzero(agree & strong)
    kept = kept[np.argsort(-np.abs(seen[kept] - 0.5))][: train.shape[1] // 4]
    kept = kept[: len(kept) - 1 + len(kept) % 2]  # an odd number, so that no vote is tied
    sign = np.sign(seen[kept] - 0.5)
    votes = [((2 * rows[:, kept] - 1) @ sign > 0).astype(float) for rows in (train, holdout, fresh)]
    return answer(votes[0], votes[1]), float(votes[2].mean())


def test_a_holdout_that_is_asked_a_lot_is_fitted_and_a_guarded_one_is_not() -> None:
    naive, guarded, truths = [], [], []
    n = d = 600
    for seed in range(4):
        rng = np.random.default_rng(seed)
        rows = [rng.integers(0, 2, (n, d)).astype(float) for _ in range(3)]
        guard = Thresholdout(n, n, d + 1, seed=seed)

        def thresholdout(train: Floats, holdout: Floats, guard: Thresholdout = guard) -> float:
            return guard.ask(train, holdout).value

        said, truth = freedman(lambda train, holdout: float(holdout.mean()), *rows)
        naive.append(said)
        truths.append(truth)
        said, truth = freedman(thresholdout, *rows)
        guarded.append(said)
        truths.append(truth)
    assert np.mean(truths) == pytest.approx(0.5, abs=0.02)
    assert np.mean(naive) > 0.58
    assert abs(np.mean(guarded) - 0.5) < 0.05
    assert np.mean(naive) - np.mean(guarded) > 0.05
