"""A decoder without a model: logits are a function of the tokens that a slot was told to hold.

It keeps its own copy of every slot, from what the cache tells its memory, so a fork or a cut that
is not told gives wrong logits; and it refuses what llama.cpp would refuse.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponder.lm.cache import Cache, Memory, referenced
from ponder.lm.decoder import UBATCH, Aborted, Row
from ponder.lm.engine import Engine
from ponder.lm.protocol import Message, Tokens
from ponder.lm.table import TableLM
from ponder.lm.writing import Vocabulary

LETTERS = "abcdefgh"
WORDS = (*LETTERS, "ab", "ca", "bb", " ", "Answer: 4", "Answer: 5", "<end>")
END = len(WORDS) - 1


class TokenMemory(Memory):
    """What llama.cpp's cache would hold."""

    def __init__(self) -> None:
        self.held: dict[int, list[int]] = {}

    def copy(self, source: int, target: int, length: int) -> None:
        assert not self.held.get(target), "a copy into a sequence that holds something"
        self.held[target] = self.held[source][:length]

    def cut(self, slot: int, length: int) -> None:
        del self.held[slot][length:]

    def drop(self, slot: int) -> None:
        self.held.pop(slot, None)


class FakeDecoder:
    """Rows of ``law(tokens)``, shape (vocabulary,), for the tokens of each wanted slot.

    ``sizes`` are the tokens of every batch, ``ordered`` whether slots always came in ascending
    order, ``preempted`` counts busy slots that were released, ``seconds`` is how long a step takes.
    """

    def __init__(
        self,
        law: Callable[[Tokens], NDArray[np.float32]],
        *,
        cells: int,
        slots: int,
        seconds: float = 0.0,
    ) -> None:
        self.memory = TokenMemory()
        self.cache = Cache(self.memory, slots, cells)
        self.sizes: list[int] = []
        self.preempted = 0
        self.ordered = True
        self.seconds = seconds
        self.aborted = False
        self._law = law
        release = self.cache.release

        def counting(slot: Any) -> None:
            self.preempted += slot.busy
            release(slot)

        self.cache.release = counting  # type: ignore[method-assign]

    def abort(self, on: bool = True) -> None:
        self.aborted = on

    def decode(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        ids = [row.slot.id for row in rows]
        count = sum(len(row.tokens) for row in rows)
        assert rows, "an empty batch"
        assert all(len(row.tokens) for row in rows), "a sequence without tokens"
        assert len(ids) == len(set(ids)), "a sequence twice in a batch"
        self.ordered &= ids == sorted(ids)
        assert count <= UBATCH
        assert count <= self.cache.free, "more cells than are free"
        assert all(self.cache.slots[row.slot.id] is row.slot for row in rows)
        time.sleep(self.seconds)
        if self.aborted:
            raise Aborted
        self.sizes.append(count)
        for row in rows:
            held = self.memory.held.setdefault(row.slot.id, [])
            assert held == row.slot.tokens.tolist(), "the memory was not told"
            held += row.tokens.tolist()
            row.slot.extend(row.tokens, self.cache.allocate(len(row.tokens)))
        self.check()
        laws = [self._law(tuple(self.memory.held[row.slot.id])) for row in rows if row.wanted]
        return np.array(laws, dtype=np.float32).reshape(len(laws), len(WORDS))

    def check(self) -> None:
        """The books agree: every cell is free or held, and the memory holds what the slots do."""
        held = referenced(self.cache, self.cache.slots.values())
        assert self.cache.free == self.cache.size - held

    def check_all_free(self) -> None:
        """Nothing has leaked: no slot is busy, and what is idle can be given back."""
        assert not any(slot.busy for slot in self.cache.slots.values())
        for slot in self.cache.idle():
            self.cache.release(slot)
        assert self.cache.free == self.cache.size
        assert self.cache.open().id == 0
        self.cache.release(self.cache.slots[0])
        assert not self.memory.held


def hashed(ending: float = 0.1) -> Callable[[Tokens], list[float]]:
    """Next-token probabilities that depend on every token so far; ``ending`` is the end's."""

    def table(tokens: Tokens) -> list[float]:
        seed = zlib.crc32(np.array([7, *tokens], dtype=np.int32).tobytes())
        p = np.random.default_rng(seed).dirichlet(np.full(END, 0.5)) * (1 - ending)
        return [*p.tolist(), ending]

    return table


def answers(tokens: Tokens) -> list[float]:
    """Writes a few letters, a space and an answer, then ends."""
    space, four, five = (WORDS.index(w) for w in (" ", "Answer: 4", "Answer: 5"))
    p = [*hashed(0.0)(tokens)[:space], 0.5, 0.0, 0.0, 0.0]
    if tokens and tokens[-1] in (space, four, five):
        p = [0.0] * 15
        p[four], p[five], p[END] = (0.8, 0.2, 0.0) if tokens[-1] == space else (0.0, 0.0, 1.0)
    return p


class BatchedLM(TableLM):
    """A finite model whose requests go through the engine; ``draw`` is the one-by-one reference."""

    engine: Engine

    def __init__(
        self,
        *,
        cells: int = 400,
        slots: int = 16,
        width: int = 4,
        ending: float = 0.1,
        seconds: float = 0.0,
        table: Callable[[Tokens], list[float]] | None = None,
        name: str = "batched",
    ) -> None:
        super().__init__(WORDS, table or hashed(ending), context=10**9, name=name)
        self.decoder = FakeDecoder(self.next_log_probs, cells=cells, slots=slots, seconds=seconds)
        vocabulary = Vocabulary(len(WORDS), self.end_tokens, lambda t: WORDS[t].encode())
        self.engine = Engine(self.decoder, vocabulary, context=cells, width=width)

    def tokenize(self, text: str, *, special: bool = False) -> Tokens:
        """As a table does; but it says "a" for yes and "b" for no, so that it can be a judge."""
        said = {"yes": "a", "no": "b"}.get(text.strip().lower())
        return super().tokenize(text, special=special) if said is None else (WORDS.index(said),)

    def follow_up(self, messages: Sequence[Message]) -> Tokens:
        """One letter, after which anything may come, also where the reply had ended."""
        return (LETTERS.index("c"),)

    def chat(self, messages: Sequence[Message]) -> Tokens:
        """The letters of what the messages say."""
        said = " ".join(m["content"] for m in messages)
        return tuple(LETTERS.index(c) for c in said.lower() if c in LETTERS)
