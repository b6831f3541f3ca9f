"""What a server asks of the loop that works, and what it hears from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ponder.answering import Answer, Worth
from ponder.errors import PonderError
from ponder.ledger import Budget
from ponder.question import Question
from ponder.strategy import Pipeline


@dataclass(frozen=True)
class Work:
    """One request: a question for every choice, whose ids differ as their randomness does.

    ``words``: say the text as it is written, of a strategy of one trace. ``progress``: say several
    times a second how far it has come. ``genealogy``: answers come with who descends from whom.
    """

    pipeline: Pipeline
    questions: tuple[Question, ...]
    seed: int = 0
    budget: Budget = field(default_factory=Budget)
    worth: Worth | None = None
    words: bool = False
    progress: bool = False
    genealogy: bool = False


@dataclass(frozen=True)
class Wrote:
    """The text of a choice goes on."""

    index: int
    text: str


@dataclass(frozen=True)
class Progress:
    """How far a choice has come, for JSON: tokens, expected_tokens and seconds of the whole
    request; posterior: answer, share, count; traces: text, answer, status, tokens."""

    index: int
    said: dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """The last word on a choice."""

    index: int
    answer: Answer | BaseException
    genealogy: dict[str, Any] | None = None


class Late(PonderError):
    """A choice was not begun in its time."""


Event = Wrote | Progress | Ended
Heard = Callable[[Event], None]


@dataclass(eq=False, frozen=True)
class Ticket:
    """A request that was handed in; whoever has it can cancel it."""

    work: Work
    heard: Heard
