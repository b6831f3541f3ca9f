"""Steering: k continuations of each particle, thinned to n, keep the target to rounding."""

from __future__ import annotations

import math
from typing import Any

import pytest

from exact import assert_same, measure
from ponder.binding import Binding, Potential
from ponder.blocks import draw, smc, vote, weigh
from ponder.blocks.steer import steer
from ponder.blocks.thin import thin
from ponder.dist import Bernoulli
from ponder.effects import Effects, Factor, Program, Twist, program, sample
from ponder.errors import CutShort, PonderError
from ponder.interpret import Simulation, enumerate_measure, enumerate_runs, evaluate, seed_key
from ponder.machine import Machine, Task
from ponder.measure import Population
from toys import NEG_INF, PROGRAMS, Bits, chain, coins, doomed, early, mortal, steps, writer

SMALL = ("chain", "coins", "early", "asserting", "doomed", "opaque")


@program
def astray() -> Effects[Bits]:
    """Twists that are wrong on purpose, small enough for many particles."""
    x = yield from sample(Bernoulli(0.4))
    yield Twist(lambda: 2.0 if x else -1.0)
    y = yield from sample(Bernoulli(0.3 if x else 0.6))
    yield Twist(lambda: 4.0)
    yield Factor(math.log(0.9 if y == x else 0.2))
    return x, y


@program
def perilous() -> Effects[Bits]:
    """One branch ends early, one dies, one goes on."""
    x = yield from sample(Bernoulli(0.5))
    yield Factor(math.log(0.7 if x else 0.4))
    if not x:
        return (x,)
    y = yield from sample(Bernoulli(0.6))
    yield Factor(NEG_INF if y else 0.3)
    return x, y


@program
def revised() -> Effects[bool]:
    """A second stage without randomness, which takes back most of what the first one said."""
    x = yield from sample(Bernoulli(0.4))
    yield Factor(2.0 if x else -1.0)
    yield from sample(Bernoulli(1.0))
    yield Factor(-1.8 if x else 0.9)
    return x


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_steer_keeps_the_target(name: str) -> None:
    assert_same(measure(PROGRAMS[name] | steer(1, 2)), enumerate_measure(PROGRAMS[name]))


@pytest.mark.parametrize(
    "p",
    [
        *(PROGRAMS[name] for name in SMALL),
        astray(),
        perilous(),
    ],
    ids=repr,
)
def test_steer_keeps_the_target_with_several_particles(p: Program[Any]) -> None:
    assert_same(measure(p | steer(2, 2)), enumerate_measure(p))


@pytest.mark.parametrize(("n", "k"), [(1, 1), (3, 1), (1, 3), (1, 4), (2, 3)])
def test_steer_keeps_the_target_for_other_numbers(n: int, k: int) -> None:
    for p in (chain(), coins(), perilous()) if n * k < 5 else (chain(1), revised()):
        assert_same(measure(p | steer(n, k)), enumerate_measure(p))


def test_steer_keeps_the_target_of_a_language_model() -> None:
    model = writer(context=2)
    reward = Potential(
        "reward", lambda tokens: 0.9 * tokens.count(0), lambda seen: 1.5 * len(seen) - 1.0
    )
    target = {x: m * math.exp(0.9 * x.count(0)) for x, m in enumerate_measure(steps(model)).items()}
    assert_same(measure(steps(model) | weigh(reward) | steer(1, 2)), target)
    assert_same(measure(steps(model) | steer(1, 2) | weigh(reward)), target)


def runs(pipeline: Any) -> list[tuple[Any, float]]:
    return [(pop, math.exp(lp)) for pop, lp in enumerate_runs(pipeline.bind(Binding()))]


def test_steer_gives_at_most_n_finished_traces() -> None:
    sizes = set()
    for p in (early(), perilous()):
        for population, _ in runs(p | steer(2, 2)):
            sizes.add(len(population))
            if population.log_evidence > NEG_INF:
                assert {t.status for t in population.traces} == {"finished"}
                assert all(w > NEG_INF for w in population.log_weights)
    assert sizes <= {1, 2, 4}


def test_no_mass_is_a_value_of_steer() -> None:
    for posterior, _ in runs(doomed() | steer(2, 2) | vote):
        assert posterior.answer is None
        assert posterior.population.log_evidence == NEG_INF
        assert {t.status for t in posterior.population.traces} == {"dead"}


def test_twists_steer() -> None:
    """A promising first bit survives: the chance to end without mass falls."""

    @program
    def promising() -> Effects[Bits]:
        x = yield from sample(Bernoulli(0.2))
        yield Twist(lambda: 0.0 if x else -3.0)
        y = yield from sample(Bernoulli(0.5))
        yield Factor(0.0 if x and y else NEG_INF)
        return x, y

    def without_mass(block: Any) -> float:
        return math.fsum(m for pop, m in runs(promising() | block) if pop.log_evidence == NEG_INF)

    assert without_mass(draw(2)) == pytest.approx(0.81)
    assert without_mass(steer(2, 1)) == pytest.approx(0.81)
    assert without_mass(steer(2, 2)) < 0.6


def test_steer_starts_as_independent_families() -> None:
    found = [pop for pop, _ in runs(coins(1) | steer(2, 2))]
    assert {len(set(pop.eves)) for pop in found} == {2}
    assert {eve for pop in found for eve in pop.eves} == {0, 1, 2, 3}


def test_steer_replays_only_what_it_copies() -> None:
    started = 0

    def begin() -> Effects[Any]:
        nonlocal started
        started += 1
        return (yield from chain(3))

    evaluate((Program(begin, "counted") | steer(1, 2)).bind(Binding()))
    assert started == 2 + 1 + 1


@program
def interrupted() -> Effects[Bits]:
    x = yield from sample(Bernoulli(0.5))
    yield Factor(math.log(0.7 if x else 0.4))
    y = yield from sample(Bernoulli(0.5))
    if x and y:
        raise CutShort
    return x, y


def test_a_particle_that_is_cut_short_takes_the_law_away() -> None:
    kinds = set()
    for population, _ in runs(interrupted() | steer(1, 2)):
        cut = any(t.status == "unfinished" for t in population.traces)
        assert population.law.kind == ("heuristic" if cut else "weighted")
        assert ("cut short" in str(population.law)) == cut
        kinds.add(cut)
        if not cut:
            assert len(population) == 1
    assert kinds == {True, False}


def test_steer_tells_every_stage() -> None:
    told: list[Any] = []

    class Watched(Simulation):
        def tell(self, task: Task, message: object) -> None:
            told.append(message)

    task = Machine(Watched()).start((chain(3) | steer(2, 2)).bind(Binding()), seed_key(1))
    assert task.failed is None
    assert [type(m) for m in told] == [Population] * 3
    assert [len(m) for m in told] == [4, 4, 4]
    assert all(t.status == "unfinished" for m in told[:2] for t in m.traces)


def test_the_same_seed_gives_the_same_traces() -> None:
    strategy = (mortal() | steer(3, 3)).bind(Binding())
    values = [[t.value for t in evaluate(strategy, seed).traces] for seed in (1, 1, 2, 3, 4)]
    assert values[0] == values[1]
    assert len({str(v) for v in values}) > 1


def test_notation_and_laws() -> None:
    assert repr(coins() | steer(4)) == "coins | steer(4)"
    assert repr(coins() | steer(4, k=3) | thin(2)) == "coins | steer(4, k=3) | thin(2)"
    assert (coins() | steer(4)).law == (coins() | smc(4)).law


@pytest.mark.parametrize("make", [lambda: steer(0), lambda: steer(2, 0), lambda: thin(0)])
def test_numbers_that_make_no_sense_are_refused(make: Any) -> None:
    with pytest.raises(PonderError, match="at least 1"):
        make()
