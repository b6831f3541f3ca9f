"""``stratify(4, 8)``: fixed numbers of traces from the branches of a program."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ponder.blocks.arguments import check_count
from ponder.blocks.draw import StopRule
from ponder.dist import Dist
from ponder.effects import Each, Effects, Program, Sample, Tell
from ponder.errors import CutShort, PonderError
from ponder.law import Law, stated, stopped
from ponder.measure import Abstain, Floats, Population, answer_of
from ponder.particle import Particle
from ponder.strategy import Infer
from ponder.trace import Trace

WHICH = "which"  # the address at which a program of several branches chooses one


class Given(NamedTuple):
    """The branch of a trace and its answer, ABSTAIN if it gives none."""

    branch: Hashable
    answer: Hashable | Abstain


@dataclass(frozen=True, repr=False)
class Stratify(Infer):
    """``counts[i]`` traces of branch i of an ``either`` program, weighing exp(factors) p_i / n_i.

    Stratified sampling with fixed allocation: the branch is not sampled, p_i is its probability
    and n_i the number of its traces. So the expected measure is the program's own, whatever the
    allocation. A trace that chooses no branch weighs as in ``draw``: a program without branches is
    drawn from as often as they are together. Law: weighted; not exact even if n_i is in proportion
    to p_i, since traces of fixed branches are no independent draws from the mixture.

    With ``stop`` the traces come in waves, as many as the smallest count is, of all branches in
    proportion, and the rule looks after each. How many there are then depends on what they say:
    law heuristic. A rule that ``sees`` "branches" gets a :class:`Given` of every trace.
    """

    counts: tuple[int, ...]
    stop: StopRule | None = None
    notation: ClassVar[str] = "stratify"
    sizes: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        stop = [] if self.stop is None else [f"stop={self.stop!r}"]
        return f"stratify({', '.join([*map(str, self.counts), *stop])})"

    def law(self, incoming: Law) -> Law:
        kind = "weighted" if incoming.kind == "exact" else incoming.kind
        law = replace(incoming, kind=kind, ordered=False)
        return law if self.stop is None else stopped(law, repr(self.stop))

    def infer(self, program: Program[Any], law: Law) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            drawn: list[_Drawn] = []
            for wave in waves(self.counts, 1 if self.stop is None else min(self.counts)):
                fresh = [_Drawn(i, Particle(program), len(self.counts)) for i, _ in wave]
                # Named by branch and number, so that stratify(8, 16) begins as stratify(4, 8).
                names = [f"{i}.{number}" for i, number in wave]
                yield Each([Program(d.advance, program.name) for d in fresh], names)
                drawn += fresh
                if any(d.particle.status == "unfinished" for d in fresh) or self._stops(drawn):
                    break
            complete = all(d.particle.status != "unfinished" for d in drawn)
            traces = tuple(d.particle.trace() for d in drawn)
            return Population(traces, _log_weights(drawn), stated(law, complete=complete))

        return Program(run, repr(self))

    def _stops(self, drawn: Sequence[_Drawn]) -> bool:
        if self.stop is None:
            return False
        sees = getattr(self.stop, "sees", "answers")
        if sees == "scores":
            return self.stop.stops([d.particle.log_potential for d in drawn])
        given = [given_by(d.particle.trace()) for d in drawn]
        if sees == "branches":
            return self.stop.stops(given)
        return self.stop.stops([g.answer for g in given if not isinstance(g.answer, Abstain)])


def stratify(*counts: int, stop: StopRule | None = None) -> Stratify:
    """``stratify(4, 8)``: 4 traces of the first branch, 8 of the second. See :class:`Stratify`."""
    if not counts:
        raise PonderError("stratify needs a number of traces for each branch: stratify(4, 8)")
    if stop is not None and not callable(getattr(stop, "stops", None)):
        raise PonderError(f"stratify stops by a rule such as corroborated, got stop={stop!r}")
    checked = tuple(check_count("stratify", n) for n in counts)
    check_count("stratify", sum(checked))
    return Stratify(checked, stop)


def waves(counts: Sequence[int], many: int) -> list[list[tuple[int, int]]]:
    """``counts[i]`` traces of each branch i in so many waves, as (branch, number).

    After w waves there are w / many of each count, rounded down.
    """
    return [
        [
            (i, number)
            for i, n in enumerate(counts)
            for number in range(n * w // many, n * (w + 1) // many)
        ]
        for w in range(many)
    ]


def given_by(trace: Trace[Any]) -> Given:
    """The branch of a trace and its answer; of a program without branches the branch is None."""
    branch = next((c.value for c in trace.choices if c.address == WHICH), None)
    return Given(branch, answer_of(trace))


@dataclass(eq=False)
class _Drawn:
    """A particle whose branch is given; ``log_share`` is its log-probability once it is chosen."""

    branch: int
    particle: Particle[Any]
    branches: int
    log_share: float | None = None

    def advance(self) -> Effects[None]:
        """Run to the end, answering the choice of a branch in place of the interpreter."""
        effects, answer = self.particle.advance(), None
        try:
            while True:
                effect = effects.send(answer)
                if isinstance(effect, Sample) and effect.name == WHICH and self.log_share is None:
                    answer, self.log_share = self._taken(effect.dist)
                else:
                    answer = yield effect
        except StopIteration:
            pass
        except CutShort:
            self.particle.close("unfinished")
        yield Tell(self.particle.trace())

    def _taken(self, dist: Dist[Any]) -> tuple[Any, float]:
        """The branch's value and its log-probability."""
        listed = dist.support() or ()
        if len(listed) != self.branches:
            raise PonderError(
                f"stratify got {self.branches} numbers for a program of {len(listed)} branches, "
                f"{self.particle.program.name}; give one for each"
            )
        return listed[self.branch]


def _log_weights(drawn: Sequence[_Drawn]) -> Floats:
    """Shape (N,), in nats."""
    n = np.bincount([d.branch for d in drawn])
    log_shares = [
        -math.log(len(drawn)) if d.log_share is None else d.log_share - math.log(n[d.branch])
        for d in drawn
    ]
    return np.array(log_shares) + [d.particle.log_potential for d in drawn]
