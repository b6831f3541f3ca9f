"""Which spellings are one name, and whether names are used in one way.

Two spellings are one name if they differ only in case, or in ``_``, ``-`` and blanks
(``Czechoslovakia``, ``czechoslovakia``; ``Ice_Cream``, ``ice-cream``); nothing else is guessed.
A predicate and a constant may share a name (``Rock(rock)``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from ponder.errors import PonderError
from ponder.verify.logic.syntax import Atom, Formula, Function, terms_of, within


def same_name(name: str) -> str:
    """What all spellings of a name have in common."""
    return re.sub(r"[\s_-]+", "_", unicodedata.normalize("NFC", name).casefold())


def check_names(formulas: Sequence[Formula]) -> None:
    """Raises PonderError if a name has two numbers of arguments, or is predicate and function."""
    predicates: dict[str, Atom] = {}
    functions: dict[str, Function] = {}
    for formula in formulas:
        for found in within(formula):
            if isinstance(found, Atom):
                _same_arity(predicates.setdefault(same_name(found.name), found), found)
        for term in terms_of(formula):
            if isinstance(term, Function):
                _same_arity(functions.setdefault(same_name(term.name), term), term)
    for key, function in functions.items():
        if function.arguments and key in predicates:
            raise PonderError(
                f"{_shown(function.name)} is a predicate in {_shown(predicates[key])} and a "
                f"function in {_shown(function)}; use two names"
            )


def _same_arity(first: Atom | Function, second: Atom | Function) -> None:
    here, there = len(first.arguments), len(second.arguments)
    if here != there:
        raise PonderError(
            f"{_shown(first.name)} is used with {here} arguments in {_shown(first)} but with "
            f"{there} in {_shown(second)}; use one number of them, or two names"
        )


def _shown(thing: object) -> str:
    text = str(thing)
    return text if len(text) <= 80 else f"{text[:77]}..."
