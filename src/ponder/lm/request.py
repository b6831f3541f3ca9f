"""A model request under way."""

from __future__ import annotations

from typing import Any

import numpy as np

from ponder.ledger import Ledger
from ponder.lm.cache import Ints, Slot, as_tokens
from ponder.lm.protocol import Completion, NextToken, OptionLogProbs
from ponder.lm.writing import Writing


class Request:
    """One model request under way: what is asked, its randomness, and what it has come to."""

    __slots__ = (
        "dist",
        "ledger",
        "log_probs",
        "payload",
        "prompt",
        "slot",
        "stream_key",
        "writing",
    )

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
        self.prompt: Ints = as_tokens(dist.prompt)
        self.slot: Slot | None = None
        completion = dist.completion if isinstance(dist, NextToken) else dist
        self.writing = Writing(completion) if isinstance(completion, Completion) else None

    @property
    def generated(self) -> int:
        """Tokens sampled so far."""
        return len(self.writing.tokens) if self.writing else 0

    @property
    def text(self) -> str:
        """What has been written so far."""
        return self.writing.text if self.writing else ""

    @property
    def longest(self) -> int:
        """The most tokens it may sample."""
        return self.writing.dist.max_tokens if self.writing else 1

    def target(self) -> Ints:
        """Every token that must be computed before the next one can be drawn."""
        if self.writing is None or not self.writing.tokens:
            return self.prompt
        return np.concatenate([self.prompt, as_tokens(self.writing.tokens)])
