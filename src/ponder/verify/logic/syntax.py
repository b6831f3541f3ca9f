"""Formulas of first-order logic with equality, and how they are written.

Names are kept as they were written; what counts as the same name is the solver's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

_QUOTES = ('""', "''", "``", "“”")
_WORDS = frozenset(("not", "and", "or", "xor", "implies", "iff", "all", "forall", "exists", "some"))


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable, bound by a quantifier around it."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Function:
    """A function applied to its arguments; without arguments, a constant."""

    name: str
    arguments: tuple[Term, ...] = ()

    def __str__(self) -> str:
        return _applied(self.name, self.arguments)


Term: TypeAlias = Variable | Function


@dataclass(frozen=True, slots=True)
class Atom:
    """A predicate of its arguments; without arguments, a proposition."""

    name: str
    arguments: tuple[Term, ...] = ()

    def __str__(self) -> str:
        return _applied(self.name, self.arguments)


@dataclass(frozen=True, slots=True)
class Equal:
    """Two terms denote one object."""

    left: Term
    right: Term

    def __str__(self) -> str:
        return f"{self.left} = {self.right}"


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    body: Formula

    def __str__(self) -> str:
        return f"¬{_part(self.body)}"


@dataclass(frozen=True, slots=True)
class And:
    """Conjunction of at least two parts."""

    parts: tuple[Formula, ...]

    def __str__(self) -> str:
        return " ∧ ".join(_part(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Or:
    """Inclusive disjunction of at least two parts."""

    parts: tuple[Formula, ...]

    def __str__(self) -> str:
        return " ∨ ".join(_part(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Xor:
    """An odd number of the parts, two or more, are true: what a chain of ⊕ means."""

    parts: tuple[Formula, ...]

    def __str__(self) -> str:
        return " ⊕ ".join(_part(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Implies:
    """Material implication."""

    left: Formula
    right: Formula

    def __str__(self) -> str:
        return f"{_part(self.left)} → {_part(self.right)}"


@dataclass(frozen=True, slots=True)
class Iff:
    """Equivalence."""

    left: Formula
    right: Formula

    def __str__(self) -> str:
        return f"{_part(self.left)} ↔ {_part(self.right)}"


@dataclass(frozen=True, slots=True)
class ForAll:
    """The body holds of every object."""

    variable: str
    body: Formula

    def __str__(self) -> str:
        return f"∀{self.variable} {_scope(self.body)}"


@dataclass(frozen=True, slots=True)
class Exists:
    """The body holds of some object."""

    variable: str
    body: Formula

    def __str__(self) -> str:
        return f"∃{self.variable} {_scope(self.body)}"


Formula: TypeAlias = Atom | Equal | Not | And | Or | Xor | Implies | Iff | ForAll | Exists


def parts_of(formula: Formula) -> tuple[Formula, ...]:
    """The formulas that ``formula`` is directly made of."""
    match formula:
        case And(parts) | Or(parts) | Xor(parts):
            return parts
        case Implies(left, right) | Iff(left, right):
            return (left, right)
        case Not(body) | ForAll(_, body) | Exists(_, body):
            return (body,)
    return ()


def within(formula: Formula) -> Iterator[Formula]:
    """``formula`` and every formula inside it, outermost first."""
    waiting = [formula]
    while waiting:
        found = waiting.pop()
        yield found
        waiting.extend(reversed(parts_of(found)))


def terms_of(formula: Formula) -> Iterator[Term]:
    """Every term in ``formula``, arguments of terms included."""
    for found in within(formula):
        waiting: list[Term] = []
        if isinstance(found, Atom):
            waiting = list(found.arguments)
        elif isinstance(found, Equal):
            waiting = [found.left, found.right]
        while waiting:
            term = waiting.pop()
            yield term
            if isinstance(term, Function):
                waiting.extend(term.arguments)


def ground_size(formula: Formula, size: int) -> int:
    """How many formulas ``formula`` becomes with quantifiers spelt out over ``size`` things."""
    inside = sum(ground_size(part, size) for part in parts_of(formula))
    return 1 + inside * (size if isinstance(formula, ForAll | Exists) else 1)


def _applied(name: str, arguments: tuple[Term, ...]) -> str:
    return f"{_written(name)}({', '.join(map(str, arguments))})" if arguments else _written(name)


def _written(name: str) -> str:
    """In quotes unless it is read as a name without them."""
    if name.replace("_", "a").isalnum() and name.casefold() not in _WORDS:
        return name
    quotes = next((quotes for quotes in _QUOTES if not set(quotes) & set(name)), _QUOTES[0])
    return f"{quotes[0]}{name}{quotes[1]}"


def _part(formula: Formula) -> str:
    """In brackets wherever they are not idle."""
    bare = isinstance(formula, Atom | Not | ForAll | Exists)
    return str(formula) if bare else f"({formula})"


def _scope(body: Formula) -> str:
    """What follows a quantifier; a lone proposition would be read as one more variable."""
    return f"({body})" if isinstance(body, Atom) and not body.arguments else _part(body)
