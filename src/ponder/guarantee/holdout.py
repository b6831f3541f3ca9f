"""``Thresholdout``: many questions to one holdout, of which only the surprising answers cost.

Who tries a method, looks at its accuracy on the holdout and tries the next one fits the holdout
without training on it. Thresholdout (Dwork, Feldman, Hardt, Pitassi, Reingold and Roth, Science
2015) answers with the mean over the training questions as long as the holdout's is near it, and
with a noisy holdout mean where it is not; a look is spent only then.

What is proved here holds at any size and does not rest on the noise. An answer from the holdout is
rounded to a grid, so whatever the analyst does is a function of a short transcript: which of the
first j - 1 queries tripped, fewer than B of them, and on which of K grid values. The j-th query is
thus one of N_j = sum_{i<B} C(j - 1, i) K^i; by Hoeffding's inequality for each, and a share
1 / (j (j + 1)) of the error probability beta for the j-th, with probability 1 - beta all holdout
means are within sqrt(ln(2 j (j + 1) N_j / beta) / (2 n)) of the truth, for n independent questions.
At beta = .05, with a budget of B looks in all:

    n      one query   5 queries, B = 2   20 queries, B = 5
    40        .23            .40                .66
    100       .15            .26                .42
    500       .07            .12                .20
    10,000    .015           .03                .05

The paper's own bound, by differential privacy, asserts nothing for a few hundred questions: noise
small enough to leave an answer in it hides no single question. So at these sizes take a small
budget, ask few things, and believe a new set of questions before you believe this one. The noise is
there against carelessness; whoever knows the seed can subtract it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ponder.errors import PonderError

Floats = NDArray[np.float64]
Scores = ArrayLike | Callable[[], ArrayLike]
"""One number in [0, 1] for each question, or a function that finds them when they are needed."""

ERRORS = 2.5
"""The threshold, in standard errors of the difference of two means (at most): .04 at n = 2,000."""
FINENESS = 16
"""The threshold by sigma. In the paper 4; but then the test's noise, six sigma, is larger than the
threshold, and of 100 questions every fifth mean that does not differ trips, while training means
that are too high by twice the threshold pass as often. With 16 a twentieth trips."""


@dataclass(frozen=True)
class Look:
    """An answer: the ``value``, whether it came from the holdout, and the looks that are ``left``.

    ``error`` bounds its distance from the truth: with probability ``confidence`` that of every
    look is within its own, whatever was asked and why.
    """

    value: float
    tripped: bool
    left: int
    error: float


class Thresholdout:
    """A holdout of ``holdout`` questions, guarded by ``train`` others, for ``budget`` looks.

    ``threshold`` is how far means may differ before it counts, ``sigma`` the scale of the noise and
    the grid; by default ERRORS standard errors and a part in FINENESS of that. The same seed and
    the same queries give the same answers, also after ``from_dict(as_dict())`` in between.
    """

    def __init__(
        self,
        train: int,
        holdout: int,
        budget: int,
        *,
        threshold: float | None = None,
        sigma: float | None = None,
        confidence: float = 0.95,
        seed: int = 0,
    ) -> None:
        if min(train, holdout, budget) < 1:
            raise PonderError("a holdout needs at least one question, one to train on and one look")
        widest = 0.5 * math.sqrt(1 / train + 1 / holdout)  # standard error at a mean of 1/2
        self.train, self.holdout, self.budget, self.seed = train, holdout, budget, seed
        self.threshold = ERRORS * widest if threshold is None else threshold
        self.sigma = self.threshold / FINENESS if sigma is None else sigma
        self.confidence = confidence
        if not (self.threshold > 0 and 0 < self.sigma <= 1 and 0 < confidence < 1):
            raise PonderError("a holdout needs a threshold and a sigma above 0, such as .1 and .01")
        self._asked = 0
        self._tripped = 0

    @property
    def left(self) -> int:
        """Looks that are left."""
        return self.budget - self._tripped

    @property
    def asked(self) -> int:
        """Queries answered so far."""
        return self._asked

    def ask(self, train: Scores, holdout: Scores) -> Look:
        """The mean of one query, given its scores on the training and on the holdout questions.

        Raises PonderError once no looks are left; ``holdout`` is then not called. The scores must
        not be used otherwise: a guard that is walked around guards nothing.
        """
        if self.left < 1:
            raise PonderError(
                f"all {self.budget} looks at this holdout are spent; label new questions for more"
            )
        seen = _mean("training", train, self.train)
        held = _mean("holdout", holdout, self.holdout)
        sure = self.uncertainty(self._asked + 1)
        limit = self.threshold + self._noise(0, self._tripped, 2) + self._noise(1, self._asked, 4)
        noise = self._noise(2, self._asked, 1)
        self._asked += 1
        if abs(held - seen) <= limit:
            return Look(seen, False, self.left, min(1.0, sure + limit))
        self._tripped += 1
        value = min(max(self.sigma * round((held + noise) / self.sigma), 0.0), 1.0)
        return Look(value, True, self.left, min(1.0, sure + abs(noise) + self.sigma / 2))

    def uncertainty(self, query: int) -> float:
        """The bound on |holdout mean - truth| for this query, 1 being the first; see the module."""
        from scipy.special import gammaln, logsumexp

        values = math.floor(1 / self.sigma) + 2  # multiples of sigma in [0, 1], and 1
        i = np.arange(min(self.budget, query))
        log_choices = gammaln(query) - gammaln(i + 1) - gammaln(query - i)  # C(query - 1, i)
        log_ways = float(logsumexp(log_choices + i * math.log(values)))
        beta = (1 - self.confidence) / (query * (query + 1))
        return math.sqrt((math.log(2 / beta) + log_ways) / (2 * self.holdout))

    def as_dict(self) -> dict[str, Any]:
        """One JSON object: the settings, and what has been spent."""
        return {
            "train": self.train,
            "holdout": self.holdout,
            "budget": self.budget,
            "threshold": self.threshold,
            "sigma": self.sigma,
            "confidence": self.confidence,
            "seed": self.seed,
            "asked": self._asked,
            "tripped": self._tripped,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Thresholdout:
        """What ``as_dict`` gave, with as many looks left. Raises PonderError for anything else."""
        settings = dict(record)
        try:
            asked, tripped = int(settings.pop("asked")), int(settings.pop("tripped"))
            found = cls(**settings)
        except (KeyError, TypeError, ValueError) as error:
            raise PonderError(
                f"this is no state of a holdout ({error!r}); label a new one"
            ) from None
        if not 0 <= tripped <= min(asked, found.budget):
            raise PonderError("this holdout's looks do not add up; label a new one")
        found._asked, found._tripped = asked, tripped
        return found

    def _noise(self, stream: int, index: int, scale: float) -> float:
        """Laplace, of so many sigma. A stream of its own for each use, so that states are small."""
        rng = np.random.default_rng((self.seed, stream, index))
        return float(rng.laplace(0.0, scale * self.sigma))


def _mean(name: str, scores: Scores, n: int) -> float:
    values = np.asarray(scores() if callable(scores) else scores, dtype=np.float64)
    if values.shape != (n,):
        raise PonderError(f"give one {name} score for each of {n} questions, not {values.shape}")
    if not ((values >= 0) & (values <= 1)).all():
        raise PonderError(f"{name} scores must lie between 0 and 1")
    return float(values.mean())
