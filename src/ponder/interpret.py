"""The machine that runs programs, and the two interpreters that need no model.

One loop drives the tree of running programs; a handler decides what a sample is. Simulation draws
it, enumeration visits every outcome, and the model runtime may answer later, so that the requests
of all programs are in flight together.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

from ponder.dist import NEG_INF, Dist, Stream, derive
from ponder.effects import Each, Effects, Factor, Nested, Program, Sample, Tell
from ponder.errors import PonderError
from ponder.trace import Particle, Trace, each_names

X = TypeVar("X")
PENDING: Any = object()


class Task:
    """One running generator, its place in the tree, and the key of its randomness."""

    __slots__ = (
        "children",
        "discarded",
        "failed",
        "generator",
        "key",
        "log_weight",
        "ordinal",
        "parent",
        "path",
        "results",
        "root",
        "slot",
        "value",
        "visits",
        "waiting",
    )

    def __init__(self, generator: Effects[Any], key: bytes, path: str, parent: Task | None) -> None:
        self.generator = generator
        self.key = key
        self.path = path
        self.parent = parent
        self.root: Task = self if parent is None else parent.root
        self.slot = 0
        self.ordinal = 0
        self.visits: dict[str, int] | None = None
        self.waiting = 0
        self.results: list[Any] = []
        self.children: list[Task] = []
        self.log_weight = 0.0
        self.value: Any = None
        self.failed: BaseException | None = None
        self.discarded = False

    def address(self, name: str | None) -> str:
        """The next address for ``name``: unnamed samples count, repeated names count visits."""
        if name is None:
            name = str(self.ordinal)
            self.ordinal += 1
        if self.visits is None:
            self.visits = {}
        visit = self.visits.get(name, 0)
        self.visits[name] = visit + 1
        return f"{name}#{visit}" if visit else name


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

    def start(self, program: Program[Any], key: bytes, path: str = "") -> Task:
        """Start a root; it runs until it waits for something or ends."""
        root = Task(program.start(), key, path, None)
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
                if type(effect) is Sample:
                    address = current.address(effect.name)
                    try:
                        send = self.handler.sample(current, address, effect.dist)
                    except Exception as raised:
                        error = raised  # the program that asked may know what to do
                    if error is None and send is PENDING:
                        current = None
                else:
                    current, send = self._effect(current, effect, stack)

    def _effect(
        self, task: Task, effect: Any, stack: list[tuple[Task, Any, BaseException | None]]
    ) -> tuple[Task | None, Any]:
        """Interpret an effect other than a sample: (the task to go on with, what to send it)."""
        kind = type(effect)
        if kind is Factor:
            task.root.log_weight += effect.log_weight
        elif kind is Each:
            if not effect.programs:
                return task, []
            self._spawn(task, effect, stack)
            return None, None
        elif kind is Nested:
            self._spawn(task, Each([effect.program]), stack)
            task.results = [PENDING]
            return None, None
        elif kind is Tell:
            self.handler.tell(task, effect.message)
        return task, None

    def _spawn(
        self, task: Task, effect: Each, stack: list[tuple[Task, Any, BaseException | None]]
    ) -> None:
        names = each_names(effect, task.ordinal)
        if effect.names is None:
            task.ordinal += 1
        task.results = [None] * len(effect.programs)
        task.waiting = len(effect.programs)
        task.children = []
        for slot, (program, name) in enumerate(zip(effect.programs, names, strict=True)):
            part = task.address(name) if effect.names is not None else name
            path = f"{task.path}/{part}"
            child = Task(program.start(), derive(task.key, part), path, task)
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


class Simulation:
    """Draws every sample from the stream of its task and address."""

    def sample(self, task: Task, address: str, dist: Dist[Any]) -> Any:
        return dist.draw(Stream(derive(task.key, address)))

    def tell(self, task: Task, message: object) -> None:
        pass

    def abandon(self, task: Task) -> None:
        pass


def seed_key(seed: int, question: str = "") -> bytes:
    """The key of all randomness of one question under one seed."""
    return derive(derive(b"ponder", f"seed {seed}"), f"question {question}")


def evaluate(program: Program[X], seed: int = 0, question: str = "") -> X:
    """Run a program, drawing its samples; its own factors and twists are ignored."""
    machine = Machine(Simulation())
    task = machine.start(program, seed_key(seed, question))
    if task.failed is not None:
        raise task.failed
    value: X = task.value
    return value


def simulate(program: Program[X], seed: int = 0) -> Trace[X]:
    """One trace of a program, drawn from its sampling law; its weight is ``log_potential``."""
    particle = Particle(program)
    evaluate(particle.run(), seed)
    return particle.trace()


class _Script:
    """Follows a path through the tree of outcomes and extends it by first branches."""

    def __init__(self, path: list[int]) -> None:
        self.path = path
        self.widths: list[int] = []
        self.log_prob = 0.0

    def sample(self, task: Task, address: str, dist: Dist[Any]) -> Any:
        outcomes = dist.support()
        if outcomes is None:
            raise PonderError(
                f"cannot enumerate: {dist!r} at {task.path}/{address} has no listed support; "
                "use distributions with finite support, or simulate"
            )
        depth = len(self.widths)
        if depth == len(self.path):
            self.path.append(0)
        self.widths.append(len(outcomes))
        value, log_prob = outcomes[self.path[depth]]
        self.log_prob += log_prob
        return value

    def tell(self, task: Task, message: object) -> None:
        pass

    def abandon(self, task: Task) -> None:
        pass


def enumerate_runs(program: Program[X], limit: int = 1_000_000) -> Iterator[tuple[X, float]]:
    """Every run of a program: (value, log of its probability times exp of its factors).

    Exact for programs whose distributions list their support. Runs of zero weight are left out.
    Raises PonderError beyond ``limit`` runs.
    """
    path: list[int] = []
    for _ in range(limit):
        script = _Script(path)
        task = Machine(script).start(program, b"")
        if task.failed is not None:
            raise task.failed
        if task.log_weight > NEG_INF:
            yield task.value, script.log_prob + task.log_weight
        del path[len(script.widths) :]
        while path and path[-1] + 1 == script.widths[len(path) - 1]:
            path.pop()
        if not path:
            return
        path[-1] += 1
    raise PonderError(
        f"more than {limit} runs to enumerate; use a smaller model or fewer particles"
    )


def enumerate_measure(program: Program[Any], limit: int = 1_000_000) -> dict[Any, float]:
    """The unnormalised measure of a program on its values, exactly: value -> mass."""
    terms: dict[Any, list[float]] = defaultdict(list)
    for value, log_mass in enumerate_runs(program, limit):
        terms[value].append(math.exp(log_mass))
    return {value: math.fsum(parts) for value, parts in terms.items()}
