"""``equate``: answers that mean the same become the same."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np

from ponder.binding import Binding
from ponder.blocks.vote import tied
from ponder.effects import Each, Effects, Program
from ponder.errors import PonderError
from ponder.interpret import evaluate
from ponder.law import Kind, Law, stated
from ponder.meaning import Atom
from ponder.measure import Abstain, Population, answer_of
from ponder.particle import Particle
from ponder.strategy import Block, Move, Source
from ponder.trace import Trace

Relation = Callable[[Any, Any], "bool | Program[bool]"]
Pair = tuple[Hashable, Hashable]


@dataclass(frozen=True, repr=False)
class Equate(Move):
    """Each answer is replaced by the heaviest of those that mean the same, ties by their repr.

    ``equal(a, b)`` says whether two answers do, or is a program that does (its factors are
    ignored); it is asked of pairs of different answers of finished traces, ``a`` being the first
    by repr, once each and not where it follows from others: classes are the transitive closure.
    By default it is what the binding has for ``same``; otherwise nothing changes.
    A value keeps all but its ``answer``; one without that is itself replaced.

    Law: consistent. If ``equal`` is an equivalence relation, the class of a trace does not hang on
    the other traces, so that classes keep the law that comes in, and traces their order. But the
    answer that stands for a class is the heaviest only as far as this run knows: runs may call it
    by different names until they are long enough, so it goes after ``pool`` and ``collapse``.
    """

    equal: Relation | None = None
    notation: ClassVar[str] = "equate"

    def law(self, incoming: Law) -> Law:
        own = "the question's relation" if self.equal is None else "a relation"
        name = getattr(self.equal, "__name__", own)
        kind: Kind = "heuristic" if incoming.kind == "heuristic" else "consistent"
        law = dataclasses.replace(incoming, kind=kind)
        return law.noting(f"classes of answers equal up to {name}")

    def meaning(self, measure: Sequence[Atom], binding: Binding) -> Sequence[Atom]:
        relation = self.relation(binding)
        masses = _masses((atom.trace, atom.mass) for atom in measure)
        classes = {answer: {answer} for answer in masses}
        for a, b in combinations(sorted(masses, key=repr), 2):
            said = relation(a, b)
            if evaluate(said) if isinstance(said, Program) else said:
                _join(classes, a, b)
        names = representatives(classes, masses)
        return [dataclasses.replace(m, trace=_renamed(m.trace, names)) for m in measure]

    def move(self, population: Population[Any], binding: Binding) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            # Not the normalised weights, whose rounding hangs on the order of the traces.
            top = population.log_weights.max(initial=-1e300)
            weights = np.exp(population.log_weights - top).tolist()
            masses = _masses(zip(population.traces, weights, strict=True))
            classes, complete = yield from _classes(self.relation(binding), masses)
            names = representatives(classes, masses)
            return dataclasses.replace(
                population,
                traces=tuple(_renamed(trace, names) for trace in population.traces),
                law=stated(self.law(population.law), complete=complete),
            )

        return Program(run, repr(self))

    def relation(self, binding: Binding) -> Relation:
        """What is asked of two answers of this question."""
        found: Relation | None = self.equal or binding.same
        return found or (lambda a, b: False)


def equate(equal: Relation | None = None) -> Equate:
    """``equate``: answers that mean the same become the same. See :class:`Equate`."""
    if equal is not None and (not callable(equal) or isinstance(equal, Block | Source | type)):
        raise PonderError(f"equate needs a function of two answers, got {equal!r}")
    return Equate(equal)


def representatives(
    classes: Mapping[Hashable, set[Hashable]], masses: Mapping[Hashable, float]
) -> dict[Hashable, Hashable]:
    """The heaviest answer of the class of each answer; of equal ones, the first by repr."""
    names = {}
    for answer, members in classes.items():
        top = max(masses[member] for member in members)
        names[answer] = min((m for m in members if tied(masses[m], top)), key=repr)
    return names


def _masses(weighed: Iterable[tuple[Trace[Any], float]]) -> dict[Hashable, float]:
    """The mass of each answer that has some."""
    terms: dict[Hashable, list[float]] = defaultdict(list)
    for trace, weight in weighed:
        answer = answer_of(trace)
        if weight > 0 and not isinstance(answer, Abstain):
            terms[answer].append(weight)
    return {answer: math.fsum(parts) for answer, parts in terms.items()}


def _classes(
    relation: Relation, answers: Iterable[Hashable]
) -> Effects[tuple[dict[Hashable, set[Hashable]], bool]]:
    """The class of each answer, and whether no question of the relation was cut short.

    Programs are run together; a pair whose program was cut short or died counts as unequal.
    """
    classes = {answer: {answer} for answer in answers}
    asked: list[tuple[Pair, Particle[bool]]] = []
    for a, b in combinations(sorted(classes, key=repr), 2):
        if b in classes[a]:
            continue
        said = relation(a, b)
        if isinstance(said, Program):
            asked.append(((a, b), Particle(said)))
        elif said:
            _join(classes, a, b)
    if asked:
        yield Each([particle.run() for _, particle in asked])
    for (a, b), particle in asked:
        if particle.value:
            _join(classes, a, b)
    return classes, all(particle.status != "unfinished" for _, particle in asked)


def _join(classes: dict[Hashable, set[Hashable]], a: Hashable, b: Hashable) -> None:
    merged = classes[a] | classes[b]
    for member in merged:
        classes[member] = merged


def _renamed(trace: Trace[Any], names: Mapping[Hashable, Hashable]) -> Trace[Any]:
    """The trace with the answer that stands for its class."""
    answer = answer_of(trace)
    if isinstance(answer, Abstain) or names.get(answer, answer) == answer:
        return trace
    value: Any = trace.value
    if not hasattr(value, "answer"):
        return dataclasses.replace(trace, value=names[answer])
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        raise PonderError(
            f"equate cannot change the answer of a {type(value).__name__}; make it a dataclass"
        )
    return dataclasses.replace(trace, value=dataclasses.replace(value, answer=names[answer]))
