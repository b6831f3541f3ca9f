"""How many requests are worked on at once, how many may wait, and how long a body may be."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from ponder.serve.refusals import Refusal

BODY_SECONDS = 30.0
"""That a body may take to arrive."""


class Places:
    """``most`` requests at work and ``queue`` waiting, first come first served."""

    def __init__(self, most: int, queue: int) -> None:
        self.most = most
        self.queue = queue
        self.taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._seconds = 1.0  # that a request takes, of late
        self._closed = False

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    def close(self) -> None:
        """Admit nobody any more; who waits is told so."""
        self._closed = True
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(closing())

    @asynccontextmanager
    async def place(self, patience: float | None = None) -> AsyncIterator[None]:
        """Hold a place, once there is one. Raises Refusal if the queue is full, if none was free
        within ``patience`` seconds, or if the server shuts down."""
        await self._enter(patience)
        began = time.monotonic()
        try:
            yield
        finally:
            self._seconds += 0.2 * (time.monotonic() - began - self._seconds)
            self._leave()

    async def _enter(self, patience: float | None) -> None:
        if self._closed:
            raise closing()
        if self.taken < self.most and not self._waiting:
            self.taken += 1
            return
        if len(self._waiting) >= self.queue:
            raise self._busy(f"{self.taken} requests are at work and {self.waiting} wait already")
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(patience):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._leave()  # it was given a place as it left
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise self._busy("no place was free in its time") from None
            raise

    def _leave(self) -> None:
        """Hand the place on, or free it."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.taken -= 1

    def _busy(self, why: str) -> Refusal:
        rounds = 1 + self.waiting / max(self.most, 1)
        after = min(60, max(1, round(self._seconds * rounds)))
        return Refusal(
            429,
            f"{why}; ask again in {after} s",
            code="rate_limit_exceeded",
            retry_after=after,
        )


def closing() -> Refusal:
    """What is told while the server shuts down."""
    return Refusal(
        503, "the server is shutting down; ask again later", code="shutdown", retry_after=5
    )


async def read_body(request: Request, most: int) -> bytes:
    """The body of a request. Raises Refusal for one of more than ``most`` bytes, or that dawdles,
    or is not said to be JSON: a browser then asks first whether another site may send it."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, "send JSON, with the header Content-Type: application/json")
    large = Refusal(413, f"the body has more than {most} bytes; send less", code="body_too_large")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > most:
                    raise large
    except TimeoutError:
        raise Refusal(408, f"the body did not arrive within {BODY_SECONDS:.0f} s") from None
    return bytes(body)
