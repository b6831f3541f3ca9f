"""One server: what its requests share."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from dataclasses import dataclass, field

from pydantic import ValidationError

from ponder.serve.asking import Ceilings, read_request
from ponder.serve.bodies import ChatBody, CompletionBody
from ponder.serve.exchange import Exchange
from ponder.serve.keys import Keys
from ponder.serve.limits import Places
from ponder.serve.loop import Loop
from ponder.serve.metrics import Metrics
from ponder.serve.naming import Naming
from ponder.serve.objects import Reply
from ponder.serve.refusals import unreadable

log = logging.getLogger("ponder.serve")
LAST = 10.0
"""Seconds in which requests that are concluded have to end."""


@dataclass
class Service:
    """The loop, the names of its methods, and the limits.

    ``seed`` is that of requests without one; None: another for each. ``log_requests``: what is
    asked may stand in the log. ``local``: bound to this machine alone.
    """

    loop: Loop
    naming: Naming
    places: Places
    ceilings: Ceilings = field(default_factory=Ceilings)
    keys: Keys = field(default_factory=Keys)
    max_body: int = 1 << 20
    seed: int | None = None
    log_requests: bool = False
    local: bool = True

    def __post_init__(self) -> None:
        self.created = int(time.time())
        self.exchanges: set[Exchange] = set()
        self.draining = False
        self.concluding = False
        self.metrics = Metrics(self.loop.state, lambda: (self.places.taken, self.places.waiting))

    def exchange(self, kind: type[ChatBody] | type[CompletionBody], raw: bytes) -> Exchange:
        """What answers the request in a body. Raises Refusal for one that cannot be answered."""
        try:
            body = kind.model_validate_json(raw)
        except ValidationError as error:
            raise unreadable(error, list(kind.model_fields)) from None
        request = read_request(body, self.naming, self.ceilings, self.seed)
        exchange = Exchange(self, Reply(request, body.model))
        if self.log_requests:
            log.info("%s asks: %s", exchange.reply.id, raw.decode(errors="replace"))
        return exchange

    def ended(self, exchange: Exchange, seconds: float) -> None:
        """Note what became of a request."""
        outcome = exchange.outcome or _outcome(exchange)
        self.metrics.outcomes.labels(outcome).inc()
        method = exchange.request.method
        self.metrics.seconds.labels(method).observe(seconds)
        tokens = sum(part.price.generated for part in exchange.parts)
        log.info(
            "%s %s %d %s, %d tokens, %.2f s",
            exchange.reply.id, method, exchange.status, outcome, tokens, seconds,
        )  # fmt: skip

    def log_bug(self, error: BaseException, reference: str) -> None:
        """Keep what is needed to find a bug; the message may hold what was asked."""
        where = "".join(traceback.format_tb(error.__traceback__))
        said = f": {error}" if self.log_requests else " (--log-requests shows what it says)"
        log.error("%s: a bug in ponder: %s%s\n%s", reference, type(error).__name__, said, where)

    async def drain(self, grace: float) -> None:
        """Take no new requests; let those at work finish, then conclude what is left."""
        self.draining = True
        if await self._empty(grace):
            return
        log.warning("%d requests are concluded with what they have", len(self.exchanges))
        self.concluding = True
        self.places.close()
        for exchange in list(self.exchanges):
            exchange.conclude("shutdown")
        await self._empty(LAST)

    async def _empty(self, seconds: float) -> bool:
        """Whether all requests end in so many seconds."""
        deadline = time.monotonic() + seconds
        while self.exchanges and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        return not self.exchanges


def _outcome(exchange: Exchange) -> str:
    cut = [part.ponder["cut_short"] for part in exchange.parts if part.ponder["cut_short"]]
    if cut:
        return f"cut short: {cut[0]}"
    if any(part.ponder["abstained"] for part in exchange.parts):
        return "abstained"
    return "answered"
