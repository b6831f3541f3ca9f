"""The ``openai`` client, unchanged: a model, a strategy by its name, streaming, async.

    python openai_client.py http://127.0.0.1:8000/v1 smollm2-135m

The server has the alias ``sc4`` (see README.md); ``OPENAI_API_KEY`` is sent if it is set.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from openai import AsyncOpenAI, NotFoundError, OpenAI

QUESTION: Any = [
    {"role": "user", "content": "Ann has 3 apples and buys 4 more. How many has she now?"}
]


def blocking(client: OpenAI, model: str) -> None:
    """One reply of the bare model, then a vote of four: the answer, and what it is worth."""
    print("models:", *(listed.id for listed in client.models.list()))
    bare = client.chat.completions.create(model=model, messages=QUESTION, max_tokens=40)
    print("bare:", repr(bare.choices[0].message.content))

    reply = client.chat.completions.create(model=f"{model}@sc4", messages=QUESTION)
    ponder = (reply.model_extra or {})["ponder"]
    print("reply:", repr(reply.choices[0].message.content))
    print(f"answer: {ponder['answer']!r}, probability {ponder['probability']}")
    print(f"law: {ponder['law']}; {reply.usage}")

    # What is asked of the strategy beyond the OpenAI fields goes into one field of the body.
    asked = {"strategy": "cot(max_tokens=64) | draw(2) | vote", "kind": "number"}
    other = client.chat.completions.create(
        model=model, messages=QUESTION, seed=1, extra_body={"ponder": asked}
    )
    print("in the body:", (other.model_extra or {})["ponder"]["strategy"])


def streaming(client: OpenAI, model: str) -> None:
    """Text as it is written; the last chunk with a choice carries ``ponder``."""
    for name in (model, f"{model}@sc4"):
        text, ponder, usage = "", None, None
        chunks = client.chat.completions.create(
            model=name,
            messages=QUESTION,
            max_tokens=64,
            stream=True,
            stream_options={"include_usage": True},
        )
        for chunk in chunks:
            if chunk.choices:
                text += chunk.choices[0].delta.content or ""
            ponder = (chunk.model_extra or {}).get("ponder", ponder)
            usage = chunk.usage or usage
        assert text, "nothing was streamed"
        assert usage is not None, "no usage came"
        assert ponder is not None, "no ponder object came"
        print(f"streamed {name}: {text!r}, {ponder['answer']!r}")


def refused(client: OpenAI, model: str) -> None:
    """A strategy that does not exist is an error that names those that do."""
    try:
        client.chat.completions.create(model=f"{model}@nonesuch", messages=QUESTION)
    except NotFoundError as error:
        print("refused:", error.body)
    else:
        raise AssertionError("an unknown strategy was answered")


async def together(base_url: str, key: str, model: str) -> None:
    """Four requests at once: they share one batch."""
    async with AsyncOpenAI(base_url=base_url, api_key=key) as client:
        asked = [
            client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": f"Say the number {i}."}],
                max_tokens=16,
            )
            for i in range(4)
        ]
        for reply in await asyncio.gather(*asked):
            print("together:", repr(reply.choices[0].message.content))


def main() -> None:
    """Run all of it; any exception is a failure."""
    base_url, model = sys.argv[1:3]
    key = os.environ.get("OPENAI_API_KEY") or "none"
    client = OpenAI(base_url=base_url, api_key=key)
    blocking(client, model)
    streaming(client, model)
    refused(client, model)
    asyncio.run(together(base_url, key, model))


if __name__ == "__main__":
    main()
