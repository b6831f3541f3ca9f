"""The engine of a model behind servers: what the runtime submits to, steps and cancels.

Requests fly in a thread of their own, on an asyncio loop; ``step`` waits for some to land.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from ponder.errors import PonderError
from ponder.ledger import Ledger
from ponder.lm.endpoint.asker import Asker
from ponder.lm.endpoint.asking import check
from ponder.lm.endpoint.reading import Usage
from ponder.lm.endpoint.request import Request
from ponder.lm.protocol import Completion, Draw, NextToken, OptionLogProbs

PATIENCE = 0.05  # seconds that a step waits for the first request to end
X = TypeVar("X")


class Background:
    """An asyncio loop in a thread that does not keep the program from ending."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
        self._thread.start()

    def start(self, work: Coroutine[Any, Any, X]) -> Future[X]:
        """Begin it there; cancelling what is answered cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, X]) -> X:
        """Do it there and wait."""
        future = self.start(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the thread; what is under way there is dropped."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)


class EndpointEngine:
    """Serves requests by asking servers. ``submit`` and ``step`` until nothing is left.

    ``width`` is how many are to be under way at once; the runtime keeps to it. What a step answers
    is a value, or a PonderError that ends the question which asked.
    """

    def __init__(self, asker: Asker, background: Background, *, name: str, width: int) -> None:
        self.width = width
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []
        self.steps = 0
        self.aborted = False
        self._asker = asker
        self._background = background
        self._name = name
        self._landed: queue.SimpleQueue[tuple[Request, Any, Usage] | None] = queue.SimpleQueue()

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
        """Send it off. Raises PonderError for what no server can be asked."""
        check(request.dist, self._name)
        self.running.append(request)
        request.future = self._background.start(self._fly(request))

    def uncached(self, request: Request) -> int:
        """Prompt tokens that may have to be computed: all of them, for all that is known here."""
        return max(1, len(request.prompt))

    def cancel(self, request: Request) -> None:
        """Drop a request: its connection is closed, which frees its place on the server.

        What is known to have been generated is booked as wasted.
        """
        if request not in self.running:
            return
        self.running.remove(request)
        request.ledger.generated += request.generated
        request.ledger.wasted += request.generated
        if request.future is not None:
            request.future.cancel()

    def abort(self) -> None:
        """End the step under way; :meth:`recover` before the next. For signal handlers."""
        self.aborted = True
        self._landed.put(None)  # a simple queue may be used there

    def recover(self) -> None:
        """Make the engine usable after :meth:`abort`; forgets all requests."""
        for request in list(self.running):
            self.cancel(request)
        self.aborted = False

    def step(self) -> list[tuple[Request, Any]]:
        """Wait a moment for requests to end; answers those that did. An aborted step ends none."""
        self.steps += 1
        ended: list[tuple[Request, Any]] = []
        while not self.aborted:
            try:
                landed = self._landed.get(timeout=0 if ended else PATIENCE)
            except queue.Empty:
                break
            if landed is None or landed[0] not in self.running:
                continue  # it has been cancelled
            request, value, usage = landed
            self.running.remove(request)
            book(request, value, usage)
            ended.append((request, value))
        return ended

    async def _fly(self, request: Request) -> None:
        value: Any
        usage = Usage()
        try:
            value, usage = await self._asker.answer(request)
        except PonderError as error:
            value = error
        except Exception as error:  # a server's reply may have any form
            why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            value = PonderError(f"{self._name} answered what cannot be read ({why})")
        self._landed.put((request, value, usage))


def book(request: Request, value: Any, usage: Usage) -> None:
    """Write down what a request has cost, by what the server counts; else by our own pieces."""
    ledger = request.ledger
    ledger.calls += 1
    if isinstance(value, PonderError):
        return
    prompt = len(request.prompt) if usage.prompt is None else usage.prompt
    ledger.prompt_reused += usage.cached
    if isinstance(value, Draw):
        ledger.prompt_computed += prompt - usage.cached
        ledger.generated += len(value.tokens)
    else:
        ledger.judge += prompt - usage.cached
