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


class Desks:
    """Where services are asked: one thing at a time, or ``width`` if the service has one.

    No service waits for another, so that one that hangs holds up nobody else's. Several runtimes
    may share the desks of the services that they share.
    """

    def __init__(self) -> None:
        self._desks: dict[int, _Desk] = {}

    def of(self, service: Any) -> _Desk:
        """The desk of a service."""
        desk = self._desks.get(id(service))
        if desk is None:
            desk = self._desks[id(service)] = _Desk(service)
        return desk


class Errands:
    """The errands of one runtime. Those of ``desks`` that others use too are never aborted."""

    def __init__(self, desks: Desks | None = None) -> None:
        self._pending: dict[Task, Errand] = {}
        self._done: queue.SimpleQueue[Done] = queue.SimpleQueue()
        self._shared = desks is not None
        self._desks = desks or Desks()

    def __len__(self) -> int:
        return len(self._pending)

    def send(self, errand: Errand) -> None:
        """Have it answered; the task waits."""
        self._pending[errand.task] = errand
        self._desks.of(errand.dist.service).send(errand, self._done)

    def forget(self, task: Task) -> None:
        """Nobody waits for its answer any more."""
        errand = self._pending.pop(task, None)
        if errand is not None:
            self._desks.of(errand.dist.service).forget(errand)

    def forget_all(self) -> list[Task]:
        """Nobody waits any more; what is being answered is told to stop if it can."""
        pending, self._pending = self._pending, {}
        for errand in pending.values():
            self._desks.of(errand.dist.service).forget(errand)
        if not self._shared:
            for service in {id(e.dist.service): e.dist.service for e in pending.values()}.values():
                self._desks.of(service).abort()
        return list(pending)

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

    def __init__(self, service: Any) -> None:
        self._service = service
        self._width = getattr(service, "width", 1)
        self._todo: deque[tuple[Errand, queue.SimpleQueue[Done]]] = deque()
        self._threads = 0
        self._lock = threading.Lock()

    def send(self, errand: Errand, done: queue.SimpleQueue[Done]) -> None:
        with self._lock:
            self._todo.append((errand, done))
            if self._threads == self._width:
                return
            self._threads += 1
        # A daemon, so that a service that hangs cannot keep ponder from ending.
        threading.Thread(target=self._serve, daemon=True).start()

    def forget(self, errand: Errand) -> None:
        with self._lock:
            self._todo = deque(todo for todo in self._todo if todo[0] is not errand)

    def abort(self) -> None:
        with self._lock:
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
                errand, waiter = self._todo.popleft()
            began = time.monotonic()
            answer, error = None, None
            try:
                answer = as_json(self._service.answer(json.loads(errand.dist.request)))
            except BaseException as raised:  # it ends the question that asked
                error = raised
            waiter.put(Done(errand, answer, error, time.monotonic() - began))


def as_json(answer: Any) -> dict[str, Any]:
    """The answer of a service as the bank will give it back. Raises TypeError if it is none."""
    if not isinstance(answer, dict):
        raise TypeError(f"its answer is of type {type(answer).__name__}, not dict")
    read: dict[str, Any] = json.loads(json.dumps(answer))
    return read
