"""Formulas as expressions of z3."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from ponder.errors import PonderError
from ponder.verify.logic.names import same_name
from ponder.verify.logic.syntax import (
    And,
    Atom,
    Equal,
    Exists,
    ForAll,
    Formula,
    Iff,
    Implies,
    Not,
    Or,
    Term,
    Variable,
    Xor,
    parts_of,
)


def load_z3() -> ModuleType:
    """The library z3. Raises PonderError if it is not installed."""
    try:
        return importlib.import_module("z3")
    except ImportError:
        raise PonderError("proofs need z3; install it: pip install 'ponder[logic]'") from None


class Translation:
    """Formulas to z3 over a sort; given its ``objects``, quantifiers are spelt out."""

    def __init__(
        self, z3: ModuleType, context: Any, sort: Any, objects: Sequence[Any] | None = None
    ) -> None:
        self.z3 = z3
        self.context = context
        self.sort = sort
        self.objects = objects
        self.bound = 0

    def formula(self, formula: Formula, scope: Mapping[str, Any]) -> Any:
        """The expression of ``formula``; ``scope`` holds what its variables denote."""
        z3 = self.z3
        match formula:
            case Atom(name, arguments):
                truth = z3.BoolSort(self.context)
                return self.applied(f"predicate {same_name(name)}", arguments, truth, scope)
            case Equal(left, right):
                return self.term(left, scope) == self.term(right, scope)
            case ForAll(variable, body):
                return self.quantified(z3.ForAll, z3.And, variable, body, scope)
            case Exists(variable, body):
                return self.quantified(z3.Exists, z3.Or, variable, body, scope)
        parts = [self.formula(part, scope) for part in parts_of(formula)]
        match formula:
            case Not():
                return z3.Not(*parts)
            case And():
                return z3.And(*parts)
            case Or():
                return z3.Or(*parts)
            case Implies():
                return z3.Implies(*parts)
            case Iff():
                return parts[0] == parts[1]
            case Xor():
                odd = parts[0]
                for part in parts[1:]:
                    odd = z3.Xor(odd, part)
                return odd

    def quantified(
        self, quantify: Any, join: Any, variable: str, body: Formula, scope: Mapping[str, Any]
    ) -> Any:
        if self.objects is not None:
            return join(*(self.formula(body, {**scope, variable: o}) for o in self.objects))
        self.bound += 1
        fresh = self.z3.Const(f"variable {self.bound}", self.sort)
        return quantify([fresh], self.formula(body, {**scope, variable: fresh}))

    def term(self, term: Term, scope: Mapping[str, Any]) -> Any:
        if not isinstance(term, Variable):
            name = f"function {same_name(term.name)}"
            return self.applied(name, term.arguments, self.sort, scope)
        if term.name not in scope:
            raise PonderError(f"no quantifier binds the variable {term.name}; bind it")
        return scope[term.name]

    def applied(
        self, name: str, arguments: Sequence[Term], value: Any, scope: Mapping[str, Any]
    ) -> Any:
        if not arguments:
            return self.z3.Const(name, value)
        symbol = self.z3.Function(name, *[self.sort] * len(arguments), value)
        return symbol(*(self.term(argument, scope) for argument in arguments))

    def constant(self, name: str) -> Any:
        """A constant that no formula names."""
        return self.z3.Const(name, self.sort)
