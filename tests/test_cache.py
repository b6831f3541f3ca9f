"""The books of the key-value cache, against a plain account of who holds what."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.lm.cache import Cache, Memory, Slot, as_tokens, common_prefix, referenced

CELLS, SLOTS = 40, 6


class Recording(Memory):
    """Sequences as the engine would hold them, from what it was told."""

    def __init__(self) -> None:
        self.held: dict[int, list[int]] = {}

    def copy(self, source: int, target: int, length: int) -> None:
        assert not self.held.get(target)
        self.held[target] = self.held[source][:length]

    def cut(self, slot: int, length: int) -> None:
        self.held[slot] = self.held[slot][:length]

    def drop(self, slot: int) -> None:
        self.held.pop(slot, None)


class Account:
    """A cache, and beside it the tokens of every slot as plain lists."""

    def __init__(self) -> None:
        self.memory = Recording()
        self.cache = Cache(self.memory, SLOTS, CELLS)
        self.tokens: dict[int, list[int]] = {}

    def open(self) -> None:
        if not self.cache.full:
            self._opened(self.cache.open(), [])

    def fork(self, pick: int, length: int) -> None:
        if self.tokens and not self.cache.full:
            source = self._slot(pick)
            length = min(length, source.length)
            before = self.cache.free
            slot = self.cache.fork(source, length)
            assert self.cache.free == before  # a fork takes nothing
            self._opened(slot, self.tokens[source.id][:length])

    def extend(self, pick: int, tokens: list[int]) -> None:
        if self.tokens:
            slot = self._slot(pick)
            new = as_tokens(tokens[: self.cache.free])
            cells = self.cache.allocate(len(new))
            assert len(set(cells.tolist())) == len(new)
            others = [s for s in self.cache.slots.values()]
            assert not any(set(cells.tolist()) & set(s.cells.tolist()) for s in others)
            slot.extend(new, cells)
            self.memory.held.setdefault(slot.id, []).extend(new.tolist())
            self.tokens[slot.id] += new.tolist()

    def trim(self, pick: int, length: int) -> None:
        if self.tokens:
            slot = self._slot(pick)
            self.cache.trim(slot, length)
            del self.tokens[slot.id][length:]

    def release(self, pick: int) -> None:
        if self.tokens:
            slot = self._slot(pick)
            self.cache.release(slot)
            del self.tokens[slot.id]

    def check(self) -> None:
        cache = self.cache
        assert set(cache.slots) == set(self.tokens)
        assert cache.free == cache.size - referenced(cache, cache.slots.values())
        assert cache.full == (len(self.tokens) == SLOTS)
        for id, slot in cache.slots.items():
            assert slot.id == id
            assert slot.tokens.tolist() == self.tokens[id]
            assert len(slot.cells) == slot.length
            assert len(set(slot.cells.tolist())) == slot.length
            assert self.memory.held.get(id, []) == self.tokens[id]

    def _slot(self, pick: int) -> Slot:
        ids = sorted(self.tokens)
        return self.cache.slots[ids[pick % len(ids)]]

    def _opened(self, slot: Slot, tokens: list[int]) -> None:
        assert slot.id == min(set(range(SLOTS)) - set(self.tokens))  # the lowest id first
        self.tokens[slot.id] = list(tokens)


pick = st.integers(0, SLOTS)
actions = st.one_of(
    st.tuples(st.just("open")),
    st.tuples(st.just("fork"), pick, st.integers(0, 20)),
    st.tuples(st.just("extend"), pick, st.lists(st.integers(0, 2), max_size=12)),
    st.tuples(st.just("trim"), pick, st.integers(0, 20)),
    st.tuples(st.just("release"), pick),
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(actions, max_size=60))
def test_the_books_agree_after_any_sequence_of_changes(sequence: list[tuple]) -> None:  # type: ignore[type-arg]
    account = Account()
    for name, *arguments in sequence:
        getattr(account, name)(*arguments)
        account.check()
    for slot in list(account.cache.slots.values()):
        account.cache.release(slot)
    assert account.cache.free == CELLS
    everything = account.cache.allocate(CELLS)
    assert sorted(everything.tolist()) == list(range(CELLS))


def test_a_long_life() -> None:
    """Thousands of changes, most of the time near the limits."""
    rng = random.Random(1)
    account = Account()
    for _ in range(4000):
        kind = rng.choices(("open", "fork", "extend", "trim", "release"), (2, 4, 8, 2, 2))[0]
        n = rng.randrange(SLOTS)
        if kind == "open":
            account.open()
        elif kind == "extend":
            account.extend(n, [rng.randrange(3) for _ in range(rng.randrange(8))])
        elif kind == "release":
            account.release(n)
        else:
            getattr(account, kind)(n, rng.randrange(20))
        account.check()


def shared(a: list[int], b: list[int]) -> int:
    count = 0
    while count < min(len(a), len(b)) and a[count] == b[count]:
        count += 1
    return count


lists = st.lists(st.integers(0, 1), max_size=5)
tails: st.SearchStrategy[list[int]] = st.one_of(
    st.just([]), st.lists(st.integers(0, 1), max_size=3)
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 3), tails, tails, st.booleans()), max_size=SLOTS), lists)
def test_the_longest_prefix_is_found(
    made: list[tuple[int, list[int], list[int], bool]], wanted: list[int]
) -> None:
    """Slots that begin like ``wanted``, with many ties.

    Each is (what is computed, what its owner is about to compute after it, busy or not).
    """
    slots = [(wanted[:length] + tail, more, busy) for length, tail, more, busy in made]
    cache = Cache(Memory(), SLOTS, 100)
    for computed, more, busy in slots:
        slot = cache.open()
        slot.extend(as_tokens(computed), cache.allocate(len(computed)))
        slot.busy = busy
        slot.plan = as_tokens(computed + more) if more else as_tokens(())
    best, length, planned = cache.longest_prefix(as_tokens(wanted))
    lengths = [shared(c, wanted) for c, _, _ in slots]
    plans = [shared(c + m, wanted) for c, m, _ in slots if m]
    assert length == max(lengths, default=0)
    assert planned == max(plans, default=0)
    if length == 0:
        assert best is None
        return
    assert best is not None
    assert lengths[best.id] == length
    exact = [i for i, (c, _, b) in enumerate(slots) if not b and len(c) == lengths[i] == length]
    if exact:  # a slot that can be taken over, rather than copied
        assert best.id in exact


@given(lists, lists)
@settings(derandomize=True, deadline=None)
def test_the_common_prefix(a: list[int], b: list[int]) -> None:
    assert common_prefix(as_tokens(a), as_tokens(b)) == shared(a, b)


def test_idle_slots_are_ordered_by_when_they_were_left() -> None:
    cache = Cache(Memory(), 5, 10)
    slots = [cache.open() for _ in range(5)]
    for slot, used in zip(slots, (3, 1, 9, 0, 2), strict=True):
        slot.used = used
    slots[3].busy = True
    assert [s.id for s in cache.idle()] == [1, 4, 0, 2]


@pytest.mark.parametrize("length", [1, 63, 64, 65, 1000])
def test_a_slot_grows(length: int) -> None:
    slot = Slot(0)
    rng = np.random.default_rng(length)
    tokens = rng.integers(0, 9, length).astype(np.int32)
    cells = rng.permutation(length).astype(np.int32)
    for start in range(0, length, 17):
        slot.extend(tokens[start : start + 17], cells[start : start + 17])
    assert slot.length == length
    assert (slot.tokens == tokens).all()
    assert (slot.cells == cells).all()
