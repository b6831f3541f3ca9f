"""``tree(n, branch)``: Monte Carlo tree search over steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ponder.blocks.arguments import check_count, check_least
from ponder.blocks.search import Particles, Search, distinct, running
from ponder.blocks.vote import choose
from ponder.effects import Effects, Program, Tell
from ponder.errors import PonderError
from ponder.law import Law, heuristic
from ponder.lm.protocol import Draw
from ponder.measure import Population
from ponder.particle import Particle
from ponder.strategy import Infer
from ponder.trace import Choice


@dataclass(eq=False)
class Node:
    """A prefix or a finished trace in the tree.

    ``visits`` and ``total`` are N and W; ``pending`` counts visits under way, each of which
    counts as one that has brought nothing (virtual loss). Below one that has ``ended`` nothing can
    be added: it is finished, or all its continuations died. Once there are children, the particle
    has gone on as one of them.
    """

    particle: Particle[Any]
    parent: Node | None = None
    prior: float = 1.0
    value: float = 1.0
    children: list[Node] = field(default_factory=list)
    ended: bool = False
    visits: int = 0
    total: float = 0.0
    pending: int = 0

    def path(self) -> list[Node]:
        """From here to the root."""
        found: list[Node] = []
        node: Node | None = self
        while node is not None:
            found.append(node)
            node = node.parent
        return found

    def puct(self, c: float, tried: int) -> float:
        """The bandit's index of this node, whose parent has been tried so often."""
        visits = self.visits + self.pending
        # What was never tried is worth its own score, which is known since it was drawn.
        mean = self.total / visits if visits else self.value
        return mean + c * self.prior * math.sqrt(tried) / (1 + visits)


@dataclass(frozen=True, repr=False)
class Tree(Infer):
    """Monte Carlo tree search with PUCT, as in AlphaMath (Chen et al. 2024).

    n times, a leaf is reached from the root by the child of the highest
    Q + c * prior * sqrt(N of the parent) / (1 + N), ties drawn; its value is added on the way
    back, and it is expanded by ``branch`` steps, of which those that sampled the same are one.

    The value of a leaf is exp(score), cut at 1: scores are log-probabilities, so give potentials
    that are at most 0. With ``rollouts`` = k it is the mean over k runs to the end instead, whose
    finished traces count as found. A finished child is worth its own final weight; it may be
    visited again, which adds its value and costs nothing. Dead children are left out; a node that
    has no others is worth 0. The prior is the model's probability of the step, exp(mean
    log-probability of a token) of its newest draw at temperature 1, normalised over the siblings
    (the published code does not), uniform where nothing was drawn from a language model. Q of a
    child without visits is its own value (published: 0). The first visit is the root's own, so
    that it counts 1 when a child is first selected.

    Up to ``parallel`` leaves are expanded together, each visit under way counting as one of value
    0; two that meet in one leaf end the round. At most n * (branch + depth * rollouts) steps.

    The result is every distinct finished trace, in the order found; they weigh the same. If there
    is none, the leaf of the highest score is run to the end, the next if that dies. Law:
    heuristic; no guarantee of UCT holds for few, sampled children.
    """

    n: int
    branch: int = 4
    c: float = 1.5
    rollouts: int = 0
    parallel: int = 1
    notation: ClassVar[str] = "tree"
    sizes: ClassVar[tuple[str, ...]] = ("n", "branch")

    def law(self, incoming: Law) -> Law:
        return heuristic(incoming, "searches for the highest score")

    def infer(self, program: Program[Any], law: Law) -> Program[Population[Any]]:
        return Program(lambda: self._run(program, law), repr(self))

    def _run(self, program: Program[Any], law: Law) -> Effects[Population[Any]]:
        search = Search(law)
        yield from self.grown(program, search)
        search.ended = distinct(search.ended)  # rollouts may have found the same
        return search.population()

    def grown(self, program: Program[Any], search: Search) -> Effects[Node]:
        """The tree after n iterations, its finished traces in ``search``."""
        root = Node(Particle(program))
        leaves = [root]
        done = 0
        while done < self.n and not search.cut_short:
            chosen, visits = yield from self._select(root, min(self.parallel, self.n - done))
            done += visits
            if chosen:
                yield from self._expand(chosen, search)
                leaves = [leaf for leaf in leaves if not (leaf.children or leaf.ended)]
                leaves += [child for leaf in chosen for child in leaf.children]
                yield Tell(search.population())
        yield from search.conclude(running(leaf.particle for leaf in leaves))
        return root

    def _select(self, root: Node, most: int) -> Effects[tuple[list[Node], int]]:
        """Leaves to expand, and how many visits were made, those of ended nodes included."""
        chosen: list[Node] = []
        for visits in range(most):
            node = root
            while node.children:
                tried = node.visits + node.pending
                scores = [child.puct(self.c, tried) for child in node.children]
                top = max(scores)
                tied = [n for n, s in zip(node.children, scores, strict=True) if s == top]
                node = yield from choose(tied)
            if node in chosen:
                return chosen, visits
            if node.ended:
                backup(node, node.value)
                continue
            chosen.append(node)
            for on_path in node.path():
                on_path.pending += 1
        return chosen, most

    def _expand(self, leaves: list[Node], search: Search) -> Effects[None]:
        prefixes = [leaf.particle for leaf in leaves]
        rollouts = [[p.fork() for _ in range(self.rollouts)] for p in prefixes]
        if self.rollouts:
            yield from search.advance([p for some in rollouts for p in some])
        if search.cut_short:
            return
        families = yield from search.grow(prefixes, [self.branch] * len(prefixes))
        for leaf, family, some in zip(leaves, families, rollouts, strict=True):
            leaf.children = children_of(leaf, family)
            leaf.ended = not family
            if some:
                leaf.value = math.fsum(map(value_of, some)) / len(some)
            elif leaf.ended:
                leaf.value = 0.0
            for on_path in leaf.path():
                on_path.pending -= 1
            backup(leaf, leaf.value)


def backup(leaf: Node, value: float) -> None:
    """Count a visit of this value from ``leaf`` up to the root."""
    for node in leaf.path():
        node.visits += 1
        node.total += value


def value_of(particle: Particle[Any]) -> float:
    """exp(score), cut at 1; 0 for the dead."""
    return math.exp(min(particle.log_weight, 0.0))


def children_of(parent: Node, family: Particles) -> list[Node]:
    """Nodes with their priors, which sum to one."""
    likely = [_probability(p.last) for p in family]
    known = [x for x in likely if x is not None]
    total = math.fsum(known)
    even = len(known) < len(family) or total == 0
    children = []
    for particle, x in zip(family, likely, strict=True):
        prior = 1 / len(family) if even or x is None else x / total
        ended = particle.status == "finished"
        children.append(Node(particle, parent, prior, value_of(particle), ended=ended))
    return children


def _probability(last: Choice | None) -> float | None:
    """exp(mean log-probability of a token) of the newest draw of a model; None if there is none."""
    while last is not None:
        if isinstance(last.value, Draw) and last.value.logp:
            mean = math.fsum(last.value.logp) / len(last.value.logp)
            return None if math.isnan(mean) else math.exp(mean)  # a server may not tell
        last = last.previous
    return None


def tree(n: int, branch: int = 4, c: float = 1.5, rollouts: int = 0, parallel: int = 1) -> Tree:
    """``tree(n, branch=4, c=1.5, rollouts=0, parallel=1)``: n iterations. See :class:`Tree`."""
    if isinstance(c, bool) or not isinstance(c, int | float) or not 0 <= c < math.inf:
        raise PonderError(f"tree needs a weight of exploration c of at least 0, got {c!r}")
    return Tree(
        check_count("tree", n),
        check_least("tree", "branch", branch, 1),
        float(c),
        check_least("tree", "rollouts", rollouts),
        check_least("tree", "parallel", parallel, 1),
    )
