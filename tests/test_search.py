"""Searches over steps: what they find, in which order, at what cost, and what a cut leaves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

import ponder.recipes  # noqa: F401 - the names of the notation
from exact import assert_same, measure
from fake_decoder import BatchedLM, answers
from ponder.binding import Binding, Potential
from ponder.blocks import draw, vote, weigh
from ponder.blocks.beam import beam
from ponder.blocks.best_first import best_first
from ponder.blocks.prune import prune
from ponder.blocks.search import Particles, Search, distinct
from ponder.blocks.stochastic_tree import stochastic_tree
from ponder.blocks.tree import Node, tree
from ponder.checking.toy_models import answering
from ponder.dist import Bernoulli, Categorical, Dist, Uniform
from ponder.effects import Effects, Factor, Program, Twist, program, sample
from ponder.errors import CutShort, PonderError
from ponder.interpret import Simulation, enumerate_runs, evaluate, seed_key
from ponder.law import Law
from ponder.ledger import Budget
from ponder.lm.protocol import Completion, Tokens
from ponder.machine import Machine, Task
from ponder.measure import Population
from ponder.particle import Particle
from ponder.question import make_question
from ponder.recipes import judge
from ponder.recipes import steps as reply_steps
from ponder.runtime import Runtime
from ponder.strategy import Pipeline
from toys import NEG_INF, PROGRAMS, chain, coins, doomed, early, mortal, writer

Path = tuple[Any, ...]
LAW = Law("heuristic", "toy")
BLOCKS = {
    "beam": beam(4, 2),
    "lookahead": beam(4, 2, lookahead=1),
    "tree": tree(5, 2),
    "rollouts": tree(4, 2, rollouts=1),
    "parallel": tree(6, 2, parallel=3),
    "best_first": best_first(5, 2),
    "stochastic_tree": stochastic_tree(2, 2),
    "prune": prune(4, keep=0.5),
}


def walk(
    step: Dist[Any], depth: int, value: Callable[[Path], float], ends: Iterable[Path] = ()
) -> Program[Path]:
    """``depth`` draws; the score of a prefix, and the weight of a whole path, is log value."""

    def score(path: Path) -> float:
        return _log(value(path))

    @program(name="walk")
    def steps() -> Effects[Path]:
        path: Path = ()
        while len(path) < depth and path not in ends:
            path = (*path, (yield from sample(step)))
            yield Twist(partial(score, path))
        yield Factor(score(path))
        return path

    return steps()


def _log(x: float) -> float:
    return math.log(x) if x > 0 else NEG_INF


def values(pipeline: Pipeline, seed: int = 0) -> list[Any]:
    return [trace.value for trace in run(pipeline, seed).traces]


def run(pipeline: Pipeline, seed: int = 0) -> Population[Any]:
    found: Population[Any] = evaluate(pipeline.bind(Binding()), seed)
    return found


class Counting(Simulation):
    """Counts samples of one kind, and keeps what is told."""

    def __init__(self, kind: type[Any]) -> None:
        self.kind = kind
        self.count = 0
        self.told: list[Any] = []

    def sample(self, task: Task, address: str, dist: Dist[Any]) -> Any:
        self.count += isinstance(dist, self.kind)
        return super().sample(task, address, dist)

    def tell(self, task: Task, message: object) -> None:
        self.told.append(message)


def counted(pipeline: Pipeline, kind: type[Any], seed: int = 0) -> tuple[int, list[Any], Any]:
    handler = Counting(kind)
    task = Machine(handler).start(pipeline.bind(Binding()), seed_key(seed))
    assert task.failed is None
    return handler.count, handler.told, task.value


# What is found. The value of a prefix is exact: the probability that it ends well.


def planted(depth: int, p: float) -> Program[Path]:
    """One path of heads is right; heads come up with probability p."""
    return walk(Bernoulli(p), depth, lambda path: p ** (depth - len(path)) if all(path) else 0.0)


@pytest.mark.parametrize(("n", "width"), [(2, 2), (3, 3), (3, 2)])
def test_beam_finds_the_planted_path_as_often_as_it_is_drawn(n: int, width: int) -> None:
    """Best of the first n, then of ``width`` at every further step: nothing else may go wrong."""
    found = 0.0
    for population, log_prob in enumerate_runs((planted(3, 0.3) | beam(n, width)).bind(Binding())):
        statuses = {t.status for t in population.traces}
        assert statuses in ({"finished"}, {"dead"})
        if statuses == {"finished"}:
            assert [t.value for t in population.traces] == [(True,) * 3]
            found += math.exp(log_prob)
    assert found == pytest.approx((1 - 0.7**n) * (1 - 0.7**width) ** 2)


def hopes(depth: int = 4) -> Callable[[Path], float]:
    """The exact chance, at three fair branches a step, that a path ends as it should."""
    right = {(2, 0, 1, 1): 0.9, (0, 0, 0, 0): 0.5, (1, 2, 2, 0): 0.3}

    def value(path: Path) -> float:
        ends = [v for end, v in right.items() if end[: len(path)] == path]
        return math.fsum(ends) / 3.0 ** (depth - len(path)) + 1e-6

    return value


THIRDS = Categorical((1.0, 1.0, 1.0))
BEST = (2, 0, 1, 1)


@pytest.mark.parametrize(
    "block", [beam(48, 16), tree(24, 12), best_first(8, 12), prune(600, keep=0.1, after=3)]
)
def test_exact_values_lead_to_the_best_path(block: Any) -> None:
    pipeline = walk(THIRDS, 4, hopes()) | block
    for seed in range(10):
        population = run(pipeline, seed)
        best = max(population.traces, key=lambda t: t.log_potential)
        assert best.value == BEST


def test_a_language_model_is_led_to_its_most_likely_correct_reply() -> None:
    """With the exact P(correct | prefix) as potential, on a finite model, step by step."""
    model = writer(context=4)

    @program(normalised=True)
    def lines() -> Effects[Tokens]:
        tokens: Tokens = ()
        while not tokens or tokens[-1] != model.end:
            segment = Completion(model, tokens, max_tokens=10, stop=("\n",), segment=True)
            tokens += (yield from sample(segment)).tokens
        return tokens

    def correct(tokens: Tokens) -> bool:
        return tokens[:1] == (1,) and 2 in tokens and tokens.count(0) == 1

    replies = [(v, math.exp(lp)) for v, lp in enumerate_runs(lines())]

    def share(prefix: Tokens) -> float:
        after = [(v, p) for v, p in replies if v[: len(prefix)] == prefix]
        return math.fsum(p for v, p in after if correct(v)) / math.fsum(p for _, p in after)

    truth = Potential(
        "truth",
        lambda tokens: 0.0 if correct(tokens) else NEG_INF,
        lambda draws: _log(share(tuple(t for d in draws for t in d.tokens))),
    )
    likely = max((p, v) for v, p in replies if correct(v))[1]
    assert math.fsum(p for v, p in replies if correct(v)) < 0.05
    for block in (beam(60, 30), tree(40, 30), best_first(10, 30)):
        for seed in range(5):
            found = values(lines() | weigh(truth) | block, seed)
            assert likely in found
            assert all(correct(v) for v in found)


def test_lookahead_reads_the_score_where_it_is_told() -> None:
    """The first step says nothing true; one step later it shows."""
    misleading = {(False,): 0.9, (True,): 0.1}

    def value(path: Path) -> float:
        return misleading.get(path, 0.8 if path[0] else 0.1)

    p = walk(Bernoulli(0.5), 2, value)
    for seed in range(20):
        assert not any(path[0] for path in values(p | beam(12, 12), seed))
        assert all(path[0] for path in values(p | beam(12, 12, lookahead=1), seed))
        assert all(path[0] for path in values(p | beam(12, 12, lookahead=7), seed))


def accuracy(pipeline: Pipeline, right: Callable[[Path], bool], seeds: int = 60) -> float:
    """How often the trace of the highest weight is right."""
    hits = 0
    for seed in range(seeds):
        best = max(run(pipeline, seed).traces, key=lambda t: t.log_potential)
        hits += best.value is not None and right(best.value)
    return hits / seeds


def test_noise_in_the_values_is_what_a_larger_beam_finds() -> None:
    """Over-optimisation: one step in fifty is wrong and scores high; it is found if one looks."""
    step = Categorical((*[0.24] * 2, *[0.25] * 2, 0.02))

    def right(path: Path) -> bool:
        return 4 not in path and path.count(0) < 2

    def noisy(path: Path) -> float:
        return 0.99 if 4 in path else 0.8 / (1 + path.count(0))

    def exact(path: Path) -> float:
        return 0.01 if 4 in path else 0.8 / (1 + path.count(0))

    sizes = (2, 8, 48)
    misled = [accuracy(walk(step, 3, noisy) | beam(n, 2), right) for n in sizes]
    led = [accuracy(walk(step, 3, exact) | beam(n, 2), right) for n in sizes]
    drawn = accuracy(walk(step, 3, noisy) | draw(1), right)
    assert misled[0] > drawn > misled[2]
    assert misled[0] > misled[1] > misled[2]
    assert led[2] >= led[1] >= led[0]
    assert led[2] == 1.0


# The tree.


def grown(block: Any, p: Program[Any], seed: int = 0) -> tuple[Node, Search]:
    search = Search(LAW)
    root: Node = evaluate(Program(lambda: block.grown(p, search), "grown"), seed)
    return root, search


def nodes(root: Node) -> list[Node]:
    return [root, *(n for child in root.children for n in nodes(child))]


def path_of(node: Node) -> Path:
    """What was drawn up to a node; its particle may have gone on from there."""
    return tuple(c.value for c in node.particle.choices[: len(node.path()) - 1])


def test_puct_by_hand() -> None:
    root = Node(Particle(chain()), visits=9, total=4.0)
    tried = Node(root.particle, root, prior=0.2, value=0.9, visits=3, total=1.5)
    fresh = Node(root.particle, root, prior=0.3, value=0.4)
    assert tried.puct(1.5, 9) == pytest.approx(0.5 + 1.5 * 0.2 * 3 / 4)
    assert fresh.puct(1.5, 9) == pytest.approx(0.4 + 1.5 * 0.3 * 3 / 1)
    tried.pending = fresh.pending = 1  # under way: as if they had brought nothing
    assert tried.puct(1.5, 16) == pytest.approx(1.5 / 4 + 1.5 * 0.2 * 4 / 5)
    assert fresh.puct(1.5, 16) == pytest.approx(0.0 + 1.5 * 0.3 * 4 / 2)


def replayed(root: Node, n: int, c: float) -> Counter[Node]:
    """The visits of n iterations in a tree already grown, written from the formula again."""
    count: Counter[Node] = Counter()
    sums: Counter[Node] = Counter()
    open_: set[Node] = set()
    for _ in range(n):
        path = [root]
        while path[-1] in open_ and path[-1].children:
            total = count[path[-1]]
            index = {
                child: (sums[child] / count[child] if count[child] else child.value)
                + c * child.prior * math.sqrt(total) / (1 + count[child])
                for child in path[-1].children
            }
            path.append(max(index, key=lambda child: index[child]))
        open_.add(path[-1])
        for node in path:
            count[node] += 1
            sums[node] += path[-1].value  # type: ignore[assignment]
    return count


def rugged(path: Path) -> float:
    """Values in (0, 1) without ties or pattern."""
    x = 0.37
    for i, step in enumerate(path):
        x = (x * 7.31 + (i + 1) * 0.173 * (step + 1.7)) % 1.0
    return 0.02 + 0.9 * x


@pytest.mark.parametrize(("n", "c"), [(1, 1.5), (7, 0.3), (40, 1.5), (60, 8.0)])
def test_visits_are_those_of_the_formula(n: int, c: float) -> None:
    p = walk(THIRDS, 4, rugged, ends=[(0,), (2, 1)])
    for seed in range(5):
        root, _ = grown(tree(n, 5, c=c), p, seed)
        expected = replayed(root, n, c)
        assert {id(x): x.visits for x in nodes(root)} == {id(x): expected[x] for x in nodes(root)}
        assert root.visits == n
        assert all(x.pending == 0 for x in nodes(root))


def test_a_node_has_the_visits_of_its_children_and_its_own_first() -> None:
    root, _ = grown(tree(80, 3), walk(THIRDS, 4, rugged))
    for node in nodes(root):
        if node.children:
            assert node.visits == 1 + sum(child.visits for child in node.children)
            assert node.total == pytest.approx(
                node.value + sum(child.total for child in node.children)
            )
            assert math.fsum(child.prior for child in node.children) == pytest.approx(1)


def test_visits_concentrate_on_the_best_path() -> None:
    """With the value of the best end within reach as the score of a prefix."""
    ends = {BEST: 0.9, (2, 0, 1, 0): 0.7, (0, 0, 0, 0): 0.6, (1, 2, 2, 0): 0.5}

    def within_reach(path: Path) -> float:
        return max([v for end, v in ends.items() if end[: len(path)] == path], default=0.1)

    def shares(n: int) -> list[float]:
        root, _ = grown(tree(n, 16), walk(THIRDS, 4, within_reach))
        found, node = [], root
        for step in BEST:
            (node,) = [c for c in node.children if path_of(c)[-1] == step]
            found.append(node.visits / n)
        return found

    few, some, many = shares(20), shares(80), shares(640)
    assert few[-1] < some[-1] < many[-1]
    assert few[0] < some[0] < many[0]
    assert many[-1] > 2 / 3


def test_regret_falls_with_the_number_of_iterations() -> None:
    """Values of prefixes are misleading; what finishes is known exactly."""
    paths = [(a, b, c, d) for a in range(3) for b in range(3) for c in range(3) for d in range(3)]
    top = max(map(rugged, paths))

    def regret(n: int) -> float:
        total = 0.0
        for seed in range(20):
            found = values(walk(THIRDS, 4, rugged) | tree(n, 4), seed)
            total += top - max(map(rugged, found))
        return total / 20

    regrets = [regret(n) for n in (2, 8, 32, 128)]
    assert regrets == sorted(regrets, reverse=True)
    assert regrets[-1] < 0.1 * regrets[0]


def test_what_has_finished_is_visited_again_and_never_expanded() -> None:
    p = walk(Bernoulli(0.5), 3, lambda path: 0.95 if path == (True,) else 0.2, ends=[(True,)])
    count, _, population = counted(p | tree(200, 6), Bernoulli)
    assert count <= 6 * 4  # the root and the three prefixes there are
    assert sorted(t.value for t in population.traces) == [
        *((False, a, b) for a in (False, True) for b in (False, True)),
        (True,),
    ]
    root, search = grown(tree(200, 6), p)
    (short,) = [c for c in root.children if c.ended]
    assert short.visits > 100
    assert not short.children
    assert short.total == pytest.approx(0.95 * short.visits)
    assert search.finished == 5


def test_values_are_cut_at_one_and_the_dead_are_no_children() -> None:
    p = walk(THIRDS, 2, lambda path: 0.0 if path[-1] == 0 else 30.0)
    root, _ = grown(tree(12, 12), p)
    assert [n.value for n in nodes(root)] == [1.0] * len(nodes(root))
    assert all(0 not in path_of(node) for node in nodes(root))
    assert len(nodes(root)) == 1 + 2 + 4


def test_a_dead_end_is_worth_nothing() -> None:
    p = walk(Bernoulli(0.5), 2, lambda path: (0.9 if path[0] else 0.1) * (path != (True,) * 2))
    q = walk(Bernoulli(0.5), 2, lambda path: 0.9 if path == (True,) else 0.1 * (not path[0]))
    assert set(values(p | tree(20, 8))) == {(True, False), (False, True), (False, False)}
    root, _ = grown(tree(20, 8), q)
    (trap,) = [c for c in root.children if path_of(c) == (True,)]
    assert trap.ended
    assert not trap.children
    assert trap.total == 0.0
    assert set(values(q | tree(20, 8))) == {(False, True), (False, False)}


def test_rollouts_replace_the_value_of_a_leaf() -> None:
    """Prefixes say nothing; only whole paths have a weight."""
    p = walk(Bernoulli(0.5), 4, lambda path: 0.05 + 0.9 * sum(path) / 4 if len(path) == 4 else 1.0)
    root, search = grown(tree(1, 2, rollouts=64), p)
    assert root.value == pytest.approx(0.5, abs=0.06)
    assert root.total == root.value
    assert search.finished == 64
    root, _ = grown(tree(120, 4, rollouts=4, c=0.5), p)
    visits = {path_of(c)[0]: c.visits for c in root.children}
    assert visits[True] > 2 * visits[False]
    found = values(p | tree(120, 4, rollouts=4))
    assert len(found) == len(set(found))
    assert (True,) * 4 in found


def test_leaves_that_are_under_way_together_differ() -> None:
    p = walk(Uniform(0.0, 1.0), 5, lambda path: path[-1])
    batches: list[int] = []
    grow = Search.grow

    def watched(self: Search, prefixes: Particles, ways: Any) -> Any:
        assert len({id(q) for q in prefixes}) == len(prefixes)
        batches.append(len(prefixes))
        return grow(self, prefixes, ways)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Search, "grow", watched)
        root, _ = grown(tree(21, 6, parallel=4), p)
    assert batches[0] == 1  # there is only the root
    assert max(batches) == 4
    assert all(n.pending == 0 for n in nodes(root))
    assert root.visits == 21


def test_the_prior_is_the_models_probability_of_the_step() -> None:
    model = answering()
    binding = Binding(make_question("1 or 2?", kind="number"), model)
    score = Potential("score", lambda reply: -0.1, lambda draws: -0.2)
    bound = (reply_steps | weigh(score) | tree(3, 40)).bind(binding)
    roots: list[Node] = []
    made = Node.__init__

    def noting(self: Node, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        if self.parent is None:
            roots.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Node, "__init__", noting)
        evaluate(bound)
    children = roots[0].children
    assert len(children) > 3
    likely = [math.exp(math.fsum(d.logp) / len(d.logp)) for (d,) in map(path_of, children)]
    for child, x in zip(children, likely, strict=True):
        assert child.prior == pytest.approx(x / math.fsum(likely))
    assert len({round(child.prior, 6) for child in children}) > 2


def test_ties_are_drawn_and_named() -> None:
    p = walk(THIRDS, 2, lambda path: 0.5)
    ties = 0

    class Watching(Simulation):
        def sample(self, task: Task, address: str, dist: Dist[Any]) -> Any:
            nonlocal ties
            ties += address.split("#")[0] == "tie"
            return super().sample(task, address, dist)

    Machine(Watching()).start((p | tree(6, 12)).bind(Binding()), seed_key(0))
    assert ties > 0
    firsts = {values(p | tree(6, 12), seed)[0] for seed in range(20)}
    assert len(firsts) > 3


@pytest.mark.parametrize("block", [tree(1, 3), best_first(1, 3), tree(2, 3)])
def test_there_is_always_an_answer(block: Any) -> None:
    """Few iterations reach no end: the best prefix is run out, the next if it dies."""
    p = walk(Uniform(0.0, 1.0), 5, lambda path: path[-1])
    count, _, population = counted(p | block, Uniform)
    assert len(population) == 1
    assert population.traces[0].status == "finished"
    assert count == 3 * block.n + 5 - block.n

    @program
    def trap() -> Effects[bool]:
        x = yield from sample(Bernoulli(0.5))
        yield Twist(lambda: 0.0 if x else -1.0)
        yield from sample(Bernoulli(1.0))
        yield Factor(NEG_INF if x else 0.0)
        return x

    for seed in range(10):
        assert False in values(trap() | replace(block, n=1, branch=12), seed)


# The others.


def test_best_first_expands_the_best_open_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    frontier: dict[Any, float] = {}
    order: list[float] = []
    grow = Search.grow

    def watched(self: Search, prefixes: Particles, ways: Any) -> Any:
        (best,) = prefixes
        score = frontier.pop(best.last, 0.0)
        assert score == best.log_weight
        assert all(score >= other for other in frontier.values())
        order.append(score)
        families = yield from grow(self, prefixes, ways)
        for particle in families[0]:
            if particle.status == "running":
                frontier[particle.last] = particle.log_weight
        return families

    monkeypatch.setattr(Search, "grow", watched)
    found = values(walk(Uniform(0.0, 1.0), 4, lambda path: path[-1]) | best_first(30, 3))
    assert len(order) == 30
    assert any(b > a for a, b in pairwise(order))
    assert found


def test_best_first_goes_deep_where_all_scores_are_equal() -> None:
    p = walk(Uniform(0.0, 1.0), 6, lambda path: 0.5)
    assert len(values(p | best_first(6, 2))) == 2
    assert len(values(p | best_first(7, 2))) == 4


def test_the_shares_of_the_paths_sum_to_one_at_every_level() -> None:
    p = walk(THIRDS, 4, rugged, ends=[(0,), (2, 1)])
    for seed in range(10):
        _, told, population = counted(p | stochastic_tree(3, 4), Categorical, seed)
        assert len(told) == 4
        for level in [*told, population]:
            assert math.exp(level.log_evidence) == pytest.approx(1.0)
        assert all(t.status == "finished" for t in population.traces)
        assert len(set(population.log_weights)) > 1


def test_a_path_has_the_product_of_its_shares() -> None:
    p = walk(Bernoulli(0.5), 2, rugged)
    population = run(p | stochastic_tree(9, 20))
    assert len(population) == 4

    def share(path: Path) -> float:
        siblings = [rugged((*path[:-1], x)) for x in (False, True)]
        return rugged(path) / math.fsum(siblings)

    for trace, weight in zip(population.traces, population.log_weights, strict=True):
        path = tuple(c.value for c in trace.choices)
        assert math.exp(weight) == pytest.approx(share(path[:1]) * share(path))


@pytest.mark.parametrize("name", ["chain", "early", "uneven", "asserting"])
def test_paths_are_dropped_without_bias(name: str) -> None:
    """On average those kept stand for those dropped, exactly."""
    for n in (1, 2):
        few = measure(PROGRAMS[name] | stochastic_tree(n, 2))
        assert_same(few, measure(PROGRAMS[name] | stochastic_tree(100, 2)))


def test_prune_lets_the_best_go_on() -> None:
    p = walk(Uniform(0.0, 1.0), 4, lambda path: path[0])
    everyone = sorted((path[0] for path in values(p | draw(12))), reverse=True)
    assert len(everyone) == 12
    for keep, many in ((0.25, 3), (0.3, 4), (1.0, 12), (0.01, 1)):
        count, told, population = counted(p | prune(12, keep=keep, after=2), Uniform)
        assert len(population) == many
        firsts = [trace.value[0] for trace in population.traces]
        begun = sorted((t.choices[0].value for t in told[0].traces), reverse=True)
        assert firsts == begun[:many]
        assert count == 12 * 2 + many * 2
        assert [t.log_potential for t in population.traces] == pytest.approx(
            [math.log(x) for x in firsts]
        )
    assert len(values(p | prune(100, keep=0.07))) == 7


def test_prune_keeps_what_has_finished_and_what_is_equal() -> None:
    p = walk(Bernoulli(0.5), 2, lambda path: 0.5, ends=[(False,)])
    found = values(p | prune(12, keep=0.25))
    assert found.count((False,)) > 1
    assert len(found) == found.count((False,)) + 3


# Costs.


@pytest.mark.parametrize("depth", [1, 3])
def test_what_searches_cost(depth: int) -> None:
    """In steps drawn, where no two are the same."""
    p = walk(Uniform(0.0, 1.0), depth, lambda path: 0.1 + 0.8 * path[-1])

    def cost(block: Any) -> int:
        return counted(p | block, Uniform)[0]

    assert cost(beam(6, 2)) == cost(beam(6, 4)) == 6 * depth
    assert cost(beam(6, 9)) == 6 * depth
    ahead = sum(min(2, depth - r) for r in range(1, depth))
    assert cost(beam(6, 2, lookahead=2)) == 6 * depth + 6 * ahead
    assert cost(prune(8, after=1)) == 8 + 2 * (depth - 1)
    assert cost(best_first(20, 3)) == 3 * {1: 1, 3: 13}[depth]  # until nothing is open
    assert cost(stochastic_tree(2, 3)) == 3 + 6 * (depth - 1)
    for block in (tree(7, 3), tree(7, 3, parallel=3)):
        assert cost(block) <= 7 * 3 + depth
    assert cost(tree(7, 3, rollouts=2)) <= 7 * (3 + 2 * depth)


def test_beam_gives_n_answers_and_loses_a_slot_with_each() -> None:
    p = walk(Uniform(0.0, 1.0), 4, lambda path: 0.5)
    assert len(values(p | beam(6, 4))) == 6

    @program
    def short() -> Effects[Path]:
        path: Path = ()
        while len(path) < 8:
            path = (*path, (yield from sample(Uniform(0.0, 1.0))))
            yield Twist(partial(float, path[-1]))
            if path[-1] < 0.4:
                break
        return path

    for seed in range(10):
        count, told, population = counted(short() | beam(8, 2), Uniform, seed)
        assert len(population) == 8
        slots, expected = 8, 0
        for level in told:
            expected += slots
            slots = 8 - sum(t.status == "finished" for t in level.traces)
        assert count == expected


@pytest.mark.parametrize("name", [name for name in BLOCKS if name != "prune"])
def test_duplicates_collapse(name: str) -> None:
    p = walk(Bernoulli(1.0), 3, lambda path: 0.5)
    population = run(p | BLOCKS[name])
    assert [t.value for t in population.traces] == [(True,) * 3]
    assert math.exp(population.log_evidence) == pytest.approx(1.0)
    for seed in range(10):
        found = values(coins(3) | BLOCKS[name], seed)
        assert len(found) == len(set(found))


def test_the_first_of_equal_particles_is_kept() -> None:
    particles: Particles = [Particle(coins(1)) for _ in range(12)]
    for i, particle in enumerate(particles):
        evaluate(particle.run(), i)
    kept = distinct(particles)
    assert kept[0] is particles[0]
    assert {p.value for p in kept} == {(False,), (True,)}
    assert len(kept) == 2


# What they say of themselves.


@pytest.mark.parametrize("name", list(BLOCKS))
def test_weights_are_shares_of_a_vote(name: str) -> None:
    for p in (mortal(), early(), chain()):
        for seed in range(5):
            population = run(p | BLOCKS[name], seed)
            assert population.law.kind == "heuristic"
            assert "cut short" not in population.law.assumptions
            alive = [t for t in population.traces if t.status == "finished"]
            if len(alive) < len(population):
                assert not alive
                assert population.log_evidence == NEG_INF
            elif name != "stochastic_tree":
                assert population.log_weights == pytest.approx(-math.log(len(alive)))


@pytest.mark.parametrize("name", list(BLOCKS))
def test_no_mass_is_a_value(name: str) -> None:
    posterior = evaluate((doomed() | BLOCKS[name] | vote).bind(Binding()))
    assert posterior.answer is None
    assert posterior.population.log_evidence == NEG_INF
    assert {t.status for t in posterior.population.traces} == {"dead"}


@pytest.mark.parametrize("name", list(BLOCKS))
@pytest.mark.parametrize("toy", list(PROGRAMS))
def test_any_program_can_be_searched_and_seeds_repeat(name: str, toy: str) -> None:
    pipeline = PROGRAMS[toy] | BLOCKS[name]
    for seed in range(3):
        first, again = run(pipeline, seed), run(pipeline, seed)
        assert [t.choices for t in first.traces] == [t.choices for t in again.traces]
        assert first.log_weights.tolist() == again.log_weights.tolist()


@pytest.mark.parametrize("name", list(BLOCKS))
def test_seeds_differ(name: str) -> None:
    p = walk(Uniform(0.0, 1.0), 2, lambda path: path[-1])
    assert len({str(values(p | BLOCKS[name], seed)) for seed in range(4)}) == 4


def test_notation_and_laws() -> None:
    assert repr(coins() | beam(8)) == "coins | beam(8)"
    assert repr(coins() | beam(8, 2, 1)) == "coins | beam(8, width=2, lookahead=1)"
    assert repr(coins() | tree(8, c=2) | vote) == "coins | tree(8, c=2.0) | vote"
    assert repr(coins() | best_first(3)) == "coins | best_first(3)"
    assert repr(coins() | stochastic_tree(3, 2)) == "coins | stochastic_tree(3, branch=2)"
    assert repr(coins() | prune(8, keep=0.5)) == "coins | prune(8, keep=0.5)"
    for block in BLOCKS.values():
        assert (coins() | block | vote).law.kind == "heuristic"


@pytest.mark.parametrize(
    "make",
    [
        lambda: beam(0),
        lambda: beam(2, 0),
        lambda: beam(2, 2, -1),
        lambda: tree(2, 0),
        lambda: tree(2, c=-1.0),
        lambda: tree(2, c=math.nan),
        lambda: tree(2, rollouts=-1),
        lambda: tree(2, parallel=0),
        lambda: best_first(2, branch=True),
        lambda: stochastic_tree(0),
        lambda: prune(4, keep=0.0),
        lambda: prune(4, keep=1.5),
        lambda: prune(4, after=0),
    ],
)
def test_numbers_that_make_no_sense_are_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(PonderError, match=r"at least|keeps a share") as refused:
        make()
    assert "\n" not in str(refused.value)


# Cut short.


class Cutting(Simulation):
    """Serves so many completions."""

    def __init__(self, served: int) -> None:
        self.left = served
        self.refused: list[str] = []  # paths of who asked

    def sample(self, task: Task, address: str, dist: Dist[Any]) -> Any:
        if isinstance(dist, Completion):
            if self.left == 0:
                self.refused.append(task.path)
                raise CutShort
            self.left -= 1
        return super().sample(task, address, dist)


def spoken(done: list[Tokens]) -> Program[Tokens]:
    """Lines of a small model, scored; notes every reply that comes to its end."""
    model = writer(context=4)

    @program
    def lines() -> Effects[Tokens]:
        tokens: Tokens = ()
        while not tokens or tokens[-1] != model.end:
            segment = Completion(model, tokens, max_tokens=10, stop=("\n",), segment=True)
            tokens += (yield from sample(segment)).tokens
            yield Twist(partial(float, -0.1 - 0.3 * tokens.count(1)))
        yield Factor(-0.2 * tokens.count(1))
        done.append(tokens)
        return tokens

    return lines()


@pytest.mark.parametrize("name", list(BLOCKS))
def test_cut_short_after_any_number_of_calls_nothing_finished_is_lost(name: str) -> None:
    longest = 0
    for seed in range(4):
        cut, served = True, 0
        while cut:
            done: list[Tokens] = []
            handler = Cutting(served)
            pipeline = spoken(done) | BLOCKS[name] | vote
            task = Machine(handler).start(pipeline.bind(Binding()), seed_key(seed))
            assert task.failed is None
            posterior, cut = task.value, bool(handler.refused)
            # Of those that were asked together others may still be served; then it stops.
            assert len({path.split(".")[0] for path in handler.refused}) <= 1
            population = posterior.population
            finished = [t.value for t in population.traces if t.status == "finished"]
            if cut or name != "lookahead":
                assert set(finished) == set(done)
            if name != "prune":
                assert len(finished) == len(set(finished))
            unfinished = [t for t in population.traces if t.status == "unfinished"]
            assert bool(unfinished) == cut == ("cut short" in posterior.law.assumptions)
            assert posterior.law.kind == "heuristic"
            assert all(t.log_potential > NEG_INF for t in population.traces)
            assert (posterior.answer is None) == (not finished)
            served += 1
        longest = max(longest, served)
    assert longest > 5


@pytest.mark.parametrize("name", list(BLOCKS))
def test_nothing_at_all_is_served(name: str) -> None:
    handler = Cutting(0)
    task = Machine(handler).start((spoken([]) | BLOCKS[name] | vote).bind(Binding()), seed_key(0))
    assert task.failed is None
    assert task.value.answer is None
    assert {t.status for t in task.value.population.traces} == {"unfinished"}
    assert task.value.unparsed == len(handler.refused) <= 4


@pytest.mark.parametrize("cap", [1, 2, 3, 7, 15, None])
@pytest.mark.parametrize("name", list(BLOCKS))
def test_an_engine_serves_a_search_and_is_left_clean(name: str, cap: int | None) -> None:
    model = BatchedLM(cells=4000, width=8, table=answers)
    binding = Binding(make_question("a bad cab", kind="number"), model)
    source = reply_steps(every=2, max_tokens=12)
    pipeline = source | weigh(judge) | BLOCKS[name] | vote
    runtime = Runtime(budget=Budget(max_calls=cap))
    (outcome,) = runtime.run([("q", pipeline.bind(binding))])
    assert outcome.error is None
    assert cap is None or cap > 3 or runtime.cut == "max_calls"
    assert ("cut short" in outcome.value.law.assumptions) == (runtime.cut is not None)
    if runtime.cut is None:
        assert all(t.status == "finished" for t in outcome.value.population.traces)
        assert outcome.ledger.judge > 0
    assert not model.engine.running
    model.decoder.check_all_free()
