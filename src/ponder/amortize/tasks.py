"""Tasks drawn from a prior: the data sets that a Prior-Data Fitted Network is trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponder.blocks.arguments import cannot_take
from ponder.effects import Program
from ponder.errors import PonderError, told_of
from ponder.interpret import Simulation, seed_key
from ponder.machine import Machine

Floats = NDArray[np.float64]
Tasks = tuple[Floats, Floats]  # x (batch, n, features), y (batch, n)
Prior = Program[Any] | Callable[[int, int], Program[Any]]


@dataclass(frozen=True)
class Drawer:
    """Draws batches of tasks, reproducibly, and refuses what no network could be trained on.

    ``prior`` is a program of one task, (x (n, features), y (n,)), or a function of (batch, n) to
    a program of a whole batch, (x (batch, n, features), y (batch, n)). ``classes``: y is a label
    0 ... classes - 1. Points of a task are shuffled: their order means nothing.
    """

    prior: Prior
    seed: int
    classes: int | None = None

    def __call__(self, label: str, batch: int, n: int) -> Tasks:
        """The batch named ``label``; a program of one task decides itself how many points."""
        prior = self.prior
        if isinstance(prior, Program):
            programs = [(prior, f"{label} task {i}") for i in range(batch)]
            tasks = [self._checked(self._run(p, at), at, None, n) for p, at in programs]
            shapes = {x.shape for x, _ in tasks}
            if len(shapes) > 1:
                raise PonderError(
                    f"the prior's shapes vary: x of {sorted(shapes)} at {label}; "
                    "return as many points and features every time"
                )
            x, y = np.stack([x for x, _ in tasks]), np.stack([y for _, y in tasks])
        else:
            x, y = self._checked(self._run(_called(prior, batch, n), label), label, batch, n)
        order = np.random.Generator(np.random.Philox(key=self._shuffle_key(label)))
        places = order.permuted(np.tile(np.arange(y.shape[1]), (len(y), 1)), axis=1)
        y = np.take_along_axis(y, places, axis=1)
        return np.take_along_axis(x, places[..., None], axis=1), y

    def _shuffle_key(self, label: str) -> int:
        return int.from_bytes(seed_key(self.seed, f"{label} order")[:16], "little")

    def _run(self, program: Program[Any], at: str) -> Any:
        if not isinstance(program, Program):
            raise PonderError(f"the prior answered {type(program).__name__}, not a program")
        task = Machine(Simulation()).start(program, seed_key(self.seed, at))
        if task.failed is not None:
            ours = isinstance(task.failed, PonderError)
            said = str(task.failed) if ours else told_of(task.failed)
            raise PonderError(f"the prior fails at {at}: {said}") from task.failed
        if task.log_weight != 0.0:
            raise PonderError(
                f"the prior has a factor or an observation (at {at}), which sampling ignores; "
                "write it with samples only"
            )
        return task.value

    def _checked(self, value: Any, at: str, batch: int | None, n: int) -> Tasks:
        """x and y as arrays of the shapes promised; ``batch`` is None for a single task."""
        if not isinstance(value, tuple) or len(value) != 2:
            raise PonderError(f"the prior must return (x, y), got {type(value).__name__} at {at}")
        try:
            x, y = (np.asarray(part, dtype=np.float64) for part in value)
        except (TypeError, ValueError):
            raise PonderError(f"the prior's x and y must be arrays of numbers (at {at})") from None
        leading = () if batch is None else (batch, n)
        fits = x.ndim == (2 if batch is None else 3) and y.shape == x.shape[:-1]
        if not fits or (leading and y.shape != leading) or y.shape[-1] < n or not x.shape[-1]:
            wanted = f"({n} or more, d) and as many y" if batch is None else f"({batch}, {n}, d)"
            raise PonderError(
                f"the prior returned x of {x.shape} and y of {y.shape} at {at}; "
                f"x must be {wanted}, y the same without d"
            )
        for name, part in (("x", x), ("y", y)):
            bad = ~np.isfinite(part)
            if bad.any():
                raise PonderError(
                    f"the prior's {name} holds {part[bad][0]} at {at} "
                    f"({int(bad.sum())} of {part.size} values); make every draw finite"
                )
        if self.classes is not None and not (np.isin(y, np.arange(self.classes))).all():
            raise PonderError(
                f"the prior's y at {at} is not a label 0 ... {self.classes - 1}; "
                "return labels, or train without classes"
            )
        return x, y


def _called(prior: Any, batch: int, n: int) -> Any:
    """The program of a batch; PonderError for what takes no (batch, n)."""
    why = cannot_take(prior, 2)
    if why is not None:
        name = getattr(prior, "__name__", repr(prior))
        raise PonderError(
            f"the prior is to be a program of one task, as {name}(), or a function of (batch, n) "
            f"to one of a batch; {name}: {why}"
        )
    return prior(batch, n)
