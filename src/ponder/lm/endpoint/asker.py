"""One request from the first try to its answer: which server, which form, how often."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ponder.errors import PonderError
from ponder.lm.endpoint.asking import body_of, goes_on
from ponder.lm.endpoint.client import get, post, stream
from ponder.lm.endpoint.failures import Again, delay
from ponder.lm.endpoint.pool import BUSY_PATIENCE, TRIES, Address, Pool
from ponder.lm.endpoint.reading import (
    NO_LOGS,
    Usage,
    Written,
    draw_of,
    options_of,
    usage_of,
    written_in,
)
from ponder.lm.endpoint.request import Request
from ponder.lm.endpoint.servers import KINDS, PROBES, Kind, kind_by_owner
from ponder.lm.endpoint.spelling import messages_in
from ponder.lm.protocol import Completion, OptionLogProbs

_STITCHED = (
    "{} cannot go on with a reply that it has begun, so it is asked in one more turn to go on: the "
    "law is not that of one reply (see docs/scale.md; ?continue= in the address says it can)"
)


class Asker:
    """Asks the servers of a pool for one model. ``warn`` is told, once, what bends the law."""

    def __init__(
        self,
        pool: Pool,
        model: str,
        *,
        logprobs: bool,
        continuation: str | None,
        warn: Callable[[str], None],
    ) -> None:
        self.pool = pool
        self.model = model
        self.logprobs = logprobs
        self.continuation = continuation
        self._warn = warn
        self.stitched = False

    async def answer(self, request: Request) -> tuple[Any, Usage]:
        """The value of a request, and what it has cost.

        Tried again on another server, or later, where that may help; raises PonderError where it
        does not.
        """
        began, tries, avoid = time.monotonic(), 0, None
        while True:
            address = await self.pool.next(avoid)
            address.load += 1
            try:
                found = await self._asked(address, request)
                self.pool.answered(address)
                return found
            except Again as failure:
                avoid, why = address, failure
                if failure.down or failure.busy:
                    self.pool.failed(address, failure)
            finally:
                address.load -= 1
            request.text, request.generated = "", 0
            if why.busy:
                if time.monotonic() - began > BUSY_PATIENCE:
                    raise PonderError(f"{address.url} {why}, for {BUSY_PATIENCE:.0f} s; ask less")
                continue
            if why.down and not why.slow:
                continue  # the pool waits, and knows when to give up
            tries += 1
            if tries == TRIES:
                raise PonderError(f"{address.url} {why}, {tries} times; see that it works")
            await asyncio.sleep(delay(tries))

    async def kind_of(self, address: Address) -> Kind:
        """What the server at an address is; asked once."""
        if address.kind is None:
            address.kind = await find_kind(address, self.model, self.continuation)
        return address.kind

    async def _asked(self, address: Address, request: Request) -> tuple[Any, Usage]:
        dist, kind = request.dist, await self.kind_of(address)
        if isinstance(dist, OptionLogProbs) and not self.logprobs:
            raise PonderError(NO_LOGS)
        if kind.goes_on is None and not self.stitched and goes_on(dist):
            self.stitched = True
            self._warn(_STITCHED.format(self.model))
        body = body_of(request, self.model, kind, logprobs=self.logprobs)
        url = f"{address.url}/chat/completions"
        if isinstance(dist, Completion) and "stream" in body:
            written = await self._streamed(address, url, body, request)
            if "stop" in body:  # whether it was that, no chunk says
                written = replace(written, stopped=None)
            return draw_of(dist, written, kind), written.usage
        reply = await post(address.client, url, body)
        if isinstance(dist, OptionLogProbs):
            return options_of(dist, reply), usage_of(reply)
        assert isinstance(dist, Completion)
        written = written_in(reply, dist, kind, messages_in(dist.prompt)[1])
        return draw_of(dist, written, kind), written.usage

    async def _streamed(
        self, address: Address, url: str, body: dict[str, Any], request: Request
    ) -> Written:
        from ponder.lm.endpoint.streaming import read_stream

        async with stream(address.client, url, body) as lines:
            return await read_stream(lines, request)


async def find_kind(address: Address, model: str, continuation: str | None) -> Kind:
    """The kind of a server, by what it says of its models or by paths that only it has."""
    if continuation is not None:
        return KINDS[continuation]
    listed = await list_models(address)
    for found in listed:
        kind = kind_by_owner(found)
        if kind is not None:
            return kind
    root = address.url.removesuffix("/v1")
    for path, (field, name) in PROBES.items():
        try:
            said = await get(address.client, f"{root}/{path}")
        except (Again, PonderError):
            continue
        if field in said:
            return KINDS[name]
    return KINDS["none"]


async def list_models(address: Address) -> list[dict[str, Any]]:
    """What ``/v1/models`` lists; nothing where there is no such path. Raises Again, PonderError."""
    try:
        found = (await get(address.client, f"{address.url}/models")).get("data")
    except PonderError as error:
        if "(404)" in str(error):
            return []
        raise
    return [entry for entry in found or [] if isinstance(entry, dict)]
