"""What llama.cpp's settings do: exactness across batches, memory, spinning threads.

Run as a script, this file is the process of its own in which memory and spinning are measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from full_batch import Bare, FullBatch
from harness import QUESTION, Quiet, Report, alternate, child, ratios
from numpy.typing import NDArray

import ponder
from ponder.lm.llama import LlamaLM
from ponder.lm.protocol import Tokens
from ponder.lm.sampling_law import SamplingLaw

STEPS = 8
FLASH_OFF, FLASH_ON = 0, 1
SETTINGS: dict[str, dict[str, Any]] = {
    "2 threads, flash off": {"flash_attn_type": FLASH_OFF},
    "2 threads, flash on": {"flash_attn_type": FLASH_ON},
    "1 thread, flash off": {"flash_attn_type": FLASH_OFF, "n_threads": 1, "n_threads_batch": 1},
    "1 thread, flash on": {"flash_attn_type": FLASH_ON, "n_threads": 1, "n_threads_batch": 1},
    "2 threads, streams": {"kv_unified": False, "n_ctx": 17 * 1024},
}
# What else is in the batch or in the cache, or how the prompt was computed.
BESIDE: dict[str, dict[str, int]] = {
    "3 others": {"others": 3},
    "15 others": {"others": 15},
    "a prompt's chunk": {"chunk": 48},
    "540 foreign cells": {"foreign": 540},
    "prompt by 48": {"by": 48},
}


def _tokens(count: int, salt: int) -> Tokens:
    return tuple((i * 37 + salt * 1009) % 5000 + 100 for i in range(count))


def _logits(
    model: LlamaLM,
    length: int,
    settings: dict[str, Any],
    *,
    others: int = 0,
    chunk: int = 0,
    foreign: int = 0,
    by: int = 64,
) -> NDArray[np.float32]:
    """Logits of one sequence over STEPS steps, shape (STEPS, V), in the given company."""
    bare = Bare(model, (), 17, **settings)
    if foreign:
        bare.fill(16, _tokens(foreign, 5))
    bare.fill(0, _tokens(length, 1), by)
    bare.share(others)
    found = []
    for step in range(STEPS):
        at = length + step
        rows = [(s, _tokens(1, 100 + 31 * s + step)[0], at) for s in range(1 + others)]
        start = foreign + step * chunk
        rows += [(16, token, start + i) for i, token in enumerate(_tokens(chunk, step))]
        found.append(bare.decode(rows)[0].copy())
    bare.close()
    return np.stack(found)


def exactness(model: LlamaLM, report: Report, repeat: int, quick: bool) -> None:
    """Largest difference of a sequence's logits to those it has alone; 0 is bitwise equal."""
    large = "qwen" in model.name
    for name, settings in list(SETTINGS.items())[: 2 if large or quick else None]:
        for length in (94, 540):
            alone = _logits(model, length, settings)
            for company, beside in BESIDE.items():
                beside_it = _logits(model, length, settings, **beside)
                place = ("exactness", model.name)
                what = f"{name}, {length} tokens, {company}"
                report.add(place, what, float(np.abs(beside_it - alone).max()), "max diff")
    _cost_of_flash(model, report, repeat, quick)


def _cost_of_flash(model: LlamaLM, report: Report, repeat: int, quick: bool) -> None:
    """Rates of a bare loop of 16 sequences with flash attention off and on."""
    for length in (94, 540):
        load = Quiet()
        off, on = (
            Bare(model, _tokens(length, 1), 16, flash_attn_type=flash)
            for flash in (FLASH_OFF, FLASH_ON)
        )
        steps = 2 if quick else 8
        found = alternate(
            {"off": partial(off.rate, steps), "on": partial(on.rate, steps)}, repeat, load
        )
        off.close()
        on.close()
        place = ("exactness", model.name)
        report.add(place, f"rate with flash off, {length} tokens", found["off"], "tok/s")
        ratio = ratios(found["off"], found["on"])
        report.add(place, f"flash off / on, {length} tokens", ratio, "x", note=str(load))


def memory(model: LlamaLM, report: Report, repeat: int, quick: bool) -> None:
    """Resident memory of a process of its own that answered with 16 slots of 512 tokens."""
    found = child(Path(__file__), ["memory", model.name, "4" if quick else "32"], {})
    place = ("memory", model.name)
    for stage, sizes in found.items():
        for kind, size in sizes.items():
            report.add(place, f"{stage}, {kind}", size, "MB")
    total = sum(found["after answering"].values())
    report.add(place, "after answering, both", total, "MB", "< 2000")


def spin(model: LlamaLM, report: Report, repeat: int, quick: bool) -> None:
    """Decoding with short and long spinning; 300000 is OpenMP's own default, 1000 ponder's."""
    counts = ("300000", "100000", "10000", "1000")
    load = Quiet()
    rates: dict[str, dict[str, list[float]]] = {c: {"idle": [], "busy": []} for c in counts}
    for turn in range(repeat):
        for count in counts if turn % 2 == 0 else counts[::-1]:
            environment = {"GOMP_SPINCOUNT": count}
            seconds = "0.5" if quick else "3"
            found = child(Path(__file__), ["spin", model.name, seconds], environment)
            for state, rate in found.items():
                rates[count][state].append(rate)
    place = ("spin", model.name)
    for count in counts:
        for state, values in rates[count].items():
            what = "idle" if state == "idle" else "beside a busy process"
            report.add(place, f"GOMP_SPINCOUNT={count}, {what}", values, "tok/s")
    for state in ("idle", "busy"):
        ratio = ratios(rates["1000"][state], rates["300000"][state])
        report.add(place, f"1000 / OpenMP's default, {state}", ratio, "x", note=str(load))


def _resident() -> dict[str, float]:
    """Anonymous and file-backed resident megabytes of this process."""
    lines = dict(x.split(":", 1) for x in Path("/proc/self/status").read_text().splitlines())
    return {k: int(lines[k].split()[0]) * 1024 / 1e6 for k in ("RssAnon", "RssFile")}


def _measure_memory(name: str, length: int) -> dict[str, Any]:
    found = {}
    model = ponder.load(name)
    found["after loading"] = _resident()
    strategy = f"cot(max_tokens={length}) | draw(16) | vote"
    ponder.ask(QUESTION, strategy=strategy, model=model)
    found["after answering"] = _resident()
    return found


def _measure_spin(name: str, seconds: float) -> dict[str, float]:
    model = ponder.load(name)
    assert isinstance(model, LlamaLM)
    prompt = model.chat([{"role": "user", "content": QUESTION}])
    batch = FullBatch(model, [prompt] * 16, SamplingLaw(0.7))

    def rate() -> float:
        before, began = batch.ledger.generated, time.perf_counter()
        while time.perf_counter() - began < seconds:
            batch.engine.step()
        return (batch.ledger.generated - before) / (time.perf_counter() - began)

    idle = rate()
    loop = "import time\nend = time.time() + 20\nwhile time.time() < end: pass"
    busy = subprocess.Popen([sys.executable, "-c", loop])
    try:
        time.sleep(0.2)
        return {"idle": idle, "busy": rate()}
    finally:
        busy.kill()
        busy.wait()


if __name__ == "__main__":
    what, name, amount = sys.argv[1:]
    measured = (
        _measure_memory(name, int(amount))
        if what == "memory"
        else _measure_spin(name, float(amount))
    )
    print(json.dumps(measured))
    sys.stdout.flush()
    os._exit(0)
