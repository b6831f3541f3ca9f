"""``chat`` and ``continuation``: what the model itself says, nothing added to what it is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

from ponder.binding import Binding
from ponder.effects import Effects, Program, Sample
from ponder.errors import PonderError
from ponder.lm.protocol import Completion, Tokens
from ponder.lm.sampling_law import SamplingLaw
from ponder.question import Question
from ponder.recipes.prompting import Reply, answer_in, opening_messages, reply_of
from ponder.recipes.replies import SETTINGS, sampling_law
from ponder.strategy import Source
from ponder.verify.answers import canonical

LONGEST = 2048


def _check(stop: Sequence[str] = (), max_tokens: int = LONGEST, **law: Any) -> SamplingLaw:
    if isinstance(stop, str) or not all(isinstance(s, str) and s for s in stop):
        raise PonderError(f"stop is a tuple of texts that are not empty, got {stop!r}")
    return sampling_law(max_tokens, **law)


def _said(question: Question, text: str) -> Hashable | None:
    """The answer of a reply: all of it, unless another kind of answer is wanted."""
    if question.kind != "text":
        return answer_in(text, question)
    return canonical(text, "text") if text.strip() else None


def _program(
    binding: Binding, name: str, prompt: Tokens, max_tokens: int, stop: Sequence[str], law: Any
) -> Program[Reply]:
    completion = Completion(
        binding.model,
        prompt,
        _check(stop, max_tokens, **law),
        max_tokens,
        tuple(stop),
        keep=binding.keep_state,
    )

    def run() -> Effects[Reply]:
        draw = yield Sample(completion, "reply")
        reply = reply_of(binding, prompt, [draw])
        # A reply that was cut off is one too: whoever asks says how long it may be.
        return dataclasses.replace(reply, answer=_said(binding.question, reply.text))

    return Program(run, name, normalised=True)


def _chat(
    binding: Binding, *, max_tokens: int = LONGEST, stop: Sequence[str] = (), **law: Any
) -> Program[Reply]:
    """The model's next message in a conversation, as it is; at temperature 0.7.

    It ends before a ``stop`` string or after ``max_tokens`` tokens. Where it has to follow a
    schema, use ``constrained``.
    """
    question = binding.question
    said = [*opening_messages(question), {"role": "user", "content": question.text}]
    return _program(binding, "chat", binding.model.chat(said), max_tokens, stop, law)


def _continuation(
    binding: Binding, *, max_tokens: int = LONGEST, stop: Sequence[str] = (), **law: Any
) -> Program[Reply]:
    """How a text goes on: no chat, no markup; otherwise like ``chat``."""
    prompt = binding.model.tokenize(binding.question.text)
    return _program(binding, "continuation", prompt, max_tokens, stop, law)


chat, continuation = (
    Source(name, build, normalised=True, allowed=(*SETTINGS, "stop"), check=_check)
    for name, build in (("chat", _chat), ("continuation", _continuation))
)
