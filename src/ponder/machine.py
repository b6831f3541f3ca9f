"""The machine that runs programs: one loop over the tree of all that are running.

A handler decides what a sample is: drawn at once (simulation), every outcome in turn (enumeration),
or answered later (the model runtime), so that the requests of all programs are in flight together.
"""

from __future__ import annotations

from typing import Any, Protocol

from ponder.addresses import Addresses
from ponder.dist import Dist, derive
from ponder.effects import (
    Each,
    Effects,
    Factor,
    Nested,
    Program,
    Sample,
    Tell,
    refuse_no_effect,
)

PENDING: Any = object()


class Task:
    """One running generator, its place in the tree, and the key of its randomness."""

    __slots__ = (
        "addresses",
        "children",
        "discarded",
        "failed",
        "generator",
        "key",
        "log_weight",
        "parent",
        "part",
        "results",
        "root",
        "slot",
        "value",
        "waiting",
    )

    def __init__(self, generator: Effects[Any], key: bytes, part: str, parent: Task | None) -> None:
        self.generator = generator
        self.key = key
        self.part = part
        self.parent = parent
        self.root: Task = self if parent is None else parent.root
        self.slot = 0
        self.addresses = Addresses()
        self.waiting = 0
        self.results: list[Any] = []
        self.children: list[Task] = []
        self.log_weight = 0.0
        self.value: Any = None
        self.failed: BaseException | None = None
        self.discarded = False

    @property
    def path(self) -> str:
        """The parts from the root to here, joined by slashes."""
        parts: list[str] = []
        task: Task | None = self
        while task is not None:
            parts.append(task.part)
            task = task.parent
        return "/".join(reversed(parts))


class Handler(Protocol):
    """What a machine asks of its interpreter."""

    def sample(self, task: Task, address: str, dist: Dist[Any]) -> Any:
        """The value, or PENDING if it will come later through :meth:`Machine.resume`."""
        ...

    def tell(self, task: Task, message: object) -> None:
        """Something to show."""
        ...

    def abandon(self, task: Task) -> None:
        """A task with a pending sample is no longer wanted."""
        ...


class Machine:
    """Drives root programs and all their sub-programs. Roots that end are in :attr:`ended`."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.ended: list[Task] = []

    def start(self, program: Program[Any], key: bytes, part: str = "") -> Task:
        """Start a root; it runs until it waits for something or ends."""
        root = Task(program.start(), key, part, None)
        self._drive(root, None, None)
        return root

    def resume(self, task: Task, value: Any) -> None:
        """Answer a pending sample."""
        self._drive(task, value, None)

    def throw(self, task: Task, error: BaseException) -> None:
        """Raise ``error`` at a pending sample."""
        self._drive(task, None, error)

    def _drive(self, task: Task, send: Any, error: BaseException | None) -> None:
        stack: list[tuple[Task, Any, BaseException | None]] = [(task, send, error)]
        while stack:
            current: Task | None
            current, send, error = stack.pop()
            while current is not None and not current.discarded:
                try:
                    effect = (
                        current.generator.send(send)
                        if error is None
                        else current.generator.throw(error)
                    )
                except StopIteration as stop:
                    current, send = self._returned(current, stop.value)
                    error = None
                    continue
                except Exception as raised:
                    current, error = self._failed(current, raised)
                    continue
                error = None
                try:
                    current, send = self._effect(current, effect, stack)
                except Exception as raised:
                    error = raised  # the program that asked may know what to do

    def _effect(
        self, task: Task, effect: Any, stack: list[tuple[Task, Any, BaseException | None]]
    ) -> tuple[Task | None, Any]:
        """Interpret one effect: (the task to go on with, or None; what to send it)."""
        kind = type(effect)
        if kind is Sample:
            value = self.handler.sample(task, task.addresses.next(effect.name), effect.dist)
            return (None, None) if value is PENDING else (task, value)
        if kind is Factor:
            task.root.log_weight += effect.log_weight
        elif kind is Each:
            if not effect.programs:
                return task, []
            self._spawn(task, effect, stack)
            return None, None
        elif kind is Nested:
            names = None if effect.name is None else [effect.name]
            self._spawn(task, Each([effect.program], names), stack)
            task.results = [PENDING]
            return None, None
        elif kind is Tell:
            self.handler.tell(task, effect.message)
        else:
            refuse_no_effect(effect)
        return task, None

    def _spawn(
        self, task: Task, effect: Each, stack: list[tuple[Task, Any, BaseException | None]]
    ) -> None:
        parts = task.addresses.each(effect)
        task.results = [None] * len(effect.programs)
        task.waiting = len(effect.programs)
        task.children = []
        for slot, (program, part) in enumerate(zip(effect.programs, parts, strict=True)):
            child = Task(program.start(), derive(task.key, part), part, task)
            child.slot = slot
            task.children.append(child)
        stack.extend((child, None, None) for child in reversed(task.children))

    def _returned(self, task: Task, value: Any) -> tuple[Task | None, Any]:
        parent = task.parent
        task.value = value
        if parent is None:
            self.ended.append(task)
            return None, None
        nested = len(parent.results) == 1 and parent.results[0] is PENDING
        parent.results[task.slot] = value
        parent.waiting -= 1
        if parent.waiting:
            return None, None
        results, parent.results, parent.children = parent.results, [], []
        return parent, results[0] if nested else results

    def _failed(self, task: Task, error: BaseException) -> tuple[Task | None, BaseException | None]:
        parent = task.parent
        if parent is None:
            task.failed = error
            self.ended.append(task)
            return None, None
        for sibling in parent.children:
            if sibling is not task:
                self._discard(sibling)
        parent.children = []
        return parent, error

    def _discard(self, task: Task) -> None:
        waiting = [task]
        while waiting:
            unwanted = waiting.pop()
            waiting.extend(unwanted.children)
            unwanted.discarded = True
            self.handler.abandon(unwanted)
            unwanted.generator.close()
