"""What questions have said so far, and a law of what they will say next.

A question's answers are drawn from a law that nobody knows, over answers that nobody can list. Its
prior is the two-parameter Poisson-Dirichlet law (Pitman 1995; Pitman and Yor 1997): after n
answers, an answer given m times comes next with probability (m - d) / (n + t), one not seen yet
with (t + d K) / (n + t), K being the number of distinct ones. Large t or d: many answers.

Questions differ, and one alone says little: (d, t) has a law over a grid, fitted to all questions
of a run by maximum likelihood (empirical Bayes), and each question its own posterior over the grid.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ponder.errors import PonderError
from ponder.ledger import Ledger
from ponder.measure import Abstain, Posterior, answer_of

Floats = NDArray[np.float64]
DISCOUNTS = (0.0, 0.3, 0.6)
CONCENTRATIONS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
MOST = 200.0
"""Nats: the products and sums of such votes are still numbers."""
_GRID = np.array(list(product(DISCOUNTS, CONCENTRATIONS)))
_ROUNDS = 30  # of expectation maximisation; the likelihood is concave in the weights


@dataclass(frozen=True)
class Seen:
    """What the samples of a question have said, in the order drawn, and what they cost.

    ``answers[i]`` is canonical, ABSTAIN for none, and counts ``votes[i]``: 1 in a plain vote, its
    weight in a weighted one, 0 of an abstention. ``each`` is the mean number of tokens of a
    sample, ``again`` what asking again costs before the first new one (the prompt, if its state is
    not kept; else 0), ``paid`` all tokens that the question has cost so far.
    """

    answers: tuple[Hashable, ...] = ()
    votes: tuple[float, ...] = ()
    each: float = 0.0
    again: float = 0.0
    paid: float = 0.0

    def __post_init__(self) -> None:
        if len(self.answers) != len(self.votes) or not all(0 <= v < math.inf for v in self.votes):
            raise PonderError("give each sample a finite vote of at least 0, in the same order")

    @property
    def given(self) -> tuple[Hashable, ...]:
        """The answers that vote, in the order drawn."""
        return tuple(a for a, v in zip(self.answers, self.votes, strict=True) if v > 0)

    @property
    def abstaining(self) -> int:
        """How many samples have no vote."""
        return sum(v == 0 for v in self.votes)

    @property
    def contested(self) -> bool:
        """Whether the answer given most often is not the one that has the most votes."""
        counts, votes = self.tally()
        most = max(counts, default=0)
        often = [vote for count, vote in zip(counts, votes, strict=True) if count == most]
        return max(often, default=0.0) < max(votes, default=0.0)

    def tally(self) -> tuple[list[int], list[float]]:
        """How often each distinct answer was given, and its votes: in order of appearance."""
        counts = Counter(self.given)
        votes = dict.fromkeys(counts, 0.0)
        for answer, vote in zip(self.answers, self.votes, strict=True):
            if vote > 0:
                votes[answer] += vote
        return list(counts.values()), list(votes.values())


def seen(posterior: Posterior, price: Ledger, paid: float, again: float = 0.0) -> Seen:
    """What a question's posterior shows; ``price`` is what all of its samples cost by themselves.

    A trace votes with its absolute weight, n times exp(its log-weight): 1 if nothing weighs it.
    Weights beyond exp(+-MOST) are as large as that: small ones are still votes.
    """
    population = posterior.population
    n = len(population)
    logs = population.log_weights + np.log(max(n, 1))
    weights = np.where(np.isneginf(logs), 0.0, np.exp(np.clip(logs, -MOST, MOST)))
    answers = tuple(answer_of(trace) for trace in population.traces)
    votes = tuple(
        0.0 if isinstance(answer, Abstain) else float(weight)
        for answer, weight in zip(answers, weights, strict=True)
    )
    return Seen(answers, votes, (price.generated + price.judge) / max(n, 1), again, paid)


@dataclass(frozen=True)
class AnswerLaw:
    """Mixture ``weights`` over the grid of (discount, concentration): (G,)."""

    weights: Floats

    @classmethod
    def fitted(cls, partitions: Sequence[Sequence[int]]) -> AnswerLaw:
        """The most likely mixture, given how often each answer of every question was given.

        One question more than there are is spread evenly over the grid, so that nothing is ruled
        out by a few: without any question the mixture is even.
        """
        size = len(_GRID)
        weights = np.full(size, 1 / size)
        if not partitions:
            return cls(weights)
        likelihood = _likelihoods(partitions)
        for _ in range(_ROUNDS):
            joint = likelihood * weights
            belief = joint / joint.sum(axis=1, keepdims=True)
            weights = (belief.sum(axis=0) + 1 / size) / (len(partitions) + 1)
        return cls(weights)

    def belief(self, partitions: Sequence[Sequence[int]]) -> Floats:
        """P(grid point | the question's answers): (questions, G)."""
        joint = _likelihoods(partitions) * self.weights
        return np.asarray(joint / joint.sum(axis=1, keepdims=True))


def grid() -> tuple[Floats, Floats]:
    """(discounts, concentrations) of the grid: (G,) each."""
    return _GRID[:, 0], _GRID[:, 1]


def _likelihoods(partitions: Sequence[Sequence[int]]) -> Floats:
    """Up to a factor for each question: (questions, G)."""
    logs = np.array([log_partition(tuple(sorted(p))) for p in partitions])
    return np.asarray(np.exp(logs - logs.max(axis=1, keepdims=True)))


@lru_cache(maxsize=1 << 14)
def log_partition(counts: tuple[int, ...]) -> Floats:
    """Log-probability that n answers coincide in just this way, at each grid point: (G,).

    The exchangeable partition probability function,
    prod_{i<K} (t + i d) / prod_{i<n} (t + i) * prod_k prod_{j<m_k} (j - d), all from i, j = 1.
    """
    d, t = grid()
    new = np.log(t + np.arange(1, len(counts))[:, None] * d).sum(axis=0)
    all_ = np.log(t + np.arange(1, sum(counts))[:, None]).sum(axis=0)
    again = [np.log(np.arange(1, m)[:, None] - d).sum(axis=0) for m in counts]
    return np.asarray(new - all_ + sum(again, np.zeros(len(d))))
