"""Drawing tokens from logits: exact inverse-CDF sampling without sorting the vocabulary.

float32 throughout, as logits are; sums over a row are pairwise (NumPy's), so that their relative
error stays near 1e-7 for vocabularies of 150,000.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ponder.lm.sampling_law import SamplingLaw

Row = NDArray[np.float32]
BLOCK = 512
_NOTHING = (-1, -math.inf, -math.inf, -math.inf)


class Sampler:
    """Draws one token from each row of logits, without sorting or copying the vocabulary.

    Holds two scratch rows, so that a draw allocates nothing of the vocabulary's size.
    """

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        padded = -(-vocabulary // BLOCK) * BLOCK
        self._scratch = np.zeros(vocabulary, dtype=np.float32)
        self._weights = np.zeros(padded, dtype=np.float32)
        self._blocks = self._weights.reshape(-1, BLOCK)

    def draw(self, logits: Row, law: SamplingLaw, u: float) -> tuple[int, float, float]:
        """(token, its log-probability at temperature 1, its log-probability under ``law``).

        ``logits`` has shape (V,), float32; ``u`` is uniform in [0, 1).
        """
        top = float(logits.max())
        log_total = self._log_total(logits, top)
        if law.temperature == 0:
            token = int(logits.argmax())
            return token, float(logits[token]) - top - log_total, 0.0
        weights = self._tempered(logits, top, law.temperature)
        if law.top_k or law.top_p < 1 or law.min_p > 0:
            token, log_q = self._truncated(weights, law, u)
        else:
            token, log_q = self._untruncated(u)
        return token, float(logits[token]) - top - log_total, log_q

    def draw_allowed(
        self, logits: Row, law: SamplingLaw, u: float, allowed: NDArray[np.bool_]
    ) -> tuple[int, float, float, float]:
        """Like :meth:`draw`, from ``law`` restricted to ``allowed``, shape (V,), and renormalised.

        The second log-probability is under that restricted law; a fourth number is the log of the
        mass that ``law`` gives to what is allowed. If it is -inf no token was drawn: -1 stands
        for it.
        """
        top = float(logits.max())
        log_total = self._log_total(logits, top)
        if law.temperature == 0:
            token, log_q, log_mass = int(logits.argmax()), 0.0, 0.0
            if not allowed[token]:
                return _NOTHING
        elif law.top_k or law.top_p < 1 or law.min_p > 0:
            candidates, ranked = self._ranked(self._tempered(logits, top, law.temperature), law)
            inside = np.where(allowed[candidates], ranked, 0.0)
            if not inside.any():
                return _NOTHING
            index, log_q = _inverse(inside, u)
            token, log_mass = int(candidates[index]), math.log(inside.sum() / ranked.sum())
        else:
            self._tempered(logits, top, law.temperature)
            log_all = math.log(self._total())
            masked = np.where(allowed, logits, np.float32(-np.inf))
            best = float(masked.max())
            if best == -math.inf:
                return _NOTHING
            # Relative to the best allowed token: it may be far below the best of all.
            if law.temperature == 1:
                self._log_total(masked, best)
            self._tempered(masked, best, law.temperature)
            log_mass = math.log(self._total()) - log_all + (best - top) / law.temperature
            token, log_q = self._untruncated(u)
        return token, float(logits[token]) - top - log_total, log_q, min(0.0, log_mass)

    def log_probs(self, logits: Row) -> Row:
        """Log-probabilities at temperature 1, shape (V,), float32."""
        top = float(logits.max())
        return logits - np.float32(top + self._log_total(logits, top))

    def _log_total(self, logits: Row, top: float) -> float:
        scratch = self._scratch
        np.subtract(logits, np.float32(top), out=scratch)
        np.exp(scratch, out=scratch)
        return math.log(float(scratch.sum()))

    def _tempered(self, logits: Row, top: float, temperature: float) -> Row:
        """exp((logit - top) / temperature), in the padded scratch row.

        At temperature 1 what :meth:`_log_total` has just computed.
        """
        weights = self._weights[: self.vocabulary]
        if temperature == 1:
            weights[:] = self._scratch
        else:
            np.subtract(logits, np.float32(top), out=weights)
            with np.errstate(over="ignore"):  # -inf is right where 1 / temperature is huge
                np.multiply(weights, np.float32(min(1 / temperature, 3e38)), out=weights)
            np.exp(weights, out=weights)
        return weights

    def _total(self) -> float:
        """The sum of the weights."""
        return float(self._blocks.sum(axis=1).sum(dtype=np.float64))

    def _untruncated(self, u: float) -> tuple[int, float]:
        """Inverse CDF in two levels: block sums first, then inside one block."""
        sums = self._blocks.sum(axis=1).astype(np.float64)
        cumulative = np.cumsum(sums)
        target = u * float(cumulative[-1])
        block = int(np.searchsorted(cumulative, target, side="right"))
        block = min(block, len(sums) - 1)
        inside = self._blocks[block].astype(np.float64)
        before = float(cumulative[block - 1]) if block else 0.0
        index = int(np.searchsorted(np.cumsum(inside), target - before, side="right"))
        if index >= BLOCK or inside[index] == 0:  # rounding at a block's edge
            index = int(np.flatnonzero(inside)[-1])
        weight = float(inside[index])
        return block * BLOCK + index, math.log(weight) - math.log(float(cumulative[-1]))

    def _truncated(self, weights: Row, law: SamplingLaw, u: float) -> tuple[int, float]:
        candidates, ranked = self._ranked(weights, law)
        index, log_q = _inverse(ranked, u)
        return int(candidates[index]), log_q

    def _ranked(
        self, weights: Row, law: SamplingLaw
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Token ids, ascending, and their weights, zero where the law cuts them off."""
        candidates = self._candidates(weights, law)
        ranked = weights[candidates].astype(np.float64)
        total = self._total() if law.top_p < 1 else 0.0
        return candidates, np.where(self._kept(ranked, law, total), ranked, 0.0)

    def _candidates(self, weights: Row, law: SamplingLaw) -> NDArray[np.intp]:
        """Token ids, ascending, among which every kept one is: those above a lowered threshold."""
        if not law.top_k and law.top_p >= 1:
            return np.flatnonzero(weights >= np.float32(law.min_p))
        # Below the min-p nothing is kept, but it counts in the mass of the top k, of which top-p
        # takes its part.
        floor = 0.0 if law.top_k and law.top_p < 1 else law.min_p
        threshold = max(floor, 1e-3)
        total = float(weights.sum(dtype=np.float64)) if law.top_p < 1 and not law.top_k else 0.0
        while True:
            found = np.flatnonzero(weights >= np.float32(threshold))
            enough = len(found) >= law.top_k and float(weights[found].sum()) >= law.top_p * total
            if enough or threshold <= floor or threshold < 1e-30:
                return found
            threshold = max(threshold / 32, floor)

    def _kept(
        self, ranked: NDArray[np.float64], law: SamplingLaw, total: float
    ) -> NDArray[np.bool_]:
        mask = np.ones(len(ranked), dtype=bool)
        order = np.argsort(-ranked, kind="stable")
        if law.top_k:
            mask[order[law.top_k :]] = False
            total = float(ranked[mask].sum())
        if law.top_p < 1:
            inside = np.where(mask[order], ranked[order], 0.0)
            before = np.cumsum(inside) - inside
            mask[order[before >= law.top_p * total]] = False
        if law.min_p > 0:
            mask &= ranked >= law.min_p * ranked.max()
        return mask


def _inverse(weights: NDArray[np.float64], u: float) -> tuple[int, float]:
    """The index at which the cumulative share of the weights passes u, and its log-share."""
    cumulative = np.cumsum(weights)
    index = int(np.searchsorted(cumulative, u * cumulative[-1], side="right"))
    index = min(index, int(np.flatnonzero(weights)[-1]))
    return index, math.log(float(weights[index] / cumulative[-1]))
