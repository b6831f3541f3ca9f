"""How questions are put to a model, and what its replies are."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any

from ponder.binding import Binding
from ponder.lm.protocol import Message, Tokens
from ponder.question import Question
from ponder.verify.answers import parse_answer

_WANTED = {
    "number": "the number",
    "choice": "the letter",
    "bool": "yes or no",
    "logic": "True, False or Uncertain",
    "text": "the answer in as few words as possible",
    "json": "the JSON value",
}


@dataclass(frozen=True)
class Reply:
    """A finished reply of a model: a program's value.

    ``answer`` is its canonical answer, None if there is none to be read or the reply was cut off
    (then it abstains). ``transcript`` holds the prompt's and the reply's tokens without the end
    token: what a judge reads on from.
    """

    text: str
    answer: Hashable | None
    finish: str
    transcript: Tokens = field(repr=False)


def ask_messages(question: Question, instruction: str) -> list[Message]:
    """The chat that puts a question, with its instruction after a blank line.

    Options that the question does not spell out itself are listed after it.
    """
    text = question.text
    if any(option not in text for option in question.options):
        listed = (
            f"{letter}) {o}" for letter, o in zip(ascii_uppercase, question.options, strict=False)
        )
        text = "\n".join([text, *listed])
    if instruction:
        text = f"{text}\n\n{instruction}"
    system = [{"role": "system", "content": question.system}] if question.system else []
    return [*system, {"role": "user", "content": text}]


def wanted(question: Question) -> str:
    """What the last line of a reply should hold."""
    return f"one of: {', '.join(question.labels)}" if question.labels else _WANTED[question.kind]


def prompt_of(binding: Binding, instruction: str) -> Tokens:
    """The prompt tokens of the bound question."""
    tokens: Tokens = binding.model.chat(ask_messages(binding.question, instruction))
    return tokens


def reply_of(binding: Binding, text: str, finish: str, transcript: Tokens) -> Reply:
    """The reply, its answer parsed by the question's kind; a cut-off reply has none."""
    ends: Any = binding.model.end_tokens
    while transcript and transcript[-1] in ends:
        transcript = transcript[:-1]
    q = binding.question
    answer = None
    if finish == "stop":
        answer = parse_answer(text, q.kind, options=q.options, labels=q.labels)
    return Reply(text, answer, finish, transcript)
