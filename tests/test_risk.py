"""Answering at a controlled risk: figures by hand, populations of known risk, broken versions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from ponder.checking import bounded
from ponder.checking.bounded import risk_control
from ponder.checking.claims import Report
from ponder.checking.every import check_named
from ponder.errors import PonderError
from ponder.guarantee import risk as module
from ponder.guarantee.risk import (
    Selector,
    conformal_risk,
    labels_needed,
    learn_then_test,
    more_labels,
)

EXACT, SAMPLED, AVERAGE = "as rarely as promised", "of 120 labelled", "answered and wrong"


def fallen(report: Report) -> list[str]:
    """The parts of the claims that were refuted."""
    refuted = [f.claim for f in report.findings if f.verdict == "refuted"]
    return [name for name in (EXACT, SAMPLED, AVERAGE) if any(name in c for c in refuted)]


def test_labels_needed_by_hand() -> None:
    assert labels_needed(0.05) == 59  # .95^59 < .05 < .95^58
    assert [labels_needed(0.2, errors=e) for e in range(3)] == [14, 22, 30]
    assert labels_needed(0.5, 0.75) == 2
    for errors in (0, 3, 40):
        k = labels_needed(0.1, 0.9, errors)
        assert binom.cdf(errors, k, 0.1) <= 0.1 < binom.cdf(errors, k - 1, 0.1)


def test_a_risk_is_certified_by_exactly_as_many() -> None:
    for risk, labels, errors in ((0.05, 59, 0), (0.2, 14, 0), (0.2, 22, 1), (0.2, 30, 2)):
        credit = [0.0] * errors + [1.0] * (labels - errors)
        found = learn_then_test([0.5] * labels, credit, risk=risk)
        assert (found.threshold, found.answered, found.errors) == (-math.inf, labels, errors)
        fewer = learn_then_test([0.5] * (labels - 1), credit[:-1], risk=risk)
        assert not fewer.answers(1e9)
        assert fewer.why


def test_more_labels() -> None:
    assert more_labels(0.05, 0.95, 20, 0) == 39
    assert more_labels(0.05, 0.95, 70, 0) == 0
    assert more_labels(0.2, 0.95, 22, 1) == 0
    assert more_labels(0.2, 0.95, 20, 4) is None
    assert more_labels(0.2, 0.95, 20, 20) is None
    assert more_labels(0.05, 0.95, 1_000_000, 49_990) is None
    more = more_labels(0.2, 0.95, 20, 3)
    assert more is not None

    def certified(k: int) -> bool:
        return bool(binom.cdf(math.ceil(k * 3 / 20), k, 0.2) <= 0.05)

    assert certified(20 + more)
    assert not any(certified(k) for k in range(20, 20 + more))


def test_tests_begin_strict_and_end_at_the_first_failure() -> None:
    # 14 right, then 60 wrong, then 500 right: the loosest threshold would pass its own test.
    credit = [1.0] * 14 + [0.0] * 60 + [1.0] * 500
    found = learn_then_test(-np.arange(574.0), credit, risk=0.2)
    assert not found.answers(0)  # the tests begin near a sixth, where 60 are too many
    found = learn_then_test(-np.arange(70.0), credit[:70], risk=0.2)
    assert (found.threshold, found.answered, found.errors) == (-14, 14, 0)
    assert found.answers(-13)
    assert not found.answers(-14)  # of a score like this one nothing was certified
    assert not found.answers(math.nan)


def test_a_threshold_treats_equal_scores_alike() -> None:
    scores = [1.0] * 30 + [0.5] * 30
    credit = [1.0] * 30 + [0.0, 1.0] * 15
    for order in (slice(None), slice(None, None, -1)):
        found = learn_then_test(scores[order], credit[order], risk=0.2)
        assert (found.threshold, found.answered, found.errors) == (0.5, 30, 0)
        average = conformal_risk(scores[order], credit[order], risk=0.1)
        assert (average.threshold, average.answered, average.errors) == (0.5, 30, 0)
    # Ten that tie are too few to certify anything: they are passed over, and do not end the tests.
    assert learn_then_test([1.0] * 10 + [0.5] * 30, [1.0] * 40, risk=0.2).answered == 40


def test_no_answer_is_never_an_answer() -> None:
    scores = [0.9] * 20 + [-math.inf] * 30
    found = learn_then_test(scores, [1.0] * 20 + [0.0] * 30, risk=0.2)
    assert (found.questions, found.answered, found.errors) == (50, 20, 0)
    assert found.answers(-5.0)
    assert not found.answers(-math.inf)
    nothing = learn_then_test([-math.inf] * 99, [0.0] * 99, risk=0.2)
    assert not nothing.answers(1.0)
    assert "0 labelled questions have an answer, and 14" in nothing.why


def test_a_part_of_a_credit_is_an_error_of_the_exact_test_alone() -> None:
    scores, credit = [0.5] * 22, [0.5, 0.5] + [1.0] * 20
    assert learn_then_test(scores, credit, risk=0.2).why
    assert learn_then_test(scores, [0.5] + [1.0] * 21, risk=0.2).errors == 1
    assert conformal_risk(scores, credit, risk=0.1).errors == 1


def test_what_is_missing_is_said() -> None:
    few = learn_then_test([0.5] * 40, [1.0] * 40, risk=0.05)
    assert "40 labelled questions have an answer, and 59 with none wrong" in few.why
    wrong = learn_then_test([0.5] * 40, [0.0] * 6 + [1.0] * 34, risk=0.2)
    more = more_labels(0.2, 0.95, 40, 6)
    assert f"of the 40 surest answers 6 are wrong; if that rate stays, {more} more" in wrong.why
    hopeless = learn_then_test([0.5] * 40, [0.0] * 8 + [1.0] * 32, risk=0.2)
    assert "no number of labels" in hopeless.why
    assert "19 labelled questions at least" in conformal_risk([0.5] * 18, [1] * 18, risk=0.05).why
    assert not conformal_risk([0.5] * 19, [1] * 19, risk=0.05).why
    for found in (few, wrong, hopeless):
        assert found.statement == f"it never answers: {found.why}"
        assert "\n" not in found.statement


def test_conformal_risk_by_hand() -> None:
    # Of ten questions one answered wrongly more may be added if (wrong + 1) / 11 <= .2.
    scores, credit = -np.arange(10.0), np.array([1, 0, 1, 1, 0, 1, 1, 1, 1, 1.0])
    found = conformal_risk(scores, credit, risk=0.2)
    assert (found.threshold, found.answered, found.errors) == (-4, 4, 1)
    assert conformal_risk(scores, credit, risk=0.3).threshold == -math.inf
    looser = [conformal_risk(scores, credit, risk=r).answered for r in np.linspace(0.05, 0.5, 30)]
    assert all(a <= b for a, b in pairwise(looser))


def test_a_useful_score_answers_much_and_a_useless_one_little() -> None:
    rng = np.random.default_rng(1)
    sure = rng.random(400)
    credit = (rng.random(400) < sure**0.15).astype(float)
    useful = learn_then_test(sure, credit, risk=0.1)
    useless = learn_then_test(rng.permutation(sure), credit, risk=0.1)
    assert useful.answered > 150
    assert useless.answered == 0


def test_selectors_survive_json() -> None:
    scores, credit = [0.9, 0.8, 0.3] * 20, [1.0, 1.0, 0.0] * 20
    for found in (
        learn_then_test(scores, credit, risk=0.2),
        learn_then_test(scores, [0.0] * 60, risk=0.2),
        conformal_risk(scores, [1.0] * 60, risk=0.2),
    ):
        text = json.dumps(found.as_dict(), allow_nan=False)
        assert Selector.from_dict(json.loads(text)) == found
    for said in ({}, {"threshold": 1}, {"threshold": "high"}):
        with pytest.raises(PonderError, match="no selector"):
            Selector.from_dict(said)


@pytest.mark.parametrize("control", [learn_then_test, conformal_risk])
def test_what_is_no_risk_or_no_credit_is_refused(control: Callable[..., Selector]) -> None:
    for scores, credit, risk in (
        ([], [], 0.1),
        ([1.0], [1.0, 1.0], 0.1),
        ([math.nan], [1.0], 0.1),
        ([1.0], [1.5], 0.1),
        ([1.0], [math.nan], 0.1),
        ([1.0], [1.0], 1.0),
    ):
        with pytest.raises(PonderError):
            control(scores, credit, risk=risk)
    with pytest.raises(PonderError):
        labels_needed(0.1, errors=-1)
    with pytest.raises(PonderError):
        more_labels(0.1, 0.95, 3, 4)


def test_the_check_of_ponder_finds_it_valid() -> None:
    report = check_named("risk control", 1.0, 0)
    assert (report.law, report.verdict) == ("bounded", "valid")
    assert [f.runs for f in report.findings if f.method == "sampled"] == [6000]


def smallest_empirical(scores: Any, credit: Any, *, risk: float, confidence: float) -> Selector:
    """The loosest threshold whose answers were wrong seldom enough, and no bound."""
    score, given = np.asarray(scores), np.asarray(credit)
    for threshold in sorted({-math.inf, *score[np.isfinite(score)].tolist()}):
        loss = (1 - given)[score > threshold]
        if len(loss) and loss.mean() <= risk:
            return Selector(threshold, risk, confidence, len(score), len(loss), loss.sum())
    return Selector(math.inf, risk, confidence, len(score), 0, 0.0)


def loosest_that_passes(scores: Any, credit: Any, *, risk: float, confidence: float) -> Selector:
    """Every threshold tested at full level, and the loosest taken: not in sequence."""
    steps = module._thresholds(np.asarray(scores), 1 - np.asarray(credit))
    passed = binom.cdf(steps.lost, steps.answered, risk) <= 1 - confidence
    last = int(np.flatnonzero(passed)[-1]) if passed.any() else 0
    threshold = float(steps.threshold[last]) if passed.any() else math.inf
    return Selector(threshold, risk, confidence, len(scores), int(steps.answered[last]), 0.0)


class Inclusive(Selector):
    """Answers at the threshold too."""

    def answers(self, score: float) -> bool:
        return score >= self.threshold and score > -math.inf


def inclusive(control: Callable[..., Selector]) -> Callable[..., Selector]:
    def made(*args: Any, **options: Any) -> Selector:
        return Inclusive(**vars(control(*args, **options)))

    return made


def without_the_next(scores: Any, credit: Any, *, risk: float) -> Selector:
    """Conformal risk control that forgets the question to come."""
    n = len(scores)
    return replace(conformal_risk(scores, credit, risk=(risk * n + 1) / (n + 1)), risk=risk)


@pytest.mark.parametrize(
    ("exact", "average", "refuted"),
    [
        (smallest_empirical, conformal_risk, [EXACT, SAMPLED]),
        (loosest_that_passes, conformal_risk, [EXACT, SAMPLED]),
        (inclusive(learn_then_test), conformal_risk, [EXACT]),
        (learn_then_test, without_the_next, [AVERAGE]),
        (learn_then_test, inclusive(conformal_risk), [AVERAGE]),
    ],
)
def test_broken_versions_are_refuted(
    exact: Any, average: Any, refuted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "CALIBRATIONS", 400)
    assert fallen(risk_control(exact, average)) == refuted


def test_one_error_forgotten_is_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "CALIBRATIONS", 400)
    right = module._at_most
    monkeypatch.setattr(module, "_at_most", lambda e, k, r: right(np.maximum(e - 1, 0), k, r))
    assert fallen(risk_control()) == [EXACT, SAMPLED]
