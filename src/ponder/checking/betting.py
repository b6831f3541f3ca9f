"""Refuting a claimed mean by betting against it.

A gambler bets on every run that a bounded statistic does not have the mean claimed for it, at odds
that are fair if it has. Under the claim the wealth e is a nonnegative martingale from 1, so that
it ever reaches c with probability at most 1/c (Ville), however often one looks. Waudby-Smith and
Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86 (2024). The money is
spread evenly over fixed stakes and stays there, so that the wealth ignores the order of the values.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ponder.errors import PonderError

Floats = NDArray[np.float64]

FRACTIONS: Floats = np.geomspace(1e-4, 0.99, 28)
"""Stakes, as shares of the stake that one extreme value would ruin."""

TOLERANCE = 1e-9  # What passes for rounding, relative to the larger bound.
_BLOCK = 8192


def log_threshold(claims: int) -> float:
    """The log e-value that refutes one of ``claims`` >= 1 claims: log(claims * 10^6).

    The chance that any of them is refuted although all are true is then at most 10^-6.
    """
    return math.log(claims) + 6 * math.log(10)


class _Shape(NamedTuple):
    """What was seen of a law, in units of the range and from the claimed mean.

    ``spread`` is its variance as a share of the largest one that the bounds allow at its average,
    ``skew`` half the third central moment over the variance.
    """

    average: float
    spread: float
    skew: float


@dataclass
class _Side:
    """The bets that the mean is off by a bias of this sign; lengths in units of the range.

    Values lie at most ``room`` away from the claim on the losing side, ``reach`` on the other.
    """

    sign: int
    room: float
    reach: float
    log_wealth: Floats = field(default_factory=lambda: np.zeros(len(FRACTIONS)))

    def log_factors(self, gains: Floats) -> Floats:
        """Log growth of the stakes at values ``gains`` (k,) beyond the claim: (k, stakes)."""
        return np.log1p(np.outer(gains / self.room, FRACTIONS))

    def observe(self, gains: Floats, rounding: float) -> None:
        """Settle the bets; with nothing to lose, one gain beyond rounding is conclusive."""
        if self.room > 0:
            self.log_wealth += self.log_factors(gains).sum(axis=0)
        elif bool(np.any(gains > rounding)):
            self.log_wealth[:] = math.inf

    def biased(self, bias: float, shape: _Shape) -> tuple[Floats, Floats]:
        """Two gains and their weights, with the first moments of such a law if it is biased.

        A law on the two bounds keeps them and shifts its weights, a narrow one shifts its values.
        Skewness counts only where it hurts: a rare large gain is no reason to expect more.
        """
        losing = self.room + bias
        variance = shape.spread * losing * max(self.reach - bias, 0.0)
        skew = self.sign * shape.skew - shape.spread * (bias - self.sign * shape.average)
        loss = min(math.sqrt(variance + min(skew, 0.0) ** 2) - min(skew, 0.0), losing)
        win = variance / loss if loss > 0 else 0.0
        weights = np.array([win, loss]) / (win + loss) if loss > 0 else np.array([0.0, 1.0])
        return bias + np.array([-loss, win]), weights

    def finds(self, bias: float, shape: _Shape, runs: int, needed: float, power: float) -> bool:
        """Whether one stake reaches log-wealth ``needed``; the sum of its logs taken as normal."""
        if not self.room:
            return 1 - (1 - bias) ** runs >= power  # A gain is rarest if it is the largest one.
        gains, weights = self.biased(bias, shape)
        logs = self.log_factors(gains)
        drift = weights @ logs
        error = np.sqrt(weights @ (logs - drift) ** 2 * runs)
        return bool(np.any(runs * drift - NormalDist().inv_cdf(power) * error >= needed))

    def smallest(self, shape: _Shape, runs: int, needed: float, power: float) -> float | None:
        """The smallest bias that is found, by bisection; None if the largest is not."""
        step, steps = self.reach / 2**50, range(1, 2**50 + 1)
        k = bisect_left(steps, True, key=lambda k: self.finds(step * k, shape, runs, needed, power))
        return step * steps[k] if k < len(steps) else None


class Bet:
    """A test of the claim that values in [low, high] have mean ``mean``, whatever came before.

    ``side`` is where the true mean is suspected: "above" tests that it is at most ``mean``,
    "below" that it is at least ``mean``. Raises PonderError if the bounds exclude the mean.
    """

    def __init__(
        self,
        mean: float,
        *,
        low: float = 0.0,
        high: float,
        side: Literal["both", "above", "below"] = "both",
    ) -> None:
        if not (low <= mean <= high and math.isfinite(high - low)):
            raise PonderError(
                f"values between {low:g} and {high:g} cannot have mean {mean:g}: "
                "claim finite bounds and a mean within them"
            )
        self.mean, self.low, self.high = float(mean), float(low), float(high)
        self.count = 0
        """Values observed."""
        self.escaped = 0
        """Values outside the bounds, or NaN. The first one stops the test: the bounds are wrong."""
        self._width = (self.high - self.low) or 1.0
        self._slack = TOLERANCE * max(abs(self.low), abs(self.high))
        under, over = (self.mean - self.low) / self._width, (self.high - self.mean) / self._width
        self._under, self._over = under, over
        sides = {"above": _Side(1, under, over), "below": _Side(-1, over, under)}
        self._sides = list(sides.values()) if side == "both" else [sides[side]]
        self._sums = np.zeros(3)

    def observe(self, values: Floats) -> None:
        """Bet on ``values`` (k,), in any number of batches; on none that follow an escaped one."""
        values = np.asarray(values, dtype=np.float64)
        inside = (values >= self.low - self._slack) & (values <= self.high + self._slack)
        kept = values if inside.all() else values[: int(np.argmin(inside))]
        if not self.escaped:
            for part in np.array_split(kept, len(kept) // _BLOCK + 1):
                offsets = (np.clip(part, self.low, self.high) - self.mean) / self._width
                self.count += len(offsets)
                self._sums += (offsets ** np.array([[1], [2], [3]])).sum(axis=1)
                for side in self._sides:
                    side.observe(side.sign * offsets, self._slack / self._width)
        self.escaped += int(np.sum(~inside))

    @property
    def log_e(self) -> float:
        """Log of the wealth, averaged over stakes and sides; inf is conclusive."""
        logs = np.concatenate([side.log_wealth for side in self._sides])
        return float(np.logaddexp.reduce(logs)) - math.log(len(logs))

    @property
    def average(self) -> float:
        """Of the values observed; NaN for none."""
        if self.count < 1:
            return math.nan
        return self.mean + self._width * float(self._sums[0]) / self.count

    @property
    def variance(self) -> float:
        """Of the values observed, over count - 1; NaN for fewer than two."""
        if self.count < 2:
            return math.nan
        square = float(self._sums[1] - self._sums[0] ** 2 / self.count)
        return self._width**2 * max(square, 0.0) / (self.count - 1)

    def _shape(self) -> _Shape:
        """Of the values; if all lie at a bound, or fewer than two, of a law on the two bounds."""
        first, second, third = (float(s) / max(self.count, 1) for s in self._sums)
        above_low, below_high = self._under + first, self._over - first
        at_bound = above_low <= TOLERANCE * self._under or below_high <= TOLERANCE * self._over
        if self.count < 2 or at_bound:
            return _Shape(0.0, 1.0, (self._over - self._under) / 2)
        variance = max(second - first**2, 0.0)
        cubed = third - 3 * first * second + 2 * first**3
        skew = cubed / (2 * variance) if variance > 0 else 0.0
        return _Shape(first, min(variance / (above_low * below_high), 1.0), skew)

    def detectable(self, runs: int, log_threshold: float, power: float = 0.99) -> float | None:
        """The absolute bias of the mean beyond which ``runs`` runs would have refuted the claim.

        Every larger bias that the bounds allow, on the sides bet on, brings log_e to
        ``log_threshold`` with probability ``power``; None if even the largest does not. Rests on
        the variance and skewness seen so far, and on a normal approximation of log-wealth.
        """
        shape, needed = self._shape(), log_threshold + math.log(len(self._sides) * len(FRACTIONS))
        found = [(s.reach, s.smallest(shape, runs, needed, power)) for s in self._sides]
        largest = max(reach for reach, _ in found)
        if any(bias is None and reach == largest for reach, bias in found):
            return None
        return self._width * max(reach if bias is None else bias for reach, bias in found)
