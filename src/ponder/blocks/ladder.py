"""``ladder(beta, ...)`` and ``swap(steps)``: parallel tempering."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ponder.binding import Binding
from ponder.blocks.arguments import check_count
from ponder.blocks.kernel import Kernel, accept
from ponder.blocks.temper import temper
from ponder.dist import Categorical
from ponder.effects import Each, Effects, Program, Sample
from ponder.errors import PonderError
from ponder.law import Law, weighted_by
from ponder.meaning import Atom
from ponder.particle import Particle
from ponder.strategy import Transform
from ponder.trace import Choice

COLD = "cold"
POWER = "at power "


@dataclass(frozen=True, repr=False)
class Ladder(Transform):
    """The program beside copies of itself whose factors are raised to the powers ``betas``.

    All run together; the value is that of the first, at power 1, so that the target is the
    program's times the evidence of the others. On its traces ``mh`` or ``regenerate`` moves within
    the copies, and ``swap`` exchanges neighbours (Swendsen & Wang 1986; Geyer 1991). Law: weighted.
    """

    betas: tuple[float, ...]
    notation: ClassVar[str] = "ladder"
    apart: ClassVar[bool] = True

    def law(self, incoming: Law) -> Law:
        return weighted_by(incoming, "the evidence of its tempered copies")

    def meaning(self, measure: Sequence[Atom], binding: Binding) -> Sequence[Atom]:
        tempered = [temper(beta).meaning(measure, binding) for beta in self.betas]
        evidence = math.fsum(math.log(math.fsum(a.mass for a in copy)) for copy in tempered if copy)
        return [Atom(a.trace, a.log_prob, a.log_potential + evidence) for a in measure]

    def transform(self, program: Program[Any], binding: Binding) -> Program[Any]:
        copies = [temper(beta).transform(program, binding) for beta in self.betas]
        names = [COLD, *(f"{POWER}{beta!r}" for beta in self.betas)]

        def run() -> Effects[Any]:
            values: list[Any] = yield Each([program, *copies], names)
            return values[0]

        return Program(run, f"{program.name} | {self!r}")

    def __repr__(self) -> str:
        return f"ladder({', '.join(map(repr, self.betas))})"


@dataclass(frozen=True, repr=False)
class Swap(Kernel):
    """Proposes to exchange the traces of two neighbours on the ladder, picked uniformly.

    Accepted with probability min(1, (Phi_b / Phi_a)^(beta_a - beta_b)), Phi the product of a
    trace's factors. Law: invariant and reversible on the traces of a ``ladder``; elsewhere it
    does nothing. It moves between copies only: put ``mh`` or ``regenerate`` beside it.
    """

    notation: ClassVar[str] = "swap"

    def step(self, particle: Particle[Any], stage: int | None) -> Effects[Particle[Any]]:
        choices = particle.choices
        rungs = list(dict.fromkeys(r for r in map(_rung, choices) if r is not None))
        if len(rungs) < 2:
            return particle
        at = yield Sample(Categorical([1.0] * (len(rungs) - 1)), "rung")
        exchanged = _exchanged(choices, rungs[at], rungs[at + 1])
        if exchanged is None:
            return particle
        new: Particle[Any] = Particle(particle.program, kept=exchanged, retrace=True)
        yield from new.advance()
        log_ratio = new.log_weight - particle.log_weight + new.log_kept
        return (yield from accept(particle, new, log_ratio))


def _rung(choice: Choice) -> str | None:
    """The copy on the ladder that made this choice."""
    first, slash, _ = choice.address.partition("/")
    return first if slash and (first == COLD or first.startswith(POWER)) else None


def _beta(rung: str) -> float:
    return 1.0 if rung == COLD else float(rung.removeprefix(POWER).partition("#")[0])


def _exchanged(choices: Sequence[Choice], a: str, b: str) -> dict[str, Choice] | None:
    """All choices by address, those of ``a`` and ``b`` exchanged; None if that cannot be done.

    The weight of a nested choice is tempered with its copy. One outside of the copies may depend
    on their values in a way not known here.
    """
    exchanged: dict[str, Choice] = {}
    other = {a: b, b: a}
    for choice in choices:
        rung = _rung(choice)
        if rung is None and choice.dist is None:
            return None
        if rung not in other:
            exchanged[choice.address] = choice
            continue
        value = choice.value
        if choice.dist is None:
            if _beta(rung) == 0.0:
                return None  # its weight at other powers was lost
            value = (value[0], value[1] * _beta(other[rung]) / _beta(rung))
        address = other[rung] + choice.address.removeprefix(rung)
        exchanged[address] = Choice(None, address, choice.dist, value)
    return exchanged


def ladder(*betas: float) -> Ladder:
    """``ladder(0.5, 0.2)``: parallel tempering beside power 1. See :class:`Ladder`."""
    if not betas:
        raise PonderError("ladder needs powers, such as ladder(0.5, 0.2)")
    return Ladder(tuple(temper(beta).beta for beta in betas))


def swap(steps: int = 1) -> Swap:
    """``swap(steps)``: see :class:`Swap`."""
    return Swap(check_count("swap", steps))
