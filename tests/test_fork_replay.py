"""Particles fork by replay: an heir is its parent's equal, and a program that lies is refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from ponder.binding import Binding, Potential
from ponder.blocks import propose, smc, temper, weigh
from ponder.blocks.smc import heirs
from ponder.dist import Bernoulli
from ponder.effects import (
    Done,
    Effects,
    Factor,
    Program,
    each,
    iterate,
    nested,
    program,
    sample,
)
from ponder.errors import NotAFunctionOfItsChoices
from ponder.interpret import evaluate
from ponder.particle import Particle
from toys import PROGRAMS, chain, inception, repeated


def stopped_particles(p: Program[Any], seed: int) -> list[Particle[Any]]:
    """The particle after every stop: each is the fork of one that goes on."""
    found: list[Particle[Any]] = []
    particle: Particle[Any] = Particle(p)
    for _ in range(100):
        evaluate(Program(lambda: particle.advance(stop=True), "stop"), seed)
        if particle.status != "running":
            return found
        found.append(particle.fork())
        seed += 1
    raise AssertionError("never ends")


def finish(particle: Particle[Any], seed: int) -> tuple[Any, ...]:
    """All that a particle's run to the end leaves behind."""
    evaluate(Program(lambda: particle.advance(stop=True), "on"), seed)
    weight = particle.log_weight
    evaluate(Program(particle.advance, "on"), seed + 1)
    t = particle.trace()
    choices = [(c.address, c.dist, c.value) for c in t.choices]
    return weight, choices, t.value, t.log_potential, t.status, t.log_prob


FORKED = {**PROGRAMS, "repeated": repeated(), "inception": inception()}


@pytest.mark.parametrize("name", sorted(FORKED))
def test_a_fork_goes_on_like_the_live_particle(name: str) -> None:
    stops = 0
    for seed in range(0, 500, 50):
        for particle in stopped_particles(FORKED[name], seed):
            stops += 1
            heir, second = particle.fork(), particle.fork().fork()
            assert heir.trace() == particle.trace()
            reference = finish(particle, seed + 7)
            assert finish(heir, seed + 7) == reference
            assert finish(second, seed + 7) == reference
    assert stops > 0 or name in ("coins", "close", "doomed")


def test_forks_are_independent() -> None:
    [particle, *_] = stopped_particles(chain(6), 3)
    before = particle.trace()
    ends = {finish(particle.fork(), seed)[2] for seed in range(20)}
    assert len(ends) > 5
    assert particle.trace() == before


def test_a_fork_before_the_start_starts_anew() -> None:
    @program
    def scored() -> Effects[bool]:
        yield Factor(-1.0)
        return (yield from sample(Bernoulli(0.5)))

    heir = Particle(scored()).fork()
    assert finish(heir, 1)[3] == -1.0


def test_the_first_heir_lives_on_and_the_others_fork() -> None:
    [particle, *_] = stopped_particles(chain(4), 0)
    other = particle.fork()
    found = heirs([particle, other], [0, 0, 0])
    assert found[0] is particle
    assert len({id(p) for p in found}) == 3
    assert other.status == "dead"


def walk_counting(log: list[int], length: int) -> Callable[[int], Program[Any]]:
    def step(state: int) -> Program[Any]:
        @program
        def one() -> Effects[Any]:
            log.append(state)
            x = yield from sample(Bernoulli(0.5))
            yield Factor(-0.3 * x)
            after = state + 1
            return Done(after) if after == length else after

        return one()

    return step


@pytest.mark.parametrize(
    "dress",
    [
        lambda p, binding: p,
        weigh(Potential("f", lambda x: 0.0, lambda seen: 0.1 * len(seen))).transform,
        temper(0.5).transform,
        propose(lambda name, dist: Bernoulli(0.4)).transform,
    ],
    ids=["plain", "weigh", "temper", "propose"],
)
def test_iterate_forks_without_replaying_its_past(
    dress: Callable[[Program[int], Binding], Program[int]],
) -> None:
    log: list[int] = []
    particle = Particle(dress(iterate(walk_counting(log, 30), 0), BOUND))
    for seed in range(200):
        evaluate(Program(lambda: particle.advance(stop=True), "stop"), seed)
        if particle.status != "running":
            break
        log.clear()
        particle.fork()
        assert len(log) <= 2, "a fork ran finished steps again"
    assert particle.value == 30


BOUND = Binding()


def test_a_program_without_checkpoints_replays_all_of_it() -> None:
    log: list[int] = []

    @program
    def inlining() -> Effects[tuple[str, int]]:
        value = yield from iterate(walk_counting(log, 6), 0)
        return "inlining", value

    for particle in stopped_particles(inlining(), 0):
        log.clear()
        heir = particle.fork()
        assert log == list(range(len(log)))
        assert len(log) >= len(particle.trace().choices)
        assert finish(heir, 0)[2] == ("inlining", 6)


def liar(kind: str, runs: itertools.count[int]) -> Program[Any]:
    @program
    def lying() -> Effects[Any]:
        again = next(runs) > 0
        if kind == "returns early" and again:
            return None
        if kind == "asks for more" and again:
            yield from sample(Bernoulli(0.5))
        name = "b" if kind == "renames" and again else "a"
        p = 0.7 if kind == "changes the law" and again else 0.5
        x: Any
        if kind == "nests" and again:
            x = yield from nested(chain(1))
        elif kind == "runs each" and again:
            [x] = yield from each([chain(1)])
        else:
            x = yield from sample(Bernoulli(p), name)
        yield Factor(-1.0 if x else -2.0)
        if kind == "changes the next law":
            yield from sample(Bernoulli(0.6 if again else 0.5))
        else:
            yield from sample(Bernoulli(0.5))
        return x

    return lying()


KINDS = [
    "returns early",
    "asks for more",
    "renames",
    "changes the law",
    "changes the next law",
    "nests",
    "runs each",
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_that_is_not_a_function_of_its_choices_is_refused(kind: str) -> None:
    particle: Particle[Any] = Particle(liar(kind, itertools.count()))
    evaluate(Program(lambda: particle.advance(stop=True), "stop"))
    with pytest.raises(NotAFunctionOfItsChoices, match="program lying is not a function") as info:
        particle.fork()
    assert "\n" not in str(info.value)


def test_smc_refuses_a_liar_too() -> None:
    strategy = (liar("changes the law", itertools.count(-15)) | smc(16, ess=1.0)).bind(BOUND)
    with pytest.raises(NotAFunctionOfItsChoices, match="lying"):
        evaluate(strategy)


def test_dead_and_finished_particles_fork_to_themselves() -> None:
    for name in ("doomed", "coins"):
        particle: Particle[Any] = Particle(PROGRAMS[name])
        evaluate(Program(particle.advance, "all"))
        heir = particle.fork()
        assert heir.status == particle.status != "running"
        assert heir.trace() == particle.trace()
