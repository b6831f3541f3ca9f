"""Calibrated answers: the probability of being right, and abstention at a certified risk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ponder.answering import Worthy
from ponder.guarantee.calibration import Calibrator
from ponder.guarantee.risk import Selector, learn_then_test
from ponder.guarantee.signals import signals
from ponder.measure import Posterior

MOST = 100
"""How many times as many labelled questions ``missing`` looks for."""
Points = Sequence[tuple[float | None, float]]
"""Of each labelled question the probability of its answer, None if it has none, and its credit."""


@dataclass(frozen=True)
class Calibrated:
    """What answers are worth: their probability by a calibrator, none if a selector refuses them.

    ``fingerprint`` tells apart what judges differently; ``note`` is a line to print once, if
    nothing can be answered.
    """

    calibrator: Calibrator
    fingerprint: str
    selector: Selector | None = None
    note: str = ""

    def of(self, posterior: Posterior) -> Worthy:
        """Of a posterior that has an answer."""
        probability = self.calibrator(signals(posterior))
        said = f"being right, calibrated on {self.calibrator.questions} questions"
        if self.selector is None or self.selector.answers(probability):
            return Worthy(probability, said, None)
        if self.selector.why:
            return Worthy(probability, said, f"a risk of {self.selector.risk:g} is not certified")
        why = f"{probability:.2f} does not exceed {self.selector.threshold:.2f}, so that "
        return Worthy(probability, said, why + self.selector.statement)


def selector_of(points: Points, risk: float, confidence: float) -> Selector:
    """Which answers may be given, by Learn-then-Test on the labelled questions."""
    scores = [-math.inf if p is None else p for p, _ in points]
    return learn_then_test(scores, [c for _, c in points], risk=risk, confidence=confidence)


def missing(points: Points, risk: float, confidence: float) -> str:
    """How many more labelled questions would certify a risk, in words.

    If they are as these are: the smallest number of questions, spread over the points as these are,
    that is certified. To a tenth of what is there, and up to MOST times as many.
    """
    ranked = sorted(points, key=lambda point: (-1.0 if point[0] is None else point[0], point[1]))
    n = len(ranked)
    step = max(1, n // 10)
    low, high = n, n + step
    while not _certifies(ranked, high, risk, confidence):
        low, high = high, 2 * high
        if high > MOST * n:
            return f"questions like these, however many, would not certify {risk:g}"
    while high - low > step:
        middle = (low + high) // 2
        if _certifies(ranked, middle, risk, confidence):
            high = middle
        else:
            low = middle
    return f"about {high - n} more labelled questions like these would certify {risk:g}"


def _certifies(ranked: Points, n: int, risk: float, confidence: float) -> bool:
    """Whether n points at the quantiles of these would."""
    picked = [ranked[(2 * i + 1) * len(ranked) // (2 * n)] for i in range(n)]
    return not selector_of(picked, risk, confidence).why
