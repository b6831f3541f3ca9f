"""A look at an objective before it is trained: its estimators, and what would bias them.

A comparison or a branch on a reparameterised value is a step, through which no gradient passes: the
gradient is biased, and nothing says so. One run under :class:`Watch` does.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

import ponder
from ponder.effects import Program
from ponder.errors import PonderError
from ponder.tensors import differentiable
from ponder.vi.estimate import noise
from ponder.vi.expected import Setting, surrogate
from ponder.vi.rows import Objective, made_anew
from ponder.vi.sites import Choosing, Sites
from ponder.vi.traces import inspector, listener

_COMPARED = "lt le gt ge eq ne less greater less_equal greater_equal not_equal isclose allclose"
_STEPPED = "equal argmax argmin argsort sign round floor ceil trunc heaviside floor_divide"
_CUT = "frac fmod remainder long int short bool byte char __mod__ __rmod__ __rfloordiv__"
_DUNDER = "__lt__ __le__ __gt__ __ge__ __eq__ __ne__ __bool__ __floordiv__ bucketize searchsorted"
STEPS = frozenset(" ".join((_COMPARED, _STEPPED, _DUNDER, _CUT)).split())
_READ = "__float__ __int__ __index__ item tolist numpy __array__"
NUMBERS = frozenset(_READ.split())
_OURS = (str(Path(torch.__file__).parent), str(Path(ponder.__file__).parent))


class BiasedGradient(UserWarning):
    """A gradient estimator cannot be right as the objective is written."""


class Watch(TorchFunctionMode):
    """Warns where user code compares, or takes numbers out of, what carries a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[tuple[str, str]] = set()
        self.pending: list[tuple[tuple[str, str], str]] = []

    def hear(self, returned: bool) -> None:
        """Say what is pending, or forget it: it was for a value that nobody looks at."""
        pending, self.pending = self.pending, []
        if returned:
            return
        for key, message in pending:
            if key not in self.said:
                self.said.add(key)
                warnings.warn(message, BiasedGradient, stacklevel=2)

    def mark(self, address: str, value: torch.Tensor) -> None:
        """The value of a reparameterised site."""
        value._ponder_sites = frozenset({address})  # type: ignore[attr-defined]

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        given = list(_tensors([*args, *named.values()]))
        sites = frozenset().union(*(getattr(t, "_ponder_sites", ()) for t in given))
        name = getattr(func, "__name__", "")
        reads = name in NUMBERS and (sites or any(t.requires_grad for t in given))
        if reads or (name in STEPS and sites):
            self._say(name, sites, sys._getframe(1))
        result = func(*args, **named)
        for found in _tensors([result]) if sites else ():
            before: frozenset[str] = getattr(found, "_ponder_sites", frozenset())
            found._ponder_sites = before | sites  # type: ignore[attr-defined]
        return result

    def _say(self, operation: str, sites: frozenset[str], frame: Any) -> None:
        place = frame.f_code.co_filename
        if place.startswith(_OURS):
            return
        where = f"{Path(place).name}:{frame.f_lineno}"
        names = ", ".join(repr(site) for site in sorted(sites))
        if operation in NUMBERS:
            what = f"the value of {names}" if names else "a parameter"
            message = (
                f"{where} takes a number out of {what} ({operation}): its gradient ends there; "
                "keep tensors, and distributions of ponder.tensors"
            )
        else:
            message = (
                f"{where} compares or rounds ({operation}) the reparameterised value of {names}: "
                "no gradient passes a step, so the estimate is biased; name mvd or reinforce there"
            )
        self.pending.append(((operation, where), message))


def _tensors(values: Iterable[Any]) -> Iterable[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def probe(objective: Callable[[], Program[Any]], seed: int = 0) -> Sites:
    """The sites of one run, having warned of what would bias them."""
    watch, choosing = Watch(), Choosing()
    setting = Setting(choosing, vectorised=False, after=watch.mark)
    token = listener.set(watch.hear)
    try:
        with noise(seed), differentiable(), watch:
            surrogate(objective(), setting, mode="probe")
    finally:
        listener.reset(token)
        watch.hear(returned=False)
    return Sites(tuple(choosing.seen.values()))


def estimators(objective: Objective, seed: int = 0) -> Sites:
    """Which estimator every site has, and whether it was named or is a default.

    One run decides which sites there are. Warns (:class:`BiasedGradient`) of comparisons and
    branches on reparameterised values.
    """
    return probe(made_anew(objective), seed)


def find_fault(objective: Callable[[], Program[Any]], seed: int, tries: int = 200) -> None:
    """Raise a PonderError that names the site which is not finite, if single runs show it."""

    def look(name: str, where: str, part: torch.Tensor) -> None:
        value = float(part.detach())
        if value == -torch.inf:
            raise PonderError(
                f"{where} of {name} has log-density -inf at a value that was drawn for it; give "
                "the guide a support inside of the model's"
            )
        if value != value or value == torch.inf:
            raise PonderError(
                f"{where} of {name} has log-density {value}; keep its parameters in their range, "
                "e.g. a scale as softplus or exp of a free parameter"
            )

    token = inspector.set(look)
    try:
        with noise(seed), differentiable(), torch.no_grad():
            for _ in range(tries):
                surrogate(objective(), Setting(vectorised=False), mode="value")
    finally:
        inspector.reset(token)
