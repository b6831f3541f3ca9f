"""``compiled``: pseudocode for the task, then its execution in words on the question."""

from __future__ import annotations

import dataclasses
from typing import Any

from ponder.binding import Binding
from ponder.effects import Effects, Program
from ponder.lm.protocol import Message
from ponder.question import Question
from ponder.recipes.layers.asking import elided
from ponder.recipes.prompting import (
    Reply,
    opening_messages,
    prompt_of,
    question_text,
    wanted,
    written,
)
from ponder.recipes.replies import SETTINGS, sampling_law
from ponder.strategy import Source
from ponder.verify.structured import fenced_blocks

_LONGEST = 4_000  # characters of pseudocode in a prompt
_THINK = (
    "Write pseudocode in the style of Python that solves every question of this kind, whatever "
    "its details are: one function that takes the question's data, with a print() of each "
    "intermediate result. Only the pseudocode."
)


def think_messages(question: Question) -> list[Message]:
    """The chat that asks for pseudocode: the task's name and examples, and nothing else.

    Without meta["examples"] (texts) the question itself is the example.
    """
    task, examples = question.meta.get("task"), question.meta.get("examples")
    given = [str(x) for x in examples] if isinstance(examples, list) else []
    lines = [f"Task: {task}"] if task else []
    lines += [f"Example: {text}" for text in given or [question_text(question)]]
    return [*opening_messages(question), {"role": "user", "content": "\n\n".join([*lines, _THINK])}]


def _build(binding: Binding, *, max_tokens: int = 512, **law: Any) -> Program[Reply]:
    """Think-and-Execute (Chae et al. 2024): think of the task, then simulate on the question.

    Two requests: pseudocode, for a prompt that depends on the task only if meta["examples"] are
    given, and a reply that says what each print() of it prints and ends with the answer. Every
    draw thinks anew; pseudocode is not shared between questions.
    """
    sampling = sampling_law(max_tokens, **law)
    think = binding.model.chat(think_messages(binding.question))
    quiet = dataclasses.replace(binding, keep_state=False)

    def run() -> Effects[Reply]:
        thought = yield from written(quiet, think, sampling, max_tokens, "think")
        blocks = fenced_blocks(thought.text)
        code = elided(blocks[-1].content if blocks else thought.text, _LONGEST)
        request = (
            f"Here is pseudocode for questions of this kind.\n```\n{code}\n```\nSimulate it step "
            "by step on this question: write every line that it prints, nothing else. "
            f"End with 'Answer: ' and {wanted(binding.question)}."
        )
        prompt = prompt_of(binding, request)
        return (yield from written(binding, prompt, sampling, max_tokens))

    return Program(run, "compiled", normalised=True)


compiled = Source("compiled", _build, normalised=True, allowed=SETTINGS, check=sampling_law)
