"""Small programs whose measures can be enumerated, one for each thing that may go wrong."""

from __future__ import annotations

import math
from typing import Any

from ponder.binding import Binding
from ponder.blocks import smc
from ponder.blocks.staged import staged
from ponder.dist import Bernoulli, Categorical
from ponder.effects import (
    Done,
    Effects,
    Factor,
    Program,
    Twist,
    each,
    iterate,
    nested,
    program,
    sample,
    twist,
)
from ponder.measure import Population

Bits = tuple[bool, ...]
NEG_INF = -math.inf


@program
def chain(steps: int = 2) -> Effects[Bits]:
    """A Markov chain with a factor after every draw."""
    bits: Bits = ()
    for _ in range(steps):
        x = yield from sample(Bernoulli(0.7 if bits and bits[-1] else 0.4))
        yield Factor(math.log(0.8 if x else 0.3))
        bits = (*bits, x)
    return bits


@program(normalised=True)
def coins(steps: int = 2) -> Effects[Bits]:
    """Draws without factors."""
    bits: Bits = ()
    for i in range(steps):
        bits = (*bits, (yield from sample(Bernoulli(0.3 + 0.2 * sum(bits)), f"coin{i}")))
    return bits


@program
def early() -> Effects[int]:
    """Finishes after one, two or three draws, each with its own factor."""
    for count in range(3):
        more = yield from sample(Bernoulli(0.6), "more")
        yield Factor(math.log(0.4 if more else 1.7))
        if not more:
            return count
    return 3


@program
def uneven() -> Effects[tuple[bool, bool]]:
    """A choice that only some traces make, and two stages after it."""
    x = yield from sample(Bernoulli(0.6), "x")
    if x:
        yield from sample(Bernoulli(1.0), "also")
    yield Factor(math.log(0.4 if x else 0.9))
    y = yield from sample(Bernoulli(0.7 if x else 0.2), "y")
    yield Factor(math.log(0.3 if x and y else 0.8))
    yield from sample(Bernoulli(1.0), "end")
    yield Factor(math.log(0.7 if x else 1.2))
    return x, y


@program
def rare() -> Effects[tuple[int, bool]]:
    """Many outcomes, some of them hardly ever; and a small chance that weighs much."""
    x = yield from sample(Categorical([0.4, 0.3, 0.2, 0.0879, 0.01, 0.002, 0.0001]), "x")
    yield Factor(math.log(0.9 if x < 3 else 1.4))
    y = yield from sample(Bernoulli(0.02), "y")
    yield Factor(math.log(12.0) if y else 0.0)
    return x, y


@program
def long() -> Effects[Bits]:
    """Ten stages; two of its choices are left to chance."""
    bits: Bits = ()
    for i in range(10):
        x = yield from sample(Bernoulli(0.4 if i in (1, 7) else 1.0))
        bits = (*bits, x)
        yield Factor(math.log(0.9 if x else 0.5))
    return bits


@program
def extreme() -> Effects[Bits]:
    """Weights far beyond the range of floating point on the way, and none of it at the end."""
    x = yield from sample(Bernoulli(0.3))
    yield Factor(-900.0 if x else -901.0)
    y = yield from sample(Bernoulli(0.6))
    yield Factor(899.5 if y else 900.5)
    return x, y


@program
def misled() -> Effects[Bits]:
    """Twists that are wrong on purpose; the target has only the last factor."""
    x = yield from sample(Bernoulli(0.5))
    yield Twist(lambda: 2.0 if x else -1.0)
    y = yield from sample(Bernoulli(0.2 if x else 0.6))
    yield Twist(lambda: -3.0 if y else 0.5)
    z = yield from sample(Bernoulli(0.5))
    yield Factor(math.log(0.9 if z == x else 0.2))
    yield Twist(lambda: 4.0)
    return x, y, z


@program
def whimsical() -> Effects[Bits]:
    """A twist that is itself random, with factors of its own, as a judge's is."""

    @program
    def judge(x: bool) -> Effects[float]:
        mood = yield from sample(Bernoulli(0.3), "mood")
        yield Factor(math.log(3.0 if mood else 0.5))
        return 1.5 if mood == x else -0.5

    x = yield from sample(Bernoulli(0.4))
    yield from twist(lambda: judge(x))
    y = yield from sample(Bernoulli(0.7))
    return x, y


@program
def mortal() -> Effects[Bits]:
    """Some of its branches have weight zero."""
    x = yield from sample(Bernoulli(0.5))
    yield Factor(NEG_INF if not x else math.log(0.7))
    y = yield from sample(Bernoulli(0.4))
    yield Factor(math.log(0.5) if y else 0.0)
    z = yield from sample(Bernoulli(0.3))
    yield Factor(NEG_INF if z and y else 0.0)
    return x, y, z


@program
def asserting() -> Effects[Bits]:
    """A twist of -inf that is true: without the first bit the end has weight zero."""
    x = yield from sample(Bernoulli(0.6))
    yield Twist(lambda: 0.4 if x else NEG_INF)
    y = yield from sample(Bernoulli(0.5))
    yield Factor(math.log(0.9 if y else 0.3) if x else NEG_INF)
    return x, y


@program
def doomed() -> Effects[bool]:
    """Has no mass at all."""
    x = yield from sample(Bernoulli(0.5))
    yield Factor(NEG_INF)
    return x


@program
def spread() -> Effects[tuple[Any, ...]]:
    """Sub-programs that run together, their factors included, and a draw that depends on them."""
    a = yield from each([chain(1), coins(1)])
    yield Factor(math.log(0.5 if a[0] == a[1] else 1.2))
    y = yield from sample(Bernoulli(0.3 if a[0][0] else 0.8))
    b = yield from each([chain(1)], ["last"])
    return *a, y, *b


@program
def opaque() -> Effects[tuple[Bits, bool]]:
    """A nested program: one opaque choice, randomly weighted."""
    bits = yield from nested(chain(1))
    y = yield from sample(Bernoulli(0.7 if bits[0] else 0.1))
    yield Factor(math.log(0.6 if y else 0.9))
    return bits, y


def walk(bits: Bits = ()) -> Program[Any]:
    """One step of a walk that stops at two heads or after three steps."""

    @program
    def step() -> Effects[Bits | Done[Bits]]:
        x = yield from sample(Bernoulli(0.5 + 0.1 * len(bits)))
        yield Factor(math.log(0.7 if x else 0.4))
        after = (*bits, x)
        return Done(after) if sum(after) == 2 or len(after) == 3 else after

    return step()


@program
def inlined() -> Effects[tuple[str, Bits, Bits]]:
    """Sub-programs by ``yield from``, one of which could restart by itself."""
    bits = yield from chain(1)
    walked = yield from iterate(walk, (True,))
    return "inlined", bits, walked


@program
def inception() -> Effects[Bits]:
    """SMC inside a program: its evidence is a factor, one of its particles goes on."""

    @program
    def inner() -> Effects[bool]:
        x = yield from sample(Bernoulli(0.4))
        yield Factor(math.log(0.8 if x else 0.3))
        yield from sample(Bernoulli(1.0))
        return x

    population: Population[bool] = yield from (inner() | smc(2, ess=1.0)).bind(Binding())
    yield Factor(population.log_evidence)
    chosen = yield from sample(Categorical(population.weights.tolist()))
    x = population.traces[chosen].value
    assert x is not None
    y = yield from sample(Bernoulli(0.7 if x else 0.4))
    yield Factor(math.log(0.8 if y else 0.3))
    return x, y


@program
def parametric() -> Effects[tuple[bool, bool]]:
    """A parameter, and evidence for it that is itself an estimate: what PMMH moves on."""
    theta = yield from sample(Bernoulli(0.3), "theta")
    estimate: Program[Any] = chain(1) if theta else early()
    yield from nested(estimate, "evidence")
    x = yield from sample(Bernoulli(0.8 if theta else 0.1), "x")
    yield Factor(math.log(0.9 if x else 0.4))
    return theta, x


@program
def crowded() -> Effects[bool]:
    """Many traces, two values; one of them needs both of its bits to change at once."""
    x = yield from sample(Bernoulli(0.5), "x")
    y = yield from sample(Bernoulli(0.5), "y")
    yield Factor(math.log(0.7) if x == y else NEG_INF)
    z = yield from sample(Categorical([0.2, 0.5, 0.3]), "z")
    yield Factor(math.log(0.3 + 0.2 * z))
    return x


@program
def smc_squared() -> Effects[tuple[bool, Any]]:
    """A parameter, then SMC on what depends on it, its evidence a factor stage by stage."""
    theta = yield from sample(Bernoulli(0.4), "theta")
    model: Program[Any] = chain(2) if theta else early()
    x = yield from staged(model, 2, ess=1.0)
    return theta, x


@program(normalised=True)
def close() -> Effects[str]:
    """Three answers, the first hardly ahead of the second: what is hard to settle."""
    answer: str = yield from sample(Categorical([0.44, 0.43, 0.13], "abc"), "answer")
    return answer


PROGRAMS: dict[str, Program[Any]] = {
    "chain": chain(),
    "coins": coins(),
    "close": close(),
    "early": early(),
    "uneven": uneven(),
    "misled": misled(),
    "rare": rare(),
    "long": long(),
    "extreme": extreme(),
    "whimsical": whimsical(),
    "mortal": mortal(),
    "asserting": asserting(),
    "doomed": doomed(),
    "spread": spread(),
    "opaque": opaque(),
    "iterated": iterate(walk, ()),
    "parametric": parametric(),
    "crowded": crowded(),
    "inlined": inlined(),
    "inception": inception(),
}
