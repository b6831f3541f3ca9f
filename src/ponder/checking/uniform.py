"""Refuting that ranks are uniform, and which calibration errors that would have shown.

Wealth is bet at odds that are fair if each rank is uniform on 0..L and independent of those
before: half on a multinomial law of the binned ranks with a uniform (Dirichlet) prior, half spread
over the laws that ranks have if a normal posterior is off by some standard deviations or too narrow
or wide by some factor. Under the claim it is a nonnegative martingale from 1, so that it ever
exceeds c with probability at most 1/c (Ville), however often one looks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, log_ndtr

from ponder.errors import PonderError

Floats = NDArray[np.float64]

BINS = 16
_AXIS = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0)
_BOTH = (0.25, 0.5, 1.0)
_FLOOR = 0.01  # of each law bet on is uniform, so that no single rank ruins it
_Z: Floats = np.linspace(-8.5, 8.5, 681)


def rank_law(draws: int, shift: float, scale: float) -> Floats:
    """The law of the rank of the truth among ``draws`` draws of a normal posterior; (draws + 1,).

    The posterior's mean is off by ``shift`` right standard deviations and its own standard
    deviation is ``scale`` right ones.
    """
    ranks = np.arange(draws + 1)
    at = (_Z - shift) / scale
    below, above = log_ndtr(at)[:, None], log_ndtr(-at)[:, None]
    ways = gammaln(draws + 1) - gammaln(ranks + 1) - gammaln(draws - ranks + 1)
    weights = np.exp(-0.5 * _Z**2)
    law: Floats = weights @ np.exp(ways + ranks * below + (draws - ranks) * above)
    law /= law.sum()
    return law


@lru_cache(maxsize=8)
def _log_odds(draws: int) -> Floats:
    """The log of each law that is bet on over the uniform one, (laws, draws + 1)."""
    signed = [sign * size for size in _AXIS for sign in (-1, 1)]
    few = [sign * size for size in _BOTH for sign in (-1, 1)]
    laws = [(shift, 0.0) for shift in signed] + [(0.0, log_scale) for log_scale in signed]
    laws += [(shift, log_scale) for shift in few for log_scale in few]
    made = np.array([rank_law(draws, shift, math.exp(scale)) for shift, scale in laws])
    odds: Floats = np.log((1 - _FLOOR) * made * (draws + 1) + _FLOOR)
    return odds


@dataclass(frozen=True)
class Finds:
    """What would have been refuted with probability 99%; None where even the largest would not.

    Of a normal posterior: its standard deviation below ``narrow`` or above ``wide`` times the
    right one, or its mean off by more than ``shift`` of them.
    """

    narrow: float | None
    wide: float | None
    shift: float | None

    def __str__(self) -> str:
        widths = [f"below {self.narrow:.2f}"] if self.narrow is not None else []
        widths += [f"above {self.wide:.2f}"] if self.wide is not None else []
        said = [f"a posterior sd {' or '.join(widths)} of the right one"] if widths else []
        said += [f"a mean off by {self.shift:.2f} sd"] if self.shift is not None else []
        return ", or ".join(said) if said else "nothing yet"


class Uniformity:
    """A test of the claim that ranks are uniform on 0..``draws``, each whatever came before.

    Raises PonderError unless ``draws`` + 1 is a multiple of the number of bins, 16.
    """

    def __init__(self, draws: int) -> None:
        if draws < 1 or (draws + 1) % BINS:
            raise PonderError(
                f"ranks among {draws} draws do not fill {BINS} bins evenly; take a multiple of "
                f"{BINS}, less one, such as 63"
            )
        self.draws = draws
        self.counts: NDArray[np.int64] = np.zeros(draws + 1, dtype=np.int64)

    def observe(self, rank: int) -> None:
        """One more rank."""
        self.counts[rank] += 1

    @property
    def count(self) -> int:
        """Ranks observed."""
        return int(self.counts.sum())

    @property
    def log_e(self) -> float:
        """Log of the wealth."""
        binned = self.counts.reshape(BINS, -1).sum(axis=1)
        log_binned = gammaln(BINS) - gammaln(self.count + BINS) + float(gammaln(binned + 1).sum())
        log_binned += self.count * math.log(BINS)
        odds = _log_odds(self.draws)
        log_laws = float(np.logaddexp.reduce(odds @ self.counts)) - math.log(len(odds))
        return float(np.logaddexp(log_binned, log_laws)) - math.log(2)

    def mean(self) -> float:
        """The average of (rank + 1/2) / (draws + 1): 1/2 if uniform."""
        return float(self._places() @ self.counts) / self.count

    def spread(self) -> float:
        """The root mean square of the same from 1/2: :meth:`even_spread` if uniform."""
        return math.sqrt(float((self._places() - 0.5) ** 2 @ self.counts) / self.count)

    def law(self, shift: float, scale: float) -> Floats:
        """See :func:`rank_law`."""
        return rank_law(self.draws, shift, scale)

    def even_spread(self) -> float:
        """The spread of uniform ranks."""
        return math.sqrt(float(np.mean((self._places() - 0.5) ** 2)))

    def _places(self) -> Floats:
        places: Floats = (np.arange(self.draws + 1) + 0.5) / (self.draws + 1)
        return places

    def finds(self, log_threshold: float, power: float = 0.99) -> Finds:
        """The smallest errors that ``count`` ranks would have shown with this probability.

        Rests on a normal approximation of one law's log-wealth, which the whole exceeds but for
        its share.
        """

        def smallest(law: tuple[float, float], most: float) -> float | None:
            shift, scale = law
            low, high = 0.0, most
            if not self._found(most * shift, most * scale, log_threshold, power):
                return None
            while high - low > 0.002:
                middle = (low + high) / 2
                found = self._found(middle * shift, middle * scale, log_threshold, power)
                low, high = (low, middle) if found else (middle, high)
            return high

        narrow, wide = smallest((0.0, -1.0), 2.5), smallest((0.0, 1.0), 2.5)
        return Finds(
            None if narrow is None else math.exp(-narrow),
            None if wide is None else math.exp(wide),
            smallest((1.0, 0.0), 3.0),
        )

    def _found(self, shift: float, log_scale: float, needed: float, power: float) -> bool:
        law = rank_law(self.draws, shift, math.exp(log_scale))
        odds = _log_odds(self.draws)
        drift = odds @ law
        error = np.sqrt(np.maximum(odds**2 @ law - drift**2, 0.0) * self.count)
        reached = self.count * drift - NormalDist().inv_cdf(power) * error
        return bool(np.any(reached >= needed + math.log(2 * len(odds))))
