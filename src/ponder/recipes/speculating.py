"""``spec_reason``: a small model writes the steps that a large one finds good (SpecReason)."""

from __future__ import annotations

import math
from typing import Any

from ponder.binding import Binding
from ponder.effects import Effects, Program, sample
from ponder.errors import PonderError
from ponder.lm.further import further
from ponder.lm.protocol import Draw, OptionLogProbs
from ponder.lm.sampling_law import SamplingLaw
from ponder.recipes.prompting import Reply
from ponder.recipes.replies import SETTINGS, sampling_law
from ponder.recipes.single_tokens import single_tokens
from ponder.recipes.stepping import Reader, in_steps
from ponder.strategy import Source

DRAFT = "smollm2-135m"
_RATE = (
    "Rate the last step of the reasoning above from 0 (wrong) to 9 (right and useful). Look only "
    "at its facts and its logic."
)
_STUB = "Rating: "


def _build(
    binding: Binding,
    *,
    draft: str = DRAFT,
    threshold: float = 7,
    max_tokens: int = 512,
    **law: Any,
) -> Program[Reply]:
    """A chain of thought whose steps the draft model writes where the bound model agrees.

    SpecReason (Pan et al. 2025): the draft writes a step, the bound model rates it with one token,
    and writes the step itself if the expected rating is below ``threshold``. The law is neither
    model's: this is a program of its own, and what is exact after ``draw`` is exact for it.
    """
    sampling = _check(draft, threshold, max_tokens=max_tokens, **law)

    def pick(base: Reader, small: Reader, left: int) -> Effects[Draw]:
        drafted = yield from small.step(sampling, left, "draft")
        rating = yield from rated(base.having_read(drafted))
        if rating >= threshold:
            return drafted
        return (yield from base.step(sampling, left, "base"))

    def run() -> Effects[Reply]:
        return (yield from in_steps(binding, draft, sampling, max_tokens, pick))

    return Program(run, "spec_reason", normalised=True)


def rated(reader: Reader) -> Effects[float]:
    """The expected rating of the last step, from 0 to 9; 0 where no digit is likely at all.

    One token after a stub: sum_d d P(d) / sum_d P(d) over the ten digits.
    """
    prompt = further(reader.model, reader.transcript, _RATE) + reader.model.tokenize(_STUB)
    digits = tuple(single_tokens(reader.model, str(digit)) for digit in range(10))
    logs = yield from sample(OptionLogProbs(reader.model, prompt, digits), "rating")
    shares = [math.exp(log_prob) for log_prob in logs]
    total = math.fsum(shares)
    return math.fsum(d * share for d, share in enumerate(shares)) / total if total > 0 else 0.0


def _check(draft: Any = DRAFT, threshold: float = 7, **law: Any) -> SamplingLaw:
    number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if not number or not 0 <= threshold <= 9:
        raise PonderError(f"spec_reason needs a threshold from 0 to 9, got {threshold!r}")
    return sampling_law(**law)


spec_reason = Source(
    "spec_reason",
    _build,
    normalised=True,
    allowed=(*SETTINGS, "draft", "threshold"),
    check=_check,
)
