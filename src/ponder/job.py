"""A question under way, what it asks of models, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ponder.ledger import Ledger
from ponder.machine import Task
from ponder.price import Price

if TYPE_CHECKING:
    from ponder.runtime import Runtime


@dataclass
class Job:
    """One question under way: its program's root task and what it has cost."""

    id: str
    root: Task | None
    ledger: Ledger
    started: float
    price: Price = field(default_factory=Price)


class Asked(NamedTuple):
    """Who waits for a model request: the task, its runtime, and where the bank keeps the answer.

    ``aloud``: somebody listens while it is written.
    """

    runtime: Runtime
    task: Task
    bank_key: bytes
    where: str
    aloud: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a question: its program's value or the error that ended it.

    ``ledger`` is what it has cost now, ``price`` what it costs by itself.
    """

    id: str
    value: Any
    error: BaseException | None
    ledger: Ledger
    price: Ledger
