"""Imperfect verifiers: the exact reward against the paper's figures, simulation and enumeration."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest

from ponder.errors import PonderError
from ponder.guarantee.verifier import ImperfectVerifier, empirical_curve, estimate

# Fitted by the paper to Llama-3.1-8B on HumanEval+.
PAPER = ImperfectVerifier((0.58, 0.42), (0.87, 0.13), completeness=1.0, soundness=0.75)


def test_figures_of_the_two_type_model() -> None:
    exact = PAPER.reward_curve(3, false_positive=-1)
    paper = PAPER.reward_curve(3, false_positive=-1, paper_form=True)
    assert exact == pytest.approx([0, 0.449, 0.472, 0.461], abs=5e-4)
    assert paper == pytest.approx([0, 0.449, 0.488, 0.464], abs=5e-4)
    for false_positive, k in [(-0.7, 3), (-1, 2), (-2, 1), (-8, 0)]:
        assert PAPER.best_k(false_positive=false_positive) == k
        for form in (False, True):
            curve = PAPER.reward_curve(60, false_positive=false_positive, paper_form=form)
            assert int(np.argmax(curve)) == k
    assert np.dot(PAPER.prior, PAPER.right) == pytest.approx(0.559, abs=5e-4)
    assert PAPER.ceiling() == pytest.approx(0.716, abs=5e-4)
    by_type = [ImperfectVerifier([1], [r], 1.0, 0.75).ceiling() for r in PAPER.right]
    assert by_type == pytest.approx([0.964, 0.374], abs=5e-4)


def test_reward_against_simulation() -> None:
    model = ImperfectVerifier((2, 1, 1), (0.8, 0.3, 0.05), completeness=0.9, soundness=0.7)
    rng, runs, largest, cost = np.random.default_rng(0), 200_000, 6, 0.05
    types = rng.choice(3, size=runs, p=model.prior)
    right = rng.random((runs, largest)) < np.array(model.right)[types, None]
    accept = rng.random((runs, largest)) < np.where(right, model.completeness, 0.3)
    first = np.where(accept.any(axis=1), accept.argmax(axis=1), largest)
    found = []
    for k in range(largest + 1):
        answered = first < k
        good = right[np.arange(runs), np.minimum(first, largest - 1)]
        worth = np.where(answered, np.where(good, 1.0, -1.5), 0.0)
        found.append(float((worth - cost * np.minimum(first + 1, k)).mean()))
    curve = model.reward_curve(largest, false_positive=-1.5, cost=cost)
    assert curve == pytest.approx(found, abs=5 * 1.3 / math.sqrt(runs))
    wrong = model.reward_curve(largest, false_positive=-1.5, cost=cost, paper_form=True)
    assert np.abs(wrong - found).max() > 0.02  # the paper's own form is seen to be off
    missed = ~accept[:, :3].any(axis=1)
    share = np.bincount(types[missed], minlength=3) / missed.sum()
    assert model.belief(3) == pytest.approx(share, abs=0.01)


def test_belief_moves_to_the_hard_type() -> None:
    assert PAPER.belief(0) == pytest.approx(PAPER.prior)
    shares = [PAPER.belief(k)[1] for k in (0, 1, 5, 10_000)]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    sure = ImperfectVerifier([1], [0.5], completeness=1.0, soundness=0.0)
    with pytest.raises(PonderError, match="fewer rejections"):
        sure.belief(1)


def test_a_sound_verifier_always_pays() -> None:
    model = ImperfectVerifier((0.5, 0.5), (0.6, 0.01), completeness=0.7, soundness=1.0)
    assert np.all(np.diff(model.reward_curve(500, false_positive=-9)) > 0)
    assert model.best_k(false_positive=-9) == math.inf
    assert model.ceiling() == pytest.approx(1)


def test_one_that_accepts_everything_makes_draws_irrelevant() -> None:
    model = ImperfectVerifier((0.5, 0.5), (0.6, 0.2), completeness=1.0, soundness=0.0)
    curve = model.reward_curve(9, false_positive=-0.5)
    assert curve[1:] == pytest.approx(curve[1])
    assert model.best_k(false_positive=-0.5) == 1
    assert model.ceiling() == pytest.approx(0.4)


@pytest.mark.parametrize("cost", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("right", [0.05, 0.3, 0.9])
def test_one_type_is_worth_nothing_or_everything(right: float, cost: float) -> None:
    model = ImperfectVerifier([1.0], [right], completeness=0.8, soundness=0.6)
    value = 0.8 * right - 0.4 * (1 - right) - cost
    assert model.best_k(false_positive=-1, cost=cost) == (math.inf if value > 0 else 0)


def test_best_k_against_long_curves() -> None:
    rng = np.random.default_rng(5)
    kinds = set()
    for _ in range(400):
        m = int(rng.integers(1, 5))
        model = ImperfectVerifier(rng.random(m) + 0.01, rng.random(m) ** 2, *rng.random(2))
        fp, cost = -3 * rng.random(), 0.1 * float(rng.random()) * int(rng.integers(2))
        best, curve = (
            model.best_k(false_positive=fp, cost=cost),
            model.reward_curve(20_000, false_positive=fp, cost=cost),
        )
        if best == math.inf:
            assert curve[-1] >= curve.max() - 1e-12
        else:
            assert curve[int(best)] >= curve.max() - 1e-12
        kinds.add("inf" if best == math.inf else min(best, 1))
    assert kinds == {"inf", 0, 1}


def test_a_curve_may_fall_and_then_rise_above() -> None:
    """Where few right answers are accepted, the last types to leave may be the best ones."""
    model = ImperfectVerifier((0.4, 0.6), (0.1, 0.9), completeness=0.05, soundness=0.9)
    curve = model.reward_curve(400, false_positive=-1)
    assert curve[1] < 0 < curve[-1]
    assert model.best_k(false_positive=-1) == math.inf
    curve = model.reward_curve(400, false_positive=-3)
    assert curve.min() < curve[-1] < 0  # rises, but not to where it began
    assert model.best_k(false_positive=-3) == 0


def test_a_cost_ends_what_a_never_accepted_type_would_prolong() -> None:
    model = ImperfectVerifier((0.5, 0.5), (0.5, 0.0), completeness=1.0, soundness=1.0)
    assert model.best_k(false_positive=-1) == math.inf
    best = model.best_k(false_positive=-1, cost=0.01)
    assert best == int(np.argmax(model.reward_curve(200, false_positive=-1, cost=0.01)))
    assert 0 < best < 20
    assert model.ceiling() == pytest.approx(0.5)


@pytest.mark.parametrize("accepts", [0.3, 1e-6])
def test_a_verifier_that_tosses_a_coin(accepts: float) -> None:
    """Acceptance tells nothing: all types are rejected alike, up to rounding."""
    model = ImperfectVerifier((0.3, 0.3, 0.4), (0.9, 0.31, 0.1), accepts, 1 - accepts)
    assert model.best_k(false_positive=-0.1) == math.inf
    assert model.best_k(false_positive=-9) == 0


def test_types_that_are_much_alike() -> None:
    sound = ImperfectVerifier((0.5, 0.5), (0.5, 0.50001), completeness=1.0, soundness=1.0)
    assert sound.best_k(false_positive=-1) == math.inf  # rises by less than a float can say
    slow = ImperfectVerifier((0.5, 0.5), (2e-7, 1e-7), completeness=1.0, soundness=1 - 1.4e-7)
    with pytest.raises(PonderError, match="merge types"):
        slow.best_k(false_positive=-1)


def tables(seed: int, tasks: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    right = rng.random((tasks, n)) < rng.random((tasks, 1))
    return rng.random((tasks, n)) < np.where(right, 0.8, 0.3), right


def test_stored_samples_over_all_orders() -> None:
    accepted, right = tables(1, 5, 6)
    accepted[0] = False
    accepted[1] = True
    found = np.zeros(7)
    for task in range(5):
        for order in permutations(range(6)):
            for k in range(7):
                paid = 0.0
                for i in order[:k]:
                    paid -= 0.07
                    if accepted[task, i]:
                        paid += 1.0 if right[task, i] else -2.0
                        break
                found[k] += paid / (5 * math.factorial(6))
    curve = empirical_curve(accepted, right, 6, false_positive=-2, cost=0.07)
    assert curve == pytest.approx(found, abs=1e-12)


def test_stored_samples_agree_with_the_model() -> None:
    rng = np.random.default_rng(2)
    right = rng.random((20_000, 12)) < np.where(rng.random((20_000, 1)) < 0.58, 0.87, 0.13)
    accepted = rng.random(right.shape) < np.where(right, 1.0, 0.25)
    curve = empirical_curve(accepted, right, 6, false_positive=-1)
    assert curve == pytest.approx(PAPER.reward_curve(6, false_positive=-1), abs=0.02)


def test_estimates_are_shrunk() -> None:
    nothing = estimate([[True]], [[True]])
    assert (nothing.completeness, nothing.soundness) == (2 / 3, 1 / 2)
    assert nothing.right == (2 / 3,)
    accepted, right = tables(3, 300, 400)
    model = estimate(accepted, right)
    assert model.completeness == pytest.approx(0.8, abs=0.01)
    assert model.soundness == pytest.approx(0.7, abs=0.01)
    direct = empirical_curve(accepted, right, 10, false_positive=-1)
    assert model.reward_curve(10, false_positive=-1) == pytest.approx(direct, abs=0.02)
    assert model.best_k(false_positive=-1) > 0  # as many types as tasks


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(PonderError, match="between 0 and 1"):
        ImperfectVerifier([1], [1.2])
    with pytest.raises(PonderError, match="one prior weight"):
        ImperfectVerifier([1, 1], [0.5])
    with pytest.raises(PonderError, match="not all zero"):
        ImperfectVerifier([0.0], [0.5])
    with pytest.raises(PonderError, match="two tables"):
        empirical_curve([[True]], [[True, False]], 1, false_positive=-1)
    with pytest.raises(PonderError, match="at most as many draws"):
        empirical_curve([[True]], [[True]], 2, false_positive=-1)
