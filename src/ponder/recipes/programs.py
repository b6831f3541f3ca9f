"""``pot``: program of thought, a reply in code that is run for its answer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Hashable
from typing import Any

from ponder.binding import Binding
from ponder.effects import Effects, Program, sample
from ponder.outside import Outside
from ponder.question import Question
from ponder.recipes.prompting import Reply, prompt_of, wanted, written
from ponder.recipes.replies import SETTINGS, sampling_law
from ponder.strategy import Source
from ponder.verify.answers import canonical
from ponder.verify.structured import program_text

CALL = "solution()"
_DIGITS = 10  # binary fractions that differ in their last bits are one number


def pot_instruction(question: Question) -> str:
    """Ask for a function that computes the answer."""
    result = "the answer as a number" if question.kind == "number" else wanted(question)
    return (
        f"Write a Python function {CALL} that computes and returns {result}. "
        "Only code, no explanation."
    )


def executed(binding: Binding, reply: Reply) -> Effects[Reply]:
    """The reply with what its program returns for an answer; None if it does not run."""
    program = program_text(reply.text, "solution") if reply.finish == "stop" else None
    if program is None:
        return dataclasses.replace(reply, answer=None, program=None)
    request = Outside.ask(binding.service("python"), program=program, call=CALL)
    result = yield from sample(request, "run")
    answer = answer_of_value(result, binding.question)
    return dataclasses.replace(reply, answer=answer, program=program)


def answer_of_value(result: dict[str, Any], question: Question) -> Hashable | None:
    """What a program returned, as an answer of the question's kind; None if it is none."""
    from ponder.verify.sandbox import plain

    if result.get("status") != "ok" or result.get("value") is None:
        return None
    value = plain(result["value"])
    if question.kind == "json":
        try:
            text = json.dumps(value)
        except (TypeError, ValueError):
            return None
    elif isinstance(value, float) and abs(value) < 10**_DIGITS:
        text = f"{value:.{_DIGITS}g}"
    else:
        text = str(value)
    return canonical(text, question.kind, options=question.options, labels=question.labels)


def _build(binding: Binding, *, max_tokens: int = 320, **law: Any) -> Program[Reply]:
    sampling = sampling_law(max_tokens, **law)
    prompt = prompt_of(binding, pot_instruction(binding.question))

    def run() -> Effects[Reply]:
        reply = yield from written(binding, prompt, sampling, max_tokens)
        return (yield from executed(binding, reply))

    return Program(run, "pot", normalised=True)


pot = Source("pot", _build, normalised=True, allowed=SETTINGS, check=sampling_law)
