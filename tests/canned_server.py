"""A server that plays canned streams to the page, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import ponder
from canned import HOLD, MODELS, stream

PAGE = Path(ponder.__file__).parent / "serve" / "page.html"


class Canned(ThreadingHTTPServer):
    """The server on a free port of loopback; a context manager.

    ``torn`` sends every byte in a piece of its own, and ends lines as CR LF. ``asked`` holds the
    bodies received and ``keys`` the keys; streams wait at HOLD for ``go``; ``gone`` says that a
    client went away before the end.
    """

    daemon_threads = True

    def __init__(self, *, torn: bool = False, key: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.torn, self.key = torn, key
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.gone = threading.Event()
        self.go = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def __enter__(self) -> Canned:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.go.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Canned

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        if self.path == "/":
            self._send(200, PAGE.read_bytes(), "text/html; charset=utf-8")
        elif self.path == "/v1/models" and self._allowed():
            rows = [{"id": name, "object": "model"} for name in MODELS]
            self._json(200, {"object": "list", "data": rows})
        elif self.path == "/v1/models":
            self._refuse(401, "no valid API key was given")
        else:
            self._refuse(404, "there is nothing here")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        if not self._allowed():
            self._refuse(401, "no valid API key was given")
        elif body["model"] == "toy@busy":
            self._refuse(429, "64 requests are waiting already", Retry_After="7")
        else:
            self._stream(body["model"])

    def _allowed(self) -> bool:
        given = self.headers.get("Authorization", "")
        self.server.keys.append(given)
        return not self.server.key or given == f"Bearer {self.server.key}"

    def _refuse(self, status: int, message: str, **headers: str) -> None:
        error = {"message": message, "type": "error", "param": None, "code": None}
        self._json(status, {"error": error}, **headers)

    def _json(self, status: int, body: Any, **headers: str) -> None:
        self._send(status, json.dumps(body).encode(), "application/json", **headers)

    def _send(self, status: int, body: bytes, kind: str, **headers: str) -> None:
        self._head(status, kind, Content_Length=str(len(body)), **headers)
        self.wfile.write(body)

    def _head(self, status: int, kind: str, **headers: str) -> None:
        """No connection outlives the server."""
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Connection": "close", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def _stream(self, name: str) -> None:
        self._head(200, "text/event-stream")
        for part in stream(name):
            if part is HOLD:
                while not self.server.go.wait(0.05):
                    if not self._write(b": waiting\n\n"):
                        return
            elif not self._say(f": {part}" if isinstance(part, str) else _data(part)):
                return
        if name != "toy@broken":
            self._say("data: [DONE]")

    def _say(self, event: str) -> bool:
        if not self.server.torn:
            return self._write(f"{event}\n\n".encode())
        whole = f"{event}\r\n\r\n".encode()
        return all(self._write(whole[i : i + 1]) for i in range(len(whole)))

    def _write(self, data: bytes) -> bool:
        """False if nobody is there to read it."""
        try:
            self.wfile.write(data)
        except OSError:
            self.server.gone.set()
            return False
        return True


def _data(part: Any) -> str:
    return f"data: {json.dumps(part, ensure_ascii=False)}"
