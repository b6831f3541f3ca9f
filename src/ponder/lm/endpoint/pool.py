"""Several addresses of one model: the least loaded is asked, one that fails is left alone."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ponder.errors import Unavailable
from ponder.lm.endpoint.failures import Again, delay
from ponder.lm.endpoint.servers import Kind

TRIES = 6  # of one request, where the failure may be its own
PATIENCE = 60.0  # seconds that a request waits while no address can be reached
BUSY_PATIENCE = 900.0  # seconds that it waits in all for servers that are up but full


@dataclass(eq=False)
class Address:
    """One server: what is under way there, its failures in a row, and when to ask it again."""

    url: str
    client: Any
    kind: Kind | None = None
    load: int = 0
    failures: int = 0
    until: float = 0.0
    why: str = ""

    def failed(self, failure: Again) -> None:
        """Leave it alone, longer each time; as long as it asks, if it does.

        All that fails together, because it was under way together, is one failure.
        """
        if self.until <= time.monotonic():
            self.failures += 1
            self.until = time.monotonic() + delay(self.failures)
        self.until = max(self.until, time.monotonic() + (failure.wait or 0.0))
        self.why = str(failure)


@dataclass
class Pool:
    """The addresses of a model; ``patience`` is for all of them being down."""

    addresses: Sequence[Address]
    patience: float = PATIENCE
    _silent_since: float | None = field(default=None, init=False)

    def free(self, avoid: Address | None = None) -> Address | None:
        """The least loaded address that is not left alone; ``avoid`` only if there is no other."""
        now = time.monotonic()
        able = [a for a in self.addresses if a.until <= now]
        return min(able, key=lambda a: (a is avoid, a.load), default=None)

    def answered(self, address: Address) -> None:
        """It works; what it asked for in the meantime still holds."""
        address.failures, address.why = 0, ""
        self._silent_since = None

    def failed(self, address: Address, failure: Again) -> None:
        """It could not be reached, or is full."""
        address.failed(failure)
        if not failure.down:
            self._silent_since = None  # it spoke
        elif self._silent_since is None:
            self._silent_since = time.monotonic()

    async def next(self, avoid: Address | None = None) -> Address:
        """An address to ask, waited for if need be.

        Raises Unavailable once none could be reached for as long as ``patience`` allows.
        """
        while True:
            found = self.free(avoid)
            if found is not None:
                return found
            if self._silent_since is not None:
                silent = time.monotonic() - self._silent_since
                if silent > self.patience:
                    raise Unavailable(self._silence(silent))
            wait = min(a.until for a in self.addresses) - time.monotonic()
            # Not all at the same moment.
            await asyncio.sleep(min(max(wait, 0.01), 1.0) * random.uniform(1.0, 1.25))

    def _silence(self, seconds: float) -> str:
        said = "; ".join(f"{a.url} {a.why}" for a in self.addresses)
        return f"no server has answered for {seconds:.0f} s: {said}; see that one is up"
