"""What the soak asks: every request carries a word of its own; some are not as they should be."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from soak_server import KEY

MODEL = "smollm2-135m"
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
MARKER = re.compile(r"kx[abdeiklmnorstu]{7}xk", re.IGNORECASE)
MAX_BODY = 64 * 1024
JSON = "application/json"
Body = dict[str, Any]


@dataclass(frozen=True)
class Ask:
    """One request. ``wanted`` are the statuses that are right, besides 429; ``body`` is None
    where nothing is sent."""

    kind: str
    path: str
    body: bytes | None
    marker: str
    wanted: tuple[int, ...] = (200,)
    key: str | None = f"Bearer {KEY}"
    content_type: str = JSON
    fields: Body | None = None

    @property
    def stream(self) -> bool:
        """Whether the reply is to come as events."""
        return bool(self.fields and self.fields.get("stream"))

    @property
    def headers(self) -> dict[str, str]:
        """Of the request."""
        found = {"Content-Type": self.content_type}
        return found if self.key is None else found | {"Authorization": self.key}

    def with_fields(self, fields: Body) -> Ask:
        """The same with another body."""
        return replace(self, body=json.dumps(fields).encode(), fields=fields)


def new_marker(rng: random.Random) -> str:
    """A word that no other request has."""
    return "kx" + "".join(rng.choices("abdeiklmnorstu", k=7)) + "xk"


def question(marker: str, rng: random.Random) -> str:
    """Something whose answer the model begins with the marker, more often than not."""
    a, b = rng.randint(1, 20), rng.randint(1, 20)
    return rng.choice(
        [
            f"{marker} {marker} {marker}. Write the word before this sentence once more.",
            f"The ticket is {marker}. What is {a} + {b}? Begin with the ticket.",
            f"My name is {marker}. Say hello to me by my name.",
        ]
    )


def chat(marker: str, rng: random.Random, how: str = "", **fields: Any) -> Body:
    """A conversation of one message, or of three."""
    history = []
    if rng.random() < 0.3:
        history = [
            {"role": "system", "content": f"You help {marker}."},
            {"role": "user", "content": "Hello."},
            {"role": "assistant", "content": f"Hello, {marker}."},
        ]
    asked = [*history, {"role": "user", "content": question(marker, rng)}]
    return {"model": MODEL + how, "messages": asked, **fields}


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 16}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
FORM = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
NO_FORM = {"type": "json_schema", "json_schema": {"name": "none", "schema": {"type": 7}}}
VOTE = "@cot(max_tokens=32) | draw(8) | vote"
SMC = "@steps(max_tokens=48) | smc(4) | vote"

Maker = Callable[[str, random.Random], Body]


def _good(path: str, fields: Maker) -> Callable[[str, str, random.Random], Ask]:
    def make(kind: str, marker: str, rng: random.Random) -> Ask:
        body = fields(marker, rng)
        return Ask(kind, path, json.dumps(body).encode(), marker, fields=body)

    return make


def _chat(how: str = "", **fields: Any) -> Callable[[str, str, random.Random], Ask]:
    return _good(CHAT, lambda marker, rng: chat(marker, rng, how, **fields))


def _seeded(marker: str, rng: random.Random) -> Body:
    return chat(marker, rng, max_tokens=24, seed=rng.randrange(2**40))


def _text(marker: str, rng: random.Random) -> Body:
    prompts = [f"{marker} {marker} {marker} {marker}", f"Dear {marker},"]
    return {"model": MODEL, "prompt": prompts[: rng.randint(1, 2)], "max_tokens": 16}


def _get(path: str) -> Callable[[str, str, random.Random], Ask]:
    return lambda kind, marker, rng: Ask(kind, path, None, marker)


USAGE = {"include_usage": True}
ALL = {"traces": True, "genealogy": True}
GOOD: dict[str, tuple[float, Callable[[str, str, random.Random], Ask]]] = {
    "bare, streamed": (5, _chat(max_tokens=32, stream=True, stream_options=USAGE)),
    "bare": (5, _chat(max_tokens=24, temperature=0.5, top_p=0.9)),
    "sc4": (3, _chat("@sc4")),
    "sc4, streamed": (2, _chat("@sc4", stream=True)),
    "vote of 8, progress": (2, _chat(VOTE, stream=True, ponder={"progress": True})),
    "vote of 8, all of it": (1, _chat(VOTE, ponder=ALL)),
    "smc, progress": (1, _chat(SMC, stream=True, ponder={"progress": True, **ALL})),
    "strategy in the body": (1, _chat(ponder={"strategy": "sc4", "max_tokens": 400})),
    "no time": (1, _chat("@sc4", ponder={"max_seconds": 0.2})),
    "n=2": (2, _chat(n=2, max_tokens=16)),
    "n=2, streamed": (1, _chat(n=2, max_tokens=16, stream=True)),
    "stop": (2, _chat(stop=["the", "\n\n"], max_tokens=32)),
    "seed": (2, _good(CHAT, _seeded)),
    "logprobs": (1, _chat(logprobs=True, max_tokens=16)),
    "schema": (2, _chat(response_format=FORM, max_tokens=48)),
    "schema, streamed": (1, _chat(response_format=FORM, max_tokens=48, stream=True)),
    "schema, vote of 4": (1, _chat("@json4", response_format=FORM)),
    "completions": (2, _good(TEXT, _text)),
    "completions, streamed": (1, _good(TEXT, lambda m, r: _text(m, r) | {"stream": True})),
    "/v1/models": (0.5, _get("/v1/models")),
    "/health": (0.5, _get("/health")),
    "/metrics": (0.5, _get("/metrics")),
    "/": (0.2, _get("/")),
}


def _nested(depth: int) -> bytes:
    schema = b'{"type":"array","items":' * depth + b'{"type":"string"}' + b"}" * depth
    form = b'{"type":"json_schema","json_schema":{"name":"deep","schema":%s}}' % schema
    return b',"max_tokens":8,"response_format":' + form


def _raw(text: bytes) -> Maker:
    return lambda marker, rng: {"raw": text.replace(b"MARK", marker.encode())}


def _ask(**fields: Any) -> Maker:
    return lambda marker, rng: chat(marker, rng, **({"max_tokens": 8} | fields))


def _how(how: str) -> Maker:
    return lambda marker, rng: chat(marker, rng, how)


_ONE = b'{"model":"smollm2-135m","messages":[{"role":"user","content":"MARK%s"}]%s}'
BAD: dict[str, tuple[tuple[int, ...], Maker]] = {
    "no JSON": ((400,), _raw(b'{"model": "smollm2-135m", "messages": [MARK')),
    "nothing": ((400,), _raw(b"")),
    "no UTF-8": ((400,), _raw(_ONE % (b"\xff\xfe", b""))),
    "NaN": ((400,), _raw(_ONE % (b"", b',"temperature":NaN'))),
    "infinity": ((400,), _raw(_ONE % (b"", b',"temperature":1e999'))),
    "half a character": ((400,), _raw(_ONE % (b"\\ud800", b""))),
    "null character": ((200, 400), _raw(_ONE % (b"\\u0000", b',"max_tokens":4'))),
    "deep arrays": ((400,), _raw(b"[" * 30000)),
    "deep body": ((400,), _raw(_ONE % (b"", b',"metadata":' + b'{"a":' * 5000 + b"}" * 5000))),
    "deep schema": ((200, 400), _raw(_ONE % (b"", _nested(150)))),
    "deeper schema": ((400,), _raw(_ONE % (b"", _nested(2000)))),
    "no schema": ((400,), _ask(response_format=NO_FORM)),
    "too long": ((413,), _raw(_ONE % (b"a" * MAX_BODY, b""))),
    "longer than the context": ((400,), lambda m, r: chat(m, r) | _long(m)),
    "wrong types": ((400,), _ask(temperature="hot")),
    "a list": ((400,), _raw(b'["MARK"]')),
    "unknown field": ((400,), _ask(temprature=1)),
    "unknown field in ponder": ((400,), _ask(ponder={"strateg": "sc4"})),
    "tools": ((400,), _ask(tools=[{"type": "function", "function": {"name": "f"}}])),
    "penalty": ((400,), _ask(frequency_penalty=0.5)),
    "n=0": ((400,), _ask(n=0)),
    "n=10000": ((400,), _ask(n=10000)),
    "a huge seed": ((400,), _ask(seed=2**70)),
    "max_tokens -1": ((400,), _ask(max_tokens=-1)),
    "no messages": ((400,), lambda m, r: {"model": MODEL, "messages": []}),
    "an image": ((400,), lambda m, r: chat(m, r) | _image(m)),
    "unknown model": ((404,), lambda m, r: chat(m, r) | {"model": m}),
    "unknown alias": ((404,), _how("@nothing")),
    "no notation": ((400,), _how("@cot | draw(")),
    "a huge strategy": ((400,), _how("@cot | draw(1000000) | vote")),
    "a deep strategy": ((400,), _how(f"@{'either(' * 200}cot{')' * 200} | draw(2) | vote")),
    "code as a strategy": ((400,), _how("@__import__('os').getcwd() | vote")),
    "a model's path": ((400,), _how("@cot | draw(2) | weigh(judge(model='/etc/hosts')) | vote")),
}  # fmt: skip


def _long(marker: str) -> Body:
    return {"messages": [{"role": "user", "content": f"{marker} " + "a b " * 9000}]}


def _image(marker: str) -> Body:
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{marker}"}}
    return {"messages": [{"role": "user", "content": [part]}]}


KEYS = {
    "no key": None,
    "a wrong key": "Bearer soak-key-0123456788",
    "an empty key": "Bearer",
    "another scheme": f"Basic {KEY}",
    "a strange key": "Bearer \xe9\xff",
}


def good(kind: str, marker: str, rng: random.Random) -> Ask:
    """A request that deserves an answer."""
    return GOOD[kind][1](kind, marker, rng)


def any_good(marker: str, rng: random.Random) -> Ask:
    """One of them at random."""
    kinds = list(GOOD)
    (kind,) = rng.choices(kinds, [GOOD[kind][0] for kind in kinds])
    return good(kind, marker, rng)


def any_bad(marker: str, rng: random.Random) -> Ask:
    """A request that deserves a clear error."""
    kind = rng.choice([*BAD, *KEYS, "another content type", "another method", "another path"])
    if kind in BAD:
        wanted, fields = BAD[kind]
        made = fields(marker, rng)
        body = made["raw"] if "raw" in made else json.dumps(made).encode()
        return Ask(kind, CHAT, body, marker, wanted)
    body = json.dumps(chat(marker, rng, max_tokens=8)).encode()
    if kind in KEYS:
        return Ask(kind, CHAT, body, marker, (401,), KEYS[kind])
    if kind == "another content type":
        return Ask(kind, CHAT, body, marker, (415,), content_type="text/plain")
    if kind == "another method":
        return Ask(kind, CHAT, None, marker, (405,))
    return Ask(kind, f"/v1/{marker}", body, marker, (404,))
