"""``odds(words=3.1, whole=1.2, negative=-0.7)``: a vote by the odds that it is right.

The log-weight is ``words`` times the mean log-probability of the reply's tokens, plus ``whole`` if
its answer is a whole number, plus ``negative`` if it is a negative one. Logistic regression on
labelled questions gives the numbers; its constant cancels. ``ponder tune`` learns them where a
strategy leaves them open (:mod:`ponder.evidence.learning`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from fractions import Fraction
from typing import Any

from ponder.binding import Binding, Potential, PotentialSource
from ponder.errors import PonderError
from ponder.recipes.scores import mean_log_prob
from ponder.verify.mathematics import is_number

SIGNALS = ("words", "whole", "negative")
UNLEARNT = (
    "the numbers of odds are not known: learn them by ponder tune QUESTIONS "
    '-s "pot | draw(16) | weigh(odds) | vote" and use the card, '
    "or give them, as in odds(words=3.1, whole=1.2, negative=-0.7)"
)


class Odds(PotentialSource):
    """Votes by learnt odds; called with numbers it is the potential, bare it is to be learnt.

    One that has only ``words`` is a vote by confidence with a temperature that labels chose
    (Taubenfeld et al. 2025), here on log-probabilities. Without ``words`` no log-probability is
    needed. Answers that are no numbers are neither whole nor negative.
    """

    def __call__(
        self, words: float | None = None, whole: float = 0.0, negative: float = 0.0
    ) -> Odds:
        if words is None and not whole and not negative:
            raise PonderError(UNLEARNT)
        given = dict(zip(SIGNALS, (words or 0.0, whole, negative), strict=True))
        for name, number in given.items():
            real = isinstance(number, int | float) and not isinstance(number, bool)
            if not real or not math.isfinite(number):
                raise PonderError(f"odds needs a finite number for {name}, got {number!r}")
        shown = [f"{name}={float(number)!r}" for name, number in given.items() if number]
        return _odds(f"odds({', '.join(shown) or 'words=0.0'})", **given)


def told(reply: Any) -> tuple[float, float, float]:
    """The signals of a reply: mean log-probability, whether its number is whole, or negative.

    Raises PonderError for what no language model wrote, or where log-probabilities are not told.
    """
    return (mean_log_prob(reply), *_form(reply))


def _odds(name: str, words: float, whole: float, negative: float) -> Odds:
    def log_odds(reply: Any) -> float:
        is_whole, is_negative = _form(reply)
        spoken = words * mean_log_prob(reply) if words else 0.0
        return spoken + whole * is_whole + negative * is_negative

    return Odds(name, lambda binding: Potential(name, log_odds))


def _form(reply: Any) -> tuple[float, float]:
    """Whether the answer is a whole number, and whether a negative one: 1 or 0."""
    number = _number(getattr(reply, "answer", reply))
    if number is None:
        return 0.0, 0.0
    return float(number.denominator == 1), float(number < 0)


def _number(answer: Hashable) -> Fraction | None:
    if isinstance(answer, str):
        return Fraction(answer) if is_number(answer) else None
    if isinstance(answer, bool) or not isinstance(answer, int | float | Fraction):
        return None
    return Fraction(answer) if math.isfinite(answer) else None


def _open(binding: Binding) -> Potential:
    raise PonderError(UNLEARNT)


odds = Odds("odds", _open, missing=UNLEARNT)
