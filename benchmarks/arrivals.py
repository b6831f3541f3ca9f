"""Requests that arrive one after another and end at different times, against a full batch."""

from __future__ import annotations

import time

from full_batch import FullBatch, empty, endless_engine
from harness import QUESTION, Quiet, Report, alternate, ratios

from ponder.dist import Stream, derive
from ponder.ledger import Ledger
from ponder.lm.llama import LlamaLM
from ponder.lm.protocol import Completion, Tokens
from ponder.lm.sampling_law import SamplingLaw

LAW = SamplingLaw(0.7)
WIDTH, REQUESTS, AT_ONCE, EVERY = 32, 64, 40, 3  # then one more every three steps


def _prompts(model: LlamaLM, distinct: bool) -> list[Tokens]:
    """64 prompts, all the same or all different from their first words on."""
    heads = [f"Question {i}. " if distinct else "" for i in range(REQUESTS)]
    return [model.chat([{"role": "user", "content": head + QUESTION}]) for head in heads]


def _lengths(quick: bool) -> list[int]:
    """How much each request writes: 10 to 90 tokens, uniformly."""
    stream = Stream(derive(b"arrivals", "lengths"))
    return [4 if quick else 10 + int(81 * stream.uniform()) for _ in range(REQUESTS)]


def _staggered(model: LlamaLM, prompts: list[Tokens], quick: bool) -> tuple[int, int, float]:
    """Serve them all; (generated, prompt tokens computed, seconds) of steps while any waited."""
    engine, ledger = endless_engine(model, WIDTH), Ledger()
    dists = [Completion(model, p, LAW, n) for p, n in zip(prompts, _lengths(quick), strict=True)]
    requests = [engine.request(d, derive(b"arrivals", str(i)), ledger) for i, d in enumerate(dists)]
    for request in requests[:AT_ONCE]:
        engine.submit(request)
    coming = requests[AT_ONCE:]
    generated = computed = 0
    seconds = 0.0
    while engine.running or engine.waiting:
        if coming and engine.steps % EVERY == 0:
            engine.submit(coming.pop(0))
        before = ledger.generated, ledger.prompt_computed
        began = time.perf_counter()
        engine.step()
        if engine.waiting:
            seconds += time.perf_counter() - began
            generated += ledger.generated - before[0]
            computed += ledger.prompt_computed - before[1]
    return generated, computed, seconds


def _prefill_seconds(model: LlamaLM, prompts: list[Tokens]) -> float:
    """Seconds a prompt token costs, computed alone in the engine's chunks."""
    engine, ledger = endless_engine(model, 1), Ledger()
    began = time.perf_counter()
    for i, prompt in enumerate(prompts[:8]):
        dist = Completion(model, prompt, LAW, 1)
        engine.submit(engine.request(dist, derive(b"prefill", str(i)), ledger))
    while engine.running or engine.waiting:
        engine.step()
    return (time.perf_counter() - began) / ledger.prompt_computed


def arrivals(model: LlamaLM, report: Report, repeat: int, quick: bool) -> None:
    """With prompts computed at their measured cost, what a full batch would have taken / taken."""
    for distinct in (False, True):
        prompts = _prompts(model, distinct)
        load = Quiet()

        def full(prompts: list[Tokens] = prompts) -> tuple[float, float]:
            cost = _prefill_seconds(model, prompts)
            return FullBatch(model, prompts[:WIDTH], LAW).rate(4 if quick else 70), cost

        def staggered(prompts: list[Tokens] = prompts) -> tuple[float, float]:
            cost = _prefill_seconds(model, prompts)
            generated, computed, seconds = _staggered(model, prompts, quick)
            return generated / (seconds - computed * cost), cost

        found = alternate({"full": full, "staggered": staggered}, repeat, load)
        empty(model)
        kind = "distinct prompts" if distinct else "one prompt"
        place = ("arrivals", model.name)
        whole, costs = zip(*found["full"], strict=True)
        rates, _ = zip(*found["staggered"], strict=True)
        report.add(place, f"{kind}: full batch of {WIDTH}", whole, "tok/s")
        report.add(place, f"{kind}: prompt token", [1000 * s for s in costs], "ms")
        report.add(place, f"{kind}: while any wait, less prompts", rates, "tok/s")
        ratio = ratios(rates, whole)
        report.add(place, f"{kind}: waiting / full batch", ratio, "x", ">= 0.85", str(load))
