"""The forward KL of an approximate posterior, on parameters and data simulated together.

Its own draws cannot tell of a mode that it never visits; the truths that fall there can.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from scipy.stats import binom

from ponder.blocks.arguments import check_least
from ponder.checking.simulated import Lacking, Run, refuse_factor, scored, simulated
from ponder.dist import NEG_INF
from ponder.effects import Program, require_program
from ponder.errors import PonderError
from ponder.measure import log_sum_exp

Y = TypeVar("Y")


@dataclass(frozen=True)
class ForwardKL:
    """How far an approximate posterior is from the truths of simulated pairs, in nats a pair.

    ``cross_entropy`` is E[-log q(theta | y)] and ``error`` its standard error. The forward KL,
    E[log p(theta | y) - log q(theta | y)], lies between ``low`` and ``high`` in expectation (each
    with its standard error): q's own draws estimate the evidence p(y) from below on a log scale,
    and from above together with the truth, which is a posterior draw (Grosse et al. 2015).

    ``lost`` is the share of truths where q is zero; ``beyond`` that of truths less probable under
    q than all of its own ``draws`` draws, which is 1 / (draws + 1) for the posterior itself.
    ``worst`` is the sample at which q does worst. ``note`` says what follows.
    """

    pairs: int
    draws: int
    cross_entropy: float
    error: float
    low: tuple[float, float]
    high: tuple[float, float]
    lost: float
    beyond: float
    worst: str
    note: str


def forward_kl(
    joint: Program[Y],
    guide: Callable[[Y], Program[Any]],
    *,
    pairs: int = 200,
    draws: int = 50,
    seed: int = 0,
) -> ForwardKL:
    """The forward KL of a guide on pairs simulated from the model.

    ``joint`` samples everything, data too, and returns the data y. The samples that ``guide(y)``
    asks for by their address are theta; all others count as data. Raises PonderError for factors,
    for a sample of the guide's that the model does not have, and for an approximation of nothing.
    """
    check_least("forward_kl", "pairs", pairs, 2)
    check_least("forward_kl", "draws", draws, 2)
    require_program(joint, "forward_kl")
    if not callable(guide):
        raise PonderError(f"forward_kl needs the guide as a function of the data, got {guide!r}")
    found = [_pair(joint, guide, draws, seed, i) for i in range(pairs)]
    log_q = np.array([f[0] for f in found])
    own = np.array([f[1] for f in found])
    worst = _worst([f[2] for f in found])
    lost = float(np.mean(log_q == NEG_INF))
    beyond = float(np.mean([(q < o).all() for q, o in zip(log_q, own, strict=True)]))
    low, high = (_mean(np.array([f[k] for f in found])) for k in (3, 4))
    entropy, error = _mean(-log_q)
    note = _note(pairs, draws, lost, beyond, worst)
    return ForwardKL(pairs, draws, entropy, error, low, high, lost, beyond, worst, note)


Pair = tuple[float, list[float], dict[str, float], float, float]


def _pair(
    joint: Program[Y], guide: Callable[[Y], Program[Any]], draws: int, seed: int, i: int
) -> Pair:
    """(log q of the truth, of q's own draws, the loss at each sample, KL from below and above)."""
    truth = simulated(joint, seed, f"pair {i}")
    refuse_factor(truth, "the model")
    approximation = guide(truth.value)
    require_program(approximation, "forward_kl, of its guide,")
    try:
        said = scored(approximation, truth.choices)
    except Lacking as lacking:
        known = ", ".join(truth.choices)
        raise PonderError(
            f"the guide {approximation.name} samples {str(lacking)!r}, which the model "
            f"{joint.name} does not (it samples {known}); rename it or leave it out"
        ) from None
    refuse_factor(said, "the guide")
    if not said.choices:
        raise PonderError(f"the guide {approximation.name} samples nothing; name its samples")
    runs = [simulated(approximation, seed, f"pair {i} draw {k}") for k in range(draws)]
    log_weights = [_log_weight(joint, truth, run) for run in runs]
    log_weight = truth.log_prob - said.log_prob if said.log_prob > NEG_INF else math.inf
    below = _log_mean(log_weights)
    above = _log_mean([*log_weights[1:], log_weight]) if log_weight < math.inf else math.inf
    loss = {
        place: math.fsum(run.log_probs.get(place, 0.0) for run in runs) / draws - log_prob
        for place, log_prob in said.log_probs.items()
    }
    if log_weight == math.inf:
        return NEG_INF, [run.log_prob for run in runs], loss, math.inf, math.inf
    own = [run.log_prob for run in runs]
    return said.log_prob, own, loss, log_weight - above, log_weight - below


def _log_weight(joint: Program[Any], truth: Run[Any], run: Run[Any]) -> float:
    try:
        return scored(joint, {**truth.choices, **run.choices}).log_prob - run.log_prob
    except Lacking:
        return NEG_INF  # with these choices the model asks for more data than there were


def _log_mean(logs: list[float]) -> float:
    return log_sum_exp(np.array(logs)) - math.log(len(logs))


def _mean(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float]:
    """(average, its standard error); infinite where a value is."""
    if not np.isfinite(values).all():
        return math.inf, math.inf
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))


def _worst(losses: list[dict[str, float]]) -> str:
    total: dict[str, float] = {}
    for loss in losses:
        for place, nats in loss.items():
            total[place] = total.get(place, 0.0) + nats
    return max(total, key=lambda place: total[place])


def _note(pairs: int, draws: int, lost: float, beyond: float, worst: str) -> str:
    if lost:
        return f"{lost:.0%} of the truths are impossible for it, at {worst}: it has lost modes"
    if binom.sf(round(beyond * pairs) - 1, pairs, 1 / (draws + 1)) < 1e-6:
        return (
            f"{beyond:.0%} of the truths are less probable for it than all of its own {draws} "
            f"draws, most at {worst}: it is too narrow there, or has lost modes"
        )
    return "no sign of lost modes"
