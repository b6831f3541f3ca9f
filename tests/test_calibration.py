"""Calibration: figures by hand, intervals by simulation, maps against planted truths, no leaks."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import binom

from ponder.blocks.vote import posterior_of, with_answer
from ponder.dist import Categorical
from ponder.effects import Program
from ponder.errors import PonderError
from ponder.guarantee.calibration import METHODS, Calibrator, choose, cross_fitted, fit
from ponder.guarantee.calibration_maps import PULL, fit_beta
from ponder.guarantee.reliability import (
    auroc,
    brier,
    ece,
    reliability_bins,
    risk_coverage,
    squared_errors,
    summary,
)
from ponder.guarantee.signals import signals
from ponder.law import Law
from ponder.measure import Population, Posterior
from ponder.recipes.prompting import Reply
from ponder.trace import Choice, Trace

Floats = NDArray[np.float64]
P = [0.9, 0.9, 0.6, 0.6, 0.2, 0.1]
C = [1.0, 0.5, 1.0, 0.0, 0.0, 0.0]


def shares(values: Sequence[float] | Floats) -> list[dict[str, float]]:
    return [{"share": float(v)} for v in values]


def planted(seed: int, questions: int, truth: str = "beta") -> tuple[Floats, Floats]:
    """Shares, and whether the answers are right, which is P = share^2 or a coin."""
    rng = np.random.default_rng(seed)
    share = rng.random(questions)
    p = share**2 if truth == "beta" else np.full(questions, 0.5)
    return share, (rng.random(questions) < p).astype(float)


# Figures


def test_brier_by_hand() -> None:
    assert brier([0.7, 0.2], [1, 0]) == pytest.approx((0.09 + 0.04) / 2)
    # Half right: as often .3 away from 1 as .7 away from 0.
    assert brier([0.7], [0.5]) == pytest.approx((0.09 + 0.49) / 2)
    # Proper: the best single probability is the mean credit.
    best = min(np.linspace(0, 1, 101), key=lambda p: brier([p] * 6, C))
    assert best == pytest.approx(np.mean(C), abs=0.006)


def test_auroc_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    p = rng.integers(0, 5, 40) / 4
    c = rng.integers(0, 3, 40) / 2
    pairs = [(c[i] * (1 - c[j]), p[i], p[j]) for i in range(40) for j in range(40)]
    won = sum(w * ((a > b) + (a == b) / 2) for w, a, b in pairs)
    assert auroc(p, c) == pytest.approx(won / sum(w for w, _, _ in pairs))
    assert auroc(p**3 / 2, c) == pytest.approx(auroc(p, c))
    assert auroc(1 - p, c) == pytest.approx(1 - (auroc(p, c) or 0))
    assert auroc([0.1, 0.9], [1, 1]) is None
    assert auroc([0.1, 0.9], [0, 1]) == 1


def test_bins_have_equal_mass_and_do_not_divide_equals() -> None:
    by_hand = np.array([(0.15, 0.0, 2), (0.6, 0.5, 2), (0.9, 0.75, 2)])
    assert np.array(reliability_bins(P, C, bins=3)) == pytest.approx(by_hand)
    p = np.arange(100) / 100
    assert [n for *_, n in reliability_bins(p, p)] == [10] * 10
    same = np.repeat([0.25, 0.5, 1.0], [3, 90, 7])
    assert sum(n for *_, n in reliability_bins(same, same)) == 100
    assert [n for _, _, n in reliability_bins(same, same)] == [3, 90, 7]
    assert [n for *_, n in reliability_bins([0.1, 0.95, 1.0], [0, 0, 0], equal_width=True)] == [
        1,
        2,
    ]


def test_ece_by_hand_and_in_any_order() -> None:
    found = ece(P, C, range(6), bins=3)
    assert found.value == pytest.approx((0.15 + 0.1 + 0.15) / 3)
    order = [3, 0, 5, 1, 4, 2]
    again = ece([P[i] for i in order], [C[i] for i in order], order, bins=3)
    assert (again.value, again.low, again.high) == pytest.approx(
        (found.value, found.low, found.high)
    )
    assert ece([0.5, 0.5], [1, 0], [0, 1]).value == 0
    alone = ece([0.5, 0.5], [1, 0], [7, 7])
    assert (alone.low, alone.high) == (0, 1)


def test_answers_of_one_question_are_not_counted_as_many() -> None:
    share, right = planted(0, 50)
    once = ece(share, right, range(50))
    often = ece(np.repeat(share, 20), np.repeat(right, 20), np.repeat(range(50), 20))
    assert (often.low, often.high) == pytest.approx((once.low, once.high), abs=1e-12)
    careless = ece(np.repeat(share, 20), np.repeat(right, 20), range(1000))
    assert careless.high - careless.low < 0.6 * (once.high - once.low)


@pytest.mark.parametrize("truth", ["calibrated", "overconfident"])
@pytest.mark.parametrize(("questions", "answers"), [(40, 1), (60, 5)])
def test_the_interval_of_the_ece_covers(truth: str, questions: int, answers: int) -> None:
    rng = np.random.default_rng([questions, truth == "calibrated"])
    trials, missed, values, noises = 200, 0, [], []
    for seed in range(trials):
        p = rng.beta(3, 0.7, questions)
        chance = p if truth == "calibrated" else p**2
        right = (rng.random(questions) < chance).astype(float)  # one fate for all of a question
        # Ten bins of 4 or 6 questions, in the order of p: the error in these bins.
        gap = np.abs((p - chance)[np.argsort(p)].reshape(10, -1).mean(axis=1)).mean()
        found = ece(
            np.repeat(p, answers),
            np.repeat(right, answers),
            np.repeat(range(questions), answers),
            resamples=200,
            seed=seed,
        )
        missed += not found.low - 1e-12 <= gap <= found.high + 1e-12
        values.append(found.value)
        noises.append(found.noise)
    assert binom.sf(missed - 1, trials, 0.05) > 1e-6
    if truth == "calibrated":
        assert np.mean(values) > 0.05  # all of it bias
        assert np.mean(noises) == pytest.approx(np.mean(values), rel=0.15)


def test_a_large_error_is_seen() -> None:
    share, right = planted(1, 300)
    found = ece(share, right, range(300))
    assert found.low > 0.03
    assert found.low < found.value < found.high
    assert found.value > 2 * found.noise


def test_risk_coverage_by_hand() -> None:
    curve = risk_coverage(P, C)
    assert curve.threshold.tolist() == [0.9, 0.6, 0.2, 0.1]
    assert curve.coverage == pytest.approx([2 / 6, 4 / 6, 5 / 6, 1])
    assert curve.risk == pytest.approx([0.25, 1.5 / 4, 2.5 / 5, 3.5 / 6])


def test_figures_refuse_what_is_no_probability() -> None:
    for p, c in [([], []), ([0.5], [1, 0]), ([1.1], [1]), ([math.nan], [1]), ([0.5], [-1])]:
        with pytest.raises(PonderError):
            brier(p, c)
    with pytest.raises(PonderError, match="question"):
        ece([0.5], [1], [0, 1])
    with pytest.raises(PonderError, match="bin"):
        ece([0.5], [1], [0], bins=0)
    assert json.loads(json.dumps(summary([1 + 1e-12, 0.5], [1, 1], [0, 1])))["auroc"] is None


# Maps


def test_beta_is_the_constrained_optimum() -> None:
    for seed in range(12):
        share, right = planted(seed, 30)
        right = right if seed % 2 else right[::-1]
        if 0 < right.sum() < 30:
            s = np.clip(share, 0.01, 0.99)
            design = np.stack([np.log(s), -np.log(1 - s), np.ones(30)], axis=1)

            def loss(x: Floats, design: Floats = design, right: Floats = right) -> float:
                z = design @ x
                pull = PULL * ((x[0] - 1) ** 2 + (x[1] - 1) ** 2) / 2
                return float(np.sum(np.logaddexp(0, z) - right * z) + pull)

            limits = [(0, None), (0, None), (None, None)]
            best = minimize(loss, [1, 1, 0], bounds=limits, method="L-BFGS-B").fun
            p = fit_beta({"share": share}, right, np.ones(30))
            assert min(p["a"], p["b"]) >= 0
            assert loss(np.array([p["a"], p["b"], p["c"]])) <= best + 1e-6


def test_beta_finds_a_planted_map() -> None:
    rng = np.random.default_rng(0)
    share = rng.uniform(0.02, 0.98, 20_000)
    logit = 2 * np.log(share) - 0.5 * np.log(1 - share) + 0.3
    right = rng.random(20_000) < 1 / (1 + np.exp(-logit))
    found = fit(shares(share), right, range(20_000))
    assert [found.parameters[k] for k in "abc"] == pytest.approx([2, 0.5, 0.3], abs=0.2)
    assert found.predict(shares(share)) == pytest.approx(1 / (1 + np.exp(-logit)), abs=0.015)


def test_isotonic_pools_violators() -> None:
    share = [0.1, 0.1, 0.3, 0.5, 0.7, 0.9] * 2
    right = [0, 0, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1]
    found = fit(shares(share), right, range(12), "isotonic")
    said = found.predict(shares([0.0, 0.1, 0.2, 0.3, 0.5, 0.6, 0.9, 1.0]))
    edge = 12.5 / 13
    assert said == pytest.approx([0.25, 0.25, 0.375, 0.5, 0.5, 0.75, edge, edge])


@pytest.mark.parametrize("method", ["beta", "isotonic"])
def test_a_larger_share_is_never_worth_less(method: str) -> None:
    for seed in range(20):
        share, right = planted(seed, 25)
        right = right if seed % 2 else 1 - right
        said = fit(shares(share), right, range(25), method).predict(shares(np.linspace(0, 1, 51)))
        assert (np.diff(said) >= -1e-12).all()
        assert 0.5 / 26 <= said.min() <= said.max() <= 25.5 / 26


@pytest.mark.parametrize("method", METHODS)
def test_copies_units_and_order_change_nothing(method: str) -> None:
    share, right = planted(3, 40)
    seen = [{"share": s, "score": s**2 + i % 3} for i, s in enumerate(share.tolist())]
    once = fit(seen, right, range(40), method).predict(seen)
    order = np.random.default_rng(0).permutation(120)
    copied = [{"share": seen[i % 40]["share"], "score": 5 - seen[i % 40]["score"]} for i in order]
    questions = [int(i % 40) for i in order]
    found = fit(copied, right[questions], questions, method)
    again = found.predict([{"share": s["share"], "score": 5 - s["score"]} for s in seen])
    assert again == pytest.approx(once, abs=1e-7)


def test_the_logistic_map_learns_from_a_second_signal() -> None:
    rng = np.random.default_rng(5)
    share, score = rng.random(150), rng.normal(size=150)
    right = (rng.random(150) < 1 / (1 + np.exp(-3 * score))).astype(float)
    seen = [{"share": s, "score": v} for s, v in zip(share.tolist(), score.tolist(), strict=True)]
    found = choose(seen, right, range(150))
    assert found.calibrator.method == "logistic"
    assert found.calibrator({"share": 0.5, "score": 2.0}) > 0.9
    # Missing, or not a number: as if it were the mean.
    mean = {"share": 0.5, "score": float(score.mean())}
    for partial in ({"share": 0.5}, {"share": 0.5, "score": -math.inf}):
        assert found.calibrator(partial) == pytest.approx(found.calibrator(mean))
    # Rarely there, or always the same: not used.
    for other in ([{"score": float(i)} for i in range(70)] + [{}] * 80, [{"score": 1.0}] * 150):
        odd = [{"share": s, **o} for s, o in zip(share.tolist(), other, strict=True)]
        assert list(fit(odd, right, range(150), "logistic").parameters["signals"]) == ["share"]


def test_the_simpler_map_is_chosen_where_it_is_as_good() -> None:
    chosen, not_best = [], 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        share = rng.random(80)
        right = (rng.random(80) < share).astype(float)
        seen = [{"share": s, "score": float(rng.normal())} for s in share.tolist()]
        found = choose(seen, right, range(80))
        chosen.append(found.calibrator.method)
        best = min(mean for mean, _ in found.scores.values())
        mean, error = found.scores[found.calibrator.method]
        assert mean <= best + error
        not_best += mean > best
        assert mean == pytest.approx(squared_errors(found.predictions, right).mean())
    assert chosen.count("beta") >= 6
    assert not_best  # of least score is often one that is more than it needs to be


def test_what_is_fitted_is_not_what_is_known() -> None:
    """Coins. Calibrated on themselves they look perfect; folds by sample leak, by question not."""
    errors, scores = np.zeros(3), np.zeros(3)
    for seed in range(5):
        share, right = planted(seed, 40, "coin")
        question = np.repeat(range(40), 10)
        seen, credit = shares(share[question]), right[question]
        itself = fit(seen, credit, question, "isotonic").predict(seen)
        by_sample = cross_fitted(seen, credit, range(400), "isotonic")
        by_question = cross_fitted(seen, credit, question, "isotonic")
        for i, p in enumerate((itself, by_sample, by_question)):
            errors[i] += ece(p, credit, question).value / 5
            scores[i] += brier(p, credit) / 5
    assert errors[0] < 0.005
    assert errors[1] < 0.08
    assert errors[2] > 0.2
    assert scores[0] < scores[1] < 0.245 < 0.25 < 0.27 < scores[2]  # a coin's is .25


def test_each_fold_has_not_seen_its_questions() -> None:
    share, right = planted(2, 30)
    for method in (*METHODS, "chosen"):
        said = cross_fitted(shares(share), right, range(30), method)
        for i in (0, 11, 29):
            flipped = right.copy()
            flipped[i] = 1 - flipped[i]
            again = cross_fitted(shares(share), flipped, range(30), method)
            assert again[i] == said[i]
            assert (again != said).any()


def test_few_questions_give_their_mean() -> None:
    few = fit(shares([0.5] * 6 + [0.9] * 3), [1, 1, 1, 0, 0, 0, 1, 1, 1], range(9), "logistic")
    assert (few.method, few({"share": 0.1})) == ("constant", 6.5 / 10)
    assert "too few" in few.note
    alike = fit(shares(np.linspace(0, 1, 20)), [1.0] * 20, range(20))
    assert alike.method == "constant"
    assert alike({"share": 0.1}) == pytest.approx(20.5 / 21)
    found = choose(shares([0.5, 0.9]), [1, 0], [0, 0])
    assert (found.scores, found.calibrator.questions) == ({}, 1)
    assert found.predictions.tolist() == [0.5, 0.5]  # nothing is known without the question


@pytest.mark.parametrize("method", METHODS)
def test_a_calibrator_survives_json(method: str) -> None:
    share, right = planted(4, 30)
    seen = [{"share": s, "votes": float(i % 5)} for i, s in enumerate(share.tolist())]
    found = fit(seen, right, range(30), method)
    text = json.dumps(found.as_dict())
    again = Calibrator.from_dict(json.loads(text))
    assert (again.predict(seen) == found.predict(seen)).all()
    assert len(text) < 2000
    for key in ("method", "parameters", "questions"):
        broken = {**found.as_dict(), key: None}
        with pytest.raises(PonderError, match="calibrate again"):
            Calibrator.from_dict(broken)


def test_calibration_refuses_what_it_cannot_use() -> None:
    share, right = planted(4, 30)
    with pytest.raises(PonderError, match="beta, isotonic, logistic"):
        fit(shares(share), right, range(30), "platt")
    with pytest.raises(PonderError, match="no answer"):
        fit([{}] * 30, right, range(30))
    with pytest.raises(PonderError, match="between 0 and 1"):
        fit(shares(share), right + 1, range(30))
    with pytest.raises(PonderError, match="two folds"):
        cross_fitted(shares(share), right, range(30), folds=1)
    with pytest.raises(PonderError, match="no answer"):
        fit(shares(share), right, range(30))({"votes": 3})


# Signals


def posterior(
    replies: Sequence[tuple[object, float, float, int | None]], *, status: str = "finished"
) -> Posterior:
    """Of (value, weight, log-potential, branch)."""
    program: Program[object] = Program(lambda: iter(()), "made up")  # type: ignore[arg-type, return-value]
    traces = []
    for value, _, log_potential, branch in replies:
        last = None if branch is None else Choice(None, "which", Categorical([0.5, 0.5]), branch)
        done = "unfinished" if value is None else "finished"
        traces.append(Trace(program, last, value, log_potential, done))  # type: ignore[arg-type]
    with np.errstate(divide="ignore"):
        log_weights = np.log([w for _, w, _, _ in replies])
    law = Law("exact", "made up")
    found = posterior_of(Population(tuple(traces), log_weights, law), law)
    return with_answer(found, found.shares[0].answer if found.shares else None)


def reply(answer: str | None, log_prob: float) -> Reply:
    return Reply("text", answer, "stop", (), log_prob, 10)


def test_signals_by_hand() -> None:
    found = signals(
        posterior(
            [
                (reply("a", -1), 0.4, 0.0, 0),
                (reply("a", -4), 0.2, -2.0, 1),
                (reply("b", -9), 0.2, 0.0, 1),
                (reply(None, -9), 0.2, 0.0, 0),
                (reply("b", -9), 0.0, -math.inf, 0),
            ]
        )
    )
    assert found == pytest.approx(
        {
            "share": 0.75,
            "margin": 0.5,
            "votes": 3,
            "abstaining": 0.2,
            "log_prob": (0.4 * -0.1 + 0.2 * -0.4) / 0.6,
            "score": (0.2 * -2) / 0.6,
            "agreement": 0.5,
        }
    )


def test_signals_that_are_not_there_have_no_key() -> None:
    assert set(signals(posterior([("a", 0.5, 0.0, None), ("b", 0.5, 0.0, None)]))) == {
        "share",
        "margin",
        "votes",
        "abstaining",
    }
    assert signals(posterior([(None, 0.5, 0.0, None)])) == {}
    # A branch that was never begun is none; one that gave no answer does not agree.
    begun = [(reply("a", -1), 0.5, 0.0, 0), (None, 0.5, 0.0, None)]
    assert "agreement" not in signals(posterior(begun))
    silent = [(reply("a", -1), 0.5, 0.0, 0), (reply(None, -1), 0.5, 0.0, 1)]
    assert signals(posterior(silent))["agreement"] == 0
