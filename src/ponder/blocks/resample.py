"""Resampling: equal weights, the same measure in expectation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from ponder.binding import Binding
from ponder.blocks.arguments import check_count, check_resampler
from ponder.dist import NEG_INF, Categorical, Independent, Stream
from ponder.effects import Effects, Program, Sample
from ponder.law import Law, resampled
from ponder.measure import Floats, Population
from ponder.strategy import Move

# A resampler takes normalised weights (N,) and a number n, and samples n ancestors: every one
# with E[#{j: a_j = i}] = n W_i. It is a program, so that any interpreter can follow it.
Resampler = Callable[[Floats, int], Effects[list[int]]]


def multinomial(weights: Floats, n: int) -> Effects[list[int]]:
    """n i.i.d. ancestors, in the order drawn (sorting would break conditional SMC)."""
    ancestors = yield Sample(Independent((Categorical(weights.tolist()),) * n), "ancestors")
    return list(ancestors)


def stratified(weights: Floats, n: int) -> Effects[list[int]]:
    """One ancestor from each n-th of the cumulative weight (Kitagawa 1996)."""
    edges = _edges(weights).tolist()
    strata = []
    for j in range(n):
        low, high = j / n, (j + 1) / n
        overlaps = [
            max(0.0, min(high, edges[i + 1]) - max(low, edges[i])) for i in range(len(weights))
        ]
        strata.append(Categorical(overlaps))
    ancestors = yield Sample(Independent(tuple(strata)), "ancestors")
    return list(ancestors)


def systematic(weights: Floats, n: int) -> Effects[list[int]]:
    """One uniform for all n positions (Carpenter et al. 1999); at most N + 1 outcomes."""
    ancestors = yield Sample(Systematic(tuple(weights.tolist()), n), "ancestors")
    return list(ancestors)


def residual(weights: Floats, n: int) -> Effects[list[int]]:
    """floor(n W_i) copies of each, the rest multinomial (Liu & Chen 1998)."""
    # The tolerance keeps a weight such as 0.3 * 10 from losing a whole copy to rounding.
    copies = np.floor(n * weights + 1e-12).astype(int)
    ancestors = [i for i, k in enumerate(copies) for _ in range(k)]
    rest = np.maximum(n * weights - copies, 0.0)
    if len(ancestors) < n and rest.sum() > 0:
        missing = n - len(ancestors)
        drawn = yield Sample(Independent((Categorical(rest.tolist()),) * missing), "ancestors")
        ancestors += list(drawn)
    return ancestors


def _edges(weights: Floats | Sequence[float]) -> Floats:
    """Cumulative weights from 0 to exactly 1, shape (N + 1,)."""
    edges = np.zeros(len(weights) + 1)
    np.cumsum(weights, out=edges[1:])
    edges /= edges[-1]
    return edges


@dataclass(frozen=True)
class Systematic:
    """The law of systematic ancestors: piecewise constant in its one uniform."""

    weights: tuple[float, ...]
    n: int
    _edges: Floats = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_edges", _edges(self.weights))

    def _ancestors(self, u: float) -> tuple[int, ...]:
        positions = (np.arange(self.n) + u) / self.n
        found = np.searchsorted(self._edges, positions, side="right") - 1
        return tuple(np.minimum(found, len(self.weights) - 1).tolist())

    def draw(self, stream: Stream) -> tuple[int, ...]:
        return self._ancestors(stream.uniform())

    def support(self) -> Sequence[tuple[tuple[int, ...], float]]:
        cuts = sorted({0.0, 1.0, *((self.n * self._edges) % 1.0).tolist()})
        merged: dict[tuple[int, ...], float] = {}
        for low, high in pairwise(cuts):
            outcome = self._ancestors((low + high) / 2)
            merged[outcome] = merged.get(outcome, 0.0) + (high - low)
        return [(outcome, math.log(p)) for outcome, p in merged.items() if p > 0]

    def log_prob(self, value: Any) -> float:
        return dict(self.support()).get(tuple(value), NEG_INF)


@dataclass(frozen=True, repr=False)
class Resample(Move):
    """n traces of equal weight (sum w) / n, drawn by ``resample`` from the weights.

    Law: keeps the measure in expectation, the evidence exactly. A population without mass is
    returned as it is.
    """

    n: int | None = None
    resample: Resampler = systematic
    notation: ClassVar[str] = "resample"

    def law(self, incoming: Law) -> Law:
        return resampled(incoming)

    def move(self, population: Population[Any], binding: Binding) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            n = self.n or len(population)
            if population.log_evidence == NEG_INF:
                return population.with_law(self.law(population.law))
            ancestors = yield from self.resample(population.weights, n)
            return replace(
                population,
                traces=tuple(population.traces[a] for a in ancestors),
                log_weights=np.full(n, population.log_evidence - math.log(n)),
                law=self.law(population.law),
                eves=tuple(population.eves[a] for a in ancestors),
            )

        return Program(run, repr(self))


def resample(n: int | None = None, resample: Resampler = systematic) -> Resample:
    """``resample(n)``: equal weights, by default as many traces as before."""
    if n is not None:
        check_count("resample", n)
    return Resample(n, check_resampler("resample", resample))
