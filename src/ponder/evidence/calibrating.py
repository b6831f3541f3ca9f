"""The calibrator of a strategy that was run on labelled questions, and what risks it certifies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ponder import defaults
from ponder.errors import PonderError
from ponder.evidence.abstaining import Points, missing, selector_of
from ponder.evidence.evaluate import Measured
from ponder.guarantee.calibration import Calibrator, choose, cross_fitted
from ponder.guarantee.reliability import brier, ece, summary

ORDERLY = ("constant", "beta")
"""Calibrators that rank answers by nothing but their share."""


@dataclass(frozen=True)
class Calibration:
    """A calibrator, its figures for JSON, and the points of a card: one a question."""

    calibrator: Calibrator
    figures: dict[str, Any]
    points: list[tuple[float | None, float]]


def calibrated(measured: Measured, seed: int) -> Calibration:
    """The calibrator of all runs; its figures, cross-fitted, and a point a question.

    A rising function of the share ranks answers as the share does, whatever the labels are, so its
    points need not be cross-fitted: that would rank the wrong ones of equal answers first, since
    each is judged by a calibrator that has not seen that it is wrong.
    """
    runs = [run for run in measured.runs if run.signals]
    if not runs:
        raise PonderError(f"{measured.strategy} gives no answer to any question; try another")
    seen = [run.signals for run in runs]
    credit = np.array([run.credit for run in runs])
    question = np.array([run.question for run in runs])
    choice = choose(seen, credit, question, seed=seed)
    crossed = cross_fitted(seen, credit, question, "chosen", seed=seed)
    shares = np.array([run.signals["share"] for run in runs])
    raw = ece(shares, credit, question)
    figures = summary(crossed, credit, question)
    figures.pop("bins")
    figures["runs"] = len(runs)
    figures["raw_share"] = {"ece": raw.value, "brier": brier(shares, credit)}
    scores = choice.calibrator.predict(seen) if choice.calibrator.method in ORDERLY else crossed
    places = {id(run): i for i, run in enumerate(runs)}
    first = measured.runs[: len(measured.right)]  # one order: every question once
    points: list[tuple[float | None, float]] = [
        (float(scores[places[id(run)]]) if run.signals else None, run.credit) for run in first
    ]
    return Calibration(choice.calibrator, figures, points)


def certified(points: Points, risk: float) -> dict[str, Any]:
    """What a risk would answer, for JSON: the part of the questions, or ``missing`` labels."""
    selector = selector_of(points, risk, defaults.CONFIDENCE)
    return {
        "risk": risk,
        "confidence": defaults.CONFIDENCE,
        "answers": selector.answered / selector.questions,
        "wrong": [int(selector.errors), selector.answered],
        "missing": missing(points, risk, defaults.CONFIDENCE) if selector.why else None,
    }
