"""One request of the soak, from its first byte to a verdict on what came back."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from soak_requests import CHAT, MARKER, Ask
from soak_server import KEY

HANG = 150.0  # seconds: the server's own limit on a request is 60, and so long it may wait
LEAVING = ("in the stream", "before the first byte", "cancelled")


@dataclass
class Outcome:
    """What became of a request: ``end`` is answered, refused, busy, left, or no end at all."""

    ask: Ask
    end: str = "none"
    status: int = 0
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    raw: str = ""
    texts: list[str] = field(default_factory=list)
    reply: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    left_at: float = 0.0

    @property
    def own(self) -> bool:
        """Whether the reply has the request's own marker."""
        return self.ask.marker in {marker.lower() for marker in self.markers}

    @property
    def markers(self) -> set[str]:
        """All that look like markers, in whatever came back."""
        whole = "\n".join([self.raw, *self.texts])
        return {found.lower() for found in MARKER.findall(whole)}

    @property
    def cut(self) -> str | None:
        """Why the answer was cut short, if it was."""
        beside = self.reply.get("ponder") or {}
        return beside.get("cut_short")


async def send(client: httpx.AsyncClient, ask: Ask, leave: str = "", slow: float = 0.0) -> Outcome:
    """Ask, and go away early as ``leave`` says; ``slow``: seconds between reading pieces."""
    outcome = Outcome(ask)
    began = time.monotonic()
    patience = {"before the first byte": 0.4, "cancelled": 6.0}.get(leave)
    try:
        limit = HANG if patience is None else random.uniform(0, patience)
        async with asyncio.timeout(limit):
            await _receive(client, outcome, leave == "in the stream", slow)
    except TimeoutError:
        outcome.end, outcome.left_at = "left", time.time()
        if patience is None:
            outcome.end = "none"
            outcome.faults.append(f"hang: no end within {HANG:.0f} s")
    except httpx.HTTPError as error:
        outcome.faults.append(f"broken: {type(error).__name__} {error}")
    outcome.seconds = time.monotonic() - began
    if outcome.end in ("answered", "refused", "busy"):
        outcome.faults += faults(outcome)
    return outcome


async def _receive(client: httpx.AsyncClient, outcome: Outcome, leave: bool, slow: float) -> None:
    ask = outcome.ask
    method = "GET" if ask.body is None else "POST"
    headers = [(name.encode(), value.encode("latin-1")) for name, value in ask.headers.items()]
    async with client.stream(method, ask.path, content=ask.body, headers=headers) as response:
        outcome.status, outcome.headers = response.status_code, response.headers
        pieces, most = [], random.randint(1, 12)
        async for piece in response.aiter_bytes():
            pieces.append(piece)
            if leave and len(pieces) >= most and ask.stream:
                outcome.end, outcome.left_at = "left", time.time()
                break
            if slow:
                await asyncio.sleep(slow)
    outcome.raw = b"".join(pieces).decode(errors="replace")
    if outcome.end != "left":
        outcome.end = {True: "answered", False: "refused"}[outcome.status == 200]
        if outcome.status == 429:
            outcome.end = "busy"


def faults(outcome: Outcome) -> Iterator[str]:
    """All that is wrong with a reply; each begins with the claim that it breaks."""
    ask, status = outcome.ask, outcome.status
    if "Traceback" in outcome.raw or 'File "' in outcome.raw:
        yield "traceback: in the reply"
    if status != 429 and status not in ask.wanted:
        yield f"status: {status}, wanted {ask.wanted}: {outcome.raw[:200]}"
    if status != 200:
        if ask.path != "/health":
            yield from _error(outcome)
    elif ask.stream:
        yield from _events(outcome)
    elif ask.fields:
        yield from _whole(outcome)


def _error(outcome: Outcome) -> Iterator[str]:
    try:
        yield from _shape(json.loads(outcome.raw))
    except ValueError:
        yield f"shape: {outcome.status} without JSON: {outcome.raw[:200]}"
    wait = outcome.headers.get("retry-after", "")
    if outcome.status in (429, 503) and not wait.isdecimal():
        yield f"retry: {outcome.status} without Retry-After"


def _shape(found: Any) -> Iterator[str]:
    """OpenAI's form of an error, in one line."""
    error = found.get("error") if isinstance(found, dict) else None
    if not isinstance(error, dict) or set(error) != {"message", "type", "param", "code"}:
        yield f"shape: {str(found)[:200]}"
    elif not error["message"] or "\n" in error["message"]:
        yield f"shape: message {error['message']!r}"


def _events(outcome: Outcome) -> Iterator[str]:
    """A stream's form: every event is JSON, every choice has an end, [DONE] is last."""
    rows = [line[6:] for line in outcome.raw.split("\n") if line.startswith("data: ")]
    if not rows or rows[-1] != "[DONE]":
        yield f"broken: a stream without [DONE], but {outcome.raw[-200:]!r}"
        return
    texts: dict[int, str] = {}
    ended = set()
    for row in rows[:-1]:
        try:
            chunk = json.loads(row)
        except ValueError:
            yield f"shape: an event that is no JSON: {row[:100]}"
            continue
        if "error" in chunk:
            yield from _shape(chunk)
            outcome.end = "refused"
            return
        outcome.reply.update({k: v for k, v in chunk.items() if v is not None})
        for choice in chunk["choices"]:
            said = choice["delta"].get("content") if "delta" in choice else choice["text"]
            texts[choice["index"]] = texts.get(choice["index"], "") + (said or "")
            if choice["finish_reason"]:
                ended.add(choice["index"])
    outcome.texts = [texts[index] for index in sorted(texts)]
    if ended != set(texts):
        yield f"broken: choices {set(texts) - ended} of a stream have no end"
    yield from _content(outcome)


def _whole(outcome: Outcome) -> Iterator[str]:
    try:
        outcome.reply = json.loads(outcome.raw)
    except ValueError:
        yield f"shape: a reply that is no JSON: {outcome.raw[:100]}"
        return
    chats = outcome.ask.path == CHAT
    choices = outcome.reply["choices"]
    outcome.texts = [c["message"]["content"] if chats else c["text"] for c in choices]
    counts = outcome.reply["usage"]
    if counts["total_tokens"] != counts["prompt_tokens"] + counts["completion_tokens"]:
        yield f"content: usage does not add up: {counts}"
    yield from _content(outcome)


def _content(outcome: Outcome) -> Iterator[str]:
    """What was asked for, as far as a client can see."""
    fields, beside = outcome.ask.fields or {}, outcome.reply.get("ponder")
    if beside is None or "cost" not in beside:
        yield "content: no ponder object"
        return
    if fields.get("seed") is not None and beside["seed"] != fields["seed"]:
        yield f"content: seed {beside['seed']} for {fields['seed']}"
    prompts = fields.get("prompt", "")
    count = fields.get("n") or (len(prompts) if isinstance(prompts, list) else 1)
    if len(outcome.texts) != count:
        yield f"content: {len(outcome.texts)} choices, {count} wanted"
    for stop in fields.get("stop", ()):
        if any(stop in text for text in outcome.texts):
            yield f"content: the stop string {stop!r} in {outcome.texts}"
    if "response_format" in fields and not beside["abstained"] and not beside["cut_short"]:
        for text in filter(None, outcome.texts):
            try:
                whole = set(json.loads(text)) == {"name", "age"}
            except ValueError:
                whole = beside["unfinished"] or _cut_off(outcome)
            if not whole:
                yield f"content: not by the schema: {text!r}"


def _cut_off(outcome: Outcome) -> bool:
    return '"finish_reason": "length"' in outcome.raw or '"finish_reason":"length"' in outcome.raw


# Senders that no library is.


async def dawdle(url: str, ask: Ask, how: str) -> tuple[str, str]:
    """Send by hand, ``drip`` a piece at a time, ``stall`` in the middle of the body, ``break off``
    in the middle of the headers, or send ``no HTTP``: (how, what came back)."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = ask.body or b""
    head = (
        f"POST {ask.path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    ).encode()
    whole = b"\x16\x03\x01 what is this\r\n\r\n" if how == "no HTTP" else head + body
    half = {"stall": len(head) + len(body) // 2, "break off": len(head) // 2}.get(how, len(whole))
    came = b""
    try:
        async with asyncio.timeout(HANG):
            for start in range(0, half, 1 + len(whole) // 6):
                writer.write(whole[start : min(start + 1 + len(whole) // 6, half)])
                await writer.drain()
                await asyncio.sleep(0 if how == "no HTTP" else random.uniform(0.1, 0.6))
            if how != "break off":
                came = await reader.read()
    except TimeoutError:
        return how, "hang"
    except OSError:
        return how, "closed"
    finally:
        writer.close()
    return how, came.split(b"\r\n", 1)[0].decode(errors="replace") or "closed"
