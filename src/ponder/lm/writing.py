"""A text being written token by token: stop strings, length, end tokens."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from ponder.dist import NEG_INF
from ponder.lm.grammar import GrammarCompiler
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

    @cached_property
    def grammars(self) -> GrammarCompiler:
        """What compiles grammars for these tokens; made on first use."""
        return GrammarCompiler(self)


class Writing:
    """What one completion has come to so far; ``matcher`` stands where it has come in its grammar.

    Raises PonderError for a grammar that cannot be compiled for the model.
    """

    __slots__ = (
        "_bytes",
        "_cut",
        "_logp",
        "_logq",
        "_longest_stop",
        "_masses",
        "_stops",
        "dist",
        "matcher",
        "tokens",
    )

    def __init__(self, dist: Completion) -> None:
        self.dist = dist
        self.tokens: list[int] = []
        self._logp: list[float] = []
        self._logq: list[float] = []
        self._bytes = bytearray()
        self._stops = [s.encode() for s in dist.stop if s]
        self._longest_stop = max(map(len, self._stops), default=0)
        self._cut: int | None = None
        self._masses: list[float] = []
        self.matcher = None if dist.grammar is None else dist.grammar.compile(dist.model)

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
        if self.matcher is not None:
            self.matcher.advance(token)
        return "length" if len(self.tokens) >= self.dist.max_tokens else None

    def weigh(self, log_mass: float) -> Finish | None:
        """Note the log of the mass that was allowed here; nothing can follow if it is zero."""
        self._masses.append(log_mass)
        return "dead" if log_mass == NEG_INF else None

    def finished(self, finish: Finish) -> Draw:
        """The sample."""
        if self._cut is not None and not self.dist.segment:
            del self._bytes[self._cut :]
        evidence = None if self.matcher is None else round(math.fsum(self._masses), 6)
        return drawn(self.dist, self.tokens, self.text, finish, self._logp, self._logq, evidence)
