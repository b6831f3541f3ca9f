"""``selfeval``: whether the model would do better if it started over, as a potential.

Capability-aware self-evaluation (Manvi et al. 2024): one question after the reply, or after what
there is of it. Models were trained for it there; untrained ones answer it badly calibrated, so
look at the scores before you stop by them.
"""

from __future__ import annotations

import math
from typing import Any

from ponder.binding import Binding, Potential, PotentialSource
from ponder.effects import Effects, Program
from ponder.errors import PonderError
from ponder.lm.protocol import Tokens
from ponder.verify.judge import yes_or_no
from ponder.verify.scoring import as_twist, last_draw, transcript_of, transcript_so_far

QUESTION = "Would you do better if you started over?"


def _build(binding: Binding) -> Potential:
    """log P(no): the probability that a fresh reply would be no better."""
    asks = yes_or_no(binding, "selfeval")

    def score(transcript: Tokens, value: Any) -> Effects[float]:
        _, no = yield from asks.after(transcript, QUESTION, value)
        return no  # here and nowhere else: "no" is good

    def complete(reply: Any) -> Program[float]:
        return Program(lambda: score(transcript_of(reply, "selfeval"), reply), "selfeval")

    def prefix(values: tuple[Any, ...]) -> float | Program[float]:
        draw = last_draw(values, binding.model)
        if draw is None:
            return 0.0

        def run() -> Effects[float]:
            return as_twist((yield from score(transcript_so_far(draw, binding.model), draw)))

        return Program(run, "selfeval")

    return Potential("selfeval", complete, prefix)


selfeval = PotentialSource("selfeval", _build, reads_trace=True)


def best_threshold(cost: float) -> float:
    """The score at which to stop drawing, ``above(best_threshold(cost))``: 1 - sqrt(2 cost).

    ``cost`` of one more reply, in quantiles of quality: 0.02 if it is worth paying for two
    hundredths. Where s is the share of fresh replies that are no better, quality counted in
    quantiles is uniform, and a fresh one gains (1 - s)^2 / 2 on average over the best so far: that
    equals the cost here. From 1/2 on the first reply is enough.
    """
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not 0 <= cost < math.inf:
        raise PonderError(f"best_threshold needs a cost of 0 or more, such as 0.005, got {cost!r}")
    return max(0.0, 1 - math.sqrt(2 * cost))
