"""Which answer is the most probable one, with an error bound that holds however one stops.

The answers X1, X2, ... are independent draws from one law p, over a set of answers that nobody
needs to know. A *mode* is a most probable answer. For each answer b there is a game, a bet against
the claim H_b that "b is a mode":

- Before each draw the leader is the answer that is the most frequent so far; among equals, the
  first to have got there. It is known before the draw (*predictable*), which is all that matters
  of it below: another choice would make other bets, not invalid ones.
- A draw that equals the leader is a "+", one that equals b a "-", any other is nothing. While b
  itself leads, the bet is void, and so is the first draw, which nobody leads.
- After n+ and n- of these, a gambler who bets on a share theta in [1/2, 1] for the leader, of the
  draws that are the leader or b, has (2 theta)^n+ (2 (1 - theta))^n-.

Given the past, the next factor of that wealth has expectation 1 + (2 theta - 1)(p(leader) - p(b)),
which is at most 1 if b is a mode, whoever leads. So the wealth is a nonnegative supermartingale
from 1, and so is its average M_b over any law of theta; with theta ~ Beta(4, 1/2) conditioned on
theta >= 1/2 it has a closed form. By Ville's inequality, P(sup_t M_b >= 1/alpha) <= alpha.

The leader is *settled* once sup M_b >= 1/alpha for every other answer b, seen or unseen. To settle
on an answer that is no mode, one must have refuted a mode, b* say, the same from the first draw
on; so the chance that this ever happens is at most alpha. Nothing is split among the answers (one
true claim is the only one that must survive), and no number of answers, samples or looks enters.
If several answers are equally probable, each is a mode, and to settle on one of them is no error.
One of any two modes must be refuted for it all the same, so that it happens with probability at
most 2 alpha: "settled" says *a* most probable answer at level alpha, *the* only one at 2 alpha.

An answer not seen yet has never been a "-" and never led: n- = 0, and n+ counts every "+" so far.
One number serves for all of them, and an answer that appears late starts from it: its game began
with the first draw too. Its n+ therefore counts draws from before it was known, as it must.

Ville, Étude critique de la notion de collectif (1939); Robbins, Ann. Math. Stat. 41 (1970), for
the mixture; Ramdas, Grünwald, Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid
inference", Stat. Sci. 38 (2023); Waudby-Smith and Ramdas, JRSS B 86 (2024). Near it: Jain et al.,
"PAC mode estimation using PPR martingale confidence sequences" (AISTATS 2022), one test for each
pair of a known set of answers and a union bound over them; Ota et al., "CITE" (2026), for one
answer named beforehand.

What is certified is the mode of the model's answers, not that it is right. The draws must be in
the order in which they were asked for, whatever they are: by order of arrival, short replies
would come first, and the law would change as one goes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable
from functools import lru_cache

from ponder.errors import PonderError

SHAPE, SHARPNESS = 4.0, 0.5
"""theta ~ Beta(SHAPE, SHARPNESS) given theta >= 1/2.

Chosen by expected samples at alpha = .05, against the uniform law: 7.4-7.7 for 9.5-9.8 at a share
of .95, 9.0-10.2 for 11.0-12.1 at .9, no more at .8; but up to a seventh more at .7 and a fifth more
at .6, where one other answer has all the rest and hundreds of samples are needed anyway.
"""


@lru_cache(maxsize=1)
def _log_mass() -> float:
    """Log of the integral over [1/2, 1] of theta^(SHAPE - 1) (1 - theta)^(SHARPNESS - 1)."""
    from scipy.special import betaincc, betaln

    return float(betaln(SHAPE, SHARPNESS) + math.log(betaincc(SHAPE, SHARPNESS, 0.5)))


@lru_cache(maxsize=1 << 16)
def log_wealth(plus: int, minus: int) -> float:
    """Log of the wealth M after ``plus`` draws for the leader and ``minus`` against it.

    M is the average of (2 theta)^plus (2 (1 - theta))^minus over the law of theta. It grows with
    ``plus`` and falls with ``minus``; exact to rounding for any numbers of draws.
    """
    a, b = plus + SHAPE, minus + SHARPNESS
    if a > b:
        from scipy.special import betaincc, betaln

        log_integral = float(betaln(a, b)) + math.log(betaincc(a, b, 0.5))
    else:
        # The tail above 1/2 may underflow. In powers of (1 - theta) / theta around 1/2 the
        # integral is a finite sum of falling terms, as a is whole.
        import numpy as np

        steps = np.arange(1, int(a))
        terms = np.cumprod((a - steps) / (b + steps))
        log_integral = (1 - a - b) * math.log(2) + math.log((1 + float(terms.sum())) / b)
    return (plus + minus) * math.log(2) + log_integral - _log_mass()


class ModeEvidence:
    """The games against all answers, played as they are drawn; see the module.

    ``observe`` takes constant time, the rest time in proportion to the number of distinct answers.
    """

    def __init__(self, answers: Iterable[Hashable] = ()) -> None:
        self.counts: Counter[Hashable] = Counter()
        self.leader: Hashable = None
        """The answer that leads; None before the first."""
        self._plus = 0  # draws that equalled the leader of their time
        self._void: Counter[Hashable] = Counter()  # of these, the ones while this answer led
        self._minus: Counter[Hashable] = Counter()
        self._best: dict[Hashable, float] = {}  # log-wealth before the last "-", or the best before
        for answer in answers:
            self.observe(answer)

    def observe(self, answer: Hashable) -> None:
        """One more answer, in the order drawn. None is an abstention, no answer: leave it out."""
        if self.counts and answer == self.leader:
            self._plus += 1
            self._void[answer] += 1
        elif self.counts:
            self._best[answer] = self.log_e_value(answer)  # wealth falls at a "-" only
            self._minus[answer] += 1
        self.counts[answer] += 1
        if self.counts[answer] > self.counts[self.leader]:
            self.leader = answer

    def bets(self, answer: Hashable) -> tuple[int, int]:
        """(n+, n-) of the game against an answer, seen or unseen."""
        return self._plus - self._void[answer], self._minus[answer]

    def log_e_value(self, answer: Hashable) -> float:
        """Log of the largest wealth so far, sup M_b >= 1, in the game against an answer."""
        return max(self._best.get(answer, 0.0), log_wealth(*self.bets(answer)))

    @property
    def log_e_unseen(self) -> float:
        """The same, for every answer that has not been seen."""
        return log_wealth(self._plus, 0)

    def settled(self, alpha: float) -> Hashable | None:
        """The leader, if every other answer is refuted at level ``alpha``; else None.

        With probability at least 1 - alpha, no answer that is not a mode is ever given. Raises
        PonderError unless 0 < alpha < 1.
        """
        if not 0 < alpha < 1:
            raise PonderError(f"alpha is an error probability, such as 0.05, got {alpha!r}")
        enough = -math.log(alpha)
        if self.log_e_unseen < enough:
            return None
        others = (b for b in self.counts if b != self.leader)
        return self.leader if all(self.log_e_value(b) >= enough for b in others) else None


def log_e_values(answers: Iterable[Hashable]) -> dict[Hashable, float]:
    """Log sup M_b for each answer seen: the evidence that it is not a mode of the answers' law."""
    evidence = ModeEvidence(answers)
    return {answer: evidence.log_e_value(answer) for answer in evidence.counts}


def certified(answers: Iterable[Hashable], alpha: float = 0.05) -> Hashable | None:
    """The leader of the answers, in the order drawn, if it is settled at ``alpha``; else None."""
    return ModeEvidence(answers).settled(alpha)
