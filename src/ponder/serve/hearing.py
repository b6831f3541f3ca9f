"""What the loop says of one request, heard in the server's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType

from ponder.serve.asking import Request
from ponder.serve.choices import Said, said
from ponder.serve.loop import Loop
from ponder.serve.work import Ended, Event, Progress, Ticket, Wrote

Heard = Wrote | Progress | Said


class Hearing:
    """A request in the loop; a context manager, whose end frees what the request holds there."""

    def __init__(self, loop: Loop, request: Request) -> None:
        self._loop = loop
        self._request = request
        self._own = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Heard | BaseException] = asyncio.Queue()
        self._written = [""] * len(request.work.questions)
        self._left = len(request.work.questions)
        self._ticket: Ticket | None = None

    async def __aenter__(self) -> Hearing:
        self._ticket = self._loop.submit(self._request.work, self._hear)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._ticket is not None and self._left:
            self._loop.cancel(self._ticket)

    def conclude(self, reason: str) -> None:
        """Have it answered with what there is."""
        if self._ticket is not None:
            self._loop.conclude(self._ticket, reason)

    async def next(self, patience: float | None = None) -> Heard | None:
        """What is heard next, None if nothing is for so many seconds.

        Raises the error that has ended a choice.
        """
        try:
            async with asyncio.timeout(patience):
                heard = await self._queue.get()
        except TimeoutError:
            return None
        if isinstance(heard, BaseException):
            raise heard
        if isinstance(heard, Said):
            self._left -= 1
        return heard

    async def parts(self) -> AsyncIterator[Said]:
        """All choices, in the order in which they end."""
        while self._left:
            heard = await self.next()
            if isinstance(heard, Said):
                yield heard

    def _hear(self, event: Event) -> None:
        """In the loop's thread, which nothing here may disturb."""
        found: Heard | BaseException
        try:
            found = self._made(event)
        except Exception as error:
            found = error
        try:
            self._own.call_soon_threadsafe(self._queue.put_nowait, found)
        except RuntimeError:  # the server has gone
            pass

    def _made(self, event: Event) -> Heard | BaseException:
        if isinstance(event, Wrote):
            self._written[event.index] += event.text
        if not isinstance(event, Ended):
            return event
        if isinstance(event.answer, BaseException):
            return event.answer
        return said(self._request, event, self._written[event.index])
