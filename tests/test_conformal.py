"""Prediction sets: by hand, what they cover, what they admit not to know, broken versions."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from ponder.checking.bounded import prediction_sets
from ponder.checking.claims import Report
from ponder.checking.every import check_named
from ponder.errors import PonderError
from ponder.guarantee import conformal as module
from ponder.guarantee.conformal import PredictionSets, one_minus_share, share_above

BAG, MEAN, TAIL = "is missed", "has its mean", "has its quantiles"


def fallen(report: Report) -> list[str]:
    """The parts of the claims that were refuted."""
    refuted = [f.claim for f in report.findings if f.verdict == "refuted"]
    return [name for name in (BAG, MEAN, TAIL) if any(name in c for c in refuted)]


def questions(right: list[float]) -> tuple[list[dict[str, float]], list[str]]:
    return [{"right": r, "wrong": 1 - r} for r in right], ["right"] * len(right)


def test_scores() -> None:
    shares = {"a": 0.5, "b": 0.2, "c": 0.2, "d": 0.1}
    assert [one_minus_share(shares, x) for x in "abcd"] == pytest.approx([0.5, 0.8, 0.8, 0.9])
    assert [share_above(shares, x) for x in "abcd"] == pytest.approx([0, 0.5, 0.5, 0.9])


def test_the_threshold_is_the_right_order_statistic() -> None:
    shares, right = questions([0.1 * i for i in range(1, 10)])  # scores .1 ... .9
    for alpha, k in ((0.1, 9), (0.2, 8), (0.3, 7), (0.29, 8), (0.5, 5), (0.95, 1)):
        assert PredictionSets.fit(shares, right, alpha).threshold == pytest.approx(0.1 * k)
    # (n + 1) alpha as written: 29 are left out, where 100 * 0.29 < 29 in floating point.
    shares, right = questions([i / 100 for i in range(1, 100)])
    assert PredictionSets.fit(shares, right, 0.29).threshold == pytest.approx(0.71)


def test_sets_by_hand() -> None:
    shares, right = questions([0.9, 0.8, 0.7, 0.6, 0.55, 0.45, 0.4, 0.35, 0.3])
    sets = PredictionSets.fit(shares, right, 0.2)  # the eighth score: .65
    assert sets.set({"a": 0.5, "b": 0.35, "c": 0.15}).answers == ("a", "b")
    assert sets.set({"a": 0.3, "b": 0.3, "c": 0.2, "d": 0.2}).answers == ()
    assert sets.set({}).answers == ()
    above = PredictionSets.fit(shares, right, 0.2, "above")  # scores 0 (five), .55, .6, .65, .7
    assert above.set({"a": 0.5, "b": 0.35, "c": 0.15}).answers == ("a", "b")
    assert above.set({"a": 0.3, "b": 0.3, "c": 0.2, "d": 0.2}).answers == ("a", "b", "c", "d")
    assert above.set({"a": 0.7, "b": 0.3}).answers == ("a",)
    found = above.set({"b": 0.3, "a": 0.7})
    assert "a" in found
    assert "b" not in found
    assert "z" not in found


@pytest.mark.parametrize("score", ["share", "above"])
def test_right_answers_that_nobody_gave_make_the_sets_say_any(score: str) -> None:
    shares, right = questions([0.9] * 17)
    shares += [{"wrong": 1.0}] * 2
    right += ["right"] * 2
    honest = PredictionSets.fit(shares, right, 0.1, score)
    assert "unheard of" in honest.set({"a": 1.0})
    assert honest.set({"a": 1.0}).answers == ("a",)
    assert honest.coverage() == 1
    assert "any answer: a set of the answers given covers at most 0.85" in honest.statement
    assert honest.attainable == 0.85
    finite = PredictionSets.fit(shares, right, 0.15, score)
    assert "unheard of" not in finite.set({"a": 1.0})
    assert "with probability 0.85 at least" in finite.statement
    too_few = PredictionSets.fit(*questions([0.9] * 8), 0.1, score)
    assert too_few.set({}).any


def test_coverage_given_the_labels() -> None:
    sets = PredictionSets.fit(*questions([0.1 * i for i in range(1, 10)]), 0.3)
    seventh = np.sort(np.random.default_rng(0).random((20_000, 9)), axis=1)[:, 6]
    assert sets.coverage(0.95) == pytest.approx(np.quantile(seventh, 0.05), abs=0.01)
    assert sets.coverage(0.05) == pytest.approx(np.quantile(seventh, 0.95), abs=0.01)


def test_prediction_sets_survive_json() -> None:
    for right in ([0.9] * 17, [0.9] * 3):
        sets = PredictionSets.fit(*questions(right), 0.1, "above")
        text = json.dumps(sets.as_dict(), allow_nan=False)
        assert PredictionSets.from_dict(json.loads(text)) == sets
    for said in ({}, sets.as_dict() | {"score": "none"}, sets.as_dict() | {"threshold": None}):
        with pytest.raises(PonderError, match="no prediction sets"):
            PredictionSets.from_dict(said)


def test_what_is_no_share_is_refused() -> None:
    for shares in ({"a": -0.1}, {"a": 0.7, "b": 0.7}, {"a": math.nan}):
        with pytest.raises(PonderError, match="shares"):
            PredictionSets.fit([shares], ["a"])
        with pytest.raises(PonderError, match="shares"):
            PredictionSets.fit(*questions([0.9] * 9), 0.1).set(shares)
    for arguments in (([], []), ([{"a": 1.0}], []), ([{"a": 1.0}], ["a"], 1.5)):
        with pytest.raises(PonderError):
            PredictionSets.fit(*arguments)
    with pytest.raises(PonderError, match="there are share, above"):
        PredictionSets.fit([{"a": 1.0}], ["a"], 0.1, "margin")


def test_the_check_of_ponder_finds_them_valid() -> None:
    report = check_named("prediction sets", 1.0, 0)
    assert (report.law, report.verdict) == ("bounded", "valid")
    assert [f.runs for f in report.findings if f.method == "sampled"] == [2000, 2000]


def test_an_order_statistic_off_by_one_is_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = module._left_out
    with monkeypatch.context() as patch:
        patch.setattr(module, "_left_out", lambda n, alpha: exact(n, alpha) + 1)
        assert fallen(prediction_sets())[:2] == [BAG, MEAN]
    with monkeypatch.context() as patch:  # the naive quantile, of n and not of n + 1
        patch.setattr(module, "_left_out", lambda n, alpha: n - math.ceil(n * (1 - alpha)) + 1)
        assert fallen(prediction_sets()) == [BAG]
    with monkeypatch.context() as patch:  # too careful: no promise is broken but that of the law
        patch.setattr(module, "_left_out", lambda n, alpha: max(exact(n, alpha) - 1, 0))
        assert MEAN in fallen(prediction_sets())


class Strict(PredictionSets):
    """Leaves out the answer at the threshold."""

    def set(self, shares: Any) -> Any:
        below = math.nextafter(self.threshold, -1)
        return PredictionSets(below, self.alpha, self.score, self.questions, self.given).set(shares)


def never_any(*given: Any) -> PredictionSets:
    """Questions whose right answer nobody gave are dropped from the labelled ones."""
    shares, right, *options = given
    kept = [(s, r) for s, r in zip(shares, right, strict=True) if r in s]
    return PredictionSets.fit([s for s, _ in kept], [r for _, r in kept], *options)


def test_other_broken_versions_are_refuted() -> None:
    assert fallen(prediction_sets(Strict.fit)) == [BAG]
    assert fallen(prediction_sets(never_any)) == [BAG]
