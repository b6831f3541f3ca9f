"""``weigh(f)``: multiply the target by a potential."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ponder.addresses import Addresses
from ponder.binding import AnyPotential, Binding, Potential, evaluate_potential
from ponder.blocks.arguments import check_potential
from ponder.blocks.rewrite import walk
from ponder.dist import NEG_INF
from ponder.effects import (
    Each,
    Effect,
    Effects,
    Factor,
    Program,
    Sample,
    Twist,
    as_log_weight,
)
from ponder.law import Law, stated, weighted_by
from ponder.meaning import Atom, atoms
from ponder.measure import Population
from ponder.particle import Particle
from ponder.strategy import Move, Transform
from ponder.trace import Choice, Trace

_State = tuple[tuple[Any, ...], Twist | None]  # the values so far, the program's own twist


@dataclass(frozen=True, repr=False)
class Weigh(Transform, Move):
    """The target becomes the old one times exp(f).

    On a program, f is a factor on the finished value and, if it has a prefix form, a twist after
    every sample; on a population it reweighs. The two agree in measure. Law: weighted.
    """

    potential: AnyPotential
    notation: ClassVar[str] = "weigh"

    def law(self, incoming: Law) -> Law:
        return weighted_by(incoming, f"exp({notation_name(self.potential)})")

    def meaning(self, measure: Sequence[Atom], binding: Binding) -> Sequence[Atom]:
        potential = binding.potential(self.potential)
        found = []
        for atom in measure:
            for score in atoms(evaluate_potential(potential, atom.value)):
                added = score.value + score.log_potential
                if added > NEG_INF:
                    log_prob = atom.log_prob + score.log_prob
                    found.append(Atom(atom.trace, log_prob, atom.log_potential + added))
        return found

    def transform(self, program: Program[Any], binding: Binding) -> Program[Any]:
        potential = binding.potential(self.potential)
        name = f"{program.name} | {self!r}"
        return Program(lambda: _weighed(program, potential), name)

    def move(self, population: Population[Any], binding: Binding) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            potential = binding.potential(self.potential)
            alive = population.weights > 0
            scored = yield from potentials_of(
                potential,
                [
                    trace
                    for trace, weighs in zip(population.traces, alive, strict=True)
                    if weighs and trace.status == "finished"
                ],
            )
            targets: dict[int, Program[Any]] = {}
            traces = []
            log_weights = population.log_weights.copy()
            for i, trace in enumerate(population.traces):
                target = targets.get(id(trace.program))
                if target is None:
                    target = self.transform(trace.program, binding)
                    targets[id(trace.program)] = target
                score = scored.get(id(trace))
                if score is not None and score.status != "unfinished":
                    log_weights[i] += log_weight_of(score)
                traces.append(_reweighed(trace, target, potential, score))
            complete = all(score.status != "unfinished" for score in scored.values())
            law = stated(self.law(population.law), complete=complete)
            return replace(population, traces=tuple(traces), log_weights=log_weights, law=law)

        return Program(run, repr(self))


def weigh(potential: AnyPotential) -> Weigh:
    """``weigh(f)``: multiply the target by exp(f). See :class:`Weigh`."""
    return Weigh(check_potential("weigh", potential))


def notation_name(potential: AnyPotential) -> str:
    """The name of a potential in a law."""
    return str(getattr(potential, "name", getattr(potential, "__name__", "potential")))


def log_weight_of(score: Particle[float]) -> float:
    """What an evaluated potential says, its own factors included; -inf if it died of them."""
    return NEG_INF if score.value is None else score.value + score.log_potential


def potentials_of(
    potential: Potential, traces: Sequence[Trace[Any]]
) -> Effects[dict[int, Particle[float]]]:
    """Evaluate a potential on finished traces, together, once each.

    Answers the finished evaluations by the identity of the trace.
    """
    scored = {id(t): Particle(evaluate_potential(potential, t.value)) for t in traces}
    yield Each([p.run() for p in scored.values()])
    return scored


def _reweighed(
    trace: Trace[Any],
    target: Program[Any],
    potential: Potential,
    score: Particle[float] | None,
) -> Trace[Any]:
    """The trace as one of the reweighed program, which asks its potential as a nested choice."""
    if score is None:
        return replace(trace, program=target)
    if score.status == "unfinished":
        return replace(trace, program=target, status="unfinished")
    log_potential = trace.log_potential + log_weight_of(score)
    last = trace.last
    if score.last is not None:
        addresses = Addresses()
        for choice in trace.choices:
            if choice.address.split("#")[0] == score.last.address:
                addresses.next(score.last.address)
        address = addresses.next(score.last.address)
        last = Choice(last, address, None, score.last.value)
    return replace(trace, program=target, last=last, log_potential=log_potential)


def _weighed(program: Program[Any], potential: Potential) -> Effects[Any]:
    """Run a program, adding the potential as a twist after each sample and a factor at the end.

    A twist of the program itself goes on standing: ours is added to it.
    """

    def step(state: _State, effect: Effect) -> Effects[tuple[_State, Any]]:
        values, inner = state
        if isinstance(effect, Twist):
            inner = Twist(_remembered(effect.thunk))
            return (values, inner), (yield _joint(inner, potential, values))
        answer = yield effect
        if isinstance(effect, Sample) and potential.prefix is not None:
            values = (*values, answer)
            yield _joint(inner, potential, values)
        return (values, inner), answer

    def finish(state: _State, value: Any) -> Effects[Any]:
        yield Factor((yield from evaluate_potential(potential, value)))
        return value

    nothing: _State = ((), None)
    return walk(program.start, step, nothing, finish)


def _joint(inner: Twist | None, potential: Potential, values: tuple[Any, ...]) -> Twist:
    def thunk() -> Program[float]:
        def run() -> Effects[float]:
            total = 0.0
            if inner is not None:
                total += yield from as_log_weight(inner.thunk())
            if potential.prefix is not None:
                total += yield from as_log_weight(potential.prefix(values))
            return total

        return Program(run, potential.name)

    return Twist(thunk)


def _remembered(
    thunk: Callable[[], float | Program[float]],
) -> Callable[[], Program[float]]:
    """The thunk evaluated at most once, however often its twist is set again."""
    known: list[float] = []

    def again() -> Program[float]:
        def run() -> Effects[float]:
            if not known:
                known.append((yield from as_log_weight(thunk())))
            return known[0]

        return Program(run, "twist")

    return again
