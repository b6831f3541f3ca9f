"""Thinning: fewer traces, none of them twice, the same measure in expectation."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ponder.binding import Binding
from ponder.blocks.arguments import check_count
from ponder.blocks.resample import Systematic
from ponder.dist import NEG_INF
from ponder.effects import Effects, Program, Sample
from ponder.law import Law, resampled
from ponder.measure import Floats, Population
from ponder.strategy import Move


def without_replacement(weights: Floats, n: int) -> Effects[list[tuple[int, float]]]:
    """At most n of the indices of ``weights`` (N,), each with its new weight, in order.

    Optimal threshold resampling (Fearnhead & Clifford 2003): with c such that
    sum_i min(1, c W_i) = n, an index of c W_i >= 1 is kept with its weight, any other is selected
    with probability c W_i and then weighs 1 / c. So E[new weight of i] = W_i, and the sum of the
    weights is preserved. Of all unbiased ways to keep n it has the least expected squared change
    of the weights. Weights of zero are never selected; no more than n that are positive are all
    kept as they are. Weights are >= 0 and need not sum to one.
    """
    positive = np.flatnonzero(weights > 0)
    if len(positive) <= n:
        return [(int(i), float(weights[i])) for i in positive]
    unit, light = _threshold(weights[positive], n)
    threatened = positive[light]
    selected = n - (len(positive) - len(threatened))
    chosen = yield Sample(Systematic(tuple(weights[threatened].tolist()), selected), "survivors")
    kept = {int(i): float(weights[i]) for i in np.setdiff1d(positive, threatened)}
    # c W_i may exceed one by rounding, so that an index is selected twice: its copies are merged.
    copies: Counter[int] = Counter(chosen)
    for index, count in copies.items():
        kept[int(threatened[index])] = count * unit
    return sorted(kept.items())


def _threshold(weights: Floats, n: int) -> tuple[float, list[int]]:
    """(1 / c, the indices of c W_i <= 1 in order), for n below the number of weights, all > 0.

    c is the solution of sum_i min(1, c W_i) = n. What is light follows from the order, not from
    c W_i, so that rounding cannot change how many there are.
    """
    order = np.argsort(weights, kind="stable")
    ascending = weights[order]
    sums = np.cumsum(ascending)
    # above[r] heavier ones are kept whole. The largest r with B_r / W_(r) + above >= n, and not
    # the first that fails, is the heaviest light one; it always exists, at above = n - 1.
    above = np.arange(len(weights))[::-1]
    r = int(np.flatnonzero(sums >= (n - above) * ascending)[-1])
    # In their first order neighbours compete: of siblings side by side, few survive together.
    return float(sums[r] / (n - above[r])), sorted(order[: r + 1].tolist())


@dataclass(frozen=True, repr=False)
class Thin(Move):
    """At most n different traces, selected without replacement; nothing is copied.

    The heaviest are kept with their weights, among the light ones some survive and stand for the
    rest: see :func:`without_replacement`. Law: keeps the measure in expectation, the evidence
    exactly. A population of at most n traces or without mass is returned as it is.
    """

    n: int
    notation: ClassVar[str] = "thin"

    def law(self, incoming: Law) -> Law:
        return resampled(incoming)

    def move(self, population: Population[Any], binding: Binding) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            law = self.law(population.law)
            total = population.log_evidence
            if len(population) <= self.n or total == NEG_INF:
                return population.with_law(law)
            survivors = yield from without_replacement(population.weights, self.n)
            return replace(
                population,
                traces=tuple(population.traces[i] for i, _ in survivors),
                log_weights=np.array([total + math.log(w) for _, w in survivors]),
                law=law,
                eves=tuple(population.eves[i] for i, _ in survivors),
            )

        return Program(run, repr(self))


def thin(n: int) -> Thin:
    """``thin(n)``: at most n traces, without replacement. See :class:`Thin`."""
    return Thin(check_count("thin", n))
