"""What a method needs of a question beyond its text, or an error that names what is missing."""

from __future__ import annotations

from typing import Any

from ponder.errors import PonderError
from ponder.question import Question


def needed(question: Question, field: str, method: str, what: str = "a list of texts") -> Any:
    """``question.meta[field]``. Raises PonderError if it is missing or empty."""
    value = question.meta.get(field)
    if not value:
        raise lacking(question, f"meta.{field} ({what})", method)
    return value


def texts(question: Question, field: str, method: str) -> tuple[str, ...]:
    """``question.meta[field]`` as texts. Raises PonderError unless it is a list of them."""
    value = needed(question, field, method)
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise lacking(question, f"meta.{field} as a list of texts", method)
    return tuple(value)


def options(question: Question, method: str) -> tuple[str, ...]:
    """The options of a choice question. Raises PonderError if it has fewer than two."""
    if question.kind != "choice" or len(question.options) < 2:
        raise lacking(question, "the kind choice and meta.options (two or more)", method)
    return question.options


def lacking(question: Question, what: str, method: str) -> PonderError:
    """The error of a question without ``what``."""
    name = question.id or question.text[:40]
    return PonderError(f"{method} needs {what} of the question {name!r}; add it, or use cot")
