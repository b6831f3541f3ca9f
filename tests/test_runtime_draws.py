"""The runtime draws what a distribution says, as simulation does, from mixtures too."""

from __future__ import annotations

import numpy as np

import ponder
from ponder.checking.betting import Bet, log_threshold
from ponder.dist import Mixture, Uniform
from ponder.runtime import Runtime

RUNS = 4000


def test_what_chooses_a_part_of_a_mixture_does_not_draw_from_it() -> None:
    # With one stream for both, the rare part would give only its top tenth.
    rare = Mixture((Uniform(2.0, 3.0), Uniform(0.0, 1.0)), (0.5, 0.5))
    dist = Mixture((Uniform(5.0, 6.0), rare), (0.9, 0.1))

    @ponder.program
    def draws() -> ponder.Effects[list[float]]:
        return (yield from ponder.each([one() for _ in range(RUNS)]))

    @ponder.program
    def one() -> ponder.Effects[float]:
        return (yield from ponder.sample(dist))

    values = np.array(next(iter(Runtime(seed=1).run([("", draws())]))).value)
    for low, mass in ((0.0, 0.05), (2.0, 0.05), (5.0, 0.9)):
        inside = (values >= low) & (values < low + 1)
        for statistic, mean, high in (
            (inside, mass, 1.0),
            (np.where(inside, values - low, 0.0), mass / 2, 1.0),
        ):
            bet = Bet(mean, high=high)
            bet.observe(statistic.astype(float))
            assert bet.log_e < log_threshold(6), (low, mean, bet.average)
