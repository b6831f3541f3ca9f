"""A recording proxy between other programs and an OpenAI-compatible server.

``http://127.0.0.1:PORT/METHOD/QUESTION/v1`` is a base URL. The i-th request with one body of a
(method, question) is answered by the i-th recorded completion of that body; what is not there yet
is drawn from the server and kept, one JSON object a line. So methods that draw from the same prompt
share their samples, a killed run goes on, and a run is repeated without a model. Nothing but the
standard library: any Python runs this.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

# What differs between requests that ask for the same distribution.
NOISE = ("n", "seed", "user", "stream", "model")
GATHER = 0.2  # seconds in which requests with one body become one


@dataclass
class Price:
    """What one method has asked on one question: its distinct prompts' tokens, and the replies."""

    prompts: dict[str, list[int]] = field(default_factory=dict)
    calls: int = 0
    sent: int = 0
    generated: int = 0

    @property
    def prompt(self) -> int:
        """Prompt tokens, every beginning read once: what ponder counts too."""
        read, before = 0, list[int]()
        for tokens in sorted(self.prompts.values()):
            same = 0
            for a, b in zip(before, tokens, strict=False):
                if a != b:
                    break
                same += 1
            read += len(tokens) - same
            before = tokens
        return read


class Recorder:
    """The proxy; ``servers`` are where completions come from, none if there must be no new ones.

    ``law`` is added to every request that does not set these fields itself. The recordings are in
    ``path``. ``order`` of a (method, question) is a permutation: once as many completions of a body
    are recorded, its i-th request gets the order[i]-th.
    """

    def __init__(self, path: Path, servers: Sequence[str], law: Mapping[str, Any]) -> None:
        self._path, self._law = path, dict(law)
        self._under_way = dict.fromkeys(servers, 0)
        self._pools: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
        self._prompts: dict[str, list[int]] = {}
        self._lock = threading.Lock()
        self._missing: dict[str, set[int]] = defaultdict(set)
        self._coming: dict[tuple[str, int], Future[None]] = {}
        self._asked: dict[str, Counter[str]] = defaultdict(Counter)
        self._orders: dict[str, Sequence[int]] = {}
        self._prices: dict[str, Price] = defaultdict(Price)
        self._read()
        self.known, self.drawn = self._generated(), 0
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.recorder = self
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def begin(self, method: str, question: str, order: Sequence[int] = ()) -> str:
        """Start a (method, question) from its first request again; answers its base URL."""
        place = f"{method}/{question}"
        with self._lock:
            self._asked[place] = Counter()
            self._prices[place] = Price()
            self._orders[place] = order
        return f"http://127.0.0.1:{self._http.server_address[1]}/{place}/v1"

    def price(self, method: str, question: str) -> Price:
        """What it has asked since it began."""
        return self._prices[f"{method}/{question}"]

    def recorded(self, method: str, question: str) -> tuple[list[int], list[dict[str, Any]]]:
        """Of the first body that it has asked: the prompt's tokens, and all completions recorded.

        A completion has ``text``, ``finish`` and ``generated``, its tokens.
        """
        for key, prompt in self.price(method, question).prompts.items():
            pool = self._pools[key]
            return prompt, [pool[i] for i in sorted(pool)]
        return [], []

    def answer(self, place: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The reply to a request of ``place``, METHOD/QUESTION; n choices are n single requests."""
        key, n = _key(body), int(body.get("n") or 1)
        with self._lock:
            first = self._asked[place][key]
            self._asked[place][key] += n
            pool, order = self._pools[key], self._orders.get(place, ())
            shuffled = order and all(i in pool for i in order)
            wanted = [
                order[i] if shuffled and i < len(order) else i for i in range(first, first + n)
            ]
        with ThreadPoolExecutor(n) as many:
            found = list(many.map(lambda i: self._completion(key, body, i), wanted))
        prompt, generated = self._prompts[key], sum(reply["generated"] for reply in found)
        with self._lock:
            price = self._prices[place]
            price.prompts[key] = prompt
            price.calls += n
            price.sent += n * len(prompt)
            price.generated += generated
        choices = [
            {
                "index": i,
                "message": {"role": "assistant", "content": reply["text"]},
                "finish_reason": reply["finish"],
            }
            for i, reply in enumerate(found)
        ]
        counts = {"prompt_tokens": len(prompt), "completion_tokens": generated}
        return {
            "id": key,
            "object": "chat.completion",
            "created": 0,
            "model": "local",
            "choices": choices,
            "usage": {**counts, "total_tokens": sum(counts.values())},
        }

    def _completion(self, key: str, body: Mapping[str, Any], index: int) -> dict[str, Any]:
        """Completion ``index`` of a body, drawn if it is not recorded."""
        pool = self._pools[key]
        with self._lock:
            if index in pool:
                return pool[index]
            if not self._under_way:
                raise LookupError("not recorded")
            drawn = self._coming.get((key, index))
            if drawn is None:
                drawn = self._coming[key, index] = Future()
                self._missing[key].add(index)
                if len(self._missing[key]) == 1:
                    threading.Timer(GATHER, self._draw, (key, body)).start()
        drawn.result()
        return pool[index]

    def _draw(self, key: str, body: Mapping[str, Any]) -> None:
        """All that is missing of a body, by one request: the server reads its prompt once."""
        with self._lock:
            indices = sorted(self._missing.pop(key))
        try:
            rows = self._rows(key, body, indices)
        except Exception as error:
            for index in indices:
                self._coming.pop((key, index)).set_exception(error)
            return
        with self._lock, self._path.open("a") as file:
            for row in rows:
                self._keep(row)
                self.drawn += row["generated"]
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        for index in indices:
            self._coming.pop((key, index)).set_result(None)

    def _rows(
        self, key: str, body: Mapping[str, Any], indices: Sequence[int]
    ) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = [{"key": key, "index": index} for index in indices]
        asked = {k: v for k, v in body.items() if k not in NOISE}
        if key not in self._prompts:
            chat = self._post("/apply-template", {"messages": body["messages"]})["prompt"]
            text = {"content": chat, "parse_special": True}
            rows[0] |= {"body": asked, "prompt": self._post("/tokenize", text)["tokens"]}
        n = len(indices)
        reply = self._post("/v1/chat/completions", {**self._law, **asked, "n": n}, n)
        for row, choice in zip(rows, reply["choices"], strict=True):
            row["text"] = choice["message"]["content"] or ""
            row["finish"] = choice["finish_reason"]
            # With n > 1 the server's usage counts one choice alone: then its text is counted.
            row["generated"] = reply["usage"]["completion_tokens"]
            if n > 1:
                tokens = self._post("/tokenize", {"content": row["text"]})["tokens"]
                row["generated"] = len(tokens) + (row["finish"] == "stop")  # its end token
        return rows

    def _post(self, path: str, body: Mapping[str, Any], n: int = 1) -> dict[str, Any]:
        """Ask the server that has the least to do."""
        with self._lock:
            server = min(self._under_way, key=lambda address: self._under_way[address])
            self._under_way[server] += n
        request = urllib.request.Request(
            f"{server}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=3000) as reply:
                found: dict[str, Any] = json.load(reply)
                return found
        finally:
            with self._lock:
                self._under_way[server] -= n

    def _keep(self, row: dict[str, Any]) -> None:
        if "prompt" in row:
            self._prompts.setdefault(row["key"], row["prompt"])
        reply = {name: row[name] for name in ("text", "finish", "generated")}
        self._pools[row["key"]].setdefault(row["index"], reply)

    def _generated(self) -> int:
        """Tokens of all completions recorded."""
        return sum(reply["generated"] for pool in self._pools.values() for reply in pool.values())

    def _read(self) -> None:
        if not self._path.exists():
            return
        *lines, last = self._path.read_text().split("\n")
        if last:  # a line that was being written when the run was killed
            self._path.write_text("".join(f"{line}\n" for line in lines))
        for line in lines:
            self._keep(json.loads(line))


def _key(body: Mapping[str, Any]) -> str:
    kept = {k: v for k, v in body.items() if k not in NOISE}
    return sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    recorder: Recorder

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that has hung up is no error here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        place = self.path.split("/v1/")[0].strip("/")
        try:
            status, found = 200, self.server.recorder.answer(place, body)
        except LookupError as error:
            status, found = 404, {"error": {"message": str(error)}}
        except urllib.error.HTTPError as error:
            status, found = error.code, {"error": {"message": error.read().decode()}}
        data = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a line a request would drown the table."""
