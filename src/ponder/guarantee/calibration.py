"""P(right): from what is seen of an answer to the probability that it is right.

A share of the votes is a statement about the model. What it is worth is learnt from questions with
known answers, by one of three maps, the simpler first:

- ``beta``: logit P = a ln s - b ln(1 - s) + c of the answer's share s, with a, b >= 0 (Kull, Silva
  Filho and Flach, AISTATS 2017). Three numbers, rising in s.
- ``isotonic``: the best rising function of the share (Zadrozny and Elkan, KDD 2002).
- ``logistic``: logistic regression on all signals, standardised, the share as its log-odds; ridge
  by cross-validation over questions.

Every question has the same weight, however many answers of it are given. All that is honest is by
question: answers of one question are nearly copies, and folds that part them calibrate on what they
are then scored on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ponder.errors import PonderError
from ponder.guarantee.calibration_maps import SAY, fit_beta, fit_isotonic, fit_logistic
from ponder.guarantee.reliability import squared_errors
from ponder.guarantee.signals import Signals

Floats = NDArray[np.float64]
METHODS = ("beta", "isotonic", "logistic")
"""From the simplest on."""
LEAST = 10
"""Fewer questions than this, and the calibrator is the constant that they have on average."""
RIDGES = (1000.0, 200.0, 40.0, 8.0, 1.6, 0.3)


@dataclass(frozen=True)
class Calibrator:
    """P(right) of an answer's signals: ``calibrator(signals(posterior))``.

    A probability is at least .5 / (n + 1) and at most (n + .5) / (n + 1), n being the number of
    ``questions`` it was fitted on: what add-half smoothing says of n questions that are all right.
    They cannot support more. ``note`` says why it is a constant, where it has to be.
    """

    method: str
    parameters: Mapping[str, Any]
    questions: int
    note: str = ""

    def __call__(self, signals: Signals) -> float:
        """P(right); a missing signal counts as its mean. Raises PonderError if it is the share."""
        return float(self.predict([signals])[0])

    def predict(self, signals: Sequence[Signals]) -> Floats:
        """P(right) of several answers: (n,)."""
        return self._of(_columns(signals))

    def as_dict(self) -> dict[str, Any]:
        """One JSON object."""
        return {
            "method": self.method,
            "parameters": dict(self.parameters),
            "questions": self.questions,
            "note": self.note,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Calibrator:
        """What ``as_dict`` gave. Raises PonderError if it is anything else."""
        try:
            note = str(record.get("note", ""))
            found = cls(record["method"], record["parameters"], int(record["questions"]), note)
            fine = found.questions > 0 and math.isfinite(found({"share": 0.5}))
        except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
            raise PonderError(f"this is no calibrator ({error!r}); calibrate again") from None
        if not fine:
            raise PonderError("this calibrator gives no probabilities; calibrate again")
        return found

    def _of(self, columns: Mapping[str, Floats]) -> Floats:
        edge = 0.5 / (self.questions + 1)
        return np.clip(SAY[self.method](self.parameters, columns), edge, 1 - edge)


def fit(
    signals: Sequence[Signals],
    credit: ArrayLike,
    question: ArrayLike,
    method: str = "beta",
    *,
    folds: int = 5,
    seed: int = 0,
) -> Calibrator:
    """The calibrator of that method: answers' signals, their credit in [0, 1], their question (n,).

    With fewer than ten questions, or if all answers are right or all wrong, it is a constant: the
    mean over questions with half a right one and half a wrong one added. Raises PonderError if an
    answer has no share; leave out questions without an answer. ``folds`` and ``seed`` decide how
    questions are divided to choose the ridge; the same data give the same calibrator.
    """
    data = _data(signals, credit, question)
    return _fitter(method, folds, seed, LEAST)(data)


def cross_fitted(
    signals: Sequence[Signals],
    credit: ArrayLike,
    question: ArrayLike,
    method: str = "beta",
    *,
    folds: int = 5,
    seed: int = 0,
) -> Floats:
    """P(right) of each answer by a calibrator that has not seen its question: (n,).

    For metrics. ``method`` may be "chosen": then the choice, too, is made without the question.
    Each fold has a calibrator of its own, so that a ranking across folds is slightly worse than a
    single one's; where there is nothing to learn it is worse than chance, since a fold with more
    right answers leaves fewer to the others.
    """
    data = _data(signals, credit, question)
    return _crossed(data, _fitter(method, folds, seed), folds, seed)


@dataclass(frozen=True)
class Choice:
    """The calibrator that was chosen, and the cross-fitted Brier scores that it was chosen by.

    ``scores`` has, by method, the mean over questions and the standard error of its difference from
    the best's. ``predictions`` (n,) are the chosen method's, cross-fitted. They do not cover the
    choice among three; ``cross_fitted(..., "chosen")`` does.
    """

    calibrator: Calibrator
    scores: dict[str, tuple[float, float]]
    predictions: Floats = field(compare=False)


def choose(
    signals: Sequence[Signals],
    credit: ArrayLike,
    question: ArrayLike,
    *,
    folds: int = 5,
    seed: int = 0,
) -> Choice:
    """The simplest method whose cross-fitted Brier score is within a standard error of the best.

    The error is that of the paired difference, over questions. Where :func:`fit` gives a constant
    there is nothing to choose: no scores.
    """
    return _choose(_data(signals, credit, question), folds, seed)


@dataclass(frozen=True)
class _Data:
    """Answers: signals by name, credit, question 0 ... Q - 1 and weight, (n,) each."""

    columns: Mapping[str, Floats]
    credit: Floats
    question: NDArray[np.int_]
    questions: int
    weight: Floats

    def part(self, mask: NDArray[np.bool_]) -> _Data:
        kept, question = np.unique(self.question[mask], return_inverse=True)
        columns = {name: values[mask] for name, values in self.columns.items()}
        return _Data(columns, self.credit[mask], question, len(kept), self.weight[mask])

    def by_question(self, values: Floats) -> Floats:
        """Means over the answers of each question: (Q,)."""
        terms = self.weight * values
        return np.bincount(self.question, weights=terms, minlength=self.questions).astype(float)


_Fitter = Callable[[_Data], Calibrator]


def _data(signals: Sequence[Signals], credit: ArrayLike, question: ArrayLike) -> _Data:
    c = np.asarray(credit, dtype=np.float64)
    if not len(signals) or c.shape != (len(signals),) or np.shape(question) != c.shape:
        raise PonderError("give signals, credit and question of each answer, at least one")
    if not ((c >= 0) & (c <= 1)).all():
        raise PonderError("credits must lie between 0 and 1")
    _, index, counts = np.unique(np.asarray(question), return_inverse=True, return_counts=True)
    return _Data(_columns(signals), c, index, len(counts), 1 / counts[index])


def _columns(signals: Sequence[Signals]) -> dict[str, Floats]:
    names = sorted({name for s in signals for name in s} | {"share"})
    columns = {n: np.array([s.get(n, math.nan) for s in signals], dtype=float) for n in names}
    share = columns["share"]
    if not ((share >= 0) & (share <= 1)).all():
        raise PonderError("an answer needs its share, from 0 to 1; leave out what has no answer")
    return columns


def _fitter(method: str, folds: int, seed: int, least: int = 1) -> _Fitter:
    """How a method is fitted. Raises PonderError if there is none of that name."""
    fitters: dict[str, _Fitter] = {
        "beta": lambda data: _fitted(data, "beta", fit_beta, least),
        "isotonic": lambda data: _fitted(data, "isotonic", fit_isotonic, least),
        "logistic": lambda data: _logistic(data, _ridge(data, folds, seed), least),
        "chosen": lambda data: _choose(data, folds, seed).calibrator,
    }
    if method not in fitters:
        raise PonderError(f"no calibration is called {method!r}: {', '.join(fitters)}")
    return fitters[method]


def _fitted(data: _Data, method: str, fit: Callable[..., dict[str, Any]], least: int) -> Calibrator:
    """A map, or the constant where there are fewer questions than ``least`` or all are alike."""
    right = float(data.weight @ data.credit)
    few = data.questions < least
    if not few and 1e-9 < right < data.questions - 1e-9:
        parameters = fit(data.columns, data.credit, data.weight)
        return Calibrator(method, parameters, data.questions)
    note = f"{data.questions} questions, too few" if few else "all answers right, or all wrong"
    prior = {"right": (right + 0.5) / (data.questions + 1)}
    return Calibrator("constant", prior, data.questions, f"{note}; their mean with add-half")


def _logistic(data: _Data, ridge: float, least: int = 1) -> Calibrator:
    return _fitted(data, "logistic", partial(fit_logistic, ridge=ridge), least)


def _ridge(data: _Data, folds: int, seed: int) -> float:
    """The ridge of least cross-fitted log loss; the largest of equals."""

    def loss(ridge: float) -> float:
        p = _crossed(data, lambda part: _logistic(part, ridge), folds, seed)
        logs = data.credit * np.log(p) + (1 - data.credit) * np.log1p(-p)
        return -float(data.weight @ logs)

    return min(RIDGES, key=loss)


def _crossed(data: _Data, fitter: _Fitter, folds: int, seed: int) -> Floats:
    """What a calibrator fitted on the other folds says of each answer: (n,). Folds of questions."""
    if folds < 2:
        raise PonderError(f"cross-fitting needs two folds at least, such as 5, got {folds}")
    fold = np.random.default_rng(seed).permutation(data.questions)[data.question] % folds
    found = np.zeros(len(fold))
    for k in np.unique(fold):
        here = fold == k
        found[here] = fitter(data.part(~here))._of(data.part(here).columns)
    return found


def _choose(data: _Data, folds: int, seed: int) -> Choice:
    tried = [m for m in METHODS if m != "logistic" or len(data.columns) > 1]
    simplest = _fitter(tried[0], folds, seed, LEAST)(data)
    if simplest.method == "constant":
        fallen = _crossed(data, _fitter(tried[0], folds, seed, LEAST), folds, seed)
        return Choice(simplest, {}, fallen)
    crossed = {m: _crossed(data, _fitter(m, folds, seed), folds, seed) for m in tried}
    losses = {m: data.by_question(squared_errors(p, data.credit)) for m, p in crossed.items()}
    best = min(tried, key=lambda m: float(losses[m].mean()))
    apart = {m: losses[m] - losses[best] for m in tried}
    errors = {m: float(d.std(ddof=1)) / math.sqrt(len(d)) for m, d in apart.items()}
    chosen = next(m for m in tried if float(apart[m].mean()) <= errors[m])
    scores = {m: (float(losses[m].mean()), errors[m]) for m in tried}
    return Choice(_fitter(chosen, folds, seed)(data), scores, crossed[chosen])
