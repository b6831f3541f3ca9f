"""What a particle records, and the factors that it refuses."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest

from ponder.binding import Binding
from ponder.blocks import draw, smc, weigh
from ponder.dist import Bernoulli, Categorical
from ponder.effects import (
    Effects,
    Factor,
    Program,
    each,
    nested,
    program,
    sample,
)
from ponder.errors import PonderError
from ponder.interpret import evaluate, simulate
from ponder.particle import Particle
from toys import NEG_INF, asserting, chain, repeated


def test_addresses_tell_repeated_names_apart() -> None:
    addresses = [c.address for c in simulate(repeated()).choices]
    assert addresses[:5] == ["bit", "left/bit", "left/bit#1", "right/bit", "right/bit#1"]
    assert [a for a in addresses if "/" not in a] == ["bit", "bit#1", "bit#2"]
    trace = simulate(repeated(), seed=4)
    assert trace["bit#1"] == trace.choices[5].value
    with pytest.raises(KeyError):
        trace["nowhere"]


def test_a_name_that_looks_like_an_ordinal_is_another_draw() -> None:
    @program
    def mixed() -> Effects[tuple[int, int]]:
        a = yield from sample(Categorical([1.0] * 1000), "0")
        b = yield from sample(Categorical([1.0] * 1000))
        return a, b

    traces = [simulate(mixed(), seed) for seed in range(3)]
    assert any(t.value is not None and t.value[0] != t.value[1] for t in traces)
    assert all(len({c.address for c in t.choices}) == 2 for t in traces)


@pytest.mark.parametrize("weight", [math.nan, math.inf])
def test_a_factor_that_is_no_weight_is_refused(weight: float) -> None:
    @program
    def wrong() -> Effects[None]:
        yield Factor(weight)

    with pytest.raises(PonderError, match="wrong yields a factor"):
        simulate(wrong())
    strategy = chain() | weigh(lambda x: weight) | smc(2)
    with pytest.raises(PonderError, match="potential"):
        evaluate(strategy.bind(Binding()))


def test_a_normalised_program_must_not_yield_a_factor() -> None:
    @program(normalised=True)
    def boasting() -> Effects[bool]:
        x = yield from sample(Bernoulli(0.5))
        yield Factor(-1.0)
        return x

    @program(normalised=True)
    def hiding() -> Effects[Any]:
        return (yield from each([chain(1)]))

    @program(normalised=True)
    def nesting() -> Effects[Any]:
        return (yield from nested(chain(1)))

    for p, name in ((boasting(), "boasting"), (hiding(), "hiding"), (nesting(), "nesting")):
        for strategy in (p | draw(2), p | smc(2)):
            with pytest.raises(PonderError, match=f"{name} is declared normalised"):
                evaluate(strategy.bind(Binding()))


def test_an_assertion_of_zero_closes_the_particle() -> None:
    for seed in range(20):
        particle = Particle(asserting())
        evaluate(Program(functools.partial(particle.advance, stop=True), "stop"), seed)
        [first] = particle.trace().choices
        assert particle.status == ("running" if first.value else "dead")
        assert particle.log_weight == (0.4 if first.value else NEG_INF)


def test_a_dead_particle_is_closed_at_once() -> None:
    log: list[str] = []

    @program
    def mourned() -> Effects[None]:
        yield from sample(Bernoulli(0.5))
        yield Factor(NEG_INF)
        log.append("went on")
        yield from sample(Bernoulli(0.5))

    trace = simulate(mourned())
    assert trace.status == "dead"
    assert trace.log_potential == NEG_INF
    assert log == []
