"""``constrain(allowed)``: sample allowed values only, weighed by the mass that is allowed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from ponder.binding import Binding, PotentialSource
from ponder.blocks.rewrite import walk, with_parts
from ponder.dist import NEG_INF, Categorical
from ponder.effects import Effect, Effects, Factor, Nested, Program, Sample
from ponder.errors import PonderError
from ponder.law import Law, weighted_by
from ponder.meaning import Atom
from ponder.strategy import Block, Source, Transform
from ponder.trace import Trace

Allowed = Callable[[tuple[Any, ...], Any], bool]
Seen = tuple[Any, ...]


@dataclass(frozen=True, repr=False)
class Constrain(Transform):
    """The target becomes the old one on the traces all of whose samples are allowed.

    ``allowed(seen, value)`` is asked of every sample, given the values sampled before it in the
    same program or program of an ``Each``. What a nested program samples is its own affair.

    Where a distribution p lists its support, an allowed value is drawn without asking about all
    of them (adaptive weighted rejection sampling, after Lipkin et al. 2025; the estimator is
    ours). Draw from p without replacement until a value x is allowed. In terms of exponential
    clocks, one for each value at rate p: x is the first allowed one to ring, which is
    independent of when it rings and so of what was rejected before; hence x has law p
    restricted to the allowed values. Let L be their mass, A the values found allowed (now x), B
    those found not to be. One more value y, drawn from p without A and B, gives

        T = p(A) + (1 - p(A) - p(B)) * [y is allowed],   E[T | x, A, B] = p(A) + (L - p(A)) = L.

    y joins A or B and so on, ``checks`` times; the weight w is the average of the T, so that
    E[w; x = v] = p(v) [v is allowed] and w >= p(x) > 0. If no more than ``checks`` values are
    left after x they are all asked about and w = L. More checks, less variance. Where nothing is
    allowed the weight is zero. Where no support is listed, the draw's weight is its indicator.

    All this is one nested choice called ``constrained``; the value then is a sample at its old
    address, so that whatever follows sees the values of the program and not the rejected ones.
    Law: weighted. A ``temper`` belongs before it: after it, w would be raised to the power too.
    """

    allowed: Allowed
    checks: int = 1
    notation: ClassVar[str] = "constrain"
    corrects: ClassVar[bool] = True

    def law(self, incoming: Law) -> Law:
        return weighted_by(incoming, f"1[{getattr(self.allowed, '__name__', 'allowed')}]")

    def meaning(self, measure: Sequence[Atom], binding: Binding) -> Sequence[Atom]:
        return [atom for atom in measure if _permits(self.allowed, atom.trace)]

    def transform(self, program: Program[Any], binding: Binding) -> Program[Any]:
        name = f"{program.name} | {self!r}"
        start: Seen = ()
        return Program(partial(walk, program.start, partial(self._step, binding), start), name)

    def _step(self, binding: Binding, seen: Seen, effect: Effect) -> Effects[tuple[Seen, Any]]:
        if not isinstance(effect, Sample):
            return seen, (yield with_parts(effect, lambda p: self.transform(p, binding)))
        value = yield from _constrained(effect, partial(self.allowed, seen), self.checks)
        return (*seen, value), value


def constrain(allowed: Allowed, checks: int = 1) -> Constrain:
    """``constrain(allowed)``: condition on allowed samples. See :class:`Constrain`."""
    if not callable(allowed) or isinstance(allowed, Block | Source | PotentialSource):
        raise PonderError(
            f"constrain needs a function allowed(seen, value) -> bool, got {allowed!r}"
        )
    if isinstance(checks, bool) or not isinstance(checks, int) or checks < 1:
        raise PonderError(f"constrain needs at least 1 check, a whole number, got {checks!r}")
    return Constrain(allowed, checks)


def _permits(allowed: Allowed, trace: Trace[Any]) -> bool:
    """Whether every sample of a trace is allowed, given those before it in the same program."""
    seen: dict[str, Seen] = defaultdict(tuple)
    for choice in trace.choices:
        if choice.dist is None:
            continue
        path = choice.address.rpartition("/")[0]
        if not allowed(seen[path], choice.value):
            return False
        seen[path] = (*seen[path], choice.value)
    return True


def _constrained(effect: Sample, allowed: Callable[[Any], bool], checks: int) -> Effects[Any]:
    listed = effect.dist.support()
    if listed is None:
        value = yield effect
        if not allowed(value):
            yield Factor(NEG_INF)
        return value
    search = Program(partial(_search, listed, allowed, checks), "constrained")
    value = yield Nested(search, "constrained")
    return (yield Sample(Categorical((1.0,), (value,)), effect.name))


def _search(
    listed: Sequence[tuple[Any, float]], allowed: Callable[[Any], bool], checks: int
) -> Effects[Any]:
    """An allowed value, weighted by an unbiased estimate of the mass of all that are allowed."""
    unchecked: dict[Any, float] = {}
    for value, log_prob in listed:
        unchecked[value] = unchecked.get(value, 0.0) + math.exp(log_prob)
    unchecked = {value: p for value, p in unchecked.items() if p > 0}  # not what underflows
    value = None
    while unchecked:
        value, p = yield from _taken(unchecked, "try")
        if allowed(value):
            mass = yield from _allowed_mass(p, unchecked, allowed, checks)
            yield Factor(math.log(mass))
            return value
    yield Factor(NEG_INF)
    return value


def _allowed_mass(
    found: float, unchecked: dict[Any, float], allowed: Callable[[Any], bool], checks: int
) -> Effects[float]:
    """An unbiased estimate of ``found`` plus the mass of what is allowed among ``unchecked``."""
    if len(unchecked) <= checks:
        return found + math.fsum(p for value, p in unchecked.items() if allowed(value))
    estimates = []
    for _ in range(checks):
        rest = math.fsum(unchecked.values())
        value, p = yield from _taken(unchecked, "check")
        if allowed(value):
            estimates.append(found + rest)
            found += p
        else:
            estimates.append(found)
    return math.fsum(estimates) / checks


def _taken(unchecked: dict[Any, float], name: str) -> Effects[tuple[Any, float]]:
    """Draw one of the values by its mass, and take it out."""
    value = yield Sample(Categorical(tuple(unchecked.values()), tuple(unchecked)), name)
    return value, unchecked.pop(value)
