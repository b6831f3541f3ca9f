"""``Then``: every trace goes on with another program, which begins from its value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ponder.binding import Binding
from ponder.dist import NEG_INF
from ponder.effects import Each, Effects, Program, Twist
from ponder.law import Law, continued, stated
from ponder.meaning import Atom, atoms
from ponder.measure import Population
from ponder.particle import Particle
from ponder.strategy import Move, Transform


@dataclass(frozen=True, repr=False)
class Then(Transform, Move):
    """The target becomes the law of y, where x is from the old one and y from ``after(x)``.

    The bind of the monad of measures (Scibior et al. 2017): on a program, the program goes on; on
    a population, every finished trace does, and keeps its weight. The two agree in measure. Law:
    the one that comes in, for the new target; ``normalised`` promises that ``after`` has no
    factors, without which i.i.d. equal weights are lost.
    """

    normalised: ClassVar[bool] = True

    def after(self, value: Any, binding: Binding) -> Program[Any]:
        """The program that goes on from the value of a trace."""
        raise self._lacks("after(self, value, binding)")

    def law(self, incoming: Law) -> Law:
        return continued(incoming, repr(self), normalised=self.normalised)

    def meaning(self, measure: Sequence[Atom], binding: Binding) -> Sequence[Atom]:
        return [
            Atom(further.trace, atom.log_prob + further.log_prob, log_potential)
            for atom in measure
            for further in atoms(self.after(atom.value, binding))
            if (log_potential := atom.log_potential + further.log_potential) > NEG_INF
        ]

    def transform(self, program: Program[Any], binding: Binding) -> Program[Any]:
        def run() -> Effects[Any]:
            value = yield from program
            if not program.normalised:
                yield Twist(lambda: 0.0)  # what steered the program has had its say
            return (yield from self.after(value, binding))

        normalised = program.normalised and self.normalised
        return Program(run, f"{program.name} | {self!r}", normalised=normalised)

    def move(self, population: Population[Any], binding: Binding) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            targets = {
                id(trace.program): self.transform(trace.program, binding)
                for trace in population.traces
            }
            alive = population.weights > 0
            onward: dict[int, Particle[Any]] = {}
            for i, trace in enumerate(population.traces):
                if alive[i] and trace.status == "finished":
                    # What is kept is not sampled again: the trace is retraced, then goes on.
                    kept = {choice.address: choice for choice in trace.choices}
                    onward[i] = Particle(targets[id(trace.program)], kept=kept)
            yield Each([particle.run() for particle in onward.values()])
            log_weights = population.log_weights.copy()
            for i, particle in onward.items():
                if particle.status != "unfinished":
                    log_weights[i] += particle.log_potential - population.traces[i].log_potential
            traces = tuple(
                onward[i].trace() if i in onward else replace(t, program=targets[id(t.program)])
                for i, t in enumerate(population.traces)
            )
            complete = all(particle.status != "unfinished" for particle in onward.values())
            law = stated(self.law(population.law), complete=complete)
            return replace(population, traces=traces, log_weights=log_weights, law=law)

        return Program(run, repr(self))
