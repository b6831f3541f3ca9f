"""One llama.cpp context: a batch of tokens in, a row of logits for each asked-for token out."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponder.errors import PonderError
from ponder.lm.binding import lib
from ponder.lm.cache import Cache, Ints, Memory, Slot

UBATCH = 128  # the logits buffer is UBATCH x vocabulary floats: 311 MB at 512 for 152k tokens


class Aborted(Exception):
    """The decode was abandoned in the middle by :meth:`Decoder.abort`."""


@dataclass(frozen=True, slots=True)
class Row:
    """Tokens to append to a slot in this step, and whether the last one's logits are wanted."""

    slot: Slot
    tokens: Ints
    wanted: bool


class LlamaMemory(Memory):
    """llama.cpp's sequence operations on a unified cache (metadata only, nothing is copied)."""

    def __init__(self, context: Any) -> None:
        self.handle = lib.llama_get_memory(context)

    def copy(self, source: int, target: int, length: int) -> None:
        lib.llama_memory_seq_cp(self.handle, source, target, 0, length)

    def cut(self, slot: int, length: int) -> None:
        lib.llama_memory_seq_rm(self.handle, slot, length, -1)

    def drop(self, slot: int) -> None:
        lib.llama_memory_seq_rm(self.handle, slot, -1, -1)


class Decoder:
    """A context with a unified cache of ``cells`` tokens shared by ``slots`` sequences."""

    def __init__(
        self, model: Any, vocabulary: int, *, cells: int, slots: int, threads: int | None = None
    ) -> None:
        threads = threads or len(os.sched_getaffinity(0))
        p = lib.llama_context_default_params()
        p.n_ctx = cells
        p.n_seq_max = slots
        p.n_batch = max(UBATCH, slots)  # llama.cpp wants an output row for every sequence
        p.n_ubatch = UBATCH
        p.n_threads = p.n_threads_batch = threads
        p.kv_unified = True
        p.no_perf = True
        self._abort = ctypes.c_bool(False)
        self._abort_callback = lib.ggml_abort_callback(lambda _: self._abort.value)
        self.context = lib.llama_init_from_model(model, p)
        if not self.context:
            raise PonderError(
                f"llama.cpp cannot make a context of {cells} tokens; try a smaller --context"
            )
        self.vocabulary = vocabulary
        self.cache = Cache(LlamaMemory(self.context), slots, int(lib.llama_n_ctx(self.context)))
        self._batch, self._arrays = _batch(UBATCH)

    def abort(self, on: bool = True) -> None:
        """Abandon the decode under way, and refuse further ones until ``abort(False)``."""
        self._abort.value = on

    def decode(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """Compute the rows' tokens; logits of shape (wanted rows, vocabulary), in order.

        The array is llama.cpp's own buffer: read it before the next call. At most UBATCH tokens.
        Raises Aborted after :meth:`abort`; then what the rows' slots hold is undefined.
        """
        token, position, sequence, output = self._arrays
        count = 0
        for row in rows:
            end = count + len(row.tokens)
            token[count:end] = row.tokens
            start = row.slot.length
            position[count:end] = np.arange(start, start + len(row.tokens))
            sequence[count:end] = row.slot.id
            output[count:end] = 0
            output[end - 1] = row.wanted
            count = end
        self._batch.n_tokens = count
        prefill = any(len(row.tokens) > 1 for row in rows)
        if prefill:  # a step that only decodes is short; the callback runs once per graph node
            lib.llama_set_abort_callback(self.context, self._abort_callback, None)
        status = lib.llama_decode(self.context, self._batch)
        if prefill:
            lib.llama_set_abort_callback(self.context, lib.ggml_abort_callback(), None)
        if status == 2 or (status == 0 and self._abort.value):
            raise Aborted
        if status:
            raise PonderError(f"llama.cpp failed to decode (status {status}); try fewer traces")
        for row in rows:
            row.slot.extend(row.tokens, self.cache.allocate(len(row.tokens)))
        wanted = sum(row.wanted for row in rows)
        shape = (max(wanted, 0), self.vocabulary)
        if not wanted:
            return np.zeros(shape, dtype=np.float32)
        return np.ctypeslib.as_array(lib.llama_get_logits(self.context), shape)

    def close(self) -> None:
        """Free the context."""
        if self.context:
            lib.llama_free(self.context)
            self.context = None


def _batch(size: int) -> tuple[Any, tuple[Ints, Ints, Ints, NDArray[np.int8]]]:
    """A llama_batch over NumPy arrays: (batch, (token, position, sequence, output))."""
    token, position, sequence = (np.zeros(size, dtype=np.int32) for _ in range(3))
    output = np.zeros(size, dtype=np.int8)
    one = np.ones(size, dtype=np.int32)
    addresses = sequence.ctypes.data + 4 * np.arange(size, dtype=np.uint64)
    batch = lib.llama_batch()
    batch.token = token.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
    batch.pos = position.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
    batch.n_seq_id = one.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
    batch.seq_id = addresses.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(ctypes.c_int32)))
    batch.logits = output.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))
    batch._held = (one, addresses)  # the struct does not own its arrays
    return batch, (token, position, sequence, output)
