"""A request to a server under way."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from ponder.ledger import Ledger
from ponder.lm.protocol import Completion, NextToken, OptionLogProbs, Tokens


class Request:
    """What is asked, its randomness, and what is known of it so far; as the runtime sees it.

    Text arrives in the end, or while it is written where it is streamed (``generated``, ``text``):
    if somebody listens, who is ``aloud``, or where it is ended here.
    """

    __slots__ = (
        "aloud",
        "dist",
        "future",
        "generated",
        "ledger",
        "payload",
        "prompt",
        "stream_key",
        "text",
    )

    length = 0  # of the prompt nothing is known to be read before the end

    def __init__(
        self,
        dist: Completion | NextToken | OptionLogProbs,
        stream_key: bytes,
        ledger: Ledger,
        payload: Any = None,
    ) -> None:
        self.dist = dist
        self.stream_key = stream_key
        self.ledger = ledger
        self.payload = payload
        self.aloud: bool = getattr(payload, "aloud", False)
        self.prompt: Tokens = dist.prompt
        self.future: Future[None] | None = None
        self.generated = 0
        self.text = ""

    @property
    def slot(self) -> Request | None:
        """What has been read of the prompt while it is under way, for forecasts: its ``length``."""
        return None if self.future is None else self

    @property
    def longest(self) -> int:
        """The most tokens it may sample."""
        return self.dist.max_tokens if isinstance(self.dist, Completion) else 1

    @property
    def seed(self) -> int:
        """31 bits of its randomness: what all servers take."""
        return int.from_bytes(self.stream_key[:4]) >> 1
