"""Which requests may start: those that can be expected to finish within the budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ponder.ledger import Budget, Ledger

ORDINARY = 256.0  # tokens that a trace is taken to need under a time cap, until one has ended


class Forecast:
    """How long traces and steps will take, from those seen so far.

    Trace lengths by their running mean; until one has finished, the longest possible length is
    assumed, so that the first admitted trace can finish. A step over b sequences takes
    ``fixed + b * each`` seconds, fitted by least squares (the affine iteration cost of continuous
    batching) with a weak prior.
    """

    def __init__(self) -> None:
        self._lengths = 0
        self._finished = 0
        # Sums for the fit: count, b, b*b, seconds, b*seconds; the prior says 40 + 20 b ms.
        self._sums = [0.0] * 5
        for b in (1, 16):
            self._observe(b, 0.04 + 0.02 * b, 0.05)

    def finished(self, length: int) -> None:
        """A trace has ended after ``length`` tokens."""
        self._lengths += length
        self._finished += 1

    def stepped(self, sequences: int, seconds: float) -> None:
        """A decoding step over ``sequences`` took ``seconds``."""
        self._observe(sequences, seconds, 1.0)

    def length(self, longest: int) -> float:
        """Expected length of a trace that may not exceed ``longest`` tokens."""
        return min(self._lengths / self._finished, longest) if self._finished else float(longest)

    def step_seconds(self, sequences: int) -> float:
        """Expected seconds of a decoding step."""
        n, b, bb, s, bs = self._sums
        spread = n * bb - b * b
        each = max((n * bs - b * s) / spread, 0.0) if spread > 1e-9 else 0.0
        fixed = (s - each * b) / n
        if fixed < 0:  # the best line that is nowhere negative goes through the origin
            fixed, each = 0.0, bs / bb
        return fixed + each * sequences

    def _observe(self, b: float, seconds: float, weight: float) -> None:
        for i, value in enumerate((1.0, b, b * b, seconds, b * seconds)):
            self._sums[i] += weight * value


class Admission:
    """Reserves what the requests in flight are expected to need, and admits another only if it
    is expected to finish too.

    Until a trace has ended nothing is known of their lengths; then the longest possible length is
    reserved, so that a cap that is large enough for one trace is not shared by many that die.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.forecast = Forecast()

    def affords(self, engine: Any, request: Any, flying: Sequence[Any], spent: Ledger) -> bool:
        """Whether ``request`` is expected to finish within what those in flight leave."""
        b = self.budget
        if not flying and spent.calls == 0:
            # The first one is tried even if it may not finish, but not if it cannot even begin.
            prompt = engine.uncached(request) if b.max_tokens is not None else 0
            return b.max_tokens is None or spent.tokens + prompt < b.max_tokens
        if b.max_calls is not None and spent.calls + len(flying) >= b.max_calls:
            return False
        left = [self.left(r) for r in flying]
        length = self.forecast.length(request.longest)
        if b.max_tokens is not None:
            expected = spent.tokens + sum(left) + engine.uncached(request) + length
            if expected > b.max_tokens:
                return False
        if b.max_seconds is not None:
            longest = max(min(x, ORDINARY) for x in [length, *left])
            needed = longest * self.forecast.step_seconds(len(flying) + 1)
            if spent.seconds + needed > b.max_seconds:
                return False
        return True

    def left(self, request: Any) -> float:
        """Expected tokens until a request in flight ends, its prompt included."""
        prompt = 0 if request.slot is None else max(0, len(request.prompt) - request.slot.length)
        expected = self.forecast.length(request.longest)
        written: float = max(expected - request.generated, min(16.0, request.longest))
        return prompt + written

    def limit(self, spent: Ledger) -> str:
        """The cap that keeps the next request from being admitted."""
        b = self.budget
        if b.max_calls is not None and spent.calls >= b.max_calls:
            return "max_calls"
        return "max_tokens" if b.max_tokens is not None else "max_seconds"
