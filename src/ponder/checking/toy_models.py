"""Finite language models that answer questions, and potentials that score anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from ponder.binding import Binding, Potential
from ponder.dist import NEG_INF, Bernoulli
from ponder.effects import Effects, Factor, program, sample
from ponder.lm.table import TableLM
from ponder.question import Question

WORDS = ("Answer: 1", "Answer: 2", "hm", "\n\n", "<end>")


def answering(context: int = 4) -> TableLM:
    """Thinks or not, answers 1 or 2, or neither; some answers are reached in several ways."""
    rows = {
        (): [0.3, 0.2, 0.5, 0.0, 0.0],
        (0,): [0.0, 0.0, 0.0, 0.2, 0.8],
        (1,): [0.0, 0.0, 0.0, 0.4, 0.6],
        (2,): [0.0, 0.3, 0.0, 0.5, 0.2],
        (3,): [0.4, 0.6, 0.0, 0.0, 0.0],
    }
    return TableLM(WORDS, rows, context=context, name="answering")


def rambling(context: int = 3) -> TableLM:
    """Goes on until the end of the context is forced upon it."""
    rows = {
        (): [0.1, 0.1, 0.8, 0.0, 0.0],
        (0,): [0.0, 0.0, 0.1, 0.6, 0.3],
        (1,): [0.0, 0.0, 0.1, 0.6, 0.3],
        (2,): [0.2, 0.0, 0.0, 0.8, 0.0],
        (3,): [0.5, 0.2, 0.3, 0.0, 0.0],
    }
    return TableLM(WORDS, rows, context=context, name="rambling")


def _uniform(*parts: Any) -> float:
    """A number in [0, 1) that depends on its arguments only, by hashing what they print."""
    digest = blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2.0**64


def graded(name: str) -> Potential:
    """Weights from .3 to 1 for whatever it is given; as a twist it is wrong on purpose."""
    return Potential(
        name,
        lambda value: math.log(0.3 + 0.7 * _uniform(name, value)),
        lambda values: math.log(0.5 + _uniform("so far", name, values)),
    )


def strict(name: str) -> Potential:
    """Weight zero for some values, and a twist that knows nothing of it."""
    return Potential(
        name,
        lambda value: NEG_INF if _uniform("no", name, value) < 0.3 else -0.2,
        lambda values: 0.4 * _uniform("so far", name, values),
    )


def moody(name: str) -> Potential:
    """A judge that draws and has factors of its own: a random weight, as a sampled verdict is."""

    @program
    def judge(value: Any) -> Effects[float]:
        mood = yield from sample(Bernoulli(0.4), "mood")
        yield Factor(math.log(1.3 if mood else 0.6))
        return math.log(0.9 if mood else 0.2 + 0.5 * _uniform(name, value))

    return Potential(name, judge, lambda values: 0.0)


class Anything(dict[str, Any]):
    """Every name means something: what ``make`` makes of it."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        super().__init__()
        self._make = make

    def __contains__(self, name: object) -> bool:
        return True

    def __getitem__(self, name: str) -> Any:
        return self._make(name)

    def get(self, name: str, default: Any = None) -> Any:
        return self._make(name)


@dataclass(frozen=True)
class Clerk:
    """A service that answers anything, always the same to the same request."""

    name: str
    fingerprint: str = "clerk"

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        good = _uniform(self.name, sorted(request.items())) < 0.6
        total = len(request.get("tests", ()))
        results = [{"ok": good, "why": ""}] * total
        tested = {"passed": total if good else 0, "total": total, "results": results}
        status = "ok" if "call" in request else "passed" if good else "failed"
        return {"status": status, "value": 1 if good else 2, "equal": good, **tested}


QUESTION = Question("1 or 2?", "number")
DRAFTS = Anything(lambda name: rambling())


def _bound(model: TableLM, make: Callable[[str], Potential]) -> Binding:
    services = Anything(Clerk)
    return Binding(QUESTION, model, Anything(make), drafts=DRAFTS, services=services)


BINDINGS = {
    "answering model": _bound(answering(), graded),
    "answering model, some weights zero": _bound(answering(3), strict),
    "rambling model, random weights": _bound(rambling(), moody),
}
