"""Reasoning pruning and perplexity consistency, and the selections that they are made of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from exact import population_of
from ponder.binding import Binding, Potential
from ponder.blocks import best, draw, vote, weigh
from ponder.blocks.distinct import distinct
from ponder.blocks.likely import fit_weibulls, improbable, likely, share_of_high
from ponder.blocks.top import top
from ponder.dist import Bernoulli
from ponder.effects import Effects, Program, program, sample
from ponder.errors import CutShort, PonderError
from ponder.interpret import enumerate_runs, evaluate
from ponder.lm.protocol import Completion
from ponder.lm.table import TableLM
from ponder.measure import Population, Posterior
from ponder.strategy import Block, Decide, Move
from toys import NEG_INF, chain, crowded


@dataclass(frozen=True)
class Path:
    """A reply: its text and answer, its log-probability and number of tokens."""

    text: str
    answer: str | None
    log_prob: float = 0.0
    length: int = 1


likelihood = Potential("likelihood", lambda path: path.log_prob)
perplexity = Potential("perplexity", lambda path: path.log_prob / path.length)


def move(population: Population[Any], *blocks: Move) -> Population[Any]:
    for block in blocks:
        population = evaluate(block.move(population, Binding()))
    return population


def decide(population: Population[Any], *blocks: Move | Decide) -> Posterior:
    *moves, last = blocks
    assert isinstance(last, Decide)
    moved = move(population, *(block for block in moves if isinstance(block, Move)))
    return evaluate(last.decide(moved, Binding()))


def paths(scores: Sequence[float], answers: str) -> Population[Any]:
    """One path for each letter, all different, with this mean probability of a token."""
    pairs = enumerate(zip(scores, answers, strict=True))
    return population_of([Path(f"path {i}", a, math.log(q)) for i, (q, a) in pairs])


def shares(posterior: Posterior) -> dict[Any, float]:
    return {s.answer: s.share for s in posterior.shares}


def test_a_text_counts_once_and_with_its_own_weight() -> None:
    values = [Path("x", "a"), Path("y", "b"), Path("x", "a"), Path("x", "a"), Path("z", "a")]
    left = move(population_of(values, [0.4, 0.2, 0.1, 0.1, 0.2]), distinct)
    assert [getattr(t.value, "text", None) for t in left.traces] == ["x", "y", "z"]
    assert np.exp(left.log_weights) == pytest.approx([0.4, 0.2, 0.2])
    assert left.eves == (0, 1, 4)
    assert left.law.kind == "heuristic"


def test_only_finished_traces_of_positive_weight_are_duplicates() -> None:
    values = [Path("x", "a")] * 5
    statuses: list[Any] = ["unfinished", "finished", "dead", "finished", "unfinished"]
    left = move(population_of(values, [0.2, 0.0, 0.0, 0.4, 0.4], statuses), distinct)
    assert left.eves == (0, 1, 2, 3, 4)
    assert shares(decide(left, vote)) == {"a": 1.0}


def test_a_value_without_text_is_told_by_its_samples() -> None:
    pipeline = crowded() | draw(2) | distinct
    for population, _ in enumerate_runs(pipeline.bind(Binding())):
        sampled = [tuple(c.value for c in t.choices) for t in population.traces if t.value]
        assert len(set(sampled)) == len(sampled)
    # Two values, but more paths: others of the same value stay.
    kept = [len(p) for p, _ in enumerate_runs(pipeline.bind(Binding()))]
    assert Counter(kept)[1] < Counter(kept)[2]


def test_samples_that_cannot_be_hashed_are_compared() -> None:
    class Array:
        def __init__(self, p: float) -> None:
            self.p = p

        def draw(self, stream: Any) -> Any:
            return np.array([stream.uniform() < self.p] * 2)

        def log_prob(self, value: Any) -> float:
            return 0.0

        def support(self) -> None:
            return None

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Array) and other.p == self.p

    @program
    def arrays() -> Effects[float]:
        return float((yield from sample(Array(0.5))).sum())

    left = evaluate((arrays() | draw(12) | distinct).bind(Binding()))
    assert sorted(t.value for t in left.traces) == [0.0, 2.0]


def clusters(low: int = 60, high: int = 40) -> tuple[Any, Any]:
    """(log scores, which are of the low cluster), shuffled."""
    rng = np.random.default_rng(7)
    scores = np.concatenate([0.1 * rng.weibull(3, low), 0.8 * rng.weibull(6, high)])
    order = rng.permutation(low + high)
    return np.log(scores[order]), order < low


def test_pruning_finds_the_low_cluster() -> None:
    log_scores, low = clusters()
    assert (improbable(log_scores) == low).all()
    w, k1, l1, k2, l2 = fit_weibulls(np.sort(log_scores) - log_scores.max())
    scale = math.exp(log_scores.max())
    assert (w, l1 * scale, l2 * scale) == pytest.approx((0.6, 0.1, 0.8), rel=0.05)
    assert 2 < k1 < 4 < k2 < 9


def test_the_share_of_the_high_component_is_that_of_its_density() -> None:
    from scipy.stats import weibull_min

    x = np.linspace(0.02, 1.0, 12)
    for fit in ((0.3, 2.0, 0.2, 5.0, 0.7), (0.6, 5.0, 0.7, 2.0, 0.2)):
        w, k1, l1, k2, l2 = fit
        terms = w * weibull_min.pdf(x, k1, scale=l1), (1 - w) * weibull_min.pdf(x, k2, scale=l2)
        high = terms[0] if l1 > l2 else terms[1]
        np.testing.assert_allclose(share_of_high(np.log(x), fit), high / sum(terms), rtol=1e-9)
    # A heavy tail has the larger mean, though its scale is the smaller one.
    heavy = share_of_high(np.log(np.array([3.0])), (0.5, 0.3, 0.2, 8.0, 1.0))
    assert heavy[0] > 0.99


@pytest.mark.parametrize(("seed", "spread", "unit"), [(21, 0.01, -2000.0), (3, 0.5, 600.0)])
def test_pruning_knows_no_unit_and_no_order(seed: int, spread: float, unit: float) -> None:
    rng = np.random.default_rng(seed)
    log_scores = rng.normal(0, spread, 24)
    order = rng.permutation(24)
    pruned = improbable(log_scores)
    assert (improbable(log_scores + unit) == pruned).all()
    assert (improbable(log_scores[order]) == pruned[order]).all()


@pytest.mark.parametrize(("low", "high"), [(40, 10), (12, 40)])
def test_pruning_is_by_the_odds_and_the_mean(low: int, high: int) -> None:
    from scipy.stats import weibull_min

    rng = np.random.default_rng(2)
    scores = np.concatenate([0.3 * rng.weibull(3, low), 0.8 * rng.weibull(4, high)])
    x = scores / scores.max()
    w, k1, l1, k2, l2 = fit_weibulls(np.sort(np.log(x)))
    terms = w * weibull_min.pdf(x, k1, scale=l1), (1 - w) * weibull_min.pdf(x, k2, scale=l2)
    # The fit of the second has its components the other way round.
    assert (l1 < l2) == (low > high)
    unlikely = terms[0] > terms[1] if l1 < l2 else terms[1] > terms[0]
    below = scores < scores.mean()
    assert (improbable(np.log(scores)) == (unlikely & below)).all()
    # With many low scores the mean decides, with few of them the odds.
    assert (unlikely & ~below).any() == (low > high)
    assert (below & ~unlikely).any() == (low < high)


def test_neither_component_is_left_less_than_a_fifth() -> None:
    rng = np.random.default_rng(4)
    scores = np.concatenate([0.1 * rng.weibull(3, 57), 0.8 * rng.weibull(20, 3)])
    assert fit_weibulls(np.sort(np.log(scores / scores.max())))[0] == pytest.approx(0.8)


def test_what_is_at_least_the_mean_is_never_pruned() -> None:
    rng = np.random.default_rng(5)
    pruned = 0
    for _ in range(4):
        scores = rng.beta(2, 2, 20)
        out = improbable(np.log(scores))
        assert not out[scores >= scores.mean()].any()
        pruned += int(out.sum())
    assert pruned > 4


def test_nothing_is_pruned_where_nothing_can_be_fitted() -> None:
    assert not improbable(np.log([0.9, 0.9, 0.9, 0.01, 0.01])).any()
    assert not improbable(np.full(20, -3.0)).any()
    assert not improbable(np.full(20, -3.0) + np.linspace(0, 1e-12, 20)).any()
    assert not improbable(np.full(8, NEG_INF)).any()
    assert not improbable(np.array([])).any()


def test_a_score_of_zero_is_pruned() -> None:
    log_scores = np.array([0.0, NEG_INF, 0.0, 0.0, NEG_INF, 0.0])
    assert improbable(log_scores).tolist() == [False, True, False, False, True, False]
    assert improbable(np.array([-1e4, -1.1, -1.2, -1.3, -1.15, -1.25, NEG_INF])).tolist()[-1]


def test_pruned_traces_are_gone_and_the_others_weigh_what_they_did() -> None:
    log_scores, low = clusters()
    values = [Path(str(i), "a", float(s)) for i, s in enumerate(log_scores)]
    weights = np.linspace(1, 2, len(values))
    before = population_of([*values, Path("late", "b", -9.0)], [*weights, 0.5], None)
    unfinished = (*before.traces[:-1], replace(before.traces[-1], status="unfinished"))
    left = move(replace(before, traces=unfinished), likely(perplexity))
    assert left.eves == (*np.flatnonzero(~low).tolist(), len(values))
    assert np.exp(left.log_weights) == pytest.approx([*weights[~low], 0.5])
    assert left.law.kind == "heuristic"


def rpc(population: Population[Any]) -> Posterior:
    return decide(population, likely(perplexity), distinct, weigh(perplexity), vote)


def test_equal_scores_make_rpc_self_consistency_on_distinct_paths() -> None:
    values = [Path(text, text[0], -0.7) for text in ("a1", "b1", "a2", "a1", "b2", "a3", "b1")]
    population = population_of(values)
    assert shares(rpc(population)) == pytest.approx({"a": 0.6, "b": 0.4})
    assert shares(decide(population, distinct, vote)) == shares(rpc(population))
    assert shares(decide(population, vote)) == pytest.approx({"a": 4 / 7, "b": 3 / 7})


def test_rpc_differs_from_the_vote_from_the_best_path_and_from_no_pruning() -> None:
    scores = [*np.linspace(0.08, 0.12, 16), 0.9, *np.linspace(0.55, 0.6, 2)]
    population = paths(scores, "a" * 16 + "b" + "cc")
    assert decide(population, vote).answer == "a"
    assert decide(population, best(perplexity)).answer == "b"
    assert decide(population, distinct, weigh(perplexity), vote).answer == "a"
    assert rpc(population).answer == "c"
    assert shares(rpc(population)) == pytest.approx({"c": 1.15 / 2.05, "b": 0.9 / 2.05})


# Says 1 at once, mostly; or 2; or either after a word: two paths for each answer.
PEAKED = TableLM(
    ("1", "2", "hm ", "<end>"),
    {
        (): [0.8, 0.1, 0.1, 0.0],
        (0,): [0.0, 0.0, 0.0, 1.0],
        (1,): [0.0, 0.0, 0.0, 1.0],
        (2,): [0.5, 0.5, 0.0, 0.0],
    },
    context=4,
    name="peaked",
)


@program(normalised=True)
def reply() -> Effects[Path]:
    drawn = yield from sample(Completion(PEAKED, (), max_tokens=4), "reply")
    return Path(drawn.text, drawn.text[-1], math.fsum(drawn.logp), len(drawn.tokens))


def squared_error(n: int, *blocks: Block, unit: float = 1.0, normalised: bool = False) -> float:
    """Exactly E (p(1) - .85)^2 of the estimate that a strategy makes of n replies."""
    pipeline = reply() | draw(n)
    for block in blocks:
        pipeline = pipeline | block
    total = 0.0
    for population, log_prob in enumerate_runs(pipeline.bind(Binding())):
        says = population.estimate(lambda path: path.answer == "1") * unit
        if normalised:
            says /= math.exp(population.log_evidence) * unit
        total += math.exp(log_prob) * (says - 0.85) ** 2
    return total


@pytest.mark.parametrize("n", [2, 3, 4])
def test_perplexity_consistency_beats_the_vote_on_a_peaked_answer(n: int) -> None:
    voted = squared_error(n)
    assert voted == pytest.approx(0.85 * 0.15 / n)
    # Divided by 1/n, each distinct path weighs its own probability.
    summed = squared_error(n, distinct, weigh(likelihood), unit=n)
    paired = squared_error(n, distinct, weigh(likelihood), normalised=True)
    assert summed < paired < voted
    # P(1) lacks the paths not seen: .8 with probability .2^n, .05 with .95^n, both with .15^n.
    missed = 0.8**2 * 0.2**n + 0.05**2 * 0.95**n + 2 * 0.8 * 0.05 * 0.15**n
    assert summed == pytest.approx(missed)
    if n == 4:
        assert summed < voted / 10


def test_one_reply_tells_the_vote_and_perplexity_consistency_the_same() -> None:
    one = squared_error(1, distinct, weigh(likelihood), normalised=True)
    assert one == pytest.approx(squared_error(1))


def kept(population: Population[Any], block: Move) -> dict[tuple[int, ...], float]:
    """The law of which traces are left, in their order."""
    law: dict[tuple[int, ...], float] = {}
    for left, log_prob in enumerate_runs(block.move(population, Binding())):
        law[left.eves] = law.get(left.eves, 0.0) + math.exp(log_prob)
    return law


def length(text: str) -> float:
    return float(len(text))


def test_top_keeps_the_highest_first_with_the_weights_they_have() -> None:
    population = population_of(["aa", "b", "dddd", "ccc"], [0.1, 0.2, 0.3, 0.4])
    left = move(population, top(2, length))
    assert [t.value for t in left.traces] == ["dddd", "ccc"]
    assert np.exp(left.log_weights) == pytest.approx([0.3, 0.4])
    assert left.eves == (2, 3)
    assert left.law.kind == "heuristic"
    assert len(move(population, top(9, length))) == 4


def test_ties_at_the_end_of_the_top_are_even() -> None:
    population = population_of(["b", "dd", "c", "a"])
    assert kept(population, top(2, length)) == pytest.approx({(1, i): 1 / 3 for i in (0, 2, 3)})
    three = kept(population, top(3, length))
    assert len(three) == 6
    assert list(three.values()) == pytest.approx([1 / 6] * 6)
    assert kept(population, top(4, length)) == {(1, 0, 2, 3): 1.0}
    assert kept(population, top(1, length)) == {(1,): 1.0}


def test_top_drops_what_is_dead_or_unfinished() -> None:
    statuses: list[Any] = ["finished", "unfinished", "dead", "finished"]
    population = population_of(["a", "bbb", "cc", "ddd"], [0.5, 0.5, 0.0, 0.0], statuses)
    left = move(population, top(3, length))
    assert [t.value for t in left.traces] == ["a"]
    assert "cut short" in left.law.assumptions
    nothing = move(population_of(["a"], [0.0]), top(2))
    assert len(nothing) == 0
    assert decide(nothing, vote).answer is None


def test_top_without_a_potential_ranks_by_the_factors() -> None:
    for population, _ in enumerate_runs((chain() | draw(3) | top(1)).bind(Binding())):
        assert len(population) == 1
    full, left = (chain() | draw(6)).bind(Binding()), (chain() | draw(6) | top(2)).bind(Binding())
    every = sorted((t.log_potential for t in evaluate(full).traces), reverse=True)
    assert [t.log_potential for t in evaluate(left).traces] == every[:2]


@program
def hesitant(value: str) -> Effects[float]:
    yield from sample(Bernoulli(1.0))
    if value == "bbb":
        raise CutShort
    return float(len(value))


unsure = Potential("unsure", hesitant)


@pytest.mark.parametrize("block", [top(2, unsure), likely(unsure)])
def test_a_score_that_was_cut_short_claims_nothing_and_abstains(block: Move) -> None:
    left = move(population_of(["a", "bbb", "cc"]), block)
    assert "cut short" in left.law.assumptions
    assert {s.answer for s in decide(left, vote).shares} == {"a", "cc"}


def test_notation_and_refusals() -> None:
    pipeline = reply() | draw(8) | likely(perplexity) | distinct | top(2, perplexity) | top(1)
    assert repr(pipeline).endswith(
        "likely(perplexity) | distinct | top(2, potential=perplexity) | top(1)"
    )
    assert pipeline.law.kind == "heuristic"
    with pytest.raises(PonderError, match="likely needs something that scores"):
        likely(3)  # type: ignore[arg-type]
    with pytest.raises(PonderError, match="top needs a number of traces"):
        top(0)
    with pytest.raises(PonderError, match="top needs something that scores"):
        top(2, "judge")  # type: ignore[arg-type]


def test_rpc_runs_as_a_strategy() -> None:
    pipeline = reply() | draw(8) | likely(perplexity) | distinct | weigh(perplexity) | vote
    bound: Program[Posterior] = pipeline.bind(Binding())
    assert evaluate(bound, seed=1).answer == "1"
