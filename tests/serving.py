"""A server in this process, on a model of the tests', behind a real socket."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from ponder.serve.aliases import read_aliases
from ponder.serve.app import make_app
from ponder.serve.limits import Places
from ponder.serve.loop import Loop
from ponder.serve.naming import Naming
from ponder.serve.server import bind
from ponder.serve.service import Service

QUESTION = [{"role": "user", "content": "What is 2 + 2?"}]


@dataclass
class Running:
    """A server that runs: where it is, and its inside."""

    base: str
    service: Service
    client: httpx.Client

    def post(self, path: str = "/v1/chat/completions", **body: Any) -> httpx.Response:
        """Ask; a chat of one question by the bare model unless said otherwise."""
        if path == "/v1/chat/completions":
            body = {"model": self.service.naming.model, "messages": QUESTION, **body}
        return self.client.post(path, json=body)

    def chunks(self, **body: Any) -> list[dict[str, Any]]:
        """The events of a stream; comments as {"comment": text}."""
        reply = self.post(stream=True, **body)
        assert reply.status_code == 200, reply.text
        return events(reply.text)

    def until_free(self) -> None:
        """Wait until nothing is at work any more, within reason."""
        service = self.service
        until(lambda: not (service.exchanges or service.places.taken or service.places.waiting))


def until(fact: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait for a fact."""
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.005)


def events(text: str) -> list[dict[str, Any]]:
    """What a stream says, which ends with [DONE]."""
    parts = [part for part in text.split("\n\n") if part]
    assert parts.pop() == "data: [DONE]"
    return [
        {"comment": part[2:]} if part.startswith(": ") else json.loads(part.removeprefix("data: "))
        for part in parts
    ]


def content(chunks: list[dict[str, Any]], index: int = 0) -> str:
    """The text of a choice, of all chunks together."""
    choices = [c for chunk in chunks for c in chunk.get("choices", ()) if c["index"] == index]
    return "".join(c["delta"].get("content", "") for c in choices)


@contextmanager
def serving(
    model: Any,
    *,
    aliases: tuple[str, ...] = (),
    bank: Path | None = None,
    card: Any = None,
    most: int = 32,
    queue: int = 64,
    **options: Any,
) -> Iterator[Running]:
    """Serve ``model`` at some port."""
    loop = Loop(lambda: model, bank=bank)
    loop.start()
    naming = Naming(model.name, read_aliases(aliases), card)
    service = Service(loop, naming, Places(most, queue), **options)
    bound = bind("127.0.0.1", 0)
    config = uvicorn.Config(make_app(service), log_config=None, lifespan="off", http="h11")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    base = f"http://127.0.0.1:{bound.getsockname()[1]}"
    try:
        with httpx.Client(base_url=base, timeout=60) as client:
            yield Running(base, service, client)
    finally:
        server.should_exit = True
        thread.join(20)
        loop.close()
