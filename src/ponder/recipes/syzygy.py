"""``syzygy``: conditions, five solutions and a choice, in one JSON reply (Syzygy of Thoughts)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Hashable
from typing import Any

from ponder.binding import Binding
from ponder.effects import Effects, Program
from ponder.question import Question
from ponder.recipes.programs import answer_of_value
from ponder.recipes.prompting import Reply, prompt_of, wanted, written
from ponder.recipes.replies import SETTINGS, sampling_law
from ponder.strategy import Source
from ponder.verify.structured import json_form

SOLUTIONS = 5
FIELDS: dict[str, Any] = {
    "module": {"type": "string"},
    "betti": {"type": "integer"},
    "free_conditions": {"type": "array", "items": {"type": "string"}, "minItems": 1},
    "mapping": {
        "type": "array",
        "items": {"type": "string"},
        "minItems": SOLUTIONS,
        "maxItems": SOLUTIONS,
    },
    "minimality": {"type": "string"},
    "final_answer": {"type": ["string", "number", "boolean"]},
}
SCHEMA = {"type": "object", "properties": FIELDS, "required": list(FIELDS)}


def syzygy_instruction(question: Question) -> str:
    """Ask for the six fields in one JSON object."""
    return (
        "Reply with one JSON object, without comments, and nothing else. Its fields, in order: "
        '"module": the problem in one sentence; "betti": how many auxiliary conditions it takes; '
        '"free_conditions": a list of these conditions; '
        f'"mapping": a list of {SOLUTIONS} complete solutions that use them, as texts; '
        '"minimality": which solution is the shortest that is right, and why; '
        f'"final_answer": {wanted(question)}.'
    )


def _build(binding: Binding, *, max_tokens: int = 1024, **law: Any) -> Program[Reply]:
    """The final answer of a JSON object that holds conditions, five solutions and a choice of one.

    Syzygy of Thoughts (Li et al. 2025), in one request. The answer is the field "final_answer",
    whatever the majority of the solutions says. A reply that ends on no object with all the fields
    of :data:`SCHEMA` abstains, also if it says an answer elsewhere; it is not asked for again, as a
    retry would be another law. What the fields hold, and how many solutions, is not checked.
    """
    sampling = sampling_law(max_tokens, **law)
    question = binding.question
    prompt = prompt_of(binding, syzygy_instruction(question))

    def run() -> Effects[Reply]:
        reply = yield from written(binding, prompt, sampling, max_tokens)
        answer = final_answer(reply.text, question) if reply.finish == "stop" else None
        return dataclasses.replace(reply, answer=answer)

    return Program(run, "syzygy", normalised=True)


def final_answer(text: str, question: Question) -> Hashable | None:
    """The answer in the last JSON value of a text; None unless that is an object of all fields."""
    form = json_form(text)
    value = None if form is None else json.loads(form)
    if not isinstance(value, dict) or not all(value.get(name) is not None for name in FIELDS):
        return None
    if not isinstance(value["final_answer"], str | int | float):
        return None
    return answer_of_value({"status": "ok", "value": value["final_answer"]}, question)


syzygy = Source("syzygy", _build, normalised=True, allowed=SETTINGS, check=sampling_law)
