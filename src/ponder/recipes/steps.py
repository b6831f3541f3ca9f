"""``steps``: a chain of thought drawn step by step, so that it can be steered between steps."""

from __future__ import annotations

from typing import Any

from ponder.binding import Binding
from ponder.effects import Effects, Program, Sample
from ponder.errors import PonderError
from ponder.lm.protocol import Completion, Draw
from ponder.lm.sampling_law import SamplingLaw
from ponder.recipes.prompting import Reply, prompt_of, reply_of
from ponder.recipes.replies import SETTINGS, cot_instruction, sampling_law
from ponder.strategy import Source


def _build(
    binding: Binding,
    *,
    max_tokens: int = 512,
    max_steps: int = 40,
    separator: str = "\n\n",
    every: int = 0,
    **law: Any,
) -> Program[Reply]:
    """The law of ``cot``, drawn in segments that end with ``separator``, or ``every`` so many
    tokens.

    No token is cut or re-read between segments, so the whole reply has exactly the law of an
    unsegmented one (up to ``max_steps``, after which it counts as cut off and abstains).
    """
    sampling = _check(max_steps, separator, every, max_tokens=max_tokens, **law)
    prompt = prompt_of(binding, cot_instruction(binding.question))

    def run() -> Effects[Reply]:
        draws: list[Draw] = []
        tokens = prompt
        for _ in range(max_steps):
            left = max_tokens - (len(tokens) - len(prompt))
            segment = Completion(
                binding.model,
                tokens,
                sampling,
                min(left, every or left),
                () if every else (separator,),
                segment=True,
                keep=True,
            )
            draw = yield Sample(segment)
            draws.append(draw)
            tokens += draw.tokens
            if draw.tokens[-1] in binding.model.end_tokens:
                return reply_of(binding, prompt, draws, "stop")
            if len(tokens) - len(prompt) >= max_tokens:
                break
        return reply_of(binding, prompt, draws, "length")

    return Program(run, "steps", normalised=True)


def _check(max_steps: int = 40, separator: str = "\n\n", every: int = 0, **law: Any) -> SamplingLaw:
    if not isinstance(separator, str) or not separator:
        raise PonderError("steps needs a separator of at least one character")
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
        raise PonderError(f"max_steps must be a whole number of at least 1, got {max_steps}")
    if isinstance(every, bool) or not isinstance(every, int) or every < 0:
        raise PonderError(f"every must be a number of tokens, or 0 for none, got {every}")
    return sampling_law(**law)


steps = Source(
    "steps",
    _build,
    normalised=True,
    allowed=(*SETTINGS, "max_steps", "separator", "every"),
    check=_check,
)
