"""A text being written token by token: stop strings, length, end tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ponder.lm.protocol import Completion, Draw, Finish, drawn


@dataclass
class Vocabulary:
    """Token texts. ``spell`` gives the bytes of one token; they are remembered."""

    size: int
    end_tokens: frozenset[int]
    spell: Callable[[int], bytes]
    _known: dict[int, bytes] = field(default_factory=dict)

    def piece(self, token: int) -> bytes:
        """The bytes of a token; nothing for end tokens and other markup."""
        known = self._known.get(token)
        if known is None:
            known = self._known[token] = b"" if token in self.end_tokens else self.spell(token)
        return known


class Writing:
    """What one completion has come to so far."""

    __slots__ = ("_bytes", "_cut", "_logp", "_logq", "_longest_stop", "_stops", "dist", "tokens")

    def __init__(self, dist: Completion) -> None:
        self.dist = dist
        self.tokens: list[int] = []
        self._logp: list[float] = []
        self._logq: list[float] = []
        self._bytes = bytearray()
        self._stops = [s.encode() for s in dist.stop if s]
        self._longest_stop = max(map(len, self._stops), default=0)
        self._cut: int | None = None

    @property
    def text(self) -> str:
        """The text so far; bytes that are not yet a whole character show as U+FFFD."""
        return self._bytes.decode("utf-8", errors="replace")

    def write(self, token: int, logp: float, logq: float, vocabulary: Vocabulary) -> Finish | None:
        """Append a sampled token; answers why the text ends here, or None."""
        self.tokens.append(token)
        # Six decimals are far below float32 noise and keep the bank small.
        self._logp.append(round(logp, 6))
        self._logq.append(round(logq, 6))
        if token in vocabulary.end_tokens:
            return "stop"
        start = max(0, len(self._bytes) - self._longest_stop + 1)
        self._bytes += vocabulary.piece(token)
        places = [p for s in self._stops if (p := self._bytes.find(s, start)) >= 0]
        if places:
            self._cut = min(places)
            return "stop"
        return "length" if len(self.tokens) >= self.dist.max_tokens else None

    def finished(self, finish: Finish) -> Draw:
        """The sample."""
        if self._cut is not None and not self.dist.segment:
            del self._bytes[self._cut :]
        return drawn(self.dist, self.tokens, self.text, finish, self._logp, self._logq)
