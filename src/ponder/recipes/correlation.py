"""How much methods err together, which is what a vote among them cannot mend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ponder.errors import PonderError


@dataclass(frozen=True)
class ErrorCorrelation:
    """Of n methods: the share ``accuracy`` of right answers and the correlation ``rho`` of errors.

    ``share_variance`` is the variance, over questions, of the share of methods that are right:
    p (1 - p) [1 + (n - 1) rho] / n, with p the accuracy. It falls to that of independent methods
    at rho = 0; at rho = 1 all are one method and a vote gains nothing.
    """

    accuracy: float
    rho: float
    share_variance: float


def error_correlation(correct: Sequence[Sequence[float]] | NDArray[np.generic]) -> ErrorCorrelation:
    """The mean pairwise error correlation of methods, given who is right where.

    ``correct`` has shape (questions, methods) and holds 0 and 1. All pairs are measured against
    the accuracy of all methods together, so that the variance formula is an identity. Questions
    of different difficulty make independent methods correlated too. Raises PonderError where rho
    is not defined: fewer than two methods, or all answers right, or all wrong.
    """
    right = np.asarray(correct, dtype=np.float64)
    if right.ndim != 2 or right.shape[0] < 1 or right.shape[1] < 2:
        raise PonderError("error_correlation needs a row a question, of two methods or more")
    if not np.isin(right, (0, 1)).all():
        raise PonderError("error_correlation needs 1 where a method is right and 0 where not")
    n = right.shape[1]
    p = float(right.mean())
    if p in (0.0, 1.0):
        raise PonderError("no errors differ: all answers are right or all wrong; add questions")
    together = right.T @ right / len(right)  # how often each pair is right
    mean_pair = float(together.sum() - np.trace(together)) / (n * (n - 1))
    rho = (mean_pair - p * p) / (p * (1 - p))
    return ErrorCorrelation(p, rho, p * (1 - p) * (1 + (n - 1) * rho) / n)
