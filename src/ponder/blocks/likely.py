"""``likely(f)``: drop the paths that seem to come from the improbable part of a mixture.

Reasoning pruning (Zhou et al. 2025): the scores are taken for a mixture of two Weibull laws, one
of good paths and one of bad ones, fitted by maximum likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ponder.binding import AnyPotential, Binding
from ponder.blocks.arguments import check_potential
from ponder.blocks.distinct import finished_of, selected
from ponder.blocks.weigh import log_weight_of, potentials_of
from ponder.dist import NEG_INF
from ponder.effects import Effects, Program
from ponder.law import Law, heuristic, stated
from ponder.measure import Floats, Population
from ponder.strategy import Move

FEWEST = 6  # scores below which five parameters are not fitted
START = (0.5, 1.0, 1.0, 1.5, 2.0)  # share of the first, then shape and scale of each
BOUNDS = [(0.2, 0.8), *[(0.01, None)] * 4]
LEAST_LOG_DENSITY = math.log(1e-300)
Bools = NDArray[np.bool_]
Fit = Sequence[float]


@dataclass(frozen=True, repr=False)
class Likely(Move):
    """Drops a trace if exp(f) is below the mean and rather of the lower of two Weibull laws.

    See :func:`improbable`; each finished trace of positive weight counts once in the fit,
    whatever it weighs. The weights of the others stay as they are, so the evidence shrinks. A
    trace whose score was cut short is itself unfinished and stays, as all that gave no score.

    With the mean log-probability of a token as f (``perplexity``) and followed by ``distinct |
    weigh(perplexity) | vote`` it is RPC as its authors' program has it; their paper has the
    log-probability of the whole path (``likelihood``). That spreads over many orders of magnitude,
    which two Weibull laws on one scale do not tell apart: it then drops next to nothing, or much.
    Law: heuristic.
    """

    potential: AnyPotential
    notation: ClassVar[str] = "likely"

    def law(self, incoming: Law) -> Law:
        return heuristic(incoming, "drops improbable paths")

    def move(self, population: Population[Any], binding: Binding) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            finished = finished_of(population)
            traces = list(population.traces)
            potential = binding.potential(self.potential)
            scored = yield from potentials_of(potential, [traces[i] for i in finished])
            known: dict[int, float] = {}
            for i in finished:
                score = scored[id(traces[i])]
                if score.status == "unfinished":
                    traces[i] = replace(traces[i], status="unfinished")
                else:
                    known[i] = log_weight_of(score)
            pruned = improbable(np.array(list(known.values()), dtype=np.float64))
            dropped = {i for i, out in zip(known, pruned, strict=True) if out}
            law = stated(self.law(population.law), complete=len(known) == len(finished))
            kept = [i for i in range(len(traces)) if i not in dropped]
            return selected(replace(population, traces=tuple(traces)), kept, law)

        return Program(run, repr(self))


def likely(potential: AnyPotential) -> Likely:
    """``likely(f)``: drop the paths of improbably low ``f``. See :class:`Likely`."""
    return Likely(check_potential("likely", potential))


def improbable(log_scores: Floats) -> Bools:
    """Which scores to prune, shape (N,), given their logarithms, shape (N,).

    With q the scores: those with P(high | q) < 1/2 and q < mean(q), where P(high | q) is under
    the fitted mixture and high is the component of the larger mean. Nothing is pruned of fewer
    than six scores or of equal ones. A score of zero is outside of the mixture's support and
    pruned. Neither the unit of q nor the order matters: the mixture is fitted to q / max(q), in
    order, and scores equal to nine digits are equal.
    """
    pruned = np.zeros(len(log_scores), dtype=bool)
    if len(log_scores) == 0 or log_scores.max() == NEG_INF:
        return pruned
    # A fit to scores close together magnifies the last digit, where units and rounding would show.
    relative = np.round(log_scores - log_scores.max(), 9)
    if not _varied(relative):
        return pruned
    positive = relative > NEG_INF
    pruned |= ~positive
    fitted = relative[positive]
    if _varied(fitted):
        mean = math.fsum(np.exp(relative)) / len(relative)
        fit = fit_weibulls(np.sort(fitted))
        pruned[positive] = (np.exp(fitted) < mean) & (share_of_high(fitted, fit) < 0.5)
    return pruned


def _varied(log_scores: Floats) -> bool:
    """Whether there is something to fit: enough scores, not all equal."""
    return len(log_scores) >= FEWEST and bool(np.any(log_scores != log_scores[0]))


def fit_weibulls(log_x: Floats) -> Fit:
    """(w, k1, l1, k2, l2) of the mixture w W(k1, l1) + (1 - w) W(k2, l2), by maximum likelihood.

    A local maximum, from a fixed start; both shares are at least 0.2.
    """
    from scipy.optimize import minimize

    def loss(fit: Fit) -> float:
        return -float(_mixture(*_parts(log_x, fit)).sum())

    fit: Fit = minimize(loss, START, method="L-BFGS-B", bounds=BOUNDS).x.tolist()
    return fit


def share_of_high(log_x: Floats, fit: Fit) -> Floats:
    """The probability that x is of the component with the larger mean, shape (N,)."""
    first, second = _parts(log_x, fit)
    _, k1, l1, k2, l2 = fit
    high = first if _log_mean(k1, l1) > _log_mean(k2, l2) else second
    shares: Floats = np.exp(high - _mixture(first, second))
    return shares


def _parts(log_x: Floats, fit: Fit) -> tuple[Floats, Floats]:
    """Logarithms of the two terms of the mixture's density, each of shape (N,)."""
    w, k1, l1, k2, l2 = fit
    first = math.log(w) + log_weibull(log_x, k1, l1)
    return first, math.log1p(-w) + log_weibull(log_x, k2, l2)


def _mixture(first: Floats, second: Floats) -> Floats:
    """The logarithm of their sum, kept finite so that its slope can be taken anywhere."""
    total: Floats = np.maximum(np.logaddexp(first, second), LEAST_LOG_DENSITY)
    return total


def log_weibull(log_x: Floats, shape: float, scale: float) -> Floats:
    """Log-density (k / l) (x / l)^(k - 1) exp(-(x / l)^k) at x > 0, given log x, shape (N,)."""
    z = log_x - math.log(scale)
    with np.errstate(over="ignore"):  # the density is then zero
        density: Floats = math.log(shape / scale) + (shape - 1) * z - np.exp(shape * z)
    return density


def _log_mean(shape: float, scale: float) -> float:
    return math.log(scale) + math.lgamma(1 + 1 / shape)
