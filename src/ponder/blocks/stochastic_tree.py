"""``stochastic_tree(n, branch)``: paths kept at random, by the scores along them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ponder.blocks.arguments import check_count, check_least
from ponder.blocks.search import Search, close
from ponder.blocks.thin import without_replacement
from ponder.effects import Effects, Program, Tell
from ponder.law import Law, heuristic
from ponder.measure import Population, normalise
from ponder.particle import Particle
from ponder.strategy import Infer

Shares = dict[Particle[Any], float]


@dataclass(frozen=True, repr=False)
class StochasticTree(Infer):
    """Every path goes on in ``branch`` ways; at most n of the running ones are kept, at random.

    After STOC-TOT (Bi et al. 2024): siblings share the probability of their path in proportion to
    exp(score), so that a path has the product of its shares, and those of a level, finished ones
    included, sum to one. Continuations that sampled the same collapse before. Of more than n
    running paths some are selected in proportion to their probabilities, without replacement and
    unbiased (:func:`~ponder.blocks.thin.without_replacement`): those kept stand for the others,
    and the sum stays. The share of a path all of whose continuations die is lost. A level draws at
    most n * branch steps.

    The population is the mixture over paths: a finished trace weighs its path's probability, and
    a vote sums these by answer. They are products of scores and estimate no measure. Law:
    heuristic. Cut short, what is unfinished has its share by the last score that is known.
    """

    n: int
    branch: int = 4
    notation: ClassVar[str] = "stochastic_tree"

    def law(self, incoming: Law) -> Law:
        return heuristic(incoming, "paths kept by their scores")

    def infer(self, program: Program[Any], law: Law) -> Program[Population[Any]]:
        return Program(lambda: self._run(program, law), repr(self))

    def _run(self, program: Program[Any], law: Law) -> Effects[Population[Any]]:
        search = Search(law)
        paths: Shares = {Particle(program): 1.0}
        shares: Shares = {}
        while paths and not search.cut_short:
            families = yield from search.grow(list(paths), [self.branch] * len(paths))
            grown = {
                particle: probability * share
                for family, probability in zip(families, list(paths.values()), strict=True)
                for particle, share in _shared(family)
            }
            shares.update(grown)
            paths = {p: share for p, share in grown.items() if p.status == "running"}
            yield Tell(search.population(list(paths), shares))
            if not search.cut_short:
                paths = yield from self._kept(paths)
        return search.population(list(paths), shares)

    def _kept(self, paths: Shares) -> Effects[Shares]:
        particles = list(paths)
        survivors = yield from without_replacement(np.array(list(paths.values())), self.n)
        kept = {particles[index]: share for index, share in survivors}
        close(p for p in particles if p not in kept)
        return kept


def _shared(family: list[Particle[Any]]) -> list[tuple[Particle[Any], float]]:
    shares = normalise(np.array([p.log_weight for p in family])).tolist()
    return list(zip(family, shares, strict=True))


def stochastic_tree(n: int, branch: int = 4) -> StochasticTree:
    """``stochastic_tree(n, branch=4)``: at most n paths. See :class:`StochasticTree`."""
    check_count("stochastic_tree", n)
    return StochasticTree(n, check_least("stochastic_tree", "branch", branch, 1))
