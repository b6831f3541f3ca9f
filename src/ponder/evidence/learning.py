"""What ``odds`` is where a strategy leaves its numbers open: learnt from the questions that choose.

Ridge logistic regression of whether a reply is right on what its ``odds`` are told
(:func:`ponder.recipes.odds.told`). A question that teaches is never scored by what it taught: each
half of them is scored by the numbers of the other (cross-fitting), any other question by those of
all, which are the ones that a card gets.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ponder.answering import Answer
from ponder.blocks.sizes import draws_all, least_size, resized, unstopped, whole_size
from ponder.blocks.vote import vote
from ponder.errors import PonderError
from ponder.evidence.classes import Ints, halves
from ponder.evidence.credit import Grader
from ponder.evidence.evaluate import Floats, Measured
from ponder.measure import Abstain, answer_of
from ponder.question import Question
from ponder.recipes.odds import Odds, odds, told
from ponder.strategy import Block, Infer, Pipeline

Answered = Callable[[Pipeline, Sequence[Question]], Sequence[Answer | PonderError]]
RIDGE = 10.0
"""Of the squared slopes of signals with unit variance: as much as some ten replies say."""
DIGITS = 4
"""Significant ones that a card has of a number."""


class Unlearnable(PonderError):
    """The replies do not say what is to be learnt."""


@dataclass(frozen=True)
class Logistic:
    """P(right) = 1 / (1 + exp(-(constant + signals @ slopes))); ``slopes`` (signals,)."""

    constant: float
    slopes: Floats

    def log_odds(self, signals: Floats) -> Floats:
        """Of signals (..., signals): (...)."""
        return np.asarray(self.constant + signals @ self.slopes)

    @classmethod
    def fitted(cls, signals: Floats, credit: Floats, ridge: float = RIDGE) -> Logistic:
        """The most likely one under a normal prior of the slopes, for signals of unit variance.

        ``signals`` (n, signals), ``credit`` (n,) from 0 to 1. A signal that never varies has
        slope 0.
        """
        from scipy.optimize import minimize

        mean, spread = signals.mean(axis=0), signals.std(axis=0)
        varies = spread > 1e-9
        unit = np.where(varies, spread, 1.0)
        x = np.where(varies, (signals - mean) / unit, 0.0)

        def loss(b: Floats) -> tuple[float, Floats]:
            z = b[0] + x @ b[1:]
            value = np.logaddexp(0, z).sum() - credit @ z + ridge * b[1:] @ b[1:] / 2
            apart = 1 / (1 + np.exp(-np.clip(z, -500, 500))) - credit
            return float(value), np.array([apart.sum(), *(apart @ x + ridge * b[1:])])

        b = minimize(loss, np.zeros(x.shape[1] + 1), jac=True).x
        slopes = np.where(varies, b[1:] / unit, 0.0)
        return cls(float(b[0] - mean @ slopes), slopes)


def is_open(strategy: Pipeline) -> bool:
    """Whether a strategy names ``odds`` without their numbers."""
    return any(map(_names_open, strategy.blocks))


def has_odds(strategy: Pipeline) -> bool:
    """Whether a strategy names ``odds``, learnt or not."""
    return any(isinstance(v, Odds) for block in strategy.blocks for _, v in _fields(block))


class Learning:
    """Learns what ``candidates`` leave open from the replies to ``questions``.

    ``answered`` runs a strategy on questions. Candidates that differ in their sizes learn from the
    same replies, those of the largest; all the questions are asked for them.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        candidates: Iterable[Pipeline],
        answered: Answered,
        grader: Grader,
    ) -> None:
        self._questions, self._answered, self._grader = questions, answered, grader
        self._half = {questions[i].id: k for k, half in enumerate(halves(questions)) for i in half}
        self._largest: dict[str, Pipeline] = {}
        for replies in (_replies(c) for c in candidates if is_open(c)):
            known = self._largest.setdefault(_family(replies), replies)
            if _size(replies) > _size(known):
                self._largest[_family(replies)] = replies
        self._told: dict[str, list[tuple[Floats, Floats]]] = {}
        self._known: dict[tuple[str, int | None], Odds] = {}

    def fitted(self, strategy: Pipeline, half: int | None = None) -> Pipeline:
        """The strategy with its numbers, learnt from all questions or from one half of them.

        Raises Unlearnable, saying why, where there is nothing to learn from.
        """
        if not is_open(strategy):
            return strategy
        replies = _replies(strategy)
        family = _family(replies)
        if (family, half) not in self._known:
            self._known[family, half] = self._learnt(self._largest.get(family, replies), half)
        found = self._known[family, half]
        return Pipeline(strategy.source, tuple(_closed(b, found) for b in strategy.blocks))

    def parts(self, strategy: Pipeline, asked: Sequence[Question]) -> list[tuple[Pipeline, Ints]]:
        """By what a strategy is to be scored on some questions: those at which places by which.

        No question by what was learnt from it; those that taught nothing, by all, come last.
        """
        if not is_open(strategy):
            return [(strategy, np.arange(len(asked)))]
        halves_of = [self._half.get(question.id) for question in asked]
        found = []
        for half, taught_by in ((0, 1), (1, 0), (None, None)):
            places = [i for i, other in enumerate(halves_of) if other == half]
            if places:
                found.append((self.fitted(strategy, taught_by), np.array(places)))
        return found

    def _learnt(self, replies: Pipeline, half: int | None) -> Odds:
        rows = [
            row
            for question, row in zip(self._questions, self._signals(replies), strict=True)
            if half is None or self._half[question.id] == half
        ]
        signals = np.concatenate([s for s, _ in rows] or [np.zeros((0, 3))])
        credit = np.concatenate([c for _, c in rows] or [np.zeros(0)])
        if not len(credit) or credit.min() == credit.max():
            said = "there are none" if not len(credit) else f"all {len(credit)} are worth the same"
            where = "" if half is None else "a half of "
            raise Unlearnable(
                f"odds are learnt from right and wrong replies, and of {where}"
                f"{len(self._questions)} questions {said}: give more questions"
            )
        slopes = Logistic.fitted(signals, credit).slopes
        return odds(*(float(f"{slope:.{DIGITS}g}") for slope in slopes))

    def _signals(self, replies: Pipeline) -> list[tuple[Floats, Floats]]:
        """Of each question the signals (n, 3) and the credit (n,) of the replies that answer."""
        if repr(replies) not in self._told:
            answers = self._answered(replies, self._questions)
            failed = [answer for answer in answers if isinstance(answer, PonderError)]
            if len(failed) == len(answers):
                raise Unlearnable(str(failed[0]))
            self._told[repr(replies)] = [self._row(answer) for answer in answers]
        return self._told[repr(replies)]

    def _row(self, answer: Answer | PonderError) -> tuple[Floats, Floats]:
        signals, credit = [], []
        if isinstance(answer, Answer):
            for trace in answer.posterior.population.traces:
                if isinstance(answer_of(trace), Abstain):
                    continue
                try:
                    signals.append(told(trace.value))
                except PonderError as error:
                    raise Unlearnable(str(error)) from None
                credit.append(self._grader.worth(answer.question, trace))
        return np.array(signals).reshape(-1, 3), np.array(credit)


def joined(parts: Sequence[tuple[Measured, Ints]], name: str) -> Measured:
    """What was measured on parts of the questions, at these places, as of all of them.

    As many orders as each has. The law is that of the last.
    """
    if len(parts) == 1:
        return parts[0][0]
    places = np.concatenate([at for _, at in parts])
    back = np.argsort(places)
    orders = min(m.orders for m, _ in parts)

    def whole(get: Callable[[Measured], Floats]) -> Floats:
        return np.concatenate([get(m) for m, _ in parts])[back]

    runs = [
        dataclasses.replace(run, question=int(at[run.question]))
        for order in range(orders)
        for m, at in parts
        for run in m.runs[order * len(at) : (order + 1) * len(at)]
    ]
    n = len(places)
    runs = [runs[order * n + i] for order in range(orders) for i in back]
    return Measured(
        name,
        parts[-1][0].law,
        whole(lambda m: m.right),
        whole(lambda m: m.answered),
        whole(lambda m: m.tokens),
        whole(lambda m: m.covered),
        {k: sum(m.spent[k] * len(at) for m, at in parts) / n for k in parts[0][0].spent},
        orders,
        tuple(runs),
        tuple(failure for m, _ in parts for failure in m.failures),
    )


def _replies(strategy: Pipeline) -> Pipeline:
    """What a strategy has drawn where it first asks for the odds, each reply with a vote."""
    first = next(i for i, block in enumerate(strategy.blocks) if _names_open(block))
    draws = next((i for i, b in enumerate(strategy.blocks) if isinstance(b, Infer)), first)
    kept = [b for b in strategy.blocks[: max(first, draws + 1)] if not _names_open(b)]
    return Pipeline(strategy.source, (*kept, vote))


def _family(replies: Pipeline) -> str:
    """The same for strategies that differ in how many independent traces they draw."""
    whole = unstopped(replies)
    return repr(replies if whole is None else resized(whole, least_size(whole)))


def _size(replies: Pipeline) -> tuple[int, bool]:
    return (0 if unstopped(replies) is None else whole_size(replies)), draws_all(replies)


def _fields(block: Block) -> list[tuple[str, Any]]:
    return [(f.name, getattr(block, f.name)) for f in dataclasses.fields(block)]


def _names_open(block: Block) -> bool:
    return any(isinstance(v, Odds) and v.missing for _, v in _fields(block))


def _closed(block: Block, found: Odds) -> Block:
    """The block with the odds that were found in place of open ones."""
    given = {name: found for name, v in _fields(block) if isinstance(v, Odds) and v.missing}
    return dataclasses.replace(block, **given) if given else block
