"""The two interpreters that need no model: simulation and exact enumeration."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from ponder.dist import NEG_INF, Dist, Stream, derive
from ponder.effects import Program
from ponder.errors import CannotEnumerate, NotAFunctionOfItsChoices, TooManyRuns
from ponder.machine import Machine, Task
from ponder.particle import Particle
from ponder.trace import Trace, plain

X = TypeVar("X")
DEEPEST = 5_000  # choices in one run, beyond which an enumeration gives up
Listed = tuple[Dist[Any], Sequence[tuple[Any, float]]]


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
    """Follows a path through the tree of outcomes and extends it by first branches.

    ``listed`` keeps the distribution and its outcomes at each depth of the path, so that each
    support is listed once and a program that changes its mind is found out.
    """

    def __init__(self, path: list[int], listed: list[Listed]) -> None:
        self.path = path
        self.listed = listed
        self.depth = 0
        self.log_prob = 0.0

    def sample(self, task: Task, address: str, dist: Dist[Any]) -> Any:
        depth = self.depth
        self.depth += 1
        if depth == DEEPEST:
            raise TooManyRuns(f"a run of more than {DEEPEST} choices; it may never end")
        if depth == len(self.path):
            outcomes = dist.support()
            if outcomes is None:
                raise CannotEnumerate(
                    f"cannot enumerate: {dist!r} at {task.path}/{address} has no listed support; "
                    "use distributions with finite support, or simulate"
                )
            self.path.append(0)
            self.listed.append((dist, outcomes))
        before, outcomes = self.listed[depth]
        if before is not dist and before != dist:
            raise NotAFunctionOfItsChoices(
                f"the program is not a function of its choices: at {task.path}/{address} it "
                f"samples {dist!r}, before {before!r}; make it depend only on its arguments and "
                "sampled values"
            )
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
    Raises TooManyRuns beyond ``limit`` runs, CannotEnumerate for a support that is not listed.
    """
    path: list[int] = []
    listed: list[Listed] = []
    for _ in range(limit):
        script = _Script(path, listed)
        task = Machine(script).start(program, b"")
        if task.failed is not None:
            raise task.failed
        if task.log_weight > NEG_INF:
            yield task.value, script.log_prob + task.log_weight
        while path and path[-1] + 1 == len(listed[-1][1]):
            path.pop()
            listed.pop()
        if not path:
            return
        path[-1] += 1
    raise TooManyRuns(f"more than {limit} runs to enumerate; use a smaller model or sample")


def key_of(value: Any) -> Any:
    """The value as a key: what it prints, if it cannot be hashed."""
    value = plain(value)
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value


def enumerate_measure(program: Program[Any], limit: int = 1_000_000) -> dict[Any, float]:
    """The unnormalised measure of a program on its values, exactly: value -> mass.

    A value that cannot be hashed is found under what it prints.
    """
    terms: dict[Any, list[float]] = defaultdict(list)
    for value, log_mass in enumerate_runs(program, limit):
        terms[key_of(value)].append(math.exp(log_mass))
    return {value: math.fsum(parts) for value, parts in terms.items()}
