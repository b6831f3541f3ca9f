"""The live view of a question at work: the leading answer, what is spent, what is left."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from ponder.ledger import Budget
from ponder.question import Question
from ponder.runtime import Runtime
from ponder.sofar import SoFar
from ponder.verify.answers import display

INTERVAL = 0.2


class AskView:
    """Shows progress while a session works on one question; a context manager.

    Give :meth:`told` and :meth:`watch` to the session. Shows nothing unless ``shown``.
    """

    def __init__(self, question: Question, budget: Budget, *, shown: bool) -> None:
        self._question = question
        self._budget = budget
        self._shown = shown
        self._so_far = SoFar()
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
        self._so_far.hear(message)

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
        shares, finished = self._so_far.shares(), self._so_far.finished
        if not shares:
            return f"no answer yet ({finished} traces finished)"
        lead = display(shares[0].answer, self._question.kind)
        return f"{lead}   share {shares[0].share:.2f} of {finished} finished traces"
