"""A machine whose samples are answered out of order."""

from __future__ import annotations

import random
from typing import Any

from ponder.dist import (
    Dist,
)
from ponder.effects import Program
from ponder.interpret import Simulation, seed_key
from ponder.machine import PENDING, Machine, Task


class Shuffled(Simulation):
    """Keeps samples waiting and answers them in any order, as a batching engine does."""

    def __init__(self, seed: int) -> None:
        self.order = random.Random(seed)
        self.waiting: list[tuple[Task, str, Dist[Any]]] = []
        self.most = 0

    def sample(self, task: Task, address: str, dist: Dist[Any]) -> Any:
        self.waiting.append((task, address, dist))
        self.most = max(self.most, len(self.waiting))
        return PENDING

    def abandon(self, task: Task) -> None:
        self.waiting = [w for w in self.waiting if w[0] is not task]

    def take(self) -> tuple[Task, Any]:
        """One waiting task, and the value that it would have been given at once."""
        task, address, dist = self.waiting.pop(self.order.randrange(len(self.waiting)))
        return task, super().sample(task, address, dist)


def evaluate_shuffled(p: Program[Any], seed: int, order: int) -> tuple[Any, int]:
    """(value, most samples in flight) of a run whose samples are answered out of order."""
    handler = Shuffled(order)
    machine = Machine(handler)
    root = machine.start(p, seed_key(seed))
    while handler.waiting:
        machine.resume(*handler.take())
    assert machine.ended == [root]
    assert root.failed is None
    return root.value, handler.most
