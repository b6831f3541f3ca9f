"""All mixtures of some laws that explain what was seen nearly as well as the best one does.

Mixtures over questions by their likelihood (Kiefer and Wolfowitz 1956); the ends of a mean over all
of them are convex programs, solved by cutting planes from outside.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PRIOR = 2.0
"""What the prior of the forecast's mixture is worth, in questions."""

SLACK, TINY = 0.01, 1e-6
"""Of log-likelihoods, what does not matter; of shares, what counts as nothing."""


class Mixtures:
    """All mixtures of some laws, in the light of a pilot.

    ``logs``: log P(pilot of a question | law), up to a constant by row: (patterns, laws);
    ``count``: questions with that pattern: (patterns,); ``events``: see the forecast.

    Programs are linear but for the logarithm of each pattern's share h_i. It becomes a variable
    t_i below tangents of the logarithm. A tangent holds for good, and is added where an answer
    was too good to be true; some five programs are enough.
    """

    def __init__(self, logs: Floats, count: Sequence[int], events: int) -> None:
        from scipy.sparse import csr_array, hstack, vstack

        self.count, self.events = np.array(count, dtype=np.float64), events
        likelihood = np.exp(logs - logs.max(axis=1, keepdims=True))
        self.smooth = _posterior(likelihood, self.count)
        self.likelihood = likelihood / (likelihood @ self.smooth)[:, None]
        n, self.laws = logs.shape
        equal = [csr_array(self.likelihood), csr_array(-np.eye(n)), csr_array((n, n))]
        one = csr_array(np.repeat([1.0, 0.0], [self.laws, 2 * n])[None])
        self._equal = vstack([hstack(equal), one]).tocsr()
        self._tangents = [np.full(n, ratio) for ratio in np.geomspace(1 / 8, 8, 7)]
        most = np.concatenate([np.zeros(self.laws), -self.count])
        self.best = self.log_likelihood(self._minimum(most, None))

    def log_likelihood(self, weights: Floats) -> float:
        return float(self.count @ np.log(np.maximum(self.likelihood @ weights, TINY)))

    def least(self, value: Floats, drop: float) -> float:
        """The least mean of ``value`` (laws,), log-likelihood at most ``drop`` below the best."""
        objective = np.concatenate([value, np.zeros(len(self.count))])
        return float(value @ self._minimum(objective, self.best - drop))

    def _minimum(self, objective: Floats, floor: float | None) -> Floats:
        """The weights that minimise ``objective`` @ (weights, logs): (laws,).

        Over all mixtures, or those whose log-likelihood is at least ``floor``, up to SLACK: from
        outside, so that the error is on the safe side.
        """
        for _ in range(100):
            weights, logs = self._program(objective, floor)
            if self.count @ logs - self.log_likelihood(weights) < SLACK:
                break
            self._tangents.append(np.maximum(self.likelihood @ weights, TINY))
        return weights

    def _program(self, objective: Floats, floor: float | None) -> tuple[Floats, Floats]:
        """(weights, logs) of the linear program with the tangents so far."""
        from scipy.optimize import linprog
        from scipy.sparse import csr_array, hstack, vstack

        n = len(self.count)
        none, one = csr_array((n, self.laws)), csr_array(np.eye(n))
        rows = [hstack([none, csr_array(np.diag(-1 / at)), one]) for at in self._tangents]
        limits = [np.log(at) - 1 for at in self._tangents]
        if floor is not None:
            rows.append(csr_array(np.concatenate([np.zeros(self.laws + n), -self.count])[None]))
            limits.append(np.array([-floor]))
        found = linprog(
            np.concatenate([objective[: self.laws], np.zeros(n), objective[self.laws :]]),
            vstack(rows).tocsr(),
            np.concatenate(limits),
            self._equal,
            np.append(np.zeros(n), 1.0),
            bounds=np.array([(0.0, np.inf)] * (self.laws + n) + [(-np.inf, np.inf)] * n),
            method="highs",
        )
        assert found.status == 0, found.message
        return found.x[: self.laws], found.x[-n:]


def _posterior(likelihood: Floats, count: Floats) -> Floats:
    """The smooth mixture: of largest posterior, under an even prior, by EM: (laws,)."""
    weights = start = np.full(likelihood.shape[1], 1 / likelihood.shape[1])
    for _ in range(1000):
        gain = (count / (likelihood @ weights)) @ likelihood
        weights = (weights * gain + PRIOR * start) / (count.sum() + PRIOR)
    return weights
