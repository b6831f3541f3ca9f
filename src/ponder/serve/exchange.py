"""One request and its reply: a place in the queue, the loop, and a client that may go away."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from ponder.serve.choices import Said
from ponder.serve.hearing import Heard, Hearing
from ponder.serve.objects import DONE, Reply, comment, event, told
from ponder.serve.refusals import refused
from ponder.serve.work import Wrote

if TYPE_CHECKING:
    from ponder.serve.service import Service

PATIENCE = 1.0
"""Seconds in which an error still becomes a status, before a stream begins."""
QUIET = 10.0  # seconds without a word, after which a stream says that it lives
PACE = 1.0  # seconds between comments on progress
STUCK = 60.0  # seconds that a client may take to receive a piece
STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class Gone(Exception):
    """The client has gone away."""


class Exchange:
    """Answers one request, as an ASGI response; ``outcome`` then says what became of it.

    A client that goes away ends it at once, wherever it is.
    """

    def __init__(self, service: Service, reply: Reply) -> None:
        self.service = service
        self.reply = reply
        self.request = reply.request
        self.status = 0
        self.outcome = ""
        self.parts: list[Said] = []
        self._hearing: Hearing | None = None
        self._send: Send = _nowhere
        self._begun = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._send = send
        self.service.exchanges.add(self)
        work = asyncio.create_task(self._answer())
        gone = asyncio.create_task(left(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self.outcome = "client left"
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
            self.service.exchanges.discard(self)
            self.service.ended(self, time.monotonic() - self._begun)

    def conclude(self, reason: str) -> None:
        """Have it answered with what there is."""
        if self._hearing is not None:
            self._hearing.conclude(reason)

    async def _answer(self) -> None:
        patience = self.request.work.budget.max_seconds
        try:
            async with self.service.places.place(patience), self._heard() as hearing:
                if self.request.body.stream:
                    await self._stream(hearing)
                    return
                async for part in hearing.parts():
                    self.parts.append(part)
            self.parts.sort(key=lambda part: part.index)
            await self._whole(self.reply.whole(self.parts))
        except Gone:
            self.outcome = "client left"
        except Exception as error:
            with contextlib.suppress(Gone):
                await self._refuse(error)

    @contextlib.asynccontextmanager
    async def _heard(self) -> AsyncIterator[Hearing]:
        """The request in the loop."""
        async with Hearing(self.service.loop, self.request) as self._hearing:
            if self.service.concluding:
                self._hearing.conclude("shutdown")
            yield self._hearing

    async def _whole(self, found: dict[str, Any]) -> None:
        response = JSONResponse(found, 200, {"x-request-id": self.reply.id})
        self.status = 200
        await response({"type": "http"}, _never, self._sent)

    async def _refuse(self, error: Exception) -> None:
        refusal = refused(error, self.reply.id)
        self.outcome = f"refused: {refusal.code or refusal.status}"
        if refusal.status == 500:
            self.service.log_bug(error, self.reply.id)
        if self.status:  # a stream has begun
            await self._piece(refusal.event() + DONE, more=False)
            return
        self.status = refusal.status
        response = refusal.response({"x-request-id": self.reply.id})
        await response({"type": "http"}, _never, self._sent)

    # Streams.

    async def _stream(self, hearing: Hearing) -> None:
        first = await hearing.next(PATIENCE)  # an error still has a status of its own
        await self._begin()
        async for piece in self._pieces(hearing, first):
            await self._piece(piece)
        options = self.request.body.stream_options
        last = event(self.reply.counts(self.parts)) if options and options.include_usage else b""
        await self._piece(last + DONE, more=False)

    async def _begin(self) -> None:
        self.status = 200
        headers = [*STREAM, (b"x-request-id", self.reply.id.encode())]
        await self._sent({"type": "http.response.start", "status": 200, "headers": headers})
        await self._piece(b"".join(map(event, self.reply.opening())))

    async def _pieces(self, hearing: Hearing, heard: Heard | None) -> AsyncIterator[bytes]:
        """The events of a stream, from the first that was heard to the last."""
        count = len(self.request.work.questions)
        sent = [""] * count
        spoke = 0.0
        while True:
            if heard is None:
                yield comment("working")
            elif isinstance(heard, Wrote):
                sent[heard.index] += heard.text
                yield event(self.reply.words(heard.index, heard.text))
            elif isinstance(heard, Said):
                self.parts.append(heard)
                yield self._last(heard, sent[heard.index])
            elif self.request.wanted.progress:
                yield event(self.reply.progress(heard.index, heard.said))
            elif time.monotonic() - spoke >= PACE:
                spoke = time.monotonic()
                yield comment(told(heard.said))
            if len(self.parts) == count:
                return
            heard = await hearing.next(QUIET)

    def _last(self, part: Said, sent: str) -> bytes:
        """What is left of a choice, and its end."""
        rest = part.text[len(sent) :] if part.text.startswith(sent) else ""
        words = event(self.reply.words(part.index, rest)) if rest else b""
        return words + b"".join(map(event, self.reply.closing(part)))

    async def _piece(self, body: bytes, more: bool = True) -> None:
        await self._sent({"type": "http.response.body", "body": body, "more_body": more})

    async def _sent(self, message: Any) -> None:
        """Send to the client. Raises Gone if it does not take it."""
        try:
            async with asyncio.timeout(STUCK):
                await self._send(message)
        except (TimeoutError, OSError):
            raise Gone from None


async def left(receive: Receive) -> None:
    """Wait until the client goes away."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _never() -> Any:
    await asyncio.Event().wait()


async def _nowhere(message: Any) -> None:
    pass
