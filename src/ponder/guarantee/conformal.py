"""Sets of answers that contain the right one with a given probability: split conformal prediction.

Each answer to a question has a share, such as its posterior mass, and from these a score, the
smaller the better it fits; the scores of the right answers of n labelled questions say how large a
score a right answer may have. The set of a new question holds every answer whose score is at most
the (n + 1 - l)-th smallest of them, l = floor((n + 1) alpha). If the labelled questions and the new
one are exchangeable, it holds the right answer with probability at least 1 - alpha, on average over
both. Given the labelled questions, its coverage over new ones follows Beta(n + 1 - l, l), or is
larger where scores tie. Vovk, Gammerman & Shafer (2005); Vovk (2012) for the second law.

A right answer that nobody gave fits worse than all that were given. If that is so of too many
labelled questions, no set of answers given can keep the promise, and every set is "any answer".

The shares must come from a method fixed before the labels were seen; one question counts once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from ponder.errors import PonderError
from ponder.guarantee.stopping import within

Shares = Mapping[Any, float]


def one_minus_share(shares: Shares, answer: Hashable) -> float:
    """1 - the answer's share: one level for all questions, small sets on average, even empty."""
    return 1 - shares[answer]


def share_above(shares: Shares, answer: Hashable) -> float:
    """The share of all answers above this one: more answers where the shares say less.

    Adaptive prediction sets (Romano, Sesia & Candès 2020) without their random part, so that a
    question has one set, and a leader is in it; coverage is above 1 - alpha where scores tie (at 0,
    often).
    """
    return math.fsum(share for share in shares.values() if share > shares[answer])


SCORES: dict[str, Callable[[Shares, Hashable], float]] = {
    "share": one_minus_share,
    "above": share_above,
}


@dataclass(frozen=True)
class AnswerSet:
    """Answers, the largest share first; with ``any``, also every answer that nobody gave."""

    answers: tuple[Any, ...]
    any: bool = False

    def __contains__(self, answer: Hashable) -> bool:
        return self.any or answer in self.answers


@dataclass(frozen=True)
class PredictionSets:
    """Which answers may be right: those of score at most ``threshold``, inf for any answer.

    ``score`` is a name of ``SCORES``; ``questions`` counts the labelled questions, ``given`` those
    whose right answer was among the answers.
    """

    threshold: float
    alpha: float
    score: str
    questions: int
    given: int

    @classmethod
    def fit(
        cls,
        shares: Sequence[Shares],
        right: Sequence[Hashable],
        alpha: float = 0.1,
        score: str = "share",
    ) -> PredictionSets:
        """From the shares of each labelled question, by answer, and its right answer.

        ``right`` may be an answer that is not among them, such as None. Raises PonderError for
        shares that are negative or more than 1 together.
        """
        alpha = within("prediction sets", "an error rate", alpha, such_as=0.1)
        if score not in SCORES:
            raise PonderError(f"no score {score!r}; there are {', '.join(SCORES)}")
        if not len(shares) or len(shares) != len(right):
            raise PonderError("give shares and the right answer of each question, at least one")
        of = SCORES[score]
        scores = sorted(
            of(known, answer) if answer in _checked(known) else math.inf
            for known, answer in zip(shares, right, strict=True)
        )
        n = len(scores)
        left_out = _left_out(n, alpha)
        threshold = scores[n - left_out] if left_out else math.inf
        return cls(threshold, alpha, score, n, sum(s < math.inf for s in scores))

    def set(self, shares: Shares) -> AnswerSet:
        """The answers of a new question that may be right."""
        of = SCORES[self.score]
        ranked = sorted(_checked(shares), key=lambda answer: -shares[answer])
        kept = tuple(answer for answer in ranked if of(shares, answer) <= self.threshold)
        return AnswerSet(kept, self.threshold == math.inf)

    @property
    def attainable(self) -> float:
        """The largest 1 - alpha for which sets need not be "any answer"."""
        return self.given / (self.questions + 1)

    def coverage(self, confidence: float = 0.95) -> float:
        """What these very sets cover of new questions at least, with this confidence.

        A quantile of Beta(n + 1 - l, l): 1 - alpha holds on average over labelled questions only.
        """
        confidence = within("coverage", "a confidence", confidence, such_as=0.95)
        left_out = _left_out(self.questions, self.alpha)
        if not left_out or self.threshold == math.inf:
            return 1.0
        from scipy.special import betaincinv

        return float(betaincinv(self.questions + 1 - left_out, left_out, 1 - confidence))

    @property
    def statement(self) -> str:
        """What is promised, and on what grounds, in one line."""
        seen = f"{self.questions} labelled questions, the right answer given for {self.given}"
        if self.threshold < math.inf:
            sure = f"with probability {1 - self.alpha:g} at least"
            return f"the right answer is in the set {sure} ({seen})"
        best = f"a set of the answers given covers at most {self.attainable:.3g}"
        return f"every set is any answer: {best} ({seen})"

    def as_dict(self) -> dict[str, Any]:
        """For JSON; an infinite threshold is text."""
        threshold = self.threshold if math.isfinite(self.threshold) else str(self.threshold)
        return asdict(self) | {"threshold": threshold}

    @classmethod
    def from_dict(cls, said: dict[str, Any]) -> PredictionSets:
        """What ``as_dict`` gave. Raises PonderError for anything else."""
        try:
            made = cls(**said | {"threshold": float(said["threshold"])})
            SCORES[made.score]
        except (KeyError, TypeError, ValueError):
            raise PonderError(
                "these are no prediction sets; write them with PredictionSets.as_dict"
            ) from None
        return made


def _left_out(n: int, alpha: float) -> int:
    """floor((n + 1) alpha), of alpha as it is written: 0.29 of 100 are 29."""
    return math.floor((n + 1) * Fraction(repr(alpha)))


def _checked(shares: Shares) -> Shares:
    """Shares in [0, 1] that sum to at most 1, up to rounding."""
    if not all(share >= 0 for share in shares.values()) or sum(shares.values()) > 1 + 1e-9:
        raise PonderError("give shares >= 0 that sum to at most 1 for each question")
    return shares
