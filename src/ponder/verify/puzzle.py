"""Puzzles over integers, truth values and named values, solved by z3.

A puzzle is a text of declarations and constraints, one a line; ``#`` begins a comment:

    red, green, blue in 1..3
    pet in {dog, cat}
    rains in bool
    all_different(red, green, blue)
    red + 1 == blue or pet == dog
    implies(rains, red < 2)

A constraint is a Python expression, of the kind that ``constraints.py`` lists. It is parsed, never
run.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from ponder.errors import PonderError
from ponder.verify.constraints import Constraints, bounded
from ponder.verify.logic.translation import load_z3
from ponder.verify.worker import Worker

REVISION = 1
"""Changes whenever answers might."""

_GRACE = 5.0
_LONGEST = 20_000
_NAME = r"[^\W\d]\w*"
_DECLARATION = re.compile(
    rf"({_NAME}(?:\s*,\s*{_NAME})*)\s+in\s+(bool|\{{.*\}}|-?[0-9]{{1,15}}\.\.-?[0-9]{{1,15}})"
)


class Puzzles:
    """Solves puzzles; a :class:`~ponder.outside.Service`.

    A request is ``{"puzzle": text}``. The answer is ``{"status", "model", "unique", "detail"}``:
    the status is ``sat`` with a model (a name's value each) and whether it is the only one (None if
    that is not known); ``unsat``; ``unknown`` for want of time; ``unreadable`` with the line that
    is; or a failure of the :class:`~ponder.verify.worker.Worker`.
    """

    name = "puzzle"

    def __init__(self, seconds: float = 10.0) -> None:
        try:
            z3_version = version("z3-solver")
        except PackageNotFoundError:
            raise PonderError("puzzles need z3; install it: pip install 'ponder[logic]'") from None
        self.fingerprint = f"z3 {z3_version}, puzzle {REVISION}, {seconds:g} s"
        self._seconds = seconds
        self._worker = Worker("ponder.verify.puzzle:answer", seconds + _GRACE)

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to ``request``. Raises PonderError if it holds no text."""
        if not isinstance(request.get("puzzle"), str):
            raise PonderError('the puzzle solver takes {"puzzle": text}')
        asked = {"puzzle": request["puzzle"], "seconds": self._seconds}
        return {"model": None, "unique": None, **self._worker.answer(asked)}

    def abort(self) -> None:
        """Stop what is being solved, from any thread."""
        self._worker.abort()

    def close(self) -> None:
        """End the process; a later request starts another."""
        self._worker.close()


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Solve ``{"puzzle": text, "seconds": number}``; see :class:`Puzzles`."""
    z3 = load_z3()
    try:
        puzzle = _Puzzle(z3, request["puzzle"])
    except PonderError as error:
        return {"status": "unreadable", "model": None, "unique": None, "detail": str(error)}
    puzzle.solver.set("timeout", max(1, int(request["seconds"] * 500)))
    status = str(puzzle.solver.check())
    why = puzzle.solver.reason_unknown() if status == "unknown" else ""
    model = puzzle.model() if status == "sat" else None
    unique = None
    if model is not None:
        puzzle.exclude()
        unique = {"unsat": True, "sat": False}.get(str(puzzle.solver.check()))
    return {"status": status, "model": model, "unique": unique, "detail": why}


class _Puzzle:
    """Names, with what they may be, and the constraints on them."""

    def __init__(self, z3: ModuleType, text: str) -> None:
        if len(text) > _LONGEST:
            raise PonderError(f"the puzzle has {len(text)} characters; write at most {_LONGEST}")
        self.z3 = z3
        self.context = z3.Context()
        self.solver = z3.Solver(ctx=self.context)
        self.unknowns: dict[str, Any] = {}
        self.names: dict[str, Any] = {}  # the unknowns, and the named values
        self.sorts: dict[tuple[str, ...], Any] = {}
        self.constraints = Constraints(z3, self.context, self.names)
        # Python reads names in this form; so must the declarations.
        for number, line in enumerate(unicodedata.normalize("NFKC", text).splitlines(), 1):
            written = line.split("#")[0].strip()
            try:
                self.add(written)
            except PonderError as error:
                raise PonderError(f"line {number}, {written[:60]!r}: {error}") from None

    def add(self, written: str) -> None:
        """A line: a declaration, a constraint, or nothing."""
        declared = _DECLARATION.fullmatch(written)
        if declared is not None:
            for name in declared.group(1).split(","):
                self.declare(name.strip(), declared.group(2))
        elif written:
            self.solver.add(self.constraints.read(written))

    def declare(self, name: str, domain: str) -> None:
        if domain == "bool":
            unknown = self.z3.Bool(name, self.context)
        elif domain.startswith("{"):
            unknown = self.z3.Const(name, self.sort_of(domain))
        else:
            low, high = (bounded(int(end)) for end in domain.split(".."))
            unknown = self.z3.Int(name, self.context)
            self.solver.add(unknown >= low, unknown <= high)
        self.define(name, unknown)
        self.unknowns[name] = unknown

    def define(self, name: str, meaning: Any) -> None:
        if not re.fullmatch(_NAME, name) or name in self.names:
            raise PonderError(f"{name!r} is no name, or in use already; choose another")
        self.names[name] = meaning

    def sort_of(self, domain: str) -> Any:
        """The sort of a set of named values; the same set is the same sort."""
        names = tuple(sorted(name.strip() for name in domain[1:-1].split(",")))
        if names not in self.sorts:
            if len(set(names)) < len(names):
                raise PonderError(f"{domain} names a value twice; name each once")
            sort, values = self.z3.EnumSort(f"set {len(self.sorts)}", names, self.context)
            for name, value in zip(names, values, strict=True):
                self.define(name, value)
            self.sorts[names] = sort
        return self.sorts[names]

    def model(self) -> dict[str, Any]:
        """What z3 found: an integer, a truth value or a name for each unknown."""
        found = self.solver.model()
        return {
            name: _plain(self.z3, found.eval(unknown, model_completion=True))
            for name, unknown in self.unknowns.items()
        }

    def exclude(self) -> None:
        """Ask for another model than the one found."""
        found = self.solver.model()
        others = (u != found.eval(u, model_completion=True) for u in self.unknowns.values())
        self.solver.add(self.z3.Or(*others, self.z3.BoolVal(False, self.context)))


def _plain(z3: ModuleType, value: Any) -> Any:
    if z3.is_int_value(value):
        return value.as_long()
    return z3.is_true(value) if z3.is_bool(value) else str(value)
