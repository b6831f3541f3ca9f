"""``gibbs(n)``: particle Gibbs, by conditional sequential Monte Carlo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ponder.blocks.arguments import check_count
from ponder.blocks.kernel import Kernel
from ponder.blocks.smc import Particles, heirs, sweep
from ponder.dist import NEG_INF, Categorical, Independent
from ponder.effects import Each, Effects, Sample
from ponder.errors import CutShort, NotAFunctionOfItsChoices, PonderError
from ponder.law import Law
from ponder.measure import Floats, Population, normalise
from ponder.particle import Particle
from ponder.trace import Choice


@dataclass(frozen=True, repr=False)
class Gibbs(Kernel):
    """SMC with n particles, the first of which retraces the trace; then one of them is picked.

    Andrieu, Doucet & Holenstein 2010. The ancestors of the others are i.i.d. and in the order
    drawn: sorted or systematic ones would not leave the target invariant. With ``ancestors`` the
    reference draws its own past anew at each resampling (Lindsten, Jordan & Schoen 2014), which
    mixes where resampling is frequent and costs n suffixes scored. Law: invariant, for n >= 2, and
    reversible (Chopin & Singh 2015) without ``ancestors``.
    """

    n: int = 8
    ess: float = 0.5
    ancestors: bool = False
    notation: ClassVar[str] = "gibbs"
    least: ClassVar[int] = 2

    @property
    def reversible(self) -> bool:
        return not self.ancestors

    def step(self, particle: Particle[Any], stage: int | None) -> Effects[Particle[Any]]:
        law = Law("weighted", particle.program.name)
        run = conditional_smc(particle, self.n, law, self.ess, ancestors=self.ancestors)
        population = yield from run
        if population.law.kind == "heuristic":
            raise CutShort
        chosen = yield Sample(Categorical(population.weights.tolist()), "chosen")
        return Particle.of(population.traces[chosen])


def conditional_smc(
    reference: Particle[Any], n: int, law: Law, ess: float = 0.5, *, ancestors: bool = False
) -> Effects[Population[Any]]:
    """SMC given that its first particle follows ``reference``, which has finished.

    If the reference is an exact draw from the target, the inverse of the evidence of the result
    has expectation 1 / Z.
    """
    choices = reference.choices
    kept = {c.address: c for c in choices}
    retraced: Particle[Any] = Particle(reference.program, kept=kept, retrace=True)
    free = [Particle(reference.program) for _ in range(n - 1)]
    path = choices

    def select(weights: Floats, particles: Particles) -> Effects[tuple[Particles, list[int]]]:
        """The next generation, given that the reference goes on at its place, the first."""
        nonlocal path
        future = path[len(particles[0].choices) :]
        first = 0
        if ancestors and particles[0].status == "running":
            first = yield from _past(weights, particles, future)
            path = [*particles[first].choices, *future]
        others = (Categorical(weights.tolist()),) * (n - 1)
        drawn = yield Sample(Independent(others), "ancestors")
        chosen = [first, *drawn]
        found = heirs(particles, chosen)
        for particle in found[1:]:
            particle.follow(None)
        found[0].follow({c.address: c for c in future})
        return found, chosen

    population = yield from sweep([retraced, *free], select, ess, law)
    if population.traces[0].status == "dead":
        raise NotAFunctionOfItsChoices(
            f"program {reference.program.name} is not a function of its choices: run again on "
            "them it samples something else; make it depend only on its arguments and samples"
        )
    return population


def _past(weights: Floats, particles: Particles, future: list[Choice]) -> Effects[int]:
    """Whose past the reference's future is to follow, in proportion to the whole path's weight."""
    if any(choice.dist is None for choice in future):
        return 0  # the law of a nested choice is not known, so that it cannot follow another past
    whole = [_joined(particle, future) for particle in particles]
    yield Each([path.run() for path in whole])
    scores = np.full(len(particles), NEG_INF)
    for i, (past, path) in enumerate(zip(particles, whole, strict=True)):
        complete = len(path.choices) == len(past.choices) + len(future)
        if weights[i] > 0 and path.status == "finished" and complete:
            scores[i] = np.log(weights[i]) + path.log_weight - past.log_weight + path.log_kept
    chosen: int = yield Sample(Categorical(normalise(scores).tolist()), "past")
    return chosen


def _joined(past: Particle[Any], future: list[Choice]) -> Particle[Any]:
    kept = {c.address: c for c in [*past.choices, *future]}
    return Particle(past.program, kept=kept, retrace=True)


def gibbs(steps: int = 1, n: int = 8, ess: float = 0.5, ancestors: bool = False) -> Gibbs:
    """``gibbs(steps, n=8)``: particle Gibbs with n particles. See :class:`Gibbs`."""
    if check_count("gibbs", n) < 2:
        raise PonderError("gibbs needs n of at least 2: alone, the reference would never change")
    if not 0 <= ess <= 1:
        raise PonderError(f"gibbs needs an ess threshold between 0 and 1, got {ess}")
    return Gibbs(check_count("gibbs", steps), n, float(ess), bool(ancestors))
