"""What schemathesis has to know besides the description: rules that JSON Schema cannot state.

Bodies that break one of these, and nothing else, are left out, so that every other body that the
schema allows must be accepted. What the server says to those left out is in its own tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import schemathesis


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Whether a body keeps to the rules."""
    return not isinstance(case.body, dict) or all(_rules(case.body))


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Have bodies start from a conversation that is one."""
    parts = raw_schema["components"]["schemas"]
    asked = [{"role": "user", "content": "What is 3 + 4?"}]
    parts["ChatBody"]["properties"]["messages"]["examples"] = [asked]


def _rules(body: dict[str, Any]) -> Iterator[bool]:
    """Each whether a rule holds; fields of another type than they should be hold to all."""
    messages = body.get("messages")
    if isinstance(messages, list) and messages:
        yield _asks(messages[-1])
    yield body.get("stream") is True or body.get("stream_options") is None
    longest = body.get("max_tokens"), body.get("max_completion_tokens")
    yield None in longest or longest[0] == longest[1]
    form = body.get("response_format")
    if isinstance(form, dict) and form.get("type") != "text":
        yield body.get("stop") in (None, [])
        yield form.get("type") != "json_schema"  # its schema has rules of its own
    wanted = body.get("ponder")
    if isinstance(wanted, dict):
        yield all(wanted.get(name) is None for name in ("strategy", "risk", "confidence"))
        yield wanted.get("kind") in (None, "text")  # a kind may need options, or a code block
        yield wanted.get("options") is None


def _asks(turn: Any) -> bool:
    """The last message is the user's, and has some text."""
    if not isinstance(turn, dict):
        return True
    content = turn.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    said = any(text.strip() for text in texts if isinstance(text, str))
    return said and turn.get("role") not in ("system", "developer", "assistant")
