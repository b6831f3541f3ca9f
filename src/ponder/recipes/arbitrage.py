"""``arbitrage``: each step from the small model or the large one, whichever a judge prefers."""

from __future__ import annotations

import math
from typing import Any

from ponder.binding import Binding, Potential
from ponder.effects import Effects, Program, as_log_weight
from ponder.errors import PonderError
from ponder.lm.protocol import Draw
from ponder.lm.sampling_law import SamplingLaw
from ponder.recipes.prompting import Reply
from ponder.recipes.replies import SETTINGS, sampling_law
from ponder.recipes.speculating import DRAFT
from ponder.recipes.stepping import Reader, in_steps
from ponder.strategy import Source
from ponder.verify.judge import judge

RULES = ("oracle", "rsd")
ACCEPTED = 0.7  # of a drafted step, under "rsd"


def _build(
    binding: Binding,
    *,
    draft: str = DRAFT,
    tau: float = 0.0,
    rule: str = "oracle",
    max_tokens: int = 512,
    **law: Any,
) -> Program[Reply]:
    """A chain of thought whose steps are scored by the bound model's judge, P(right so far).

    "oracle" (Arbitrage, Maheswaran et al. 2025): both models write every step, and the bound
    model's is taken iff its score is more than ``tau`` above the draft's; what a router would have
    to guess, at full price. "rsd" (Liao et al. 2025): the draft's is taken iff its score is at
    least 0.7, otherwise the bound model writes the step. The law is neither model's: this is a
    program of its own, and what is exact after ``draw`` is exact for it.
    """
    sampling = _check(draft, tau, rule, max_tokens=max_tokens, **law)
    potential = binding.potential(judge)

    def pick(base: Reader, small: Reader, left: int) -> Effects[Draw]:
        drafted = yield from small.step(sampling, left, "draft")
        if rule == "rsd":
            score = yield from scored(potential, base, drafted)
            return drafted if score >= ACCEPTED else (yield from base.step(sampling, left, "base"))
        own = yield from base.step(sampling, left, "base")
        score = yield from scored(potential, base, drafted)
        better = yield from scored(potential, base, own)
        return own if better - score > tau else drafted

    def run() -> Effects[Reply]:
        return (yield from in_steps(binding, draft, sampling, max_tokens, pick))

    return Program(run, "arbitrage", normalised=True)


def scored(potential: Potential, reader: Reader, step: Draw) -> Effects[float]:
    """exp of a potential's score of the reasoning up to a step, as ``reader`` reads it."""
    if potential.prefix is None:
        raise PonderError(f"arbitrage scores steps, and {potential} has no prefix; use judge")
    log_score = yield from as_log_weight(potential.prefix((reader.having_read(step).draw,)))
    return math.exp(log_score)


def _check(draft: Any = DRAFT, tau: float = 0.0, rule: str = "oracle", **law: Any) -> SamplingLaw:
    if rule not in RULES:
        raise PonderError(f"arbitrage has the rules {' and '.join(RULES)}, got {rule!r}")
    if isinstance(tau, bool) or not isinstance(tau, int | float) or not -1 <= tau <= 1:
        raise PonderError(f"arbitrage needs tau, a difference of scores, got {tau!r}")
    return sampling_law(**law)


arbitrage = Source(
    "arbitrage",
    _build,
    normalised=True,
    allowed=(*SETTINGS, "draft", "tau", "rule"),
    check=_check,
)
