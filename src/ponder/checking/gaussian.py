"""A continuous toy whose measure is known in closed form: it is sampled, not enumerated."""

from __future__ import annotations

import math
from statistics import NormalDist

from ponder.dist import Normal
from ponder.effects import Effects, Factor, program, sample
from ponder.meaning import Atom
from ponder.trace import Trace

CUT = 0.2
# Every factor is at most 1; a toy potential's twists, from .5 to 1.5, may triple it at two stages.
GAUSSIAN_HIGH = 9.0


@program
def gaussian() -> Effects[bool]:
    """Whether x exceeds .2, where x ~ N(0, 1), y ~ N(x, 1/4), and y is weighed by exp(-y^2 / 2)."""
    x = yield from sample(Normal(0.0, 1.0), "x")
    y = yield from sample(Normal(x, 0.5), "y")
    yield Factor(-0.5 * y * y)
    return x > CUT


def _atoms() -> tuple[Atom, ...]:
    """Given x, y weighs exp(-x^2 / 2.5) / sqrt(1.25) on average; so x has variance 1 / 1.8."""
    evidence = 1 / math.sqrt(1.25 * 1.8)
    above = 1 - NormalDist(0, math.sqrt(1 / 1.8)).cdf(CUT)
    masses = {True: evidence * above, False: evidence * (1 - above)}
    return tuple(
        Atom(Trace(GAUSSIAN, None, value, 0.0, "finished"), math.log(mass), 0.0)
        for value, mass in masses.items()
    )


GAUSSIAN = gaussian()
GAUSSIAN_ATOMS = _atoms()
