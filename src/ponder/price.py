"""What the samples of one question cost by themselves, whoever has paid for them.

A bank makes samples free the second time, and a cache forgets; so what a run has cost depends on
what ran before. The price does not: it is what the same samples cost a method that runs alone, with
a cache that forgets nothing within the question. It is the axis on which methods are compared.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import Any

from ponder.ledger import Ledger
from ponder.lm.protocol import Completion, Draw, ModelDist, OptionLogProbs, Tokens
from ponder.outside import Outside


@dataclass
class Price:
    """The ledger of a question alone; ``seconds`` stay 0, and nothing is ever ``banked``."""

    ledger: Ledger = field(default_factory=Ledger)
    _read: list[Tokens] = field(default_factory=list)  # what has been through the model, sorted

    def charge(self, dist: ModelDist | Outside, value: Any) -> None:
        """Book one sample: ``value`` from ``dist``."""
        if isinstance(dist, Outside):
            self.ledger.checks += 1
            return
        reused = self._known(dist.prompt)
        computed = len(dist.prompt) - reused
        self.ledger.calls += 1
        self.ledger.prompt_reused += reused
        if isinstance(dist, OptionLogProbs):
            self.ledger.judge += computed
        else:
            self.ledger.prompt_computed += computed
        tokens: Tokens = ()
        if isinstance(dist, Completion) and isinstance(value, Draw):
            tokens = value.tokens
        elif not isinstance(dist, OptionLogProbs):
            tokens = (value,)
        self.ledger.generated += len(tokens)
        self._note(dist.prompt + tokens)

    def _note(self, sequence: Tokens) -> None:
        """Remember what has been read, in place of its own beginning, which sorts just before it.

        So a trace drawn token by token is kept once, and not once a token.
        """
        place = bisect.bisect_left(self._read, sequence)
        before = self._read[place - 1] if place else None
        if before is not None and sequence[: len(before)] == before:
            self._read[place - 1] = sequence
        elif self._read[place : place + 1] != [sequence]:
            self._read.insert(place, sequence)

    def _known(self, prompt: Tokens) -> int:
        """The length of the longest beginning of ``prompt`` that has been read before.

        In sorted order the sequence that shares most with it is a neighbour.
        """
        place = bisect.bisect_left(self._read, prompt)
        near = self._read[max(0, place - 1) : place + 1]
        return max((_shared(prompt, other) for other in near), default=0)


def _shared(a: Tokens, b: Tokens) -> int:
    """The number of tokens with which both begin."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[:middle] == b[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
