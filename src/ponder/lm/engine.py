"""Continuous batching: one decode per step over all live requests of all questions.

Requests join at any step, in chunks of at most CHUNK prompt tokens mixed with the decoding of the
others, share every computed prefix, and leave as soon as they have ended (iteration-level
scheduling, Yu et al. 2022; temporal fusion, Yao et al. 2023).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ponder.dist import Stream
from ponder.errors import PonderError
from ponder.ledger import Ledger
from ponder.lm.cache import Cache, Ints, Slot, as_tokens
from ponder.lm.decoder import UBATCH, Aborted, Row
from ponder.lm.protocol import Completion, Draw, Finish, NextToken, OptionLogProbs
from ponder.lm.request import Request
from ponder.lm.sampling import Sampler
from ponder.lm.writing import Vocabulary, Writing

CHUNK = 64  # prompt tokens a step: 512 at once would stall every live sequence for seconds
WAIT = 8  # a prefix under way that saves at least this many tokens is worth waiting for
PATIENCE = 64  # steps that the state of an ended request is kept when nobody asked for it


class Decodes(Protocol):
    """What an engine needs of a decoder."""

    cache: Cache

    def abort(self, on: bool = True) -> None:
        """See :meth:`ponder.lm.decoder.Decoder.abort`."""
        ...

    def decode(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """See :meth:`ponder.lm.decoder.Decoder.decode`."""
        ...


class Engine:
    """Serves requests on one decoder. ``submit`` and ``step`` until nothing is left.

    ``width`` is the most sequences that decode together. Answers do not depend on what else is
    in the batch beyond the floating-point noise of the decoder (see docs/laws.md).
    """

    def __init__(
        self, decoder: Decodes, vocabulary: Vocabulary, *, context: int, width: int = 32
    ) -> None:
        self.decoder = decoder
        self.cache = decoder.cache
        self.vocabulary = vocabulary
        self.context = min(context, self.cache.size)
        self.width = min(width, UBATCH - CHUNK)
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []
        self.steps = 0
        self.aborted = False
        self._sampler = Sampler(vocabulary.size)

    def request(
        self,
        dist: Completion | NextToken | OptionLogProbs,
        stream_key: bytes,
        ledger: Ledger,
        payload: Any = None,
    ) -> Request:
        """A request for :meth:`submit`."""
        return Request(dist, stream_key, ledger, payload)

    def submit(self, request: Request) -> None:
        """Queue a request. Raises PonderError if its prompt cannot fit."""
        length = len(request.prompt)
        if length == 0:
            raise PonderError("the prompt is empty; the model needs at least one token")
        if length >= self.context:
            raise PonderError(
                f"the prompt has {length} tokens but the context holds {self.context}; "
                "shorten the question or raise --context"
            )
        self.waiting.append(request)

    def uncached(self, request: Request) -> int:
        """Prompt tokens of a request that nobody has computed or is computing."""
        _, shared, planned = self.cache.longest_prefix(request.prompt)
        return max(1, len(request.prompt) - max(shared, planned))

    def cancel(self, request: Request) -> None:
        """Drop a request; what it has generated is booked as wasted."""
        request.ledger.wasted += request.generated
        if request in self.running:
            self.running.remove(request)
            self._leave(request, keep=False)
        elif request in self.waiting:
            self.waiting.remove(request)

    def abort(self) -> None:
        """Abandon the step under way; :meth:`recover` before the next. For signal handlers."""
        self.decoder.abort()

    def recover(self) -> None:
        """Make the engine usable after :meth:`abort`; forgets all requests and all state."""
        self.decoder.abort(False)
        owned = [request.slot for request in self.running]
        for slot in list(self.cache.slots.values()):
            # After an aborted step what the slots hold is undefined; busy ones that no request
            # owns are States, which were not part of it.
            if slot in owned or (self.aborted and not slot.busy):
                self.cache.release(slot)
        self.running.clear()
        self.waiting.clear()
        self.aborted = False

    def step(self) -> list[tuple[Request, Any]]:
        """Admit, decode once, sample; answers the requests that ended, with their values.

        An aborted step ends none.
        """
        self.steps += 1
        self._expire()
        self._admit()
        if not self.running:
            return []
        rows, owners = self._rows()
        try:
            logits = self.decoder.decode(rows)
        except Aborted:
            self.aborted = True
            return []
        return self._sample(logits, owners)

    def _admit(self) -> None:
        """Give waiting requests a slot, in order, while there is room for them."""
        held: list[Request] = []
        # Cells that prompts under way still need: free now, and not to be given away.
        promised = sum(len(r.slot.plan) - r.slot.length for r in self.running if r.slot)
        while self.waiting and len(self.running) < self.width:
            request = self.waiting.popleft()
            target = request.target()
            source, shared, planned = self.cache.longest_prefix(target)
            if min(planned, len(target) - 1) >= shared + WAIT:
                held.append(request)  # the prefix is being computed for somebody else
                continue
            shared = min(shared, len(target) - 1)  # the last token is computed, for its logits
            if not self._make_room(promised + len(target) - shared + 1, source):
                if self.running:
                    self.waiting.appendleft(request)
                    break
                if source is not None and not source.busy:
                    self.cache.release(source)  # alone, and its own prefix is in the way
                    source, shared = None, 0
                if not self._make_room(len(target) - shared + 1, source):
                    self.waiting.appendleft(request)
                    raise PonderError("open states fill the context; release some of them")
            self._place(request, target, source, shared)
            promised += len(target) - shared
        self.waiting.extendleft(reversed(held))

    def _place(self, request: Request, target: Ints, source: Slot | None, shared: int) -> None:
        if source is not None and not source.busy and shared >= source.length - 1:
            slot = source
            self.cache.trim(slot, shared)
        elif source is not None and shared:
            slot = self.cache.fork(source, shared)
        else:
            slot = self.cache.open()
        slot.busy = True
        slot.plan = target
        request.slot = slot
        self.running.append(request)
        request.ledger.prompt_reused += min(shared, len(request.prompt))

    def _make_room(self, cells: int, spare: Slot | None = None) -> bool:
        """Free a slot and ``cells`` cells by forgetting idle slots, oldest first."""
        if self.cache.free >= cells and not self.cache.full:
            return True
        for slot in self.cache.idle():
            if slot is not spare:
                self.cache.release(slot)
                if self.cache.free >= cells and not self.cache.full:
                    return True
        return self.cache.free >= cells and not self.cache.full

    def _rows(self) -> tuple[list[Row], list[Request]]:
        """The batch of this step: every decoding sequence, then prompt chunks; ascending slots."""
        self._preempt()
        rows: list[tuple[Row, Request]] = []
        budget = min(CHUNK, UBATCH - len(self.running))
        room = self.cache.free - len(self.running)
        for request in self.running:
            slot = request.slot
            assert slot is not None
            left = len(slot.plan) - slot.length
            take = left if left == 1 else min(left, 1 + max(0, min(budget, room)))
            if left > 1:
                budget -= take - 1
                room -= take - 1
            tokens = slot.plan[slot.length : slot.length + take]
            rows.append((Row(slot, tokens, take == left), request))
            self._charge(request, len(tokens), slot.length)
        rows.sort(key=lambda pair: pair[0].slot.id)
        return [row for row, _ in rows], [request for row, request in rows if row.wanted]

    def _charge(self, request: Request, count: int, start: int) -> None:
        """Book computed tokens; those that the request had sampled itself are booked already."""
        prompt = max(0, min(start + count, len(request.prompt)) - start)
        if request.writing is None:
            request.ledger.judge += prompt
        else:
            request.ledger.prompt_computed += prompt

    def _preempt(self) -> None:
        """Make sure that every running sequence can take one more token.

        First idle state goes, then the request that started last waits again; it keeps what it
        has written, and its randomness is counted by token, so its text does not change.
        """
        while self.cache.free < len(self.running):
            idle = self.cache.idle()
            if idle:
                self.cache.release(idle[0])
                continue
            last = self.running.pop()
            assert last.slot is not None
            self.cache.release(last.slot)
            last.slot = None
            self.waiting.appendleft(last)

    def _sample(
        self, logits: NDArray[np.float32], owners: list[Request]
    ) -> list[tuple[Request, Any]]:
        ended: list[tuple[Request, Any]] = []
        for row, request in zip(logits, owners, strict=True):
            writing = request.writing
            if writing is None:
                assert isinstance(request.dist, OptionLogProbs)
                self._end(request, request.dist.of(self._sampler.log_probs(row)), ended)
                continue
            finish = self._write(row, writing, request)
            slot = request.slot
            assert slot is not None
            if finish is None and slot.length + 1 >= self.context:
                finish = "length"
            if finish is None:
                slot.plan = np.append(slot.plan, np.int32(writing.tokens[-1]))
                continue
            draw = writing.finished(finish)
            self._end(
                request, draw.tokens[0] if isinstance(request.dist, NextToken) else draw, ended
            )
        for request, _ in ended:
            self.running.remove(request)
        return ended

    def _write(self, row: NDArray[np.float32], writing: Writing, request: Request) -> Finish | None:
        """Sample one token and write it down; answers why the text ends here, or None."""
        u = Stream(request.stream_key, len(writing.tokens)).uniform()
        law = writing.dist.law
        if writing.matcher is None:
            token, logp, logq = self._sampler.draw(row, law, u)
        else:
            allowed = writing.matcher.allowed()
            token, logp, logq, log_mass = self._sampler.draw_allowed(row, law, u, allowed)
            dead = writing.weigh(log_mass)
            if dead is not None:
                return dead
        request.ledger.generated += 1
        return writing.write(token, logp, logq, self.vocabulary)

    def _end(
        self, request: Request, value: Draw | int | Any, ended: list[tuple[Request, Any]]
    ) -> None:
        request.ledger.calls += 1
        keep = request.writing is None or request.writing.dist.keep
        self._leave(request, keep)
        ended.append((request, value))

    def _leave(self, request: Request, keep: bool) -> None:
        """Let go of a slot: keep its state for who reads on, or only its prompt, or nothing."""
        slot = request.slot
        assert slot is not None
        request.slot = None
        slot.busy = False
        slot.plan = as_tokens(())
        slot.used = self.steps
        slot.kept = keep
        if not keep:
            others = (r.prompt for r in self.running if r.slot is not None)
            prompt = request.prompt
            if any(len(p) == len(prompt) and bool((p == prompt).all()) for p in others):
                self.cache.release(slot)
                return
            self.cache.trim(slot, min(slot.length, len(prompt)))

    def _expire(self) -> None:
        """Forget idle state that is old: every cell in use slows attention for all."""
        if self.steps % 16 == 0:
            for slot in self.cache.idle():
                if self.steps - slot.used > (16 * PATIENCE if slot.kept else PATIENCE):
                    self.cache.release(slot)
