"""An OpenAI-compatible server that answers as it is told, on a port of this machine."""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """An answer: a status and a body, late or cut off in the middle or as a stream of events."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    late: float = 0.0
    cut: bool = False
    hang_up: bool = False
    events: Sequence[Any] = ()
    pause: float = 0.0


def reply(
    text: str,
    *,
    tokens: Sequence[tuple[Any, float]] | None = None,
    finish: str = "stop",
    prompt: int | None = 10,
    count: int | None = None,
    cached: int = 0,
    **more: Any,
) -> Body:
    """A chat completion; ``tokens`` are (bytes or token text, log-probability)."""
    choice: Body = {"index": 0, "message": {"role": "assistant", "content": text}}
    choice |= {"finish_reason": finish, **more}
    if tokens is not None:
        choice["logprobs"] = {"content": [entry(piece, log) for piece, log in tokens]}
    found: Body = {"object": "chat.completion", "choices": [choice]}
    if prompt is not None:
        generated = count if count is not None else len(tokens) if tokens else 3
        details = {"cached_tokens": cached}
        found["usage"] = {"prompt_tokens": prompt, "completion_tokens": generated}
        found["usage"]["prompt_tokens_details"] = details
    return found


def entry(piece: Any, log: float, top: Sequence[tuple[str, float]] = ()) -> Body:
    """A listed token; its most probable rivals are ``top``."""
    data = piece if isinstance(piece, bytes) else str(piece).encode()
    rivals = [{"token": t, "bytes": list(t.encode()), "logprob": p} for t, p in top]
    shown = data.decode(errors="replace")
    return {"token": shown, "bytes": list(data), "logprob": log, "top_logprobs": rivals}


def piece(text: str, log: float | None = -0.5, finish: str | None = None) -> Body:
    """An event of a stream."""
    choice: Body = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    if text and log is not None:
        choice["logprobs"] = {"content": [entry(text, log)]}
    return {"choices": [choice]}


class FakeServer:
    """``answer(body, n)`` says what the n-th chat request gets; other paths have their own.

    ``asked`` holds the bodies, ``most`` the largest number that was under way at once, ``gone``
    counts clients that hung up before they were answered.
    """

    def __init__(
        self,
        answer: Callable[[Body, int], Any] | None = None,
        *,
        models: Sequence[str] = ("m",),
        owner: str = "vllm",
        key: str | None = None,
        logprobs: bool = True,
    ) -> None:
        self.answer = answer or (lambda body, n: reply("Answer: 7", tokens=SEVEN))
        self.models, self.owner, self.key, self.logprobs = models, owner, key, logprobs
        self.asked: list[Body] = []
        self.sent: list[dict[str, str]] = []
        self.busy = self.most = self.gone = 0
        self.lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                fake._got(self)

            def do_POST(self) -> None:
                fake._posted(self)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def get_request(self) -> Any:
                found = super().get_request()
                fake._sockets.append(found[0])
                return found

            def handle_error(self, *_: Any) -> None:
                pass

        self._sockets: list[socket.socket] = []
        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(self, *_: Any) -> None:
        self.die()

    @property
    def name(self) -> str:
        """The name of its model."""
        return f"openai:{self.url}#{self.models[0]}"

    def die(self) -> None:
        """As with kill -9: nobody listens, and every connection breaks."""
        self._server.shutdown()
        self._server.server_close()
        for connection in self._sockets:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _got(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.path != "/v1/models":
            self._send(handler, Said({"error": "no such path"}, 404))
        elif self._refused(handler):
            self._send(handler, Said({"error": {"message": "no key"}}, 401))
        else:
            data = [{"id": m, "owned_by": self.owner, "max_model_len": 4096} for m in self.models]
            self._send(handler, Said({"data": data}))

    def _refused(self, handler: BaseHTTPRequestHandler) -> bool:
        given = handler.headers.get("Authorization")
        return self.key is not None and given != f"Bearer {self.key}"

    def _posted(self, handler: BaseHTTPRequestHandler) -> None:
        body: Body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        if self._refused(handler):
            self._send(handler, Said({"error": {"message": "no key"}}, 401))
        elif body["model"] not in self.models:
            self._send(handler, Said({"error": {"message": "unknown model"}}, 404))
        elif body.get("logprobs") and not self.logprobs:
            self._send(handler, Said({"error": {"message": "logprobs are not supported"}}, 400))
        elif body["messages"][-1]["content"] == "Say yes.":
            self._send(handler, Said(opening(self.logprobs)))
        else:
            with self.lock:
                self.asked.append(body)
                self.sent.append(dict(handler.headers))
                n = len(self.asked) - 1
                self.busy += 1
                self.most = max(self.most, self.busy)
            try:
                said = self.answer(body, n)
                self._send(handler, said if isinstance(said, Said) else Said(said))
            finally:
                with self.lock:
                    self.busy -= 1

    def _send(self, handler: BaseHTTPRequestHandler, said: Said) -> None:
        if not self._waited(handler, said.late) or said.hang_up:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        if said.events:
            self._stream(handler, said)
            return
        data = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
        handler.send_response(said.status)
        for key, value in said.headers.items():
            handler.send_header(key, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[: len(data) // 2] if said.cut else data)
        if said.cut:
            handler.close_connection = True

    def _stream(self, handler: BaseHTTPRequestHandler, said: Said) -> None:
        handler.close_connection = True
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        for event in said.events:
            if not self._waited(handler, said.pause):
                return
            try:
                handler.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            except OSError:
                self._lost()
                return
        handler.wfile.write(b"data: [DONE]\n\n")

    def _waited(self, handler: BaseHTTPRequestHandler, seconds: float) -> bool:
        """Wait; False if the client has hung up meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            ready, _, _ = select.select([handler.connection], [], [], min(left, 0.05))
            if ready and not handler.connection.recv(1, socket.MSG_PEEK):
                self._lost()
                return False
        return True

    def _lost(self) -> None:
        with self.lock:
            self.gone += 1


SEVEN = [("Answer", -0.1), (":", -0.2), (" 7", -0.3), ("<|im_end|>", -0.4)]


def opening(logprobs: bool) -> Body:
    """The answer to the one token that loading asks for."""
    tokens = [("yes", -0.1)] if logprobs else None
    found = reply("yes", tokens=tokens, finish="length")
    if logprobs:
        found["choices"][0]["logprobs"]["content"] = [entry("yes", -0.1, [("yes", -0.1)])]
    return found
