"""Recorded samples as arrays, in random orders: what many replays of a vote need to be quick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ponder.answering import Answer
from ponder.evidence.learning import Logistic
from ponder.measure import Abstain, answer_of
from ponder.question import Question
from ponder.recipes.odds import told
from ponder.recipes.prompting import Reply
from ponder.spending import Seen

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]
LEARNT = {"words": 1, "form": 3}  # how many of the signals the odds are learnt from


@dataclass(frozen=True)
class Recorded:
    """Samples as arrays, (questions, samples): the answer's number, -1 for none, and its tokens.

    ``right`` is by number of the answer; ``signals`` (questions, samples, 3) are the mean
    log-probability, whether the answer is whole and whether negative; ``prompt`` (questions,).
    """

    answers: Ints
    right: Floats
    tokens: Floats
    signals: Floats
    prompt: Floats

    @property
    def shape(self) -> tuple[int, int]:
        return self.answers.shape[0], self.answers.shape[1]

    def orders(self, many: int, seed: int = 0) -> Ints:
        """Random orders of the samples: (many, questions, samples)."""
        rng = np.random.default_rng(seed)
        return np.argsort(rng.random((many, *self.shape)), axis=2)


def load(questions: list[Question], answers: Mapping[str, Answer], prompt: Floats) -> Recorded:
    """The traces of one ``draw`` as arrays."""
    rows = [answers[q.id].posterior.population.traces for q in questions]
    shape = (len(rows), len(rows[0]))
    found = Recorded(
        np.full(shape, -1), np.zeros(shape), np.zeros(shape), np.zeros((*shape, 3)), prompt
    )
    for i, (question, traces) in enumerate(zip(questions, rows, strict=True)):
        numbers: dict[Any, int] = {}
        for j, trace in enumerate(traces):
            answer, reply = answer_of(trace), cast(Reply, trace.value)
            found.tokens[i, j] = reply.length
            found.signals[i, j] = told(reply)
            if not isinstance(answer, Abstain):
                number = numbers.setdefault(answer, len(numbers))
                found.answers[i, j] = number
                found.right[i, number] = bool(question.correct(answer))
    return found


def odds(data: Recorded, signals: Floats, fold: Ints) -> Floats:
    """The odds that a reply is right, by its signals, learnt on the other fold's questions."""
    found = np.zeros(data.shape)
    there = data.answers >= 0
    credit = np.take_along_axis(data.right, np.maximum(data.answers, 0), axis=1)
    for half in (0, 1):
        learn = there & (fold != half)[:, None]
        learnt = Logistic.fitted(signals[learn], credit[learn])
        found[fold == half] = np.exp(learnt.log_odds(signals[fold == half]))
    return found


def votes_of(data: Recorded, kind: str, order: int) -> Floats:
    """What each sample counts for; the folds differ with the order."""
    if kind in LEARNT:
        fold = np.random.default_rng(order).permutation(data.shape[0]) % 2
        counts = odds(data, data.signals[..., : LEARNT[kind]], fold)
    else:
        counts = np.exp(data.signals[..., 0]) if kind == "perplexity" else np.ones(data.shape)
    return np.where(data.answers >= 0, counts, 0.0)


@dataclass(frozen=True)
class Run:
    """One order of the samples under one kind of votes: (questions, samples).

    ``right[:, n - 1]`` and ``paid[:, n - 1]`` are of the first n samples; ties count in part.
    """

    answers: Ints
    votes: Floats
    paid: Floats
    right: Floats

    @classmethod
    def of(cls, data: Recorded, votes: Floats, order: Ints) -> Run:
        answers = np.take_along_axis(data.answers, order, axis=1)
        counts, tokens = (np.take_along_axis(x, order, axis=1) for x in (votes, data.tokens))
        given = (answers[..., None] == np.arange(data.shape[1])) * counts[..., None]
        sums = given.cumsum(axis=1)
        top = sums.max(axis=2, keepdims=True)
        leads = (sums >= top * (1 - 1e-12)) & (top > 0)
        right = (leads * data.right[:, None]).sum(axis=2) / np.maximum(leads.sum(axis=2), 1)
        return cls(answers, counts, tokens.cumsum(axis=1), right)

    def seen(self, question: int, n: int, again: float) -> Seen:
        """What the first n samples of a question say."""
        answers, votes = self.answers[question, :n].tolist(), self.votes[question, :n].tolist()
        paid = float(self.paid[question, n - 1])
        return Seen(tuple(answers), tuple(votes), paid / n, again, paid)

    def at(self, n: Ints) -> tuple[Floats, Floats]:
        """(right, tokens) with n samples of each question; none cost nothing."""
        some, place = n > 0, np.maximum(n - 1, 0)[:, None]
        pick = [np.take_along_axis(x, place, axis=1)[:, 0] for x in (self.right, self.paid)]
        return np.where(some, pick[0], 0.0), np.where(some, pick[1], 0.0)
