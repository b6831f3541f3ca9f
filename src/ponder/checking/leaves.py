"""How many runs an enumeration would take, estimated before it is begun."""

from __future__ import annotations

from typing import Any

from ponder.dist import Dist, Stream, derive
from ponder.effects import Program
from ponder.errors import CannotEnumerate, TooManyRuns
from ponder.interpret import DEEPEST
from ponder.machine import Machine, Task

PROBES = 12


class _Probe:
    """Goes down one branch picked uniformly, multiplying the numbers of branches."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.leaves = 1.0
        self.depth = 0

    def sample(self, task: Task, address: str, dist: Dist[Any]) -> Any:
        outcomes = dist.support()
        if outcomes is None:
            raise CannotEnumerate(
                f"cannot enumerate: {dist!r} has no listed support; use distributions with finite "
                "support in what is to be checked"
            )
        self.leaves *= len(outcomes)
        self.depth += 1
        if self.depth == DEEPEST:
            raise TooManyRuns(f"a run of more than {DEEPEST} choices; it may never end")
        return outcomes[int(self.stream.uniform() * len(outcomes))][0]

    def tell(self, task: Task, message: object) -> None:
        pass

    def abandon(self, task: Task) -> None:
        pass


def estimated_leaves(program: Program[Any], probes: int = PROBES) -> float:
    """The number of runs, estimated without bias by random descents (Knuth 1975)."""
    total = 0.0
    for probe in range(probes):
        handler = _Probe(Stream(derive(b"leaves", str(probe))))
        task = Machine(handler).start(program, b"")
        if task.failed is not None:
            raise task.failed
        total += handler.leaves
    return total / probes
