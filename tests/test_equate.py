"""Answers that mean the same: classes, what stands for them, and the law of the classes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exact import assert_same, measure, population_of
from ponder.binding import Binding
from ponder.blocks import draw, vote, weigh
from ponder.blocks.equate import equate
from ponder.dist import Bernoulli
from ponder.effects import Effects, program, sample
from ponder.errors import CutShort, PonderError
from ponder.interpret import enumerate_measure, enumerate_runs, evaluate
from ponder.meaning import atoms, by_value
from ponder.measure import ABSTAIN, Population
from ponder.strategy import Move
from toys import PROGRAMS, chain, coins


@dataclass(frozen=True)
class Reply:
    answer: Any
    text: str = ""


def alike(a: str, b: str) -> bool:
    """The same letters, whatever the case."""
    return a.lower() == b.lower()


def near(a: int, b: int) -> bool:
    """Not transitive: 1 and 3 are near only by way of 2."""
    return abs(a - b) <= 1


def equated(
    population: Population[Any], block: Move, binding: Binding | None = None
) -> Population[Any]:
    return evaluate(block.move(population, binding or Binding()))


def answers(population: Population[Any]) -> list[Any]:
    return [getattr(t.value, "answer", t.value) for t in population.traces]


def test_the_heaviest_answer_stands_for_its_class() -> None:
    population = population_of(["ab", "AB", "c", "Ab", "AB"], [0.3, 0.2, 0.2, 0.1, 0.2])
    left = equated(population, equate(alike))
    assert answers(left) == ["AB", "AB", "c", "AB", "AB"]
    assert (left.log_weights == population.log_weights).all()
    posterior = evaluate(vote.decide(left, Binding()))
    assert {s.answer: s.share for s in posterior.shares} == pytest.approx({"AB": 0.8, "c": 0.2})


def test_ties_go_to_the_first_by_repr_also_where_they_differ_by_rounding() -> None:
    for values in permutations(["b", "B", "c"]):
        left = answers(equated(population_of(values), equate(alike)))
        assert left == ["c" if value == "c" else "B" for value in values]
    # 0.1 + 0.2 exceeds 0.3 by rounding only.
    rounded = population_of(["b", "B", "b"], [0.1, 0.3, 0.2])
    assert answers(equated(rounded, equate(alike))) == ["B", "B", "B"]


def test_classes_are_the_transitive_closure() -> None:
    assert answers(equated(population_of([3, 1, 2, 9, 1]), equate(near))) == [1, 1, 1, 9, 1]
    assert answers(equated(population_of([3, 1, 9, 1]), equate(near))) == [3, 1, 9, 1]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from([0.0, 0.1, 0.2, 0.3])), min_size=1, max_size=7
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_the_traces_does_not_matter(
    pairs: list[tuple[int, float]], random: Any
) -> None:
    def run(pairs: list[tuple[int, float]]) -> dict[int, int]:
        values, weights = zip(*pairs, strict=True)
        left = answers(equated(population_of(values, weights), equate(near)))
        return dict(zip(values, left, strict=True))

    shuffled = pairs[:]
    random.shuffle(shuffled)
    heavy = {value for value, weight in pairs if weight > 0}
    first, second = run(pairs), run(shuffled)
    assert {v: first[v] for v in heavy} == {v: second[v] for v in heavy}


def test_only_pairs_of_different_answers_that_count_are_asked_and_once() -> None:
    asked = []

    def spy(a: int, b: int) -> bool:
        asked.append((a, b))
        return near(a, b)

    values = [2, 3, 2, 1, 9, 7, 8, Reply(None), ABSTAIN]
    statuses: list[Any] = ["finished"] * 5 + ["dead", "unfinished", "finished", "finished"]
    weights = [1, 1, 1, 1, 1, 0, 1, 1, 1]
    left = equated(population_of(values, weights, statuses), equate(spy))
    assert asked == [(1, 2), (1, 3), (1, 9), (2, 3), (2, 9), (3, 9)]
    assert answers(left) == [2, 2, 2, 2, 9, 7, 8, None, ABSTAIN]


def test_what_follows_is_not_asked() -> None:
    asked = []

    def spy(a: int, b: int) -> bool:
        asked.append((a, b))
        return True

    equated(population_of([4, 1, 3, 2]), equate(spy))
    assert asked == [(1, 2), (1, 3), (1, 4)]


def test_a_value_keeps_everything_else() -> None:
    population = population_of([Reply("x", "one"), Reply("X", "two"), Reply("x", "three")])
    left = equated(population, equate(alike))
    assert [t.value for t in left.traces] == [
        Reply("x", "one"),
        Reply("x", "two"),
        Reply("x", "three"),
    ]
    assert left.traces[0] is population.traces[0]


def test_an_answer_that_cannot_be_replaced_is_refused() -> None:
    class Fixed:
        def __init__(self, answer: str) -> None:
            self.answer = answer

    with pytest.raises(PonderError, match="answer of a Fixed; make it a dataclass"):
        equated(population_of([Fixed("x"), Fixed("X")]), equate(alike))
    for wrong in (3, vote, str):
        with pytest.raises(PonderError, match="equate needs a function of two answers"):
            equate(wrong)  # type: ignore[arg-type]


@program
def judged(a: str, b: str) -> Effects[bool]:
    """A judge that is right; one pair is too much for it."""
    yield from sample(Bernoulli(1.0), "judge")
    if {a, b} == {"z", "Z"}:
        raise CutShort
    return alike(a, b)


def test_a_relation_may_be_a_program() -> None:
    left = equated(population_of(["x", "Y", "X", "y", "y"]), equate(judged))
    assert answers(left) == ["X", "y", "X", "y", "y"]
    assert left.law.kind == "consistent"


def test_a_relation_that_was_cut_short_takes_the_law_away() -> None:
    left = equated(population_of(["z", "x", "Z", "X"]), equate(judged))
    assert answers(left) == ["z", "X", "Z", "X"]
    assert left.law.kind == "heuristic"
    assert "cut short" in left.law.assumptions


def test_the_law_of_a_random_relation_is_enumerated() -> None:
    @program
    def coin(a: str, b: str) -> Effects[bool]:
        return (yield from sample(Bernoulli(0.25)))

    law: dict[tuple[str, ...], float] = defaultdict(float)
    runs = enumerate_runs(equate(coin).move(population_of(["a", "b"]), Binding()))
    for left, log_prob in runs:
        law[tuple(answers(left))] += math.exp(log_prob)
    assert law == pytest.approx({("a", "a"): 0.25, ("a", "b"): 0.75})


def test_the_binding_knows_what_is_equal() -> None:
    population = population_of(["x", "X", "x"])
    assert answers(equated(population, equate(), Binding(same=alike))) == ["x", "x", "x"]
    assert answers(equated(population, equate())) == ["x", "X", "x"]
    # One that is given goes before it.
    given = equated(population, equate(lambda a, b: False), Binding(same=alike))
    assert answers(given) == ["x", "X", "x"]


def parity(a: Any, b: Any) -> bool:
    return kind(a) == kind(b)


def kind(value: Any) -> int:
    """The class of a value under ``parity``."""
    return (sum(value) if isinstance(value, tuple) else int(value)) % 2


def of_classes(masses: dict[Any, float]) -> dict[int, float]:
    totals: dict[int, float] = defaultdict(float)
    for value, mass in masses.items():
        totals[kind(value)] += mass
    return dict(totals)


@pytest.mark.parametrize("name", ["chain", "coins", "early", "mortal", "misled"])
def test_the_measure_of_classes_is_kept(name: str) -> None:
    toy = PROGRAMS[name]
    left = measure(toy | draw(2) | equate(parity))
    assert_same(of_classes(left), of_classes(enumerate_measure(toy)))


def test_classes_stay_independent() -> None:
    """What exact says, of classes: their joint law is a product."""
    joint: dict[tuple[int, ...], float] = defaultdict(float)
    single = of_classes(enumerate_measure(coins()))
    for population, log_prob in enumerate_runs(
        (coins() | draw(3) | equate(parity)).bind(Binding())
    ):
        assert population.law.kind == "consistent"
        joint[tuple(kind(t.value) for t in population.traces)] += math.exp(log_prob)
    for classes, mass in joint.items():
        assert mass == pytest.approx(math.prod(single[c] for c in classes), abs=1e-12)


def test_meaning_names_each_class_by_the_heaviest_of_the_target() -> None:
    target = enumerate_measure(chain())
    meant = by_value(equate(parity).meaning(atoms(chain()), Binding()))
    for parity_class, mass in of_classes(target).items():
        heaviest = max((v for v in target if kind(v) == parity_class), key=lambda v: target[v])
        assert meant[heaviest] == pytest.approx(mass)
    assert len(meant) == 2


def test_law_and_notation() -> None:
    pipeline = chain() | draw(4) | equate(alike)
    assert repr(pipeline) == "chain | draw(4) | equate(alike)"
    assert str(pipeline.law) == "consistent for chain (classes of answers equal up to alike)"
    assert (pipeline | vote).law.kind == "consistent"
    assert repr(equate()) == "equate"
    assert "up to the question's relation" in str((coins() | draw(2) | equate()).law)


def test_no_traces_and_no_mass_are_left_as_they_are() -> None:
    empty = replace(population_of(["x"]), traces=(), log_weights=np.zeros(0), eves=())
    assert len(equated(empty, equate(alike))) == 0
    massless = population_of(["x", "X"], [0.0, 0.0])
    assert answers(equated(massless, equate(alike))) == ["x", "X"]


def test_weights_far_below_one_still_choose() -> None:
    shift: Callable[[Any], float] = lambda value: -2000.0  # noqa: E731
    population = equated(population_of(["x", "X", "x"]), weigh(shift))
    assert np.isfinite(population.log_weights).all()
    assert answers(equated(population, equate(alike))) == ["x", "x", "x"]
