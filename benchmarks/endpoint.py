"""What ponder costs in front of a server: 32 samples at once, against a plain load on it.

llama.cpp's own server (``pip install xllamacpp httpx``) runs in a child process with 32 slots.
Ponder asks it for 32 replies and votes; the plain load is 32 requests of the same chat and law by
asyncio and httpx, nothing read but their usage, and no log-probabilities asked for. They take
turns; both count generated tokens over seconds. What either takes of a processor itself is given
too, since that does not depend on how busy the server is. For another server say
``--url http://host:8000/v1#model``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from functools import partial
from importlib import import_module
from itertools import cycle
from typing import Any

from harness import QUESTION, Quiet, Report, alternate, begin, options, ratios

import ponder
from ponder.lm.endpoint.address import parse_spec
from ponder.lm.endpoint.model import EndpointLM, load_endpoint
from ponder.lm.registry import resolve
from ponder.question import make_question
from ponder.recipes.prompting import ask_messages
from ponder.recipes.replies import cot_instruction

SAMPLES = 32


def serve(path: str, longest: int, threads: int) -> None:
    """In the child: a server of a GGUF file until the input ends; its address is printed."""
    xllamacpp: Any = import_module("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.n_parallel = SAMPLES
    parameters.n_ctx = SAMPLES * (longest + 256)
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.hostnames, parameters.port = ["127.0.0.1"], 0
    server = xllamacpp.Server(parameters)
    print(f"listening at {server.listening_address}", flush=True)
    sys.stdin.read()
    os._exit(0)


class Child:
    """The server's process; ``url`` is its address."""

    def __init__(self, path: str, longest: int, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "serve", path, str(longest), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "listening at " in line:
                self.url = line.split("listening at ")[1].strip() + "/v1"
                return
        raise SystemExit("the server did not start; pip install xllamacpp")

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)


def plain(url: str, model: str, text: str, longest: int) -> float:
    """Tokens a second of 32 requests at once."""
    import httpx

    question = make_question(text, kind="number")
    body = {
        "model": model,
        "messages": ask_messages(question, cot_instruction(question)),
        "max_tokens": longest,
        "temperature": 0.7,
        "top_k": -1,
        "min_p": 0.0,
    }

    async def one(client: httpx.AsyncClient, seed: int) -> int:
        answer = await client.post(f"{url}/chat/completions", json={**body, "seed": seed})
        return int(answer.json()["usage"]["completion_tokens"])

    async def load() -> float:
        limits = httpx.Limits(max_connections=SAMPLES)
        async with httpx.AsyncClient(timeout=None, limits=limits, trust_env=False) as client:
            began = time.perf_counter()
            counts = await asyncio.gather(*(one(client, seed) for seed in range(SAMPLES)))
            return sum(counts) / (time.perf_counter() - began)

    return asyncio.run(load())


def through_ponder(model: EndpointLM, text: str, longest: int) -> float:
    """Tokens a second of a question that is answered by 32 replies."""
    strategy = f"cot(max_tokens={longest}) | draw({SAMPLES}) | vote"
    began = time.perf_counter()
    answer = ponder.ask(text, kind="number", strategy=strategy, model=model)
    return answer.ledger.generated / (time.perf_counter() - began)


def compare(args: argparse.Namespace, url: str, name: str, report: Report) -> None:
    """Both in turns, each on a question that no cache holds."""
    longest = 12 if args.quick else args.longest
    model = load_endpoint(f"openai:{url}?width={SAMPLES}#{name}")
    letters = cycle("abcdefghijklmnopqrstuvwxyz")

    def turn(who: str) -> tuple[float, float]:
        text, began = f"({next(letters)}) {QUESTION}", time.process_time()
        if who == "ponder":
            rate = through_ponder(model, text, longest)
        else:
            rate = plain(url, name, text, longest)
        return rate, (time.process_time() - began) / SAMPLES * 1000

    turn("plain")
    load = Quiet(args.patience)
    repeat = 2 if args.quick else args.repeat
    found = alternate({who: partial(turn, who) for who in ("ponder", "plain")}, repeat, load)
    model.close()
    place = ("endpoint", name)
    rates = {}
    for who, pairs in found.items():
        rates[who], own = zip(*pairs, strict=True)
        report.add(place, f"{SAMPLES} samples at once: {who}", rates[who], "tok/s")
        report.add(place, f"processor time of a sample: {who}", own, "ms")
    ratio = ratios(rates["ponder"], rates["plain"])
    report.add(place, "ponder / plain load", ratio, "x", ">= 0.9", str(load))


def main() -> None:
    """Measure on a server that is there, or on one of each model."""
    parser = options(__doc__, [])
    parser.add_argument("--url", metavar="URL#MODEL", help="a server that runs already")
    parser.add_argument("--longest", type=int, default=64, help="tokens a sample (64)")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=cores, help="of the server (all cores)")
    parser.add_argument("--patience", type=float, default=180, help="seconds to wait for silence")
    args = parser.parse_args()
    report = begin()
    if args.url:
        spec = parse_spec(f"openai:{args.url}")
        compare(args, spec.urls[0], spec.model or "", report)
    for name in [] if args.url else args.model or ["smollm2-135m"]:
        child = Child(str(resolve(name).path), args.longest, args.threads)
        compare(args, child.url, name, report)
        child.close()
    if args.json:
        report.write(args.json)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    main()
