"""``perplexity`` and ``likelihood``: what the model that wrote a reply thinks of its words."""

from __future__ import annotations

import math
from typing import Any

from ponder.binding import Potential, given
from ponder.errors import PonderError


def _length(value: Any) -> int:
    length = getattr(value, "length", None)
    if not length:
        raise PonderError(
            f"a reply of a language model is scored by its words, not {str(value)[:40]!r}; "
            "put it behind a program such as cot"
        )
    if math.isnan(getattr(value, "log_prob", 0.0)):
        raise PonderError(
            "the server of the model did not tell the log-probability of a reply, which "
            "perplexity and likelihood are; use an embedded model, or another potential"
        )
    return int(length)


def mean_log_prob(reply: Any) -> float:
    """Mean log-probability of the reply's tokens at temperature 1: minus its log-perplexity."""
    return float(reply.log_prob / _length(reply))


def log_prob(reply: Any) -> float:
    """Log-probability of the whole reply at temperature 1."""
    _length(reply)
    return float(reply.log_prob)


perplexity = given("perplexity", Potential("perplexity", mean_log_prob))
likelihood = given("likelihood", Potential("likelihood", log_prob))
