"""Scorers: functions that say what an answer is worth, where its form alone does not tell."""

from __future__ import annotations

import math
from collections.abc import Callable

from ponder.errors import PonderError
from ponder.loading import named
from ponder.question import Question

Scorer = Callable[[str | None, Question], float]
"""(the text of an answer, its question) -> credit in [0, 1]. No answer is worth 0, unasked."""


def load_scorer(scorer: str | Scorer) -> Scorer:
    """A scorer by its name, ``module:function`` or ``file.py:function``; checked when asked."""
    found = named(scorer) if isinstance(scorer, str) else scorer
    if not callable(found):
        raise PonderError(f"{scorer} is not a function; give one of (answer, question)")
    return checked(found)


def checked(scorer: Scorer) -> Scorer:
    """The scorer, which raises a PonderError naming the question for what is no credit."""
    name = getattr(scorer, "__name__", repr(scorer))

    def asked(answer: str | None, question: Question) -> float:
        where = f"the scorer {name} on the question {question.id!r}"
        try:
            value = scorer(answer, question)
        except PonderError:
            raise
        except (Exception, SystemExit) as error:
            said = (str(error).strip().splitlines() or [""])[0]
            raise PonderError(f"{where} fails: {type(error).__name__}: {said}; mend it") from error
        try:
            credit = float(value)
        except (TypeError, ValueError):
            credit = math.nan
        if not 0 <= credit <= 1:
            raise PonderError(f"{where} returned {value!r}; return a number from 0 to 1")
        return credit

    return asked
