"""Formulas refuted by their instances (Herbrand 1930): "for all" said of the terms at hand.

In negation normal form every "for all" becomes what it says of each term, every "some" one new
constant for each instance that it is in. What is left has no quantifiers. If it has no model,
neither have the formulas; if it has one and no term has come up that was not instantiated, the
objects that the terms denote in it make a model of the formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ponder.verify.logic.syntax import (
    And,
    Exists,
    ForAll,
    Formula,
    Function,
    Iff,
    Implies,
    Not,
    Or,
    Xor,
    ground_size,
    parts_of,
    terms_of,
)
from ponder.verify.logic.translation import Translation

_MOST = 30_000
_ROUNDS = 3
Check = Callable[[Sequence[Any]], bool | None]


def decide_by_instances(
    formulas: Sequence[Formula], translation: Translation, check: Check
) -> bool | None:
    """Whether the formulas have a model in common, as far as a few rounds of instances tell.

    ``check`` says whether expressions without quantifiers have one.
    """
    if sum(map(_normal_size, formulas)) > _MOST:
        return None
    normal = [negation_normal(formula, True) for formula in formulas]
    constants = (t for f in formulas for t in terms_of(f) if isinstance(t, Function))
    known = [translation.term(t, {}) for t in constants if not t.arguments]
    instances = _Instances(translation, known or [translation.constant("anything")])
    for _ in range(_ROUNDS):
        if sum(ground_size(formula, len(instances.terms)) for formula in normal) > _MOST:
            return None
        found = check([instances.of(f, {}, (i,)) for i, f in enumerate(normal)])
        if found is False or not instances.take():
            return found
    return None


class _Instances:
    """Instances over terms, which are known by their number in z3."""

    def __init__(self, translation: Translation, terms: Sequence[Any]) -> None:
        self.translation = translation
        self.terms = {term.get_id(): term for term in terms}
        self.met: dict[int, Any] = {}
        self.witnesses: dict[tuple[int, ...], Any] = {}

    def take(self) -> bool:
        """Add the terms met in the last instances; whether there were any new ones."""
        before = len(self.terms)
        self.terms |= self.met
        return len(self.terms) > before

    def of(self, formula: Formula, scope: Mapping[str, Any], place: tuple[int, ...]) -> Any:
        """The expression of a formula in normal form; ``place`` tells it from all others."""
        z3 = self.translation.z3
        match formula:
            case ForAll(variable, body):
                terms = self.terms.values()
                return z3.And(*(self.of(body, {**scope, variable: t}, place) for t in terms))
            case Exists(variable, body):
                witness = self.witness(scope, place)
                return self.of(body, {**scope, variable: witness}, place)
            case And(parts) | Or(parts):
                join = z3.And if isinstance(formula, And) else z3.Or
                return join(*(self.of(part, scope, (*place, i)) for i, part in enumerate(parts)))
        for term in terms_of(formula):
            met = self.translation.term(term, scope)
            self.met[met.get_id()] = met
        return self.translation.formula(formula, scope)

    def witness(self, scope: Mapping[str, Any], place: tuple[int, ...]) -> Any:
        """The object that "some" speaks of at a place, given those that the scope holds."""
        key = (*place, -1, *(value.get_id() for value in scope.values()))
        if key not in self.witnesses:
            self.witnesses[key] = self.translation.constant(f"witness {len(self.witnesses)}")
        found = self.witnesses[key]
        self.met[found.get_id()] = found
        return found


def negation_normal(formula: Formula, positive: bool) -> Formula:
    """``formula``, or its negation, of atoms and equalities, negated or not, ∧, ∨, ∀ and ∃ only."""
    match formula:
        case Not(body):
            return negation_normal(body, not positive)
        case ForAll(variable, body) | Exists(variable, body):
            kind = ForAll if isinstance(formula, ForAll) is positive else Exists
            return kind(variable, negation_normal(body, positive))
        case And(parts) | Or(parts):
            join = And if isinstance(formula, And) is positive else Or
            return join(tuple(negation_normal(part, positive) for part in parts))
        case Implies(left, right):
            return negation_normal(Or((Not(left), right)), positive)
        case Iff(left, right):
            return negation_normal(Xor((left, right)), not positive)
        case Xor((left, right)):
            either = And((Or((left, right)), Or((Not(left), Not(right)))))
            return negation_normal(either, positive)
        case Xor(parts):
            return negation_normal(Xor((Xor(parts[:-1]), parts[-1])), positive)
    return formula if positive else Not(formula)


def _normal_size(formula: Formula) -> int:
    """About how large the normal form is: ⊕ and ↔ double what they join."""
    sizes = [_normal_size(part) for part in parts_of(formula)]
    if not isinstance(formula, Xor | Iff):
        return 1 + sum(sizes)
    size = sizes[0]
    for other in sizes[1:]:
        size = 2 * (size + other)
    return size
