"""The key-value cache as the scheduler sees it: slots that hold tokens, cells that they share.

llama.cpp does not say how many cells are free and answers "no room" and "bad batch" alike, so
cells are counted here: a cell is one computed token, shared by every slot that forked after it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]


def as_tokens(tokens: Sequence[int]) -> Ints:
    """Token ids as an array, shape (length,)."""
    return np.asarray(tokens, dtype=np.int32)


def common_prefix(a: Ints, b: Ints) -> int:
    """How many leading tokens two sequences share."""
    n = min(len(a), len(b))
    if n == 0:
        return 0
    differs = a[:n] != b[:n]
    first = int(differs.argmax())
    return first if differs[first] else n


class Slot:
    """One sequence of the cache: the tokens computed so far and the cells that hold them.

    ``plan`` is what its owner is about to compute (a prompt), so that others can wait for it.
    ``busy`` slots belong to a request; of the others, ``kept`` ones are expected to be read on,
    and ``used`` is the step at which they were left.
    """

    __slots__ = ("_cells", "_tokens", "busy", "id", "kept", "length", "plan", "used")

    def __init__(self, id: int) -> None:
        self.id = id
        self.length = 0
        self.busy = False
        self.kept = False
        self.used = 0
        self.plan: Ints = as_tokens(())
        self._tokens: Ints = np.zeros(64, dtype=np.int32)
        self._cells: Ints = np.zeros(64, dtype=np.int32)

    @property
    def tokens(self) -> Ints:
        return self._tokens[: self.length]

    @property
    def cells(self) -> Ints:
        return self._cells[: self.length]

    def extend(self, tokens: Ints, cells: Ints) -> None:
        """Append computed tokens and the cells that hold them."""
        end = self.length + len(tokens)
        if end > len(self._tokens):
            size = max(end, 2 * len(self._tokens))
            self._tokens = np.resize(self._tokens, size)
            self._cells = np.resize(self._cells, size)
        self._tokens[self.length : end] = tokens
        self._cells[self.length : end] = cells
        self.length = end


class Cache:
    """Slots and cells. Every change is told to ``memory`` (llama.cpp, or a fake in tests).

    ``memory`` has copy(source, target, length), cut(slot, length) and drop(slot).
    """

    def __init__(self, memory: Memory, slots: int, cells: int) -> None:
        self.memory = memory
        self.size = cells
        self.slots: dict[int, Slot] = {}
        self._free_ids = list(range(slots))
        self._references = np.zeros(cells, dtype=np.int32)
        self._free_cells = np.arange(cells - 1, -1, -1, dtype=np.int32)
        self._free_count = cells

    @property
    def free(self) -> int:
        """Cells that hold nothing."""
        return self._free_count

    @property
    def full(self) -> bool:
        """Whether no slot is left."""
        return not self._free_ids

    def open(self) -> Slot:
        """A fresh slot, the lowest id first. The caller has made sure that one is free."""
        slot = Slot(heapq.heappop(self._free_ids))
        self.slots[slot.id] = slot
        return slot

    def fork(self, source: Slot, length: int) -> Slot:
        """A slot that shares the first ``length`` tokens of ``source``."""
        slot = self.open()
        cells = source.cells[:length]
        self._references[cells] += 1
        slot.extend(source.tokens[:length], cells)
        if length:
            self.memory.copy(source.id, slot.id, length)
        return slot

    def trim(self, slot: Slot, length: int) -> None:
        """Forget what a slot holds beyond ``length`` tokens."""
        if length < slot.length:
            self._unreference(slot.cells[length:])
            slot.length = length
            self.memory.cut(slot.id, length)

    def release(self, slot: Slot) -> None:
        """Give a slot back; cells that nobody else shares are free at once."""
        self._unreference(slot.cells)
        self.memory.drop(slot.id)
        del self.slots[slot.id]
        heapq.heappush(self._free_ids, slot.id)

    def allocate(self, count: int) -> Ints:
        """``count`` free cells, referenced once. The caller has made sure of room."""
        self._free_count -= count
        cells = self._free_cells[self._free_count : self._free_count + count].copy()
        self._references[cells] = 1
        return cells

    def idle(self) -> list[Slot]:
        """Slots that nobody works on, least recently used first."""
        return sorted((s for s in self.slots.values() if not s.busy), key=lambda s: s.used)

    def longest_prefix(self, tokens: Ints) -> tuple[Slot | None, int, int]:
        """(slot sharing the longest computed prefix, its length, longest prefix under way).

        A tie goes to an idle slot that holds nothing else, which can be taken over.
        """
        best: Slot | None = None
        length = planned = 0
        for slot in self.slots.values():
            shared = common_prefix(slot.tokens, tokens)
            exact = shared == slot.length and not slot.busy
            if shared > length or (shared == length > 0 and exact):
                best, length = slot, shared
            if len(slot.plan) > slot.length:
                planned = max(planned, common_prefix(slot.plan, tokens))
        return best, length, planned

    def _unreference(self, cells: Ints) -> None:
        self._references[cells] -= 1
        freed = cells[self._references[cells] == 0]
        self._free_cells[self._free_count : self._free_count + len(freed)] = freed
        self._free_count += len(freed)


class Memory:
    """What a cache tells its engine. This one forgets: for tests of the bookkeeping."""

    def copy(self, source: int, target: int, length: int) -> None:
        """``target`` becomes the first ``length`` tokens of ``source``."""

    def cut(self, slot: int, length: int) -> None:
        """Forget what ``slot`` holds from position ``length`` on."""

    def drop(self, slot: int) -> None:
        """Forget ``slot``."""


def referenced(cache: Cache, slots: Iterable[Slot]) -> int:
    """Distinct cells held by ``slots``: what :attr:`Cache.free` must leave (for tests)."""
    held: set[int] = set()
    for slot in slots:
        held.update(slot.cells.tolist())
    return len(held)
