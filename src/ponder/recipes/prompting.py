"""How questions are put to a model, and what its replies are."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from string import ascii_uppercase
from typing import Any

from ponder.binding import Binding
from ponder.effects import Effects, Sample
from ponder.lm.protocol import Completion, Draw, Message, Tokens
from ponder.lm.sampling_law import SamplingLaw
from ponder.question import Question
from ponder.recipes.coding import entry_point
from ponder.verify.answers import parse_answer
from ponder.verify.structured import program_text

_WANTED = {
    "number": "the number",
    "choice": "the letter",
    "bool": "yes or no",
    "logic": "True, False or Uncertain",
    "math": "the answer in LaTeX, as short as possible",
    "text": "the answer in as few words as possible",
    "json": "the JSON value",
}


@dataclass(frozen=True)
class Reply:
    """A finished reply of a model: a program's value.

    ``answer`` is its canonical answer, None if there is none to be read or the reply was cut off
    (then it abstains). ``transcript`` holds the prompt's and the reply's tokens without the end
    token: what a judge reads on from. ``log_prob`` is the log-probability of its ``length`` tokens
    under the model at temperature 1, in nats, NaN where a server did not tell. ``program`` is the
    code in it, if that was asked for; ``notes`` is what a critic said of it, ``tests`` are tests
    written for it.
    """

    text: str
    answer: Hashable | None
    finish: str
    transcript: Tokens = field(repr=False)
    log_prob: float = field(default=0.0, compare=False, repr=False)
    length: int = field(default=0, repr=False)
    program: str | None = field(default=None, repr=False)
    notes: str = field(default="", repr=False)
    tests: tuple[str, ...] = field(default=(), repr=False)


def ask_messages(question: Question, instruction: str) -> list[Message]:
    """The chat that puts a question, with its instruction after a blank line.

    Options that the question does not spell out itself are listed after it.
    """
    text = question_text(question)
    if instruction:
        text = f"{text}\n\n{instruction}"
    return [*opening_messages(question), {"role": "user", "content": text}]


def opening_messages(question: Question) -> list[Message]:
    """What comes before the question: a system prompt in place of the model's own, and turns."""
    said = [("system", question.system)] if question.system else []
    return [{"role": role, "content": text} for role, text in (*said, *question.history)]


def question_text(question: Question) -> str:
    """The question with its options, listed after it unless it spells them out itself."""
    if all(option in question.text for option in question.options):
        return question.text
    listed = (
        f"{letter}) {o}" for letter, o in zip(ascii_uppercase, question.options, strict=False)
    )
    return "\n".join([question.text, *listed])


def wanted(question: Question) -> str:
    """What the last line of a reply should hold."""
    return f"one of: {', '.join(question.labels)}" if question.labels else _WANTED[question.kind]


def prompt_of(binding: Binding, instruction: str) -> Tokens:
    """The prompt tokens of the bound question."""
    tokens: Tokens = binding.model.chat(ask_messages(binding.question, instruction))
    return tokens


def written(
    binding: Binding,
    prompt: Tokens,
    law: SamplingLaw,
    max_tokens: int,
    name: str | None = "reply",
) -> Effects[Reply]:
    """What the model replies to ``prompt``, drawn at once: one sample of that name."""
    completion = Completion(binding.model, prompt, law, max_tokens, keep=binding.keep_state)
    draw = yield Sample(completion, name)
    return reply_of(binding, prompt, [draw])


def reply_of(
    binding: Binding, prompt: Tokens, draws: Sequence[Draw], finish: str | None = None
) -> Reply:
    """The reply that was drawn, at once or in segments; a cut-off one has no answer."""
    ends: Any = binding.model.end_tokens
    tokens = tuple(t for draw in draws for t in draw.tokens)
    spoken = len(tokens) - (1 if tokens and tokens[-1] in ends else 0)
    text = "".join(draw.text for draw in draws)
    finish = finish or draws[-1].finish
    q = binding.question
    answer, code = None, None
    if finish == "stop":
        answer = answer_in(text, q)
        if q.kind == "code":
            code = program_text(text, entry_point(q))
    transcript = prompt + tokens[:spoken]
    log_prob = _log_prob(binding, prompt, draws)
    return Reply(text, answer, finish, transcript, log_prob, len(tokens), code)


def answer_in(text: str, question: Question) -> Hashable | None:
    """The canonical answer that a reply announces; None if there is none to be read."""
    return _parsed(text, question.kind, question.options, question.labels)


@lru_cache(maxsize=4096)  # samples that are replayed are read again and again
def _parsed(
    text: str, kind: str, options: tuple[str, ...], labels: tuple[str, ...]
) -> Hashable | None:
    return parse_answer(text, kind, options=options, labels=labels)


def _log_prob(binding: Binding, prompt: Tokens, draws: Sequence[Draw]) -> float:
    """Of all that was drawn, at temperature 1; what was drawn after another prompt is asked.

    NaN where a server did not tell: an error for whoever scores the reply by it.
    """
    terms = []
    for draw in draws:
        if any(map(math.isnan, draw.logp)):
            return math.nan
        terms.append(Completion(binding.model, prompt).log_prob(draw))
        prompt += draw.tokens
    return math.fsum(terms)
