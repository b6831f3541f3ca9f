"""What searches over steps share: prefixes continued together, and what has come of them.

A prefix is a particle stopped at the end of a stage; its score is its ``log_weight``: the factors
so far and the standing twist. A program without factors or twists on the way has one stage only,
so put ``weigh(judge)``, or another potential with a prefix form, before a search.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ponder.blocks.smc import heirs
from ponder.dist import NEG_INF
from ponder.effects import Each, Effects
from ponder.law import Law, stated
from ponder.measure import Population
from ponder.particle import Particle
from ponder.trace import Choice

Particles = list[Particle[Any]]


class Search:
    """What has ended so far, in order; ``cut_short`` once something has been cut: then stop."""

    def __init__(self, law: Law) -> None:
        self.ended: Particles = []
        self.cut_short = False
        self._thrown: Particles = []
        self._law = law

    @property
    def finished(self) -> int:
        """How many particles have come to their end alive."""
        return sum(p.status == "finished" for p in self.ended)

    def grow(self, prefixes: Particles, ways: Sequence[int]) -> Effects[list[Particles]]:
        """Continue each prefix in so many ways by one stage, all of them together.

        Answers the continuations of each prefix that are alive, in the order drawn; of those that
        sampled the same there is one. The prefixes are used up: one of their heirs is the prefix.
        """
        families = [heirs([p], [0] * k) for p, k in zip(prefixes, ways, strict=True)]
        yield Each([p.run(stop=True) for family in families for p in family])
        families = [distinct(family) for family in families]
        for family in families:
            self._collect(family)
        return [[p for p in family if p.status != "dead"] for family in families]

    def advance(
        self, particles: Particles, *, stop: bool = False, stages: int = 1
    ) -> Effects[None]:
        """Run particles on together, by default to their ends."""
        yield Each([p.run(stop=stop, stages=stages) for p in particles])
        self._collect(particles)

    def conclude(self, prefixes: Particles) -> Effects[None]:
        """If nothing has finished, run prefixes to the end, the best first, until one has."""
        for prefix in ranked(prefixes):
            if self.finished or self.cut_short:
                return
            yield from self.advance([prefix])

    def throw_away(self, particles: Particles) -> None:
        """Rollouts that have been read. Only if the search is cut short do finished ones count."""
        self._thrown += [p for p in particles if p.status == "finished"]
        self.cut_short |= any(p.status == "unfinished" for p in particles)
        close(particles)

    def population(
        self, live: Particles | None = None, shares: Mapping[Particle[Any], float] | None = None
    ) -> Population[Any]:
        """What has ended, then ``live`` as unfinished traces; the dead only if that is all.

        N traces weigh 1/N each, or their ``shares``. These weights are shares of a vote among
        what was found and estimate no measure.
        """
        thrown = self._thrown if self.cut_short else []
        kept = [p for p in self.ended if p.status != "dead"]
        kept = (distinct([*kept, *thrown]) if thrown else kept) + (live or [])
        if kept:
            equal = {p: 1 / len(kept) for p in kept}
            log_weights = [_log((shares or equal)[p]) for p in kept]
        else:
            kept, log_weights = self.ended, [NEG_INF] * len(self.ended)
        law = stated(self._law, complete=not self.cut_short)
        return Population(tuple(p.trace() for p in kept), np.array(log_weights), law)

    def _collect(self, particles: Particles) -> None:
        self.ended += [p for p in particles if p.status != "running"]
        self.cut_short |= any(p.status == "unfinished" for p in particles)


def distinct(particles: Particles) -> Particles:
    """The first of those that sampled the same values; dead and cut ones stay as they are."""
    seen: set[Choice | None] = set()
    kept = []
    for particle in particles:
        if particle.status in ("running", "finished"):
            if particle.last in seen:
                continue
            seen.add(particle.last)
        kept.append(particle)
    return kept


def ranked(particles: Particles, scores: Sequence[float] | None = None) -> Particles:
    """By score, the highest first; equals in the order given."""
    found = [p.log_weight for p in particles] if scores is None else scores
    order = sorted(range(len(particles)), key=lambda i: -found[i])
    return [particles[i] for i in order]


def running(particles: Iterable[Particle[Any]]) -> Particles:
    """Those that can go on."""
    return [p for p in particles if p.status == "running"]


def close(particles: Iterable[Particle[Any]]) -> None:
    """Stop for good what still runs; what it has cost is spent."""
    for particle in running(particles):
        particle.close("dead")


def _log(share: float) -> float:
    return math.log(share) if share > 0 else NEG_INF
