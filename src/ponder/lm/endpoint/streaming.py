"""A reply read while it is written, and ended here at a stop string.

Most servers do not say whether a reply ended at a stop string or by itself, and leave the string
out. So they are given none: what they write is read as it comes, and the connection is closed once
it holds one of them, which also ends the work there.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from ponder.lm.endpoint.failures import Again
from ponder.lm.endpoint.reading import Usage, Written, listed_in, usage_of
from ponder.lm.endpoint.request import Request
from ponder.lm.protocol import Completion

DONE = "[DONE]"


async def read_stream(lines: AsyncIterator[str], request: Request) -> Written:
    """The reply in a stream of server-sent events; ``request`` shows how far it is.

    Raises Again if the stream ends early, or holds an error.
    """
    dist = request.dist
    assert isinstance(dist, Completion)
    text, listed, chunks = "", list[tuple[bytes, float]](), 0
    reason, usage = "", Usage()
    async for event in _events(lines):
        usage = usage_of(event) if event.get("usage") else usage
        choices = event.get("choices") or []
        if not choices:
            continue
        said = (choices[0].get("delta") or {}).get("content") or ""
        listed += listed_in(choices[0])
        text += said
        chunks += bool(said)
        request.text, request.generated = text, max(chunks, len(listed))
        reason = choices[0].get("finish_reason") or reason
        if any(stop in text for stop in dist.stop):
            # What was listed counts; where nothing is, a chunk is taken for a token.
            return Written(text, "stop", listed, Usage(usage.prompt, usage.cached, chunks), True)
    if not reason:
        raise Again("ended a reply before it was finished")
    return Written(text, reason, listed, usage, False)


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, Any]]:
    async for line in lines:
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == DONE:
            return
        try:
            event = json.loads(data)
        except ValueError:
            raise Again("sent a line that is no JSON") from None
        if "error" in event:
            raise Again(f"failed: {str(event['error'])[:200]}")
        yield event
