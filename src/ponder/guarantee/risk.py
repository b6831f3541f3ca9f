"""When to answer, so that at most a given share of the answers is wrong.

Each labelled question brings a score of its answer, the larger the surer, and a credit. A question
is answered if its score exceeds a threshold, and the labelled questions say which one:

- ``learn_then_test`` bounds the *error among the answered*, P(wrong | answered) <= risk, and fails
  to with probability at most 1 - confidence over the choice of the labelled questions. Thresholds
  are tested from strict to loose, each at full level, until one fails (fixed-sequence testing;
  Angelopoulos, Bates, Candès, Jordan & Lei, "Learn then Test", 2021). The p-value of a threshold
  is exact: with k answered and e of them wrong, P(Bin(k, risk) <= e).
- ``conformal_risk`` bounds *answered and wrong* among all questions, P(answered and wrong) <= risk,
  on average over the choice of the labelled questions and the next one (Angelopoulos, Bates,
  Fisch, Lei & Schuster, "Conformal Risk Control", 2022). It needs few labels and promises less:
  a threshold that it gives may by bad luck be too loose, and nothing is said of those answered.

A threshold is a score that was seen, and answers must exceed it: given that score, those above are
independent draws of the questions above, so that the binomial is right although the threshold
comes from the same questions. The order of the tests looks at no label. If scores do not tie,
nothing else is assumed. If they do, that a looser threshold is not safer; to break ties by a
small random number, added to every score, is to assume nothing again.

Both suppose that labelled and future questions are independent draws of one population, and that
the score was made from other questions. Several runs of one question are one question: give one.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ponder.errors import PonderError
from ponder.guarantee.stopping import within

Floats = NDArray[np.float64]

FIRST = 1 / 6
"""The share of the answered with which the tests begin, if it has enough labels.

Begun with the fewest that could do, one error among the surest ends it all; begun with many, a
score that is sharp at its top only is wasted. By simulation on five laws of P(right).
"""
MOST = 1_000_000
"""The largest number of labels that ``more_labels`` speaks of."""


@dataclass(frozen=True)
class Selector:
    """Which questions to answer: those whose score exceeds ``threshold``.

    ``confidence`` is None if ``risk`` bounds the share of *all* questions that are answered
    wrongly, on average (``conformal_risk``); else it bounds the share of the *answered* that are
    wrong (``learn_then_test``). ``questions``, ``answered`` and ``errors`` count the labelled
    questions. If none can be answered, the threshold is infinite and ``why`` says what is missing.
    """

    threshold: float
    risk: float
    confidence: float | None
    questions: int
    answered: int
    errors: float
    why: str = ""

    def answers(self, score: float) -> bool:
        """Whether to answer a question of this score; never for NaN or -inf, which is no answer."""
        return bool(score > self.threshold)

    @property
    def statement(self) -> str:
        """What is promised, and on what grounds, in one line."""
        if self.why:
            return f"it never answers: {self.why}"
        seen = f"{self.questions} labelled questions, {self.answered} answered, "
        seen += f"{self.errors:g} of them wrong"
        if self.confidence is None:
            return f"at most {self.risk:.3g} of all questions answered wrongly on average ({seen})"
        sure = f"with confidence {self.confidence:.3g}"
        return f"at most {self.risk:.3g} of its answers wrong, {sure} ({seen})"

    def as_dict(self) -> dict[str, Any]:
        """For JSON; an infinite threshold is text."""
        threshold = self.threshold if math.isfinite(self.threshold) else str(self.threshold)
        return asdict(self) | {"threshold": threshold}

    @classmethod
    def from_dict(cls, said: dict[str, Any]) -> Selector:
        """What ``as_dict`` gave. Raises PonderError for anything else."""
        try:
            return cls(**said | {"threshold": float(said["threshold"])})
        except (KeyError, TypeError, ValueError):
            raise PonderError(
                "this is no selector; write one with Selector.as_dict from labelled questions"
            ) from None


def learn_then_test(
    scores: ArrayLike, credit: ArrayLike, *, risk: float, confidence: float = 0.95
) -> Selector:
    """The loosest certified threshold: P(wrong | answered) <= ``risk``, with ``confidence``.

    ``scores``: (n,), -inf where there is no answer; ``credit``: (n,) in [0, 1]. A credit below 1
    (a tie that a right and a wrong answer share) counts as an error: the bound then holds a
    fortiori. Raises PonderError for other shapes or values.
    """
    risk = within("learn_then_test", "a risk", risk, such_as=0.05)
    confidence = within("learn_then_test", "a confidence", confidence, such_as=0.95)
    score, given = _labelled(scores, credit)
    steps = _thresholds(score, (given < 1).astype(np.float64))
    fewest = labels_needed(risk, confidence)
    answerable = int(steps.answered[-1])
    enough = (steps.answered >= fewest) & (steps.following > _first(answerable, risk, confidence))
    threshold, answered, errors = (
        steps.threshold[enough],
        steps.answered[enough],
        steps.lost[enough],
    )
    passed = _at_most(errors, answered, risk) <= 1 - confidence
    last = len(passed) if passed.all() else int(np.argmin(passed))
    if last:
        seen = int(answered[last - 1]), float(errors[last - 1])
        return Selector(float(threshold[last - 1]), risk, confidence, len(score), *seen)
    if not len(passed):
        why = f"{answerable} labelled questions have an answer, and {fewest} with none wrong "
        why += f"are needed to certify a risk of {risk:g}"
    else:
        why = _missing(risk, confidence, int(answered[0]), int(errors[0]))
    return Selector(math.inf, risk, confidence, len(score), 0, 0.0, why)


def conformal_risk(scores: ArrayLike, credit: ArrayLike, *, risk: float) -> Selector:
    """The loosest threshold with E[(1 - credit) if answered, else 0] <= ``risk``.

    The mean is over the labelled questions and the next one: exchangeable, which is less than
    independent. ``scores``: (n,), -inf where there is no answer; ``credit``: (n,) in [0, 1], of
    which any part counts. Raises PonderError for other shapes or values.
    """
    risk = within("conformal_risk", "a risk", risk, such_as=0.05)
    score, given = _labelled(scores, credit)
    steps = _thresholds(score, 1 - given)
    # As if the next question were answered wrongly; the slack is for rounding alone.
    kept = np.flatnonzero(steps.lost + 1 <= risk * (len(score) + 1) * (1 + 1e-12))
    if not len(kept):
        why = f"{math.ceil(1 / risk - 1e-9) - 1} labelled questions at least are needed"
        return Selector(math.inf, risk, None, len(score), 0, 0.0, why)
    last = int(kept[-1])  # the loss grows as the threshold falls
    seen = int(steps.answered[last]), float(steps.lost[last])
    return Selector(float(steps.threshold[last]), risk, None, len(score), *seen)


def labels_needed(risk: float, confidence: float = 0.95, errors: int = 0) -> int:
    """The fewest answered questions, ``errors`` of them wrong, that certify ``risk``.

    The smallest k with P(Bin(k, risk) <= errors) <= 1 - confidence.
    """
    risk = within("labels_needed", "a risk", risk, such_as=0.05)
    confidence = within("labels_needed", "a confidence", confidence, such_as=0.95)
    if isinstance(errors, bool) or not isinstance(errors, int | np.integer) or errors < 0:
        raise PonderError(f"labels_needed needs a whole number of errors >= 0, got {errors!r}")
    low, high = errors, errors + 1  # not enough, and in the end enough
    while _at_most(errors, high, risk) > 1 - confidence:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if _at_most(errors, middle, risk) <= 1 - confidence:
            high = middle
        else:
            low = middle
    return high


def more_labels(risk: float, confidence: float, answered: int, errors: int) -> int | None:
    """How many more answered questions with a label certify ``risk`` if the error rate stays.

    Supposes that of k answered ones in all, k * errors / answered are wrong, rounded up: the rate
    seen so far, of which the next ones may have more. None if the rate is not below ``risk``, or
    more than ``MOST`` in all would be needed.
    """
    risk = within("more_labels", "a risk", risk, such_as=0.05)
    confidence = within("more_labels", "a confidence", confidence, such_as=0.95)
    if not 0 <= errors <= answered:
        raise PonderError(f"more_labels needs 0 <= errors <= answered, got {errors} of {answered}")
    if not errors:
        return max(0, labels_needed(risk, confidence) - answered)
    if errors >= risk * answered:
        return None
    most = answered
    while most < MOST:
        least, most = most, min(2 * most, MOST)
        total = np.arange(least, most + 1)
        wrong = -(-total * errors // answered)
        enough = np.flatnonzero(_at_most(wrong, total, risk) <= 1 - confidence)
        if len(enough):
            return int(total[enough[0]]) - answered
    return None


@dataclass(frozen=True)
class _Steps:
    """The thresholds from the strictest to none, each (thresholds,).

    ``following`` is how many are answered at the next looser one; at the last, one more than all.
    """

    threshold: Floats
    answered: NDArray[np.int_]
    lost: Floats
    following: NDArray[np.int_]


def _thresholds(score: Floats, loss: Floats) -> _Steps:
    """Every distinct score as a threshold that answers must exceed, and the loss of those."""
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    first = np.flatnonzero(np.r_[True, falling[1:] < falling[:-1]])  # of each distinct score
    if falling[-1] > -math.inf:
        first = np.append(first, len(score))
    threshold = np.append(falling, -math.inf)[first]
    lost = np.concatenate([[0.0], np.cumsum(loss[order])])[first]
    return _Steps(threshold, first, lost, np.append(first[1:], first[-1] + 1))


def _first(answerable: int, risk: float, confidence: float) -> int:
    """The number of answered ones at which to begin: the fewest with as many errors allowed."""
    errors, needed = 0, labels_needed(risk, confidence)
    while (more := labels_needed(risk, confidence, errors + 1)) <= FIRST * answerable:
        errors, needed = errors + 1, more
    return needed


def _at_most(errors: Any, answered: Any, risk: float) -> Any:
    """P(Bin(answered, risk) <= errors)."""
    from scipy.special import bdtr

    return bdtr(errors, answered, risk)


def _missing(risk: float, confidence: float, answered: int, errors: int) -> str:
    """Why the strictest threshold is not certified, and what it would take."""
    why = f"of the {answered} surest answers {errors} are wrong"
    more = more_labels(risk, confidence, answered, errors)
    if more is None:
        return f"{why}, which no number of labels makes a risk of {risk:g}; use a better score"
    return f"{why}; if that rate stays, {more} more such answers with a label certify {risk:g}"


def _labelled(scores: ArrayLike, credit: ArrayLike) -> tuple[Floats, Floats]:
    score, given = np.asarray(scores, dtype=np.float64), np.asarray(credit, dtype=np.float64)
    if score.ndim != 1 or score.shape != given.shape or not len(score):
        raise PonderError("give a score and a credit for each labelled question, at least one")
    if not (score < math.inf).all() or not ((given >= 0) & (given <= 1)).all():
        raise PonderError("give scores that are numbers (-inf: no answer) and credits in [0, 1]")
    return score, given
