"""``weigh_steps(f)``: multiply the target by a potential of every prefix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from ponder.binding import AnyPotential, Binding
from ponder.blocks.arguments import check_potential
from ponder.blocks.rewrite import walk
from ponder.blocks.weigh import notation_name
from ponder.dist import NEG_INF
from ponder.effects import Effect, Effects, Factor, Program, Sample, as_log_weight, nested
from ponder.errors import PonderError
from ponder.law import Law, weighted_by
from ponder.meaning import Atom, atoms
from ponder.strategy import Transform
from ponder.trace import Trace

_Prefix = Callable[[tuple[Any, ...]], float | Program[float]]


@dataclass(frozen=True, repr=False)
class WeighSteps(Transform):
    """The target becomes the old one times prod_t exp f(x_1 ... x_t), over all its samples.

    Every score of a prefix stays in the target, where ``weigh`` divides it out again and keeps
    the last one alone. With f = log r it is the state-space model that Puri et al. (2025) write
    down, p(x) prod_t r_t; with ``published(r)`` it is what their code samples, p(x) prod_t r_t /
    (1 - r_t). Neither is the law of replies weighed by the reward of the whole: a long reply pays
    for each of its steps, or is paid.

    x_t are the samples of the program itself, not those of its sub-programs. A score that is a
    program is a nested choice, so it may be random. Law: weighted.
    """

    potential: AnyPotential
    notation: ClassVar[str] = "weigh_steps"

    def law(self, incoming: Law) -> Law:
        return weighted_by(incoming, f"prod exp({notation_name(self.potential)} so far)")

    def meaning(self, measure: Sequence[Atom], binding: Binding) -> Sequence[Atom]:
        prefix = self._prefix(binding)
        return [weighed for atom in measure for weighed in _weighed(atom, prefix)]

    def transform(self, program: Program[Any], binding: Binding) -> Program[Any]:
        prefix = self._prefix(binding)

        def step(values: tuple[Any, ...], effect: Effect) -> Effects[tuple[tuple[Any, ...], Any]]:
            answer = yield effect
            if isinstance(effect, Sample):
                values = (*values, answer)
                yield Factor((yield from _score(prefix, values)))
            return values, answer

        return Program(lambda: walk(program.start, step, ()), f"{program.name} | {self!r}")

    def _prefix(self, binding: Binding) -> _Prefix:
        prefix = binding.potential(self.potential).prefix
        if prefix is None:
            name = notation_name(self.potential)
            raise PonderError(
                f"{self!r} scores what is not finished, and {name} cannot; use weigh({name})"
            )
        return prefix


def weigh_steps(potential: AnyPotential) -> WeighSteps:
    """``weigh_steps(f)``: multiply the target by exp(f) of every prefix. See
    :class:`WeighSteps`."""
    return WeighSteps(check_potential("weigh_steps", potential))


def _score(prefix: _Prefix, values: tuple[Any, ...]) -> Effects[float]:
    said = prefix(values)
    if isinstance(said, Program):
        said = yield from nested(said, "weigh step")
    return (yield from as_log_weight(said))


def _weighed(atom: Atom, prefix: _Prefix) -> list[Atom]:
    """The atom times the scores of its prefixes: one for each way in which random ones come out."""
    found = [(atom.log_prob, atom.log_potential)]
    values = _samples(atom.trace)
    for end in range(1, len(values) + 1):
        scores = atoms(Program(partial(_score, prefix, values[:end]), "score"))
        found = [
            (log_prob + score.log_prob, log_potential + score.value + score.log_potential)
            for log_prob, log_potential in found
            for score in scores
            if score.value > NEG_INF
        ]
    return [Atom(atom.trace, log_prob, log_potential) for log_prob, log_potential in found]


def _samples(trace: Trace[Any]) -> tuple[Any, ...]:
    """What the program itself has sampled: not in sub-programs, nor as a nested choice."""
    own = (c for c in trace.choices if c.dist is not None and "/" not in c.address)
    return tuple(choice.value for choice in own)
