"""Constraints: Python expressions of integers, truth values and named values, as z3 ones.

Allowed are names, integers, ``True`` and ``False``, ``+ - *``, ``//`` and ``%`` by a positive
integer, comparisons (chained too), ``and or not``, ``a if p else b``, ``abs``, ``min``, ``max``,
``all_different``, ``implies`` and ``count`` (how many of its arguments are true).
"""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from ponder.errors import PonderError

_LARGEST = 10**12
_FUNCTIONS = "abs, min, max, all_different, count and implies (of two)"
_COMPARE = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.truediv,  # z3's division of integers rounds down for such divisors
    ast.Mod: operator.mod,
}


class Constraints:
    """Translates expressions; ``names`` holds what a name stands for."""

    def __init__(self, z3: ModuleType, context: Any, names: Mapping[str, Any]) -> None:
        self.z3 = z3
        self.context = context
        self.names = names

    def read(self, text: str) -> Any:
        """The constraint that ``text`` writes. Raises PonderError for anything else."""
        try:
            return self.truth(ast.parse(text, mode="eval").body)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise PonderError("no expression; write one like: a + 1 == b or a > 3") from None

    def truth(self, node: ast.expr) -> Any:
        value = self.value(node)
        if not self.z3.is_bool(value):
            raise PonderError(f"{ast.unparse(node)} is not true or false")
        return value

    def number(self, node: ast.expr) -> Any:
        value = self.value(node)
        if not self.z3.is_int(value):
            raise PonderError(f"{ast.unparse(node)} is no number")
        return value

    def alike(self, nodes: Sequence[ast.expr]) -> list[Any]:
        """The values of ``nodes``, which must be of one sort."""
        values = [self.value(node) for node in nodes]
        if any(value.sort() != values[0].sort() for value in values):
            raise PonderError("compares what is of different sorts")
        return values

    def value(self, node: ast.expr) -> Any:
        """The z3 expression of a Python expression."""
        z3 = self.z3
        match node:
            case ast.Constant(value=bool() as truth):
                return z3.BoolVal(truth, self.context)
            case ast.Constant(value=int() as number):
                return z3.IntVal(bounded(number), self.context)
            case ast.Name(id=name):
                found = self.names.get(name)
                if found is None:
                    raise PonderError(f"{name} is not declared; write: {name} in 1..9")
                return found
            case ast.UnaryOp(op=ast.Not()):
                return z3.Not(self.truth(node.operand))
            case ast.UnaryOp(op=ast.USub()):
                return -self.number(node.operand)
            case ast.BoolOp():
                join = z3.And if isinstance(node.op, ast.And) else z3.Or
                return join(*map(self.truth, node.values))
            case ast.BinOp() if type(node.op) in _ARITHMETIC:
                if isinstance(node.op, ast.FloorDiv | ast.Mod):
                    _check_divisor(node.right)
                return _ARITHMETIC[type(node.op)](self.number(node.left), self.number(node.right))
            case ast.Compare():
                return self.compared(node)
            case ast.IfExp():
                return z3.If(self.truth(node.test), *self.alike([node.body, node.orelse]))
            case ast.Call(func=ast.Name(id=name), args=[_, *_], keywords=[]):
                return self.called(name, node.args)
        raise PonderError(f"{ast.unparse(node)} has no place in a puzzle")

    def compared(self, node: ast.Compare) -> Any:
        chain = []
        items = [node.left, *node.comparators]
        for sign, left, right in zip(node.ops, items, items[1:], strict=False):
            if type(sign) not in _COMPARE:
                raise PonderError(f"{ast.unparse(node)} has no place in a puzzle")
            same = isinstance(sign, ast.Eq | ast.NotEq)
            pair = self.alike([left, right]) if same else [self.number(left), self.number(right)]
            chain.append(_COMPARE[type(sign)](*pair))
        return chain[0] if len(chain) == 1 else self.z3.And(*chain)

    def called(self, name: str, arguments: list[ast.expr]) -> Any:
        z3 = self.z3
        match name:
            case "all_different":
                return z3.Distinct(*self.alike(arguments))
            case "implies" if len(arguments) == 2:
                return z3.Implies(*map(self.truth, arguments))
            case "count":
                return z3.Sum([z3.If(self.truth(a), 1, 0) for a in arguments])
            case "abs" if len(arguments) == 1:
                return z3.Abs(self.number(arguments[0]))
            case "min" | "max":
                first = operator.le if name == "min" else operator.ge
                numbers = map(self.number, arguments)
                return functools.reduce(lambda a, b: z3.If(first(a, b), a, b), numbers)
        raise PonderError(f"{name} of {len(arguments)} is unknown; there are {_FUNCTIONS}")


def bounded(number: int) -> int:
    if abs(number) > _LARGEST:
        raise PonderError(f"a number is too large; use at most {_LARGEST}")
    return number


def _check_divisor(node: ast.expr) -> None:
    if not (isinstance(node, ast.Constant) and type(node.value) is int and node.value > 0):
        raise PonderError(f"divides by {ast.unparse(node)}; divide by a positive integer")
