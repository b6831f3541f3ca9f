"""Self-consistency end to end: ponder against its-hub on llama.cpp's own server.

The peer's Python (an environment with ``pip install xllamacpp 'its-hub[lm]'``) runs this file
again as a child that serves the model on 127.0.0.1 with 16 slots and answers the same chat with
16 samples at temperature 0.7; otherwise everything is as the peer ships it. Both count generated
tokens over the seconds from question to voted answer, the model loaded and the server warm. They
take turns; while one works the other waits.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from functools import partial
from itertools import cycle
from typing import Any, TextIO

SAMPLES = 16
# Nothing but the standard library may be imported up here: the peer's Python runs this file too.


def padded(question: str, words: int) -> str:
    """The question after so many words that it does not need: a long prompt."""
    story = "Natalia keeps notes about her friends, her garden and the weather of every day. "
    return (story * (words // 14 + 1) if words else "") + question


class Peer:
    """The child process: one line of JSON asks, one line answers."""

    def __init__(self, python: str, path: str, context: int, longest: int) -> None:
        # As shipped: without the spin count that ponder has set for this process by now.
        environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
        self._child = subprocess.Popen(
            [python, __file__, "serve", path, str(context), str(longest)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.versions: dict[str, str] = self._read()

    def ask(self, text: str) -> dict[str, Any]:
        """Tokens and seconds of one question, and the texts' number."""
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(text) + "\n")
        self._child.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End the child."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        try:
            self._child.wait(20)
        except subprocess.TimeoutExpired:
            self._child.kill()

    def _read(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            if line.startswith("peer: "):
                found: dict[str, Any] = json.loads(line[6:])
                return found
        raise SystemExit("the peer has ended; try its Python by hand: peers.py serve GGUF 512 120")


def serve(path: str, context: int, longest: int) -> None:
    """In the peer's Python: a server, and its-hub's self-consistency on it for every line read."""
    import asyncio
    from importlib import import_module, metadata

    xllamacpp: Any = import_module("xllamacpp")
    its_hub: Any = import_module("its_hub")
    method_module: Any = import_module("its_hub.core.algorithms.self_consistency")

    answers = sys.stdout
    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.n_parallel = SAMPLES
    parameters.n_ctx = SAMPLES * context
    threads = len(os.sched_getaffinity(0))
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.hostnames, parameters.port = ["127.0.0.1"], 0
    server = xllamacpp.Server(parameters)
    lm = its_hub.OpenAICompatibleLanguageModel(
        f"{server.listening_address}/v1",
        "none",
        "local",
        temperature=0.7,
        max_completion_tokens=longest,
    )
    projection = method_module.create_regex_projection_function(r"Answer:\s*([^\n]+)")
    method = its_hub.SelfConsistency(projection)
    versions = {name: metadata.version(name) for name in ("xllamacpp", "its-hub")}
    _say(answers, versions)
    for line in sys.stdin:
        began = time.perf_counter()
        question = json.loads(line)
        result = asyncio.run(
            method.ainfer(lm, question, budget=SAMPLES, return_response_only=False)
        )
        seconds = time.perf_counter() - began
        usage = result.usage
        counts = {"generated": usage.completion_tokens, "prompt": usage.prompt_tokens}
        _say(answers, {"seconds": seconds, "samples": len(result.responses), **counts})


def _say(answers: TextIO, found: dict[str, Any]) -> None:
    answers.write("peer: " + json.dumps(found) + "\n")
    answers.flush()


def _messages(text: str) -> list[dict[str, str]]:
    """The chat that ponder's cot asks; the peer gets the same."""
    from ponder.question import make_question
    from ponder.recipes.prompting import ask_messages
    from ponder.recipes.replies import cot_instruction

    question = make_question(text, kind="number")
    return ask_messages(question, cot_instruction(question))


def compare(args: argparse.Namespace, name: str, words: int, report: Any) -> None:
    """One model, one length of prompt: tokens a second of both, in turns."""
    from harness import QUESTION, Quiet, alternate, ratios

    import ponder
    from ponder.lm.llama import LlamaLM

    longest = 12 if args.quick else args.longest
    model = ponder.load(name)
    assert isinstance(model, LlamaLM)
    text = padded(QUESTION, words)
    prompt = len(model.chat(_messages(text)))
    peer = Peer(args.peer, str(model.path), prompt + longest + 64, longest)
    report.machine.update(peer.versions)
    peer.ask("Say hello.")
    ponder.ask("Say hello.", strategy="cot(max_tokens=4) | draw(2) | vote", model=model)
    letters = cycle("abcdefghijklmnopqrstuvwxyz")

    def ask(who: str) -> tuple[float, float]:
        # The first word differs from turn to turn, so that no cache holds more than the markup.
        asked = f"({next(letters)}) {text}"
        began = time.perf_counter()
        if who == "peer":
            found = peer.ask(_messages(asked)[-1]["content"])
            generated = found["generated"]
            assert found["samples"] == SAMPLES
        else:
            strategy = f"cot(max_tokens={longest}) | draw({SAMPLES}) | vote"
            generated = ponder.ask(
                asked, kind="number", strategy=strategy, model=model
            ).ledger.generated
        seconds = time.perf_counter() - began
        return float(generated / seconds), seconds

    load = Quiet()
    found = alternate(
        {w: partial(ask, w) for w in ("ponder", "peer")}, 2 if args.quick else args.repeat, load
    )
    peer.close()
    model.close()
    place = ("peers", name)
    rates = {}
    for who, pairs in found.items():
        rates[who], seconds = zip(*pairs, strict=True)
        report.add(place, f"prompt of {prompt}: {who}", rates[who], "tok/s")
        report.add(place, f"prompt of {prompt}: {who}, a question", seconds, "s")
    target = ">= 1.25" if "qwen" in name else ">= 1.0"
    ratio = ratios(rates["ponder"], rates["peer"])
    report.add(place, f"prompt of {prompt}: ponder / peer", ratio, "x", target, str(load))


def main() -> None:
    """Compare on the models and prompt lengths that were named."""
    from harness import begin, options

    cases = {"short": 0, "long": 405}
    parser = options(__doc__, list(cases))
    parser.add_argument("--peer", required=True, metavar="PYTHON", help="the peer's Python")
    parser.add_argument("--longest", type=int, default=120, help="tokens a sample (120)")
    args = parser.parse_args()
    report = begin()
    for name in args.model or ["smollm2-135m", "qwen2.5-coder-1.5b"]:
        for case in args.cases or cases:
            compare(args, name, cases[case], report)
            if args.json:
                report.write(args.json)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
        os._exit(0)
    main()
