"""The token-level view of a model: states that can be scored, advanced, forked and released.

For methods that choose tokens themselves (constraints, token-level particles, search).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ponder.errors import PonderError
from ponder.lm.cache import Ints, Slot, as_tokens
from ponder.lm.decoder import UBATCH, Decoder, Row
from ponder.lm.sampling import Sampler


@dataclass(eq=False)
class State:
    """A sequence of tokens and what the cache holds of it. Make one with :meth:`States.open`."""

    tokens: list[int]
    slot: Slot | None
    _law: NDArray[np.float32] | None = field(default=None, repr=False)


class States:
    """Opens and moves states on a decoder. A state must be released by whoever opened it."""

    def __init__(self, decoder: Decoder, vocabulary: int) -> None:
        self._decoder = decoder
        self._sampler = Sampler(vocabulary)

    def open(self, tokens: Sequence[int]) -> State:
        """A state after ``tokens`` (at least one); a computed prefix is shared, not recomputed."""
        if not tokens:
            raise PonderError("a state needs at least one token; begin with the model's prompt")
        wanted = as_tokens(tokens)
        source, shared, _ = self._decoder.cache.longest_prefix(wanted)
        return State(list(tokens), self._fork(source, min(shared, len(tokens) - 1)))

    def fork(self, state: State) -> State:
        """An independent copy; nothing is computed."""
        slot = self._slot(state)
        return State(list(state.tokens), self._fork(slot, slot.length), state._law)

    def advance(self, state: State, token: int) -> None:
        """Append a token; it is computed with the next :meth:`log_probs`."""
        self._slot(state)
        state.tokens.append(token)
        state._law = None

    def release(self, state: State) -> None:
        """Give the state back. It cannot be used any more."""
        self._decoder.cache.release(self._slot(state))
        state.slot = None

    def log_probs(self, states: Sequence[State]) -> NDArray[np.float32]:
        """Next-token log-probabilities at temperature 1, shape (len(states), vocabulary).

        All states are computed together, in as few batches as fit.
        """
        todo = [s for s in dict.fromkeys(states) if s._law is None]
        while todo:
            rows: list[Row] = []
            room = UBATCH
            for state in todo:
                slot = self._slot(state)
                pending: Ints = as_tokens(state.tokens[slot.length :])[:room]
                if len(pending):
                    rows.append(Row(slot, pending, slot.length + len(pending) == len(state.tokens)))
                    room -= len(pending)
            self._room_for(sum(len(r.tokens) for r in rows))
            owners = {row.slot: row for row in rows if row.wanted}
            logits = self._decoder.decode(rows)
            done = [s for s in todo if s.slot in owners]
            order = {slot: i for i, slot in enumerate(owners)}
            for state in done:
                assert state.slot is not None
                state._law = self._sampler.log_probs(logits[order[state.slot]])
            todo = [s for s in todo if s._law is None]
        return np.stack([s._law for s in states if s._law is not None])

    def _slot(self, state: State) -> Slot:
        if state.slot is None:
            raise PonderError("the state has been released; open or fork a new one")
        return state.slot

    def _fork(self, source: Slot | None, length: int) -> Slot:
        cache = self._decoder.cache
        while cache.full:
            idle = [s for s in cache.idle() if s is not source]
            if not idle:
                raise PonderError("no sequence is left; release states that are not needed")
            cache.release(idle[0])
        slot = cache.fork(source, length) if source is not None else cache.open()
        slot.busy = True
        return slot

    def _room_for(self, cells: int) -> None:
        cache = self._decoder.cache
        for slot in cache.idle():
            if cache.free >= cells:
                return
            cache.release(slot)
        if cache.free < cells:
            raise PonderError("the context is full; release states or load with more cells")
