"""The live view of a question at work: the leading answer, what is spent, what is left."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

import numpy as np

from ponder.law import Law
from ponder.ledger import Budget
from ponder.measure import Population, tally
from ponder.question import Question
from ponder.runtime import Runtime
from ponder.trace import Trace
from ponder.verify.answers import display

_UNKNOWN = Law("heuristic", "so far")
INTERVAL = 0.2


class AskView:
    """Shows progress while a session works on one question; a context manager.

    Give :meth:`told` and :meth:`watch` to the session. Shows nothing unless ``shown``.
    """

    def __init__(self, question: Question, budget: Budget, *, shown: bool) -> None:
        self._question = question
        self._budget = budget
        self._shown = shown
        self._traces: list[Trace[Any]] = []
        self._population: Population[Any] | None = None
        self._live: Any = None
        self._last = 0.0

    def __enter__(self) -> AskView:
        if self._shown:
            from rich.live import Live

            self._live = Live("thinking ...", auto_refresh=False, transient=True)
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def told(self, question: str, message: object) -> None:
        """A trace has finished, or a population has moved."""
        if isinstance(message, Trace):
            self._traces.append(message)
        elif isinstance(message, Population):
            self._population = message

    def watch(self, runtime: Runtime) -> None:
        """An engine step is done."""
        now = time.monotonic()
        if self._live is None or now - self._last < INTERVAL:
            return
        self._last = now
        self._live.update(self.render(runtime), refresh=True)

    def render(self, runtime: Runtime) -> Any:
        """What is shown: a rich renderable of a few lines."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        spent = runtime.spent
        left = runtime.tokens_left()
        total = self._budget.max_tokens or spent.tokens + left
        rate = spent.tokens / spent.seconds if spent.seconds > 0 else 0.0
        seconds = left / rate if rate else float("inf")
        if self._budget.max_seconds is not None:
            seconds = min(seconds, self._budget.max_seconds - spent.seconds)
        of = "of" if self._budget.max_tokens else "of about"
        remains = f"about {max(seconds, 0):.0f} s left" if seconds < 1e6 else ""
        tokens = f"  {spent.tokens} {of} {total:.0f} tokens   {rate:.0f}/s   {remains}"
        bar = ProgressBar(total=max(total, 1), completed=spent.tokens, width=40)
        return Group(Text(self._leader()), bar, Text(tokens, style="dim"))

    def _leader(self) -> str:
        population = self._population
        if population is None:
            weights = np.array([t.log_potential for t in self._traces])
            population = Population(tuple(self._traces), weights, _UNKNOWN)
        finished = [t for t in population.traces if t.status == "finished"]
        shares = tally(population)[0] if finished else ()
        if not shares:
            return f"no answer yet ({len(finished)} traces finished)"
        lead = display(shares[0].answer, self._question.kind)
        return f"{lead}   share {shares[0].share:.2f} of {len(finished)} finished traces"
