"""Weighted populations of traces, and the posterior over answers that they stand for."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ponder.dist import NEG_INF
from ponder.law import Law
from ponder.trace import Trace, plain

X = TypeVar("X")
Floats = NDArray[np.float64]


def log_sum_exp(log_weights: Floats) -> float:
    """log(sum(exp(w))) in nats; -inf for no mass."""
    top = float(np.max(log_weights, initial=NEG_INF))
    return NEG_INF if top == NEG_INF else top + math.log(float(np.exp(log_weights - top).sum()))


def normalise(log_weights: Floats) -> Floats:
    """Weights that sum to 1, or all zeros where there is no mass."""
    total = log_sum_exp(log_weights)
    return np.zeros(len(log_weights)) if total == NEG_INF else np.exp(log_weights - total)


def effective_sample_size(log_weights: Floats) -> float:
    """(sum w)^2 / sum w^2, between 1 and N; 0 where there is no mass (Kong 1992)."""
    w = normalise(log_weights)
    square = float(w @ w)
    return 1.0 / square if square > 0 else 0.0


@dataclass(frozen=True)
class Population(Generic[X]):
    """Traces with absolute log-weights: the measure sum_i w_i delta(x_i), whose mass estimates Z.

    ``log_weights`` has shape (N,), in nats; n fresh i.i.d. traces weigh 1/n each, so that nothing
    else needs to be remembered. ``eves`` has shape (N,): the first-generation ancestor of each
    trace, from which errors are computed after resampling.
    """

    traces: tuple[Trace[X], ...]
    log_weights: Floats
    law: Law
    eves: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.eves:
            object.__setattr__(self, "eves", tuple(range(len(self.traces))))

    def __len__(self) -> int:
        return len(self.traces)

    @property
    def log_evidence(self) -> float:
        """log of the estimate of Z (itself unbiased under a weighted law, its log is not)."""
        return log_sum_exp(self.log_weights)

    @property
    def weights(self) -> Floats:
        """Self-normalised weights, shape (N,)."""
        return normalise(self.log_weights)

    @property
    def ess(self) -> float:
        """Effective sample size of the weights alone; after resampling see :func:`family_ess`."""
        return effective_sample_size(self.log_weights)

    def estimate(self, function: Callable[[X], float]) -> float:
        """The unnormalised estimate of the integral of ``function`` against the target."""
        pairs = zip(self.traces, np.exp(self.log_weights), strict=True)
        terms = [w * function(t.value) for t, w in pairs if w > 0 and t.value is not None]
        return math.fsum(terms)

    def with_law(self, law: Law) -> Population[X]:
        """The same measure under another statement."""
        return replace(self, law=law)


def families(weights: Floats, eves: Sequence[int]) -> Floats:
    """Sums of ``weights`` over the traces that share a first-generation ancestor."""
    _, family = np.unique(np.asarray(eves, dtype=np.int64), return_inverse=True)
    sums: Floats = np.bincount(family, weights=weights).astype(np.float64)
    return sums if len(weights) else np.zeros(0)


def family_ess(weights: Floats, eves: Sequence[int]) -> float:
    """Effective number of independent ancestors, 1 / sum_e W_e^2; the usual ESS for i.i.d."""
    sums = families(weights, eves)
    square = float(sums @ sums)
    return float(sums.sum()) ** 2 / square if square > 0 else 0.0


def share_error(weights: Floats, hits: Floats, eves: Sequence[int]) -> float | None:
    """Standard error of the self-normalised share of ``hits`` (0/1 per trace).

    Sums the delta-method terms within families before squaring, which stays valid after
    resampling (Chan & Lai 2013, eq. 2.19; Lee & Whiteley 2018); for i.i.d. traces it is the
    usual formula. None when a single family is left: then nothing is known about the error.
    """
    share = float(weights @ hits)
    terms = families(weights * (hits - share), eves)
    return None if len(terms) < 2 else float(np.sqrt(terms @ terms))


class Abstain:
    """The answer of a trace that gives none. It never votes."""

    def __repr__(self) -> str:
        return "ABSTAIN"


ABSTAIN = Abstain()


def answer_of(trace: Trace[Any]) -> Hashable | Abstain:
    """The canonical answer of a trace: its value's ``answer`` if it has one, else the value."""
    if trace.status != "finished" or trace.value is None:
        return ABSTAIN
    answer = plain(getattr(trace.value, "answer", trace.value))
    return ABSTAIN if answer is None or isinstance(answer, Abstain) else answer


@dataclass(frozen=True)
class Share:
    """One answer's part of the posterior: ``share`` of the voting mass, its standard error."""

    answer: Any
    share: float
    error: float | None
    count: int


@dataclass(frozen=True)
class Posterior:
    """What a population says about the answer.

    ``shares`` is sorted by share; abstentions are apart: ``unparsed`` counts traces of positive
    weight that gave no answer, ``abstaining`` is their part of all the weight. ``answer`` is None
    when nothing voted. ``ess`` counts independent families among the voters.
    """

    answer: Any
    shares: tuple[Share, ...]
    ess: float
    unparsed: int
    abstaining: float
    law: Law
    population: Population[Any] = field(repr=False)

    @property
    def unfinished(self) -> int:
        """Traces that were cut short or never begun; they are part of ``unparsed``."""
        return sum(trace.status == "unfinished" for trace in self.population.traces)

    @property
    def probability(self) -> float | None:
        """The posterior share of the answer, or None when there is none."""
        for entry in self.shares:
            if entry.answer == self.answer:
                return entry.share
        return None


def tally(population: Population[Any]) -> tuple[tuple[Share, ...], float, int, float]:
    """(shares, ess of the voters, number unparsed, weight share that abstains)."""
    weights = population.weights
    answers = [answer_of(trace) for trace in population.traces]
    alive = weights > 0
    votes = np.array([not isinstance(a, Abstain) for a in answers], dtype=bool) & alive
    mass = float(weights[votes].sum())
    unparsed = int((alive & ~votes).sum())
    if mass == 0:
        return (), 0.0, unparsed, float(weights.sum())
    voting = np.where(votes, weights, 0.0) / mass
    groups: dict[Hashable, list[int]] = {}
    for index in np.flatnonzero(votes):
        groups.setdefault(answers[index], []).append(int(index))
    shares = []
    for answer, members in groups.items():
        hits = np.zeros(len(answers))
        hits[members] = 1.0
        share = math.fsum(voting[members])
        error = share_error(voting[votes], hits[votes], np.asarray(population.eves)[votes].tolist())
        shares.append(Share(answer, share, error, len(members)))
    shares.sort(key=lambda s: (-s.share, repr(s.answer)))
    ess = family_ess(voting[votes], np.asarray(population.eves)[votes].tolist())
    return tuple(shares), ess, unparsed, max(0.0, 1.0 - mass)
