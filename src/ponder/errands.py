"""What programs have asked of services: answered in threads beside the models."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from ponder.errors import PonderError
from ponder.machine import Task
from ponder.outside import Outside


@dataclass(frozen=True)
class Errand:
    """One request of a task, and where in its program."""

    task: Task
    dist: Outside
    where: str


@dataclass(frozen=True)
class Done:
    """What became of an errand: its answer, or why there is none."""

    errand: Errand
    answer: dict[str, Any] | None
    error: BaseException | None
    seconds: float

    def refusal(self, error: BaseException) -> PonderError:
        """What the task is told of ``error``; it ends one question and no more."""
        name = self.errand.dist.service.name
        reason = " ".join(str(error).split()).removeprefix(f"{name} ")
        if not isinstance(error, PonderError):
            reason = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
        return PonderError(f"{name} failed for {self.errand.where}: {reason}")


class Errands:
    """The errands under way. A service is asked one thing at a time, or ``width`` if it has one.

    No service waits for another, so that one that hangs holds up nobody else's.
    """

    def __init__(self) -> None:
        self._pending: dict[Task, Errand] = {}
        self._done: queue.SimpleQueue[Done] = queue.SimpleQueue()
        self._desks: dict[int, _Desk] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def send(self, errand: Errand) -> None:
        """Have it answered; the task waits."""
        service = errand.dist.service
        desk = self._desks.get(id(service))
        if desk is None:
            desk = self._desks[id(service)] = _Desk(service, self._done)
        self._pending[errand.task] = errand
        desk.send(errand)

    def forget(self, task: Task) -> None:
        """Nobody waits for its answer any more."""
        errand = self._pending.pop(task, None)
        if errand is not None:
            self._desks[id(errand.dist.service)].forget(errand)

    def forget_all(self) -> list[Task]:
        """Nobody waits any more; what is being answered is told to stop if it can."""
        tasks = list(self._pending)
        self._pending.clear()
        for desk in self._desks.values():
            desk.abort()
        return tasks

    def done(self, wait: float) -> list[Done]:
        """What has been answered; waits for at most ``wait`` seconds for the first."""
        found: list[Done] = []
        deadline = time.monotonic() + wait
        while self._pending:
            left = deadline - time.monotonic()
            try:
                done = self._done.get(not found and left > 0, max(left, 0.0))
            except queue.Empty:
                break
            if self._pending.get(done.errand.task) is done.errand:
                del self._pending[done.errand.task]
                found.append(done)
        return found


class _Desk:
    """One service: what it is still to answer, and the threads that ask it, while there are any."""

    def __init__(self, service: Any, done: queue.SimpleQueue[Done]) -> None:
        self._service = service
        self._width = getattr(service, "width", 1)
        self._done = done
        self._todo: deque[Errand] = deque()
        self._threads = 0
        self._lock = threading.Lock()

    def send(self, errand: Errand) -> None:
        with self._lock:
            self._todo.append(errand)
            if self._threads == self._width:
                return
            self._threads += 1
        # A daemon, so that a service that hangs cannot keep ponder from ending.
        threading.Thread(target=self._serve, daemon=True).start()

    def forget(self, errand: Errand) -> None:
        with self._lock:
            if errand in self._todo:
                self._todo.remove(errand)

    def abort(self) -> None:
        with self._lock:
            self._todo.clear()
            busy = self._threads > 0
        abort = getattr(self._service, "abort", None)
        if busy and abort is not None:
            abort()

    def _serve(self) -> None:
        while True:
            with self._lock:
                if not self._todo:
                    self._threads -= 1
                    return
                errand = self._todo.popleft()
            began = time.monotonic()
            answer, error = None, None
            try:
                answer = as_json(self._service.answer(json.loads(errand.dist.request)))
            except BaseException as raised:  # it ends the question that asked
                error = raised
            self._done.put(Done(errand, answer, error, time.monotonic() - began))


def as_json(answer: Any) -> dict[str, Any]:
    """The answer of a service as the bank will give it back. Raises TypeError if it is none."""
    if not isinstance(answer, dict):
        raise TypeError(f"its answer is of type {type(answer).__name__}, not dict")
    read: dict[str, Any] = json.loads(json.dumps(answer))
    return read
