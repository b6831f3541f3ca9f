"""One request at work: its session, and what it says on its way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ponder.answering import Answer, Session
from ponder.errors import PonderError
from ponder.evidence.genealogy import Stages
from ponder.serve.work import Ended, Late, Progress, Ticket, Work, Wrote
from ponder.sofar import SoFar, row_of
from ponder.verify.answers import display

OpenSession = Callable[[Work, Callable[[str, object], None]], Session]
INTERVAL = 0.25  # seconds between reports of progress


class Live:
    """A request at work. ``open_session`` gives it one that shares its model with the others'."""

    def __init__(self, ticket: Ticket, open_session: OpenSession) -> None:
        self.ticket = ticket
        work = ticket.work
        session = open_session(work, self._hear)
        self.runtime = session.runtime
        self.runtime.aloud = work.words
        self._indices = {q.id: i for i, q in enumerate(work.questions)}
        self._stages = Stages()
        self._so_far = [SoFar() for _ in work.questions]
        self._said = [""] * len(work.questions)
        self._left = set(self._indices.values())
        self._stops: Sequence[str] = dict(work.pipeline.source.settings).get("stop", ())
        self._next = time.monotonic() + INTERVAL
        self._turns = session.turns(work.questions)

    def go_on(self) -> bool:
        """Work until it must wait; False if it has ended."""
        for found in self._turns:
            if found is None:
                return True
            self._end(*found)
        for index in sorted(self._left):  # a cap kept them from being begun
            cut = self.runtime.cut or "the budget"
            why = f"choice {index} was not begun within {cut}; ask for fewer, or raise it"
            self.fail(index, Late(why) if cut in ("max_seconds", "shutdown") else PonderError(why))
        return False

    def close(self) -> None:
        """Let go of what it has asked for."""
        self._turns.close()

    def fail(self, index: int, error: BaseException) -> None:
        """The last word on a choice is an error."""
        self._left.discard(index)
        self.ticket.heard(Ended(index, error))

    def fail_all(self, error: BaseException) -> None:
        """All that is not ended has failed."""
        for index in sorted(self._left):
            self.fail(index, error)

    def speak(self) -> None:
        """Say what has been written, and how far it has come, to whoever wants to hear it."""
        work = self.ticket.work
        if work.words:
            for id, request in self.runtime.flying():
                index = self._indices[id]
                self._say(index, certain(request.text, self._stops))
        if work.progress and time.monotonic() >= self._next:
            self._next = time.monotonic() + INTERVAL
            for index in sorted(self._left):
                self.ticket.heard(Progress(index, self._progress(index)))

    def _hear(self, question: str, message: object) -> None:
        index = self._indices[question]
        self._so_far[index].hear(message)
        if self.ticket.work.genealogy:
            self._stages.hear(question, message)

    def _say(self, index: int, text: str) -> None:
        said = self._said[index]
        if len(text) > len(said) and text.startswith(said):
            self._said[index] = text
            self.ticket.heard(Wrote(index, text[len(said) :]))

    def _end(self, question: Any, answer: Answer | BaseException) -> None:
        index = self._indices[question.id]
        self._left.discard(index)
        descent = None
        if isinstance(answer, Answer):
            if self.ticket.work.words:
                (trace,) = answer.posterior.population.traces
                self._say(index, getattr(trace.value, "text", ""))
            if self.ticket.work.genealogy:
                descent = self._stages.genealogy(answer)
        self.ticket.heard(Ended(index, answer, descent))

    def _progress(self, index: int) -> dict[str, Any]:
        spent, so_far = self.runtime.spent, self._so_far[index]
        kind = self.ticket.work.questions[index].kind
        rows = [_row(trace, kind) for trace in so_far.population.traces]
        rows += [
            {"text": request.text, "answer": None, "status": "running", "tokens": request.generated}
            for id, request in self.runtime.flying()
            if self._indices[id] == index and not so_far.staged
        ]
        return {
            "tokens": spent.tokens,
            "expected_tokens": round(spent.tokens + self.runtime.tokens_left()),
            "seconds": round(spent.seconds, 3),
            "posterior": [
                {
                    "answer": display(s.answer, kind),
                    "share": round(s.share, 6),
                    "count": s.count,
                }
                for s in so_far.shares()
            ],
            "traces": rows,
        }


def certain(text: str, stops: Sequence[str]) -> str:
    """What of an unfinished text stays: not half a character, nor what may become a stop string."""
    text = text.rstrip("\ufffd")
    held = max(
        (n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0
    )
    return text[: len(text) - held]


def _row(trace: Any, kind: str) -> dict[str, Any]:
    """A trace on its way: one that is unfinished is still being written."""
    status = "running" if trace.status == "unfinished" else trace.status
    return {**row_of(trace, kind), "status": status}
