"""``pool(k)``: independent runs of a strategy, as one population."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ponder.blocks.arguments import check_count
from ponder.effects import Each, Effects, Program
from ponder.law import Law
from ponder.measure import Population
from ponder.strategy import Repeat


@dataclass(frozen=True, repr=False)
class Pool(Repeat):
    """The strategy so far, k times independently; the populations are averaged as measures.

    Every run counts by its own estimate of the evidence, since its weights are absolute and are
    only divided by k: averaging normalised weights would keep the bias of each run, however many
    there are. Ancestors of different runs are different families, and the first runs of pool(4)
    are those of pool(2). Law: the one that comes in; a run that was cut short takes it away from
    all.
    """

    k: int
    notation: ClassVar[str] = "pool"

    def law(self, incoming: Law) -> Law:
        return incoming

    def repeat(self, runs: Program[Population[Any]]) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            populations: list[Population[Any]] = yield Each([runs] * self.k)
            return pooled(populations)

        return Program(run, f"{runs.name} | {self!r}")


def pooled(populations: Sequence[Population[Any]]) -> Population[Any]:
    """The average of the measures of independent populations of one law, of which k >= 1.

    Its mass is the mean of their evidences. Its law is the first heuristic one, if there is any.
    """
    eves: list[int] = []
    for population in populations:
        first = max(eves, default=-1) + 1
        eves += [first + eve for eve in population.eves]
    laws = [population.law for population in populations]
    return Population(
        tuple(trace for population in populations for trace in population.traces),
        np.concatenate([p.log_weights for p in populations]) - math.log(len(populations)),
        next((law for law in laws if law.kind == "heuristic"), laws[0]),
        tuple(eves),
    )


def pool(k: int) -> Pool:
    """``pool(k)``: k independent runs of the strategy so far. See :class:`Pool`."""
    return Pool(check_count("pool", k))
