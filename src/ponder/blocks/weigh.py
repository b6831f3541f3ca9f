"""``weigh(f)``: multiply the target by a potential."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ponder.binding import AnyPotential, Binding, Potential, evaluate_potential
from ponder.blocks.arguments import check_potential
from ponder.dist import NEG_INF
from ponder.effects import (
    Checkpoint,
    Each,
    Effects,
    Factor,
    Program,
    Sample,
    Twist,
    as_log_weight,
    runs_inline,
)
from ponder.law import Law, stated, weighted_by
from ponder.measure import Population
from ponder.particle import Particle
from ponder.strategy import Move, Transform
from ponder.trace import Trace


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

    def transform(self, program: Program[Any], binding: Binding) -> Program[Any]:
        potential = binding.potential(self.potential)
        name = f"{program.name} | {self!r}"
        return Program(lambda: _weighed(program.start, potential, (), None), name)

    def move(self, population: Population[Any], binding: Binding) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            potential = binding.potential(self.potential)
            alive = [t for t in population.traces if t.status == "finished"]
            scored = iter((yield from potentials_of(potential, alive)))
            traces: list[Trace[Any]] = []
            added = np.zeros(len(population))
            for i, trace in enumerate(population.traces):
                if trace.status == "finished":
                    score = next(scored)
                    if score.status == "unfinished":
                        trace = replace(trace, status="unfinished")
                    else:
                        added[i] = log_weight_of(score)
                traces.append(trace)
            return replace(
                population,
                traces=tuple(traces),
                log_weights=population.log_weights + added,
                law=stated(
                    self.law(population.law),
                    complete=all(t is p for t, p in zip(traces, population.traces, strict=True)),
                ),
            )

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
) -> Effects[list[Particle[float]]]:
    """Evaluate a potential on finished traces, together; answers the finished evaluations."""
    scored = [Particle(evaluate_potential(potential, trace.value)) for trace in traces]
    yield Each([p.run() for p in scored])
    return scored


def _weighed(
    start: Callable[[], Effects[Any]],
    potential: Potential,
    values: tuple[Any, ...],
    inner: Twist | None,
) -> Effects[Any]:
    """Run a program, adding the potential as a twist after each sample and a factor at the end.

    A twist of the program itself goes on standing: ours is added to it.
    """
    generator = start()
    send: Any = None
    while True:
        try:
            effect = generator.send(send)
        except StopIteration as stop:
            log_weight = yield from as_log_weight(potential.complete(stop.value))
            yield Factor(log_weight)
            return stop.value
        if isinstance(effect, Twist):
            inner = Twist(_remembered(effect.thunk))
            send = yield _joint(inner, potential, values)
            continue
        if isinstance(effect, Checkpoint):
            if runs_inline(generator):
                send = None
                continue
            effect = Checkpoint(partial(_weighed, effect.restart, potential, values, inner))
        send = yield effect
        if isinstance(effect, Sample) and potential.prefix is not None:
            values = (*values, send)
            yield _joint(inner, potential, values)


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
