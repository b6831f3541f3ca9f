"""Speed and behaviour of the engine on llama.cpp, as ratios to what it is compared with.

decode      generated tokens a second against a bare llama_decode loop at the same batch
shares      where the time of a whole question goes: decoding, sampling, everything else
completion  16 samples of one question against llama-cpp-python's own create_completion
exactness   whether logits depend on what else is in the batch, by setting
memory      resident anonymous and file-backed memory after 16 traces
arrivals    64 staggered requests of unequal length against a full batch
spin        OpenMP's spin count, idle and beside one busy process
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

from arrivals import arrivals
from full_batch import Bare, FullBatch, empty
from harness import QUESTION, Quiet, Report, alternate, begin, options, ratios
from settings import exactness, memory, spin

import ponder
from ponder.lm.binding import lib
from ponder.lm.llama import LlamaLM
from ponder.lm.protocol import Completion
from ponder.lm.sampling import Sampler
from ponder.lm.sampling_law import SamplingLaw

SMALL, LARGE = "smollm2-135m", "qwen2.5-coder-1.5b"
COT = "Think step by step, but keep it short. End with 'Answer: ' and the number."
MESSAGES = [{"role": "user", "content": f"{QUESTION}\n\n{COT}"}]


def decode(model: LlamaLM, report: Report, repeat: int, quick: bool) -> None:
    """The engine, sampling at temperature 0.7, against llama_decode with arbitrary tokens."""
    prompt = model.chat(MESSAGES)
    target = ">= 0.95" if "qwen" in model.name else ">= 0.90"
    block = 2 if quick else 10
    for width in (16, 32):
        load = Quiet()
        engine = FullBatch(model, [prompt] * width, SamplingLaw(0.7))
        bare = Bare(model, prompt, width)
        found = alternate(
            {"engine": partial(engine.rate, block), "bare": partial(bare.rate, block)},
            repeat + 1,
            load,
        )
        bare.close()
        rates = {name: values[1:] for name, values in found.items()}  # the first warms up
        place = ("decode", model.name)
        note = f"prompt {len(prompt)} shared; {load}"
        report.add(place, f"{width} sequences, engine", rates["engine"], "tok/s")
        report.add(place, f"{width} sequences, bare loop", rates["bare"], "tok/s")
        ratio = ratios(rates["engine"], rates["bare"])
        report.add(place, f"{width} sequences, engine / bare", ratio, "x", target, note)


class Timed:
    """While it is open: seconds spent inside llama_decode and inside Sampler.draw."""

    def __init__(self) -> None:
        self.decoding = self.sampling = 0.0
        self._decode, self._draw = lib.llama_decode, Sampler.draw

    def __enter__(self) -> Timed:
        decode, draw = self._decode, self._draw

        def timed_decode(context: Any, batch: Any) -> Any:
            began = time.perf_counter()
            status = decode(context, batch)
            self.decoding += time.perf_counter() - began
            return status

        def timed_draw(sampler: Sampler, *args: Any) -> tuple[int, float, float]:
            began = time.perf_counter()
            drawn = draw(sampler, *args)
            self.sampling += time.perf_counter() - began
            return drawn

        lib.llama_decode = timed_decode
        Sampler.draw = timed_draw  # type: ignore[assignment,method-assign]
        return self

    def __exit__(self, *error: object) -> None:
        lib.llama_decode = self._decode
        Sampler.draw = self._draw  # type: ignore[method-assign]


def shares(model: LlamaLM, report: Report, repeat: int, quick: bool) -> None:
    """A question answered by 32 traces, end to end: what is neither decoding nor sampling."""
    length = 8 if quick else 24 if "qwen" in model.name else 64
    laws = {"untruncated": ("", "<= 5"), "top_p .95": (", top_p=0.95", "<= 10")}
    seeds = count()

    def ask(name: str) -> tuple[float, float]:
        strategy = f"cot(max_tokens={length}{laws[name][0]}) | draw(32) | vote"
        with Timed() as timed:
            began = time.perf_counter()
            ponder.ask(QUESTION, strategy=strategy, model=model, seed=next(seeds))
            wall = time.perf_counter() - began
        other = wall - timed.decoding - timed.sampling
        return 100 * timed.sampling / wall, 100 * other / wall

    load = Quiet()
    found = alternate({name: partial(ask, name) for name in laws}, repeat, load)
    for name, (_, target) in laws.items():
        place = ("shares", model.name)
        sampling, other = zip(*found[name], strict=True)
        report.add(place, f"sampling, {name}, 32 traces", sampling, "%", target, str(load))
        report.add(place, f"neither, {name}, 32 traces", other, "%", "<= 2", str(load))


def completion(model: LlamaLM, report: Report, repeat: int, quick: bool) -> None:
    """Both with the weights packed alike: what llama.cpp found for the first load holds for all.

    The peer computes the prompt once too; its first call of each repetition includes that, and
    the other 15 are taken to cost what those do that were made (all 16, or 3 of a large model).
    """
    from llama_cpp import Llama

    prompt = list(model.chat(MESSAGES))
    longest = 12 if quick else 120
    calls = 2 if quick else 3 if "qwen" in model.name else 16
    peer = Llama(str(model.path), n_ctx=512, n_threads=2, n_threads_batch=2, verbose=False)

    def ponders() -> float:
        return _samples_rate(model, tuple(prompt), longest)

    def peers() -> float:
        peer.reset()
        times, tokens = [], []
        for seed in range(calls):
            began = time.perf_counter()
            made = peer.create_completion(prompt, max_tokens=longest, temperature=0.7, seed=seed)
            times.append(time.perf_counter() - began)
            tokens.append(int(made["usage"]["completion_tokens"]))
        rest = 15 / (calls - 1)
        seconds: float = times[0] + rest * sum(times[1:])
        return (tokens[0] + rest * sum(tokens[1:])) / seconds

    load = Quiet()
    found = alternate({"ponder": ponders, "peer": peers}, repeat, load)
    peer.close()
    place = ("completion", model.name)
    report.add(place, "16 samples, ponder", found["ponder"], "tok/s")
    report.add(place, "create_completion 16 times", found["peer"], "tok/s")
    target = ">= 1.8" if "qwen" in model.name else ">= 1.5"
    ratio = ratios(found["ponder"], found["peer"])
    report.add(place, "ponder / create_completion", ratio, "x", target, str(load))


def _samples_rate(model: LlamaLM, prompt: tuple[int, ...], longest: int) -> float:
    """Tokens a second of 16 samples of one prompt, its prefill included."""
    from ponder.dist import derive
    from ponder.ledger import Ledger

    empty(model)
    engine, ledger = model.engine, Ledger()
    dist = Completion(model, prompt, SamplingLaw(0.7), longest)
    began = time.perf_counter()
    for i in range(16):
        engine.submit(engine.request(dist, derive(b"completion", str(i)), ledger))
    while engine.running or engine.waiting:
        engine.step()
    return ledger.generated / (time.perf_counter() - began)


Case = Callable[[LlamaLM, Report, int, bool], None]
CASES: dict[str, Case] = {
    "decode": decode,
    "shares": shares,
    "completion": completion,
    "exactness": exactness,
    "memory": memory,
    "arrivals": arrivals,
    "spin": spin,
}
SMALL_ONLY = ("arrivals", "spin")


def main() -> None:
    """Run the cases that were named, on the models that were named."""
    parser = options(__doc__, list(CASES))
    args = parser.parse_args()
    unknown = set(args.cases) - set(CASES)
    if unknown:
        parser.error(f"unknown case {', '.join(sorted(unknown))}; choose of {', '.join(CASES)}")
    report = begin()
    repeat = 2 if args.quick else args.repeat
    for name in args.model or [SMALL, LARGE]:
        model = ponder.load(name)
        assert isinstance(model, LlamaLM)
        for case in args.cases or CASES:
            if case not in SMALL_ONLY or args.model or name == SMALL:
                CASES[case](model, report, repeat, args.quick)
                if args.json:
                    report.write(args.json)
        model.close()


if __name__ == "__main__":
    main()
