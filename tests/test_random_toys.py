"""Blocks keep the target of programs that nobody wrote, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exact import assert_same, measure
from ponder.blocks import (
    collapse,
    draw,
    gibbs,
    ladder,
    mh,
    multinomial,
    pool,
    regenerate,
    residual,
    smc,
    steer,
    stratified,
    swap,
    thin,
)
from ponder.dist import Bernoulli
from ponder.effects import Effects, Factor, Program, Twist, program, sample
from ponder.interpret import enumerate_measure
from toys import Bits

Pair = tuple[float, float]


@dataclass(frozen=True)
class Node:
    """A coin, what each side weighs and is hoped to be worth, and what follows it."""

    p: float
    weights: Pair
    hopes: Pair | None
    after: tuple[Node | None, Node | None]


def nodes(depth: int) -> st.SearchStrategy[Node]:
    weight = st.one_of(st.floats(-1.5, 1.0), st.sampled_from([-math.inf, 0.0]))
    hope = st.floats(-2.0, 2.0)
    after = st.none() if depth == 0 else st.one_of(st.none(), nodes(depth - 1))
    return st.builds(
        Node,
        st.floats(0.1, 0.9),
        st.tuples(weight, weight),
        st.one_of(st.none(), st.tuples(hope, hope)),
        st.tuples(after, after),
    )


@program
def tree(root: Node) -> Effects[Bits]:
    bits: Bits = ()
    node: Node | None = root
    while node is not None:
        x = yield from sample(Bernoulli(node.p))
        yield Factor(node.weights[x])
        if node.hopes is not None:
            hope = node.hopes[x]
            yield Twist(lambda hope=hope: hope)  # type: ignore[misc]
        bits = (*bits, x)
        node = node.after[x]
    return bits


STRATEGIES: list[tuple[Any, ...]] = [
    (smc(2, multinomial, ess=1.0),),
    (smc(3, ess=0.7),),
    (smc(2, stratified, ess=1.0), pool(2)),
    (smc(2, residual, ess=1.0), collapse, draw(1), mh(1)),
    (smc(2, ess=1.0, move=regenerate(1)),),
    (smc(2, ess=0.6, move=mh(1)),),
    (steer(1, k=3),),
    (draw(3), thin(2)),
    (draw(1), gibbs(1, n=2, ess=1.0)),
    (draw(1), gibbs(1, n=2, ess=1.0, ancestors=True)),
    (draw(2), mh(1)),
    (draw(1), regenerate(2)),
]


def followed(p: Program[Any], blocks: tuple[Any, ...]) -> Any:
    strategy: Any = p
    for block in blocks:
        strategy = strategy | block
    return strategy


@pytest.mark.parametrize("blocks", STRATEGIES, ids=repr)
@given(root=nodes(1))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_tree_keeps_its_measure(blocks: tuple[Any, ...], root: Node) -> None:
    assert_same(measure(followed(tree(root), blocks)), enumerate_measure(tree(root)), 1e-11)


@given(root=nodes(1), beta=st.floats(0.0, 1.0))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_ladder_is_kept_by_its_moves(root: Node, beta: float) -> None:
    before = tree(root) | ladder(beta) | draw(1)
    assert_same(measure(before | swap(1) | mh(1)), measure(before), 1e-11)
