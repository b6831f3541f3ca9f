"""What resampling until a verifier accepts is worth, if the verifier errs.

Questions come in types i, of prior p_i, on which a draw is right with probability r_i. The verifier
accepts a right draw with probability c (completeness) and rejects a wrong one with probability s
(soundness), draws being independent given the type. The first accepted draw is the answer; none
accepted among K is an abstention, worth nothing. Then, of each draw,

    TP_i = c r_i,   FP_i = (1 - s)(1 - r_i),   beta_i = P(rejected) = 1 - TP_i - FP_i,
    EV_k = sum_i p_i beta_i^(k-1) (V_tp TP_i + V_fp FP_i - cost),   Reward(K) = sum_{k<=K} EV_k.

Rejections are evidence for the harder types, on which the verifier is more often wrong: later
draws are worth less, and the best K is finite. With one type EV_k has one sign, and the best K is
0 or infinite. After Stroebl, Kapoor and Narayanan, "Inference Scaling fLaws" (2024).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ponder.errors import PonderError

Floats = NDArray[np.float64]

LONGEST = 20_000_000
"""The most (draws, types) that ``best_k`` looks through."""


@dataclass(frozen=True)
class ImperfectVerifier:
    """Types of questions (prior, P(right)) and a verifier; see the module.

    ``prior`` is normalised. Raises PonderError for what is no probability.
    """

    prior: Sequence[float]
    right: Sequence[float]
    completeness: float = 1.0
    soundness: float = 1.0

    def __post_init__(self) -> None:
        given = [*self.right, self.completeness, self.soundness]
        if not len(self.right) or not all(0 <= p <= 1 for p in given):
            raise PonderError("give P(right) by type, completeness and soundness between 0 and 1")
        if len(self.prior) != len(self.right):
            raise PonderError("give one prior weight for each type")
        total = float(sum(self.prior))
        if min(self.prior) < 0 or not 0 < total < math.inf:
            raise PonderError("give prior weights that are not negative and not all zero")
        object.__setattr__(self, "prior", tuple(float(p) / total for p in self.prior))
        object.__setattr__(self, "right", tuple(map(float, self.right)))

    @property
    def true_positive(self) -> Floats:
        """P(right and accepted) of a draw, by type."""
        return self.completeness * np.array(self.right)

    @property
    def false_positive(self) -> Floats:
        """P(wrong and accepted) of a draw, by type."""
        return (1 - self.soundness) * (1 - np.array(self.right))

    @property
    def rejected(self) -> Floats:
        """P(rejected) of a draw, by type: beta."""
        right = np.array(self.right)
        return (1 - self.completeness) * right + self.soundness * (1 - right)

    def belief(self, rejections: int) -> Floats:
        """P(type | as many draws, all rejected). Raises PonderError if that cannot happen."""
        with np.errstate(divide="ignore"):
            log_reject = rejections * np.log(self.rejected) if rejections else 0.0
            logs = np.log(np.array(self.prior)) + log_reject
        if np.max(logs) == -math.inf:
            raise PonderError("no type is ever rejected that often; ask for fewer rejections")
        weights = np.exp(logs - np.max(logs))
        return np.asarray(weights / weights.sum())

    def values(self, false_positive: float, cost: float = 0.0) -> Floats:
        """Expected worth of one draw, by type, if a right answer is worth 1 and a draw costs."""
        return self.true_positive + false_positive * self.false_positive - cost

    def reward_curve(
        self, largest: int, *, false_positive: float, cost: float = 0.0, paper_form: bool = False
    ) -> Floats:
        """Reward(K) for K = 0 ... ``largest``: (largest + 1,).

        ``false_positive``: what a wrong answer is worth, mostly negative; a right one is worth 1,
        none 0. ``cost`` is paid for each draw made. ``paper_form`` is the paper's own formula,
        which takes P(draw k is made) under the belief after k - 1 rejections and so counts the
        rejections twice; it is there to compare with.
        """
        values = self.values(false_positive, cost)
        earlier = np.arange(largest)[:, None]
        made = np.array(self.prior) * self.rejected**earlier  # P(type, and draw k is made)
        if paper_form:
            total = made.sum(axis=1, keepdims=True)
            belief = np.divide(made, total, out=np.zeros_like(made), where=total > 0)
            each = (belief @ values) * (belief * self.rejected**earlier).sum(axis=1)
        else:
            each = made @ values
        return np.concatenate([[0.0], np.cumsum(each)])

    def best_k(self, *, false_positive: float, cost: float = 0.0) -> float:
        """The smallest K of largest Reward(K); 0 if no draw is worth it, inf if more always is.

        Raises PonderError if types are so alike that the curve may turn beyond ``LONGEST``.
        """
        rates, weights = self._terms(self.values(false_positive, cost))
        if not len(rates):
            return 0
        steady = _steady_from(rates, weights)
        if steady * len(rates) > LONGEST:
            raise PonderError(
                f"the curve may turn after {steady} draws; merge types that are alike"
            )
        worth = (weights * rates ** np.arange(steady)[:, None]).sum(axis=1)
        curve = np.concatenate([[0.0], np.cumsum(worth)])
        if weights[-1] > 0 and rates[-1] > 0:
            # It rises for ever after its last fall: to above all that came before?
            falls = np.flatnonzero(worth < 0)
            curve = curve[: falls[-1] + 1] if len(falls) else curve[:1]
            if float(np.sum(weights / (1 - rates))) > curve.max():
                return math.inf
        return int(np.argmax(curve))

    def _terms(self, values: Floats) -> tuple[Floats, Floats]:
        """EV_k as sum_j weight_j rate_j^(k-1): rates distinct, below 1, growing."""
        terms: dict[float, float] = {}
        for rate, weight in zip(self.rejected, np.array(self.prior) * values, strict=True):
            # Rates are one up to rounding; a type that is never accepted is so nearly never.
            same = min(round(float(rate), 12), 1 - 1e-12)
            terms[same] = terms.get(same, 0.0) + float(weight)
        kept = sorted((r, w) for r, w in terms.items() if abs(w) > 1e-15)
        return np.array([r for r, _ in kept]), np.array([w for _, w in kept])

    def ceiling(self) -> float:
        """Accuracy with no limit on draws: the mean over types of P(right | accepted).

        A type that is never accepted is never answered, and counts as not right.
        """
        accepted = self.true_positive + self.false_positive
        given = np.divide(
            self.true_positive, accepted, out=np.zeros_like(accepted), where=accepted > 0
        )
        return float(np.array(self.prior) @ given)


def _steady_from(rates: Floats, weights: Floats) -> int:
    """A k from which on sum_j weight_j rate_j^k has the sign of its last, slowest, term.

    Or from which on the sum is too small for a float.
    """
    others = np.flatnonzero(rates[:-1] > 0)
    if not len(others):
        return 1
    excess = np.log(len(rates) * np.abs(weights[others] / weights[-1]))
    turns = float((excess / np.log(rates[-1] / rates[others])).max())
    vanishes = -700 / math.log(rates[-1])
    return max(0, math.ceil(min(turns, vanishes))) + 1


def empirical_curve(
    accepted: ArrayLike,
    correct: ArrayLike,
    largest: int,
    *,
    false_positive: float,
    cost: float = 0.0,
) -> Floats:
    """Reward(K), K = 0 ... ``largest``, of stored samples drawn in random order: (largest + 1,).

    ``accepted``, ``correct``: booleans, (tasks, n), n >= ``largest``. The mean over tasks, and
    exactly over all orders: the first accepted sample is any of the accepted ones with equal
    probability, and none of m samples is accepted with probability C(n - a, m) / C(n, m).
    """
    passed, right = _matrices(accepted, correct)
    n = passed.shape[1]
    if not 0 <= largest <= n:
        raise PonderError(f"each task has {n} samples; ask for at most as many draws")
    number = passed.sum(axis=1)
    share = (passed & right).sum(axis=1) / np.maximum(number, 1)  # P(right | first accepted)
    worth = np.where(number > 0, share + false_positive * (1 - share), 0.0)
    m = np.arange(largest)
    factors = np.maximum(n - number[:, None] - m, 0) / (n - m)
    missed = np.concatenate([np.ones((len(number), 1)), np.cumprod(factors, axis=1)], axis=1)
    draws = np.concatenate([np.zeros((len(number), 1)), np.cumsum(missed, axis=1)[:, :-1]], axis=1)
    return np.asarray(((1 - missed) * worth[:, None] - cost * draws).mean(axis=0))


def estimate(accepted: ArrayLike, correct: ArrayLike) -> ImperfectVerifier:
    """The verifier that the samples suggest, each task a type of its own: booleans, (tasks, n).

    Every probability is (k + 1) / (n + 2), the posterior mean under Beta(1, 1), so that few
    samples give no certainty.
    """
    passed, right = _matrices(accepted, correct)

    def shrunk(k: int, n: int) -> float:
        return (k + 1) / (n + 2)

    return ImperfectVerifier(
        prior=[1.0] * len(right),
        right=[shrunk(int(row.sum()), len(row)) for row in right],
        completeness=shrunk(int((passed & right).sum()), int(right.sum())),
        soundness=shrunk(int((~passed & ~right).sum()), int((~right).sum())),
    )


def _matrices(accepted: ArrayLike, correct: ArrayLike) -> tuple[NDArray[np.bool_], ...]:
    passed, right = np.asarray(accepted, dtype=bool), np.asarray(correct, dtype=bool)
    if passed.ndim != 2 or passed.shape != right.shape or not passed.size:
        raise PonderError("give accepted and correct as two tables of one shape, (tasks, samples)")
    return passed, right
