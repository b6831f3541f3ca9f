"""A DSPy program whose every call is a vote.

    python dspy_program.py http://127.0.0.1:8000/v1 smollm2-135m

The server has the aliases ``json4`` and ``sc4`` (see README.md).
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import dspy
from pydantic import BaseModel, Field


class Reply(BaseModel):
    """What the signature asks for."""

    answer: Annotated[int, Field(ge=0, le=999)]


def main() -> None:
    """A signature, then plain text; the ``ponder`` object is in the history of the ``dspy.LM``."""
    base_url, model = sys.argv[1:3]
    key = os.environ.get("OPENAI_API_KEY") or "none"

    # ``json4`` is ``chat | draw(4) | vote``: DSPy's own messages, the schema as a grammar.
    four = dspy.LM(
        f"openai/{model}@json4",
        api_base=base_url,
        api_key=key,
        cache=False,
        max_tokens=64,
        response_format=Reply,
    )
    ask = dspy.Predict("question -> answer: int")
    with dspy.context(lm=four, adapter=dspy.JSONAdapter()):
        for question in ("What is 3 + 4?", "What is 20 - 8?"):
            prediction = ask(question=question)
            ponder = four.history[-1]["response"].provider_data["ponder"]
            print(f"{question} {prediction.answer}, probability {ponder['probability']}")

    # ``sc4`` is ``cot | draw(4) | vote``, which asks in its own words: for text, no signature.
    voting = dspy.LM(f"openai/{model}@sc4", api_base=base_url, api_key=key, cache=False)
    (text,) = voting("Ann has 3 apples and buys 4 more. How many has she now?")
    ponder = voting.history[-1]["response"].provider_data["ponder"]
    print(f"{text!r}: {ponder['answer']!r}, probability {ponder['probability']}")


if __name__ == "__main__":
    main()
