"""The law of one token: what temperature, top-k, top-p and min-p make of a model's logits.

This is the plain definition, by sorting: what a finite model uses, and the reference that the
engine's sampler is tested against.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponder.errors import PonderError

Logs = NDArray[Any]  # float32 from an engine, float64 from a finite model


@dataclass(frozen=True, slots=True)
class SamplingLaw:
    """How tokens are drawn: temper, keep the top k, then the top p, then the min-p, renormalise.

    ``top_k = 0``, ``top_p = 1`` and ``min_p = 0`` keep everything; ``temperature = 0`` is greedy
    (ties to the lowest token id). ``top_p`` keeps the smallest set of most probable tokens whose
    mass reaches p; ``min_p`` those at least that fraction of the most probable one.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise PonderError(f"temperature must be at least 0, got {self.temperature}")
        if self.top_k < 0 or not 0 < self.top_p <= 1 or not 0 <= self.min_p <= 1:
            raise PonderError("need top_k >= 0, 0 < top_p <= 1 and 0 <= min_p <= 1")


def log_law(log_probs: Logs, law: SamplingLaw) -> Logs:
    """Log-probabilities of all tokens under a sampling law, shape (V,); -inf where cut off.

    The plain definition, with sorting: the reference for :func:`draw_token`, and what a finite
    model uses.
    """
    if law.temperature == 0:
        out: Logs = np.full(log_probs.shape, -np.inf, dtype=log_probs.dtype)
        out[int(np.argmax(log_probs))] = 0.0
        return out
    scaled = log_probs.astype(np.float64) / law.temperature
    weights = np.exp(scaled - scaled.max())
    weights[~kept(weights, law)] = 0.0
    with np.errstate(divide="ignore"):
        logs: Logs = np.log(weights / weights.sum()).astype(log_probs.dtype)
    return logs


def restricted(log_probs: Logs, allowed: NDArray[np.bool_]) -> tuple[Logs, float]:
    """A law on the allowed tokens only, renormalised, shape (V,), and the log of their mass.

    Where they have none all are -inf, the mass too.
    """
    inside: Logs = np.where(allowed, log_probs, -np.inf)
    top = float(inside.max())
    if top == -math.inf:
        return inside, top
    log_mass = min(0.0, top + math.log(math.fsum(np.exp(inside[allowed] - top))))
    return inside - log_mass, log_mass


def kept(weights: NDArray[np.floating], law: SamplingLaw) -> NDArray[np.bool_]:
    """Which tokens a law keeps, given unnormalised probabilities. Ties go to low token ids."""
    mask = weights > 0
    if law.top_k == 0 and law.top_p >= 1 and law.min_p == 0:
        return mask
    order = np.argsort(-weights, kind="stable")
    if law.top_k:
        mask[order[law.top_k :]] = False
    if law.top_p < 1:
        ranked = np.where(mask[order], weights[order], 0.0)
        before = np.cumsum(ranked) - ranked
        mask[order[before >= law.top_p * ranked.sum()]] = False
    if law.min_p > 0:
        mask &= weights >= law.min_p * weights.max()
    return mask
