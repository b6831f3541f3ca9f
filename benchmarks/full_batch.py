"""Two ways to keep a batch full: the engine, and llama_decode with nothing around it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ponder.defaults import CELLS
from ponder.dist import derive
from ponder.ledger import Ledger
from ponder.lm.binding import lib
from ponder.lm.decoder import UBATCH
from ponder.lm.engine import Engine
from ponder.lm.llama import LlamaLM
from ponder.lm.protocol import Completion, Tokens
from ponder.lm.sampling_law import SamplingLaw


def endless_engine(model: LlamaLM, width: int = 32) -> Engine:
    """An engine on the model's context, emptied, for which no token ends a text."""
    empty(model)
    vocabulary = replace(model.vocabulary, end_tokens=frozenset())
    return Engine(model.decoder, vocabulary, context=model.context, width=width)


def empty(model: LlamaLM) -> None:
    """Forget every sequence of the model's cache, so that prompts are computed anew."""
    cache = model.decoder.cache
    for slot in list(cache.slots.values()):
        cache.release(slot)


class FullBatch:
    """Sequences that all decode together and never end, prompts already computed."""

    def __init__(self, model: LlamaLM, prompts: Sequence[Tokens], law: SamplingLaw) -> None:
        self.engine = endless_engine(model, len(prompts))
        self.ledger = Ledger()
        for i, prompt in enumerate(prompts):
            dist = Completion(model, prompt, law, max_tokens=10_000)
            self.engine.submit(self.engine.request(dist, derive(b"full", str(i)), self.ledger))
        while any(not r.generated for r in self.engine.running) or not self.engine.running:
            self.engine.step()
        while self.engine.waiting:
            self.engine.step()

    def rate(self, steps: int) -> float:
        """Generated tokens a second over ``steps`` further steps."""
        before = self.ledger.generated
        began = time.perf_counter()
        for _ in range(steps):
            self.engine.step()
        return (self.ledger.generated - before) / (time.perf_counter() - began)


class Bare:
    """A llama_decode loop on a context like the engine's: same weights, unified cache, no sampling.

    The caller must :meth:`close` it. ``settings`` are further fields of llama_context_params.
    """

    def __init__(self, model: LlamaLM, prompt: Tokens, batch: int, **settings: Any) -> None:
        parameters = lib.llama_context_default_params()
        fields = {
            "n_ctx": CELLS,
            "n_seq_max": batch,
            "n_batch": UBATCH,
            "n_ubatch": UBATCH,
            "n_threads": 2,
            "n_threads_batch": 2,
            "kv_unified": True,
            "no_perf": True,
        }
        for name, value in {**fields, **settings}.items():
            setattr(parameters, name, value)
        self.context = lib.llama_init_from_model(model._model, parameters)
        self.memory = lib.llama_get_memory(self.context)
        self.batch = lib.llama_batch_init(UBATCH, 0, 1)
        self.vocabulary = model.vocabulary.size
        self.width = batch
        self.fill(0, prompt)
        self.length = len(prompt)
        if prompt:
            self.share(batch - 1)

    def fill(self, sequence: int, tokens: Tokens, chunk: int = 64, start: int = 0) -> None:
        """Compute ``tokens`` for a sequence, so many at a time."""
        for at in range(0, len(tokens), chunk):
            part = enumerate(tokens[at : at + chunk])
            self.decode([(sequence, token, start + at + i) for i, token in part])

    def share(self, others: int) -> None:
        """Sequences 1 to ``others`` become what sequence 0 is."""
        for sequence in range(1, others + 1):
            lib.llama_memory_seq_cp(self.memory, 0, sequence, -1, -1)

    def decode(self, tokens: Sequence[tuple[int, int, int]]) -> Any:
        """Decode (sequence, token, position) triples; logits of every one, llama.cpp's buffer."""
        b = self.batch
        for i, (sequence, token, position) in enumerate(tokens):
            b.token[i], b.pos[i], b.n_seq_id[i], b.logits[i] = token, position, 1, 1
            b.seq_id[i][0] = sequence
        b.n_tokens = len(tokens)
        status = lib.llama_decode(self.context, b)
        assert status == 0, f"llama_decode returned {status}"
        shape = (len(tokens), self.vocabulary)
        return np.ctypeslib.as_array(lib.llama_get_logits(self.context), shape)

    def step(self) -> Any:
        """One arbitrary token for every sequence."""
        step = [
            (s, (self.length * 7 + s * 31) % 5000 + 100, self.length) for s in range(self.width)
        ]
        self.length += 1
        return self.decode(step)

    def rate(self, steps: int) -> float:
        """Tokens a second over ``steps`` further steps."""
        began = time.perf_counter()
        for _ in range(steps):
            self.step()
        return steps * self.width / (time.perf_counter() - began)

    def close(self) -> None:
        """Free the context."""
        lib.llama_batch_free(self.batch)
        lib.llama_free(self.context)
