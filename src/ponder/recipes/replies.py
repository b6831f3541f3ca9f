"""``direct`` and ``cot``: a whole reply in one draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ponder.binding import Binding
from ponder.effects import Effects, Program
from ponder.errors import PonderError
from ponder.lm.sampling_law import SamplingLaw
from ponder.question import Question
from ponder.recipes.coding import BLOCK, code_task
from ponder.recipes.prompting import Reply, prompt_of, wanted, written
from ponder.strategy import Source

SETTINGS = ("temperature", "top_k", "top_p", "min_p", "max_tokens")


def sampling_law(max_tokens: int = 512, **law: Any) -> SamplingLaw:
    """The law of a reply's tokens, 0.7 being the temperature unless it is given."""
    if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 1:
        raise PonderError(f"max_tokens must be a whole number of at least 1, got {max_tokens}")
    try:
        return SamplingLaw(**{"temperature": 0.7, **law})
    except TypeError:
        raise PonderError(
            f"temperature, top_k, top_p and min_p must be numbers, got {law}"
        ) from None


def direct_instruction(question: Question) -> str:
    """Ask for the answer alone."""
    if question.kind == "code":
        return f"{code_task(question)} in {BLOCK} and nothing else."
    return f"Reply with 'Answer: ' and {wanted(question)}, nothing else."


def cot_instruction(question: Question) -> str:
    """Ask for short reasoning, then the answer on a marked line."""
    if question.kind == "code":
        return (
            f"Think step by step, but keep it short. {code_task(question)} in {BLOCK} at the end."
        )
    return f"Think step by step, but keep it short. End with 'Answer: ' and {wanted(question)}."


def _replies(name: str, instruction: Callable[[Question], str], doc: str) -> Source:
    def build(binding: Binding, *, max_tokens: int = 512, **law: Any) -> Program[Reply]:
        sampling = sampling_law(max_tokens, **law)
        prompt = prompt_of(binding, instruction(binding.question))

        def run() -> Effects[Reply]:
            return (yield from written(binding, prompt, sampling, max_tokens))

        return Program(run, name, normalised=True)

    build.__doc__ = doc
    return Source(name, build, normalised=True, allowed=SETTINGS, check=sampling_law)


direct = _replies(
    "direct",
    direct_instruction,
    "One reply that is asked for the answer alone, at temperature 0.7.",
)
cot = _replies(
    "cot",
    cot_instruction,
    "One chain of thought (Kojima et al. 2022), at temperature 0.7 and at most 512 tokens.",
)
