"""The services that a strategy may ask by name, each started when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ponder.effects import Effects, Program, sample
from ponder.outside import Outside


def _python(unsafe: bool) -> Any:
    from ponder.verify.sandbox import Sandbox

    return Sandbox(unsafe=unsafe)


def _z3(unsafe: bool) -> Any:
    from ponder.verify.logic import Prover

    return Prover()


def _math(unsafe: bool) -> Any:
    from ponder.verify.mathematics import MathEquivalence

    return MathEquivalence()


_KNOWN: dict[str, Callable[[bool], Any]] = {
    "python": _python,
    "z3": _z3,
    "math": _math,
}


class Services(Mapping[str, Any]):
    """ "python" runs programs in a sandbox, "z3" proves, "math" compares formulas.

    ``unsafe``: programs run without a sandbox where there can be none.
    """

    def __init__(self, *, unsafe: bool = False) -> None:
        self._unsafe = unsafe
        self._started: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._started:
            self._started[name] = _KNOWN[name](self._unsafe)
        return self._started[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_KNOWN)

    def __len__(self) -> int:
        return len(_KNOWN)

    def close(self) -> None:
        """Stop what has been started."""
        for service in self._started.values():
            service.close()
        self._started.clear()


def equality(services: Mapping[str, Any], kind: str) -> Callable[[Any, Any], Program[bool]] | None:
    """Whether two answers of this kind mean the same: a program that asks; None: forms tell."""
    from ponder.verify.mathematics import math_verify_installed

    if kind != "math" or not math_verify_installed():
        return None

    def same(a: Any, b: Any) -> Program[bool]:
        def run() -> Effects[bool]:
            said = yield from sample(Outside.ask(services["math"], a=a, b=b), "equal")
            return bool(said.get("equal"))

        return Program(run, "equal")

    return same
