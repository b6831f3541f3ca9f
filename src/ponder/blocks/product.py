"""``product``: the branches of a program pooled by multiplying what they say of each answer."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ponder.binding import Binding
from ponder.blocks.stratify import Given, given_by
from ponder.blocks.vote import choose, posterior_of, tied, with_answer
from ponder.effects import Effects, Program
from ponder.errors import PonderError
from ponder.law import Law, heuristic
from ponder.measure import Abstain, Population, Posterior, normalise
from ponder.strategy import Decide

SMOOTHING = 0.2
Votes = Mapping[Hashable, float]


@dataclass(frozen=True, repr=False)
class Product(Decide):
    """The logarithmic opinion pool of the branches of ``either`` (Genest & Zidek 1986).

    An answer scores sum_i log(c_i + smoothing): c_i are the votes that it has of branch i, where
    each trace votes with its weight and a branch has as many votes as traces that answer. An
    answer that every branch gives may so win over one that a single branch gives more often. The
    smaller ``smoothing`` is, the more it asks for that; with a large one it is the sum of votes.
    Ties are broken at random, by the seed; without branches the leader is that of ``vote``.

    Shares are the softmax of the scores over the answers that were seen. They are not a posterior
    of the model: no program has this product for its law. Law: heuristic.
    """

    smoothing: float = SMOOTHING
    notation: ClassVar[str] = "product"
    sizes: ClassVar[tuple[str, ...]] = ()

    def law(self, incoming: Law) -> Law:
        return heuristic(incoming, "pools programs by product")

    def decide(self, population: Population[Any], binding: Binding) -> Program[Posterior]:
        def run() -> Effects[Posterior]:
            posterior = posterior_of(population, self.law(population.law))
            scores = log_pool(votes_of(population), self.smoothing)
            pooled = normalise(np.array([scores[s.answer] for s in posterior.shares]))
            shares = [
                replace(share, share=float(p), error=None)
                for share, p in zip(posterior.shares, pooled, strict=True)
            ]
            answer = yield from choose(leaders(scores))
            return with_answer(replace(posterior, shares=tuple(shares)), answer)

        return Program(run, repr(self))


@dataclass(frozen=True, repr=False)
class Corroborated:
    """Stops when every branch has given the one leader of ``product`` at least ``first`` times.

    A rule for ``stratify``: it sees branches. ``corroborated`` alone is ``corroborated(1)``.
    """

    first: int = 1
    sees: ClassVar[str] = "branches"

    def __call__(self, first: int) -> Corroborated:
        if isinstance(first, bool) or not isinstance(first, int) or first < 1:
            raise PonderError(f"corroborated needs a number of traces of at least 1, got {first!r}")
        return Corroborated(first)

    def stops(self, seen: Sequence[Given]) -> bool:
        """Whether it is enough; ``seen`` has every trace, and so every branch."""
        if not all(isinstance(given, Given) for given in seen):
            raise PonderError("corroborated looks at branches; use it as stratify(..., stop=...)")
        counts: dict[Hashable, Counter[Hashable]] = {given.branch: Counter() for given in seen}
        for branch, answer in seen:
            if not isinstance(answer, Abstain):
                counts[branch][answer] += 1
        first = leaders(log_pool(list(counts.values()), SMOOTHING))
        return len(first) == 1 and all(c[first[0]] >= self.first for c in counts.values())

    def __repr__(self) -> str:
        return "corroborated" if self.first == 1 else f"corroborated({self.first})"


corroborated = Corroborated()


def product(smoothing: float = SMOOTHING) -> Product:
    """``product(0.2)``: the product of the branches' votes. See :class:`Product`."""
    number = isinstance(smoothing, int | float) and not isinstance(smoothing, bool)
    if not number or not 0 < smoothing < math.inf:
        raise PonderError(f"product needs a smoothing above 0, such as 0.2, got {smoothing!r}")
    return Product(smoothing)


def votes_of(population: Population[Any]) -> list[Votes]:
    """Of each branch the votes by answer, which sum to the number of its traces that answer."""
    voters: dict[Hashable, list[tuple[Hashable, float]]] = defaultdict(list)
    for trace, weight in zip(population.traces, population.weights.tolist(), strict=True):
        branch, answer = given_by(trace)
        if weight > 0 and not isinstance(answer, Abstain):
            voters[branch].append((answer, weight))
    found: list[Votes] = []
    for pairs in voters.values():
        vote = len(pairs) / math.fsum(weight for _, weight in pairs)
        terms: dict[Hashable, list[float]] = defaultdict(list)
        for answer, weight in pairs:
            terms[answer].append(weight * vote)
        found.append({answer: math.fsum(parts) for answer, parts in terms.items()})
    return found


def log_pool(votes: Sequence[Votes], smoothing: float) -> dict[Hashable, float]:
    """sum_i log(votes_i(a) + smoothing) of every answer that is seen, in nats."""
    answers = dict.fromkeys(answer for branch in votes for answer in branch)
    return {
        answer: math.fsum(math.log(branch.get(answer, 0.0) + smoothing) for branch in votes)
        for answer in answers
    }


def leaders(scores: Mapping[Hashable, float]) -> list[Hashable]:
    """The answers of the highest score; scores that differ only by rounding are equal."""
    top = max(scores.values(), default=0.0)
    return [answer for answer, score in scores.items() if tied(math.exp(score - top), 1.0)]
