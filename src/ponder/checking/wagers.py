"""A statistic of a run, its known mean, and the bets that its mean is something else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ponder.checking.betting import Bet

Statistic = Callable[[Any], float]  # of a population, or of a posterior


class Wager:
    """One claim about one toy: a statistic in [0, high], and the bets that its mean is off.

    That the mean is too large is wagered on values capped at ``high``, so that it needs no bound;
    that it is too small supposes that ``high`` is one, and is not wagered ``at_most``.
    """

    def __init__(
        self,
        claim: str,
        what: str,
        statistic: Statistic,
        mean: float,
        high: float,
        *,
        at_most: bool = False,
    ) -> None:
        self.claim, self.what, self.statistic, self.mean = claim, what, statistic, mean
        self.high = max(high, mean)
        self.above = Bet(mean, high=self.high, side="above")
        self.below = None if at_most else Bet(mean, high=self.high, side="below")
        self.count = 0
        self.total = 0.0

    @property
    def bets(self) -> list[Bet]:
        """Each is a claim."""
        return [self.above] if self.below is None else [self.above, self.below]

    def observe(self, values: Sequence[float]) -> None:
        """What came out of some runs."""
        seen = np.asarray(values, dtype=float)
        self.count += len(seen)
        self.total += float(seen.sum())
        self.above.observe(np.minimum(seen, self.high))
        if self.below is not None:
            self.below.observe(seen)

    @property
    def log_e(self) -> float:
        """The larger of the e-values; one that supposed a bound which did not hold is void."""
        if self.below is None or self.below.escaped:
            return self.above.log_e
        return max(self.above.log_e, self.below.log_e)

    @property
    def escaped(self) -> int:
        """Runs in which the bound did not hold."""
        return 0 if self.below is None else self.below.escaped

    def would_find(self, needed: float) -> float | None:
        """The smallest bias, of either sign, that 99% of such checks would have refuted."""
        found = [bet.detectable(bet.count, needed) for bet in self.bets]
        known = [f for f in found if f is not None]
        return max(known) if len(known) == len(found) else None
