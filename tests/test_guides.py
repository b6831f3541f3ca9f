"""A guide, a program with the names of the model's samples, proposes: the target stays exactly."""

from __future__ import annotations

import math
from typing import Any

import pytest

import ponder
from exact import assert_same, measure
from ponder.binding import Binding
from ponder.blocks import draw, mh, propose, smc
from ponder.checking.check import check
from ponder.dist import Bernoulli, Categorical, Dist, Mixture, Normal
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
    twist,
)
from ponder.errors import PonderError
from ponder.interpret import enumerate_measure, evaluate
from ponder.particle import Particle
from ponder.strategy import Source

BLOCKS = [draw(1), smc(1), smc(2, ess=1.0)]


@program
def model() -> Effects[tuple[bool, bool, int]]:
    """Two named bits, one that is not named, and a factor after each."""
    x = yield from sample(Bernoulli(0.3), "x")
    yield Factor(math.log(0.9 if x else 0.2))
    w = yield from sample(Bernoulli(0.6))
    y = yield from sample(Bernoulli(0.8 if x else 0.1), "y")
    yield Factor(math.log(0.5 if y == w else 1.3))
    z = yield from sample(Categorical((1, 2, 3)), "z")
    yield Factor(0.3 * z)
    return x, y, z


@program
def guide() -> Effects[None]:
    x = yield from sample(Bernoulli(0.7), "x")
    y = yield from sample(Bernoulli(0.6 if x else 0.35), "y")
    yield from sample(Categorical((1, 1, 1 + 5 * x + 3 * y)), "z")


@program
def partial() -> Effects[None]:
    x = yield from sample(Bernoulli(0.7), "x")
    yield from sample(Categorical((1, 1, 1 + 5 * x)), "z")


@program
def nothing() -> Effects[None]:
    yield from ()


@pytest.mark.parametrize("block", BLOCKS, ids=repr)
@pytest.mark.parametrize("eps", [0.0, 0.1])
@pytest.mark.parametrize("which", [guide, partial, nothing])
def test_the_target_is_unchanged(which: Any, eps: float, block: Any) -> None:
    strategy = model() | propose(which, defensive=eps) | block
    assert_same(measure(strategy), enumerate_measure(model()))


def test_samples_come_from_the_guide() -> None:
    """Without this the test above would hold for a block that does nothing."""
    particle: Particle[Any] = Particle(propose(guide).transform(model(), Binding()))
    evaluate(particle.run(), 1)
    x, w, y, z = particle.choices
    given = int(x.value), int(y.value)
    assert x.dist == Bernoulli(0.7)
    assert w.dist == Bernoulli(0.6)
    assert y.dist == Bernoulli(0.6 if x.value else 0.35)
    assert z.dist == Categorical((1, 1, 1 + 5 * given[0] + 3 * given[1]))


def test_the_posterior_as_a_guide_makes_all_weights_equal() -> None:
    @program
    def coin() -> Effects[bool]:
        x = yield from sample(Bernoulli(0.3), "x")
        yield Factor(math.log(0.9 if x else 0.2))
        return x

    @program
    def exact() -> Effects[None]:
        yield from sample(Bernoulli(0.27 / 0.41), "x")

    population = evaluate((coin() | propose(exact) | draw(50)).bind(Binding()))
    assert population.ess == pytest.approx(50, abs=1e-9)
    assert population.log_evidence == pytest.approx(math.log(0.41), abs=1e-12)


def test_a_defended_guide_weighs_at_most_ten_a_site() -> None:
    @program
    def awful() -> Effects[None]:
        yield from sample(Bernoulli(0.0), "x")
        yield from sample(Bernoulli(1.0), "y")
        yield from sample(Categorical((0, 0, 1)), "z")

    assert_same(
        measure(model() | propose(awful, defensive=0.1) | draw(1)), enumerate_measure(model())
    )

    @program
    def plain() -> Effects[tuple[bool, bool]]:
        x = yield from sample(Bernoulli(0.3), "x")
        y = yield from sample(Bernoulli(0.3), "y")
        yield from sample(Categorical((1, 2, 3)), "z")
        return x, y

    drawn = evaluate((plain() | propose(awful, defensive=0.1) | draw(400)).bind(Binding()))
    heaviest = max(trace.log_potential for trace in drawn.traces)
    assert math.log(10) < heaviest <= 3 * math.log(10) + 1e-12


def walk(state: tuple[bool, ...]) -> Program[Any]:
    @program
    def step() -> Effects[Any]:
        bit = yield from sample(Bernoulli(0.7 if state and state[-1] else 0.4), "bit")
        yield Factor(math.log(0.8 if bit else 0.5))
        after = (*state, bit)
        return Done(after) if len(after) == 3 else after

    return step()


def guided_walk(state: tuple[bool, ...]) -> Program[Any]:
    @program
    def step() -> Effects[Any]:
        bit = yield from sample(Bernoulli(0.3 + 0.2 * sum(state)), "bit")
        after = (*state, bit)
        return Done(None) if len(after) == 3 else after

    return step()


@program
def counting() -> Effects[None]:
    on = 0
    for _ in range(3):
        on += yield from sample(Bernoulli(0.3 + 0.2 * on), "bit")


@pytest.mark.parametrize("which", [counting(), iterate(guided_walk, ())], ids=repr)
def test_forks_and_restarts_remember_what_the_guide_drew(which: Program[Any]) -> None:
    source = iterate(walk, ())
    for block in BLOCKS:
        assert_same(measure(source | propose(which) | block), enumerate_measure(source))
    for seed in range(6):  # so that the first bit is on in some of them
        particle: Particle[Any] = Particle(propose(which).transform(source, Binding()))
        evaluate(particle.run(stop=True), seed)
        heirs = [particle.fork(), particle.fork(), particle.fork().fork(), particle]
        for other, heir in enumerate(heirs):
            evaluate(heir.run(), other)
            bits = [choice.value for choice in heir.choices]
            dists = [choice.dist for choice in heir.choices]
            assert dists == [Bernoulli(0.3 + 0.2 * sum(bits[:i])) for i in range(3)]


def test_a_fork_does_not_run_a_guide_with_checkpoints_from_its_start() -> None:
    def steps(n: int) -> int:
        count = 0

        def counted(i: int) -> Program[Any]:
            nonlocal count
            count += 1
            return indexed(i, n, weighed=False)

        strategy = (
            iterate(lambda i: indexed(i, n), 0) | propose(iterate(counted, 0)) | smc(4, ess=1.0)
        )
        evaluate(strategy.bind(Binding()))
        return count

    assert steps(40) < 2.2 * steps(20)


def indexed(i: int, n: int, weighed: bool = True) -> Program[Any]:
    @program
    def step() -> Effects[Any]:
        bit = yield from sample(Bernoulli(0.5), "bit")
        if weighed:
            yield Factor(-2.0 * bit)
        return Done(i) if i + 1 == n else i + 1

    return step()


@program
def local(shared: bool) -> Effects[bool]:
    x = yield from sample(Bernoulli(0.8 if shared else 0.3), "x")
    yield Factor(math.log(0.9 if x else 0.4))
    return x


@program
def local_guide(shared: bool) -> Effects[bool]:
    return (yield from sample(Bernoulli(0.6 if shared else 0.5), "x"))


@program
def plated(names: list[str] | None = None) -> Effects[tuple[Any, ...]]:
    shared = yield from sample(Bernoulli(0.4), "shared")
    xs = yield from each([local(shared), local(shared)], names)
    y = yield from sample(Bernoulli(0.7 if all(xs) else 0.2), "y")
    yield Factor(math.log(0.3 if y else 0.6))
    return shared, *xs, y


@program
def plated_guide(names: list[str] | None = None) -> Effects[None]:
    shared = yield from sample(Bernoulli(0.5), "shared")
    xs = yield from each([local_guide(shared), local_guide(shared)], names)
    yield from sample(Bernoulli(0.3 + 0.2 * sum(xs)), "y")


@pytest.mark.parametrize("names", [None, ["left", "right"]])
@pytest.mark.parametrize("block", BLOCKS, ids=repr)
def test_programs_that_run_together_are_guided_place_by_place(names: Any, block: Any) -> None:
    strategy = plated(names) | propose(plated_guide(names)) | block
    assert_same(measure(strategy), enumerate_measure(plated(names)))
    particle: Particle[Any] = Particle(
        propose(plated_guide(names)).transform(plated(names), Binding())
    )
    evaluate(particle.run(), 2)
    shared, left, right, y = particle.choices
    assert left.dist == right.dist == Bernoulli(0.6 if shared.value else 0.5)
    assert y.dist == Bernoulli(0.3 + 0.2 * (left.value + right.value))


def test_what_the_guide_does_not_run_together_is_the_models_own() -> None:
    @program
    def outer() -> Effects[None]:
        yield from sample(Bernoulli(0.5), "shared")
        yield from sample(Bernoulli(0.5), "y")

    assert_same(measure(plated() | propose(outer) | draw(1)), enumerate_measure(plated()))


def test_kernels_move_what_a_guide_proposed() -> None:
    strategy = model() | propose(guide) | draw(1) | mh(1)
    assert_same(measure(strategy), enumerate_measure(model()))


def sampled(name: str, dist: Dist[Any]) -> Any:
    @program
    def one() -> Effects[Any]:
        return (yield from sample(dist, name))

    return one


def run(source: Program[Any], proposal: Any, eps: float = 0.0) -> None:
    evaluate((source | propose(proposal, eps) | draw(8)).bind(Binding()))


def test_a_slip_in_a_name_is_found() -> None:
    with pytest.raises(PonderError, match=r"guide one samples 'X'.*asked for x, y, z"):
        run(model(), sampled("X", Bernoulli(0.5)))


def test_another_order_is_found() -> None:
    @program
    def backwards() -> Effects[None]:
        yield from sample(Bernoulli(0.5), "y")
        yield from sample(Bernoulli(0.5), "x")

    with pytest.raises(PonderError, match=r"guide backwards samples 'x' later.*order x, y"):
        run(model(), backwards)


def test_an_auxiliary_sample_is_found() -> None:
    @program
    def auxiliary() -> Effects[None]:
        coin = yield from sample(Bernoulli(0.5), "coin")
        yield from sample(Bernoulli(0.9 if coin else 0.1), "x")

    with pytest.raises(PonderError, match=r"samples 'coin'.*did not ask"):
        run(model(), auxiliary)


def test_what_has_no_known_density_is_refused() -> None:
    @program
    def weighed() -> Effects[None]:
        yield from sample(Bernoulli(0.5), "x")
        yield Factor(-1.0)

    @program
    def nests() -> Effects[None]:
        yield from nested(sampled("x", Bernoulli(0.5))())

    @program
    def unnamed() -> Effects[None]:
        yield from sample(Bernoulli(0.5))

    for wrong, said in ((weighed, "factor"), (nests, "nested"), (unnamed, "without a name")):
        with pytest.raises(PonderError, match=said):
            run(model(), wrong)


def test_a_twist_of_the_guide_steers_nothing() -> None:
    @program
    def twisted() -> Effects[None]:
        yield from sample(Bernoulli(0.5), "x")
        yield from twist(lambda: 3.0)

    assert_same(measure(model() | propose(twisted) | draw(1)), enumerate_measure(model()))


def test_other_numbers_together_are_refused() -> None:
    @program
    def alone() -> Effects[None]:
        shared = yield from sample(Bernoulli(0.5), "shared")
        yield from each([local_guide(shared)])

    with pytest.raises(PonderError, match="runs 1 programs where the program plated runs 2"):
        run(plated(), alone)


def test_a_listed_value_that_the_guide_never_draws_is_named_at_once() -> None:
    certain = sampled("x", Bernoulli(1.0))
    with pytest.raises(PonderError, match=r"guide one never draws False at x.*defensive=0\.1"):
        run(model(), certain)
    run(model(), certain, eps=0.1)


def test_weights_that_are_no_numbers_are_named() -> None:
    @program
    def normal() -> Effects[float]:
        return (yield from sample(Normal(), "x"))

    with pytest.raises(PonderError, match="guide one gives nan at x the weight"):
        run(normal(), sampled("x", Normal(math.nan, 1.0)))

    class Liar(Bernoulli):
        def log_prob(self, value: Any) -> float:
            return -math.inf

    with pytest.raises(PonderError, match=r"the proposal gives .* at x the weight exp\(inf\)"):
        run(model(), lambda name, dist: Liar(0.5) if name == "x" else None)


@pytest.mark.parametrize(
    "wrong", [3, draw(2), lambda a: None, lambda: 3, model() | draw(2), Normal]
)
def test_what_is_no_proposal_is_refused(wrong: Any) -> None:
    with pytest.raises(PonderError, match="propose needs a guide"):
        propose(wrong)


def test_what_a_guide_may_be() -> None:
    @program
    def settings(p: float = 0.5) -> Effects[Any]:
        return (yield from sample(Bernoulli(p), "x"))

    source = Source("asked", lambda binding: settings(binding.question))
    target = enumerate_measure(model())
    for given in (settings, settings(0.2), lambda: settings(0.9), lambda: source, source):
        strategy = model() | propose(given) | draw(1)
        expected = 0.5
        population = evaluate(strategy.bind(Binding(question=expected)))
        assert len(population) == 1
    particle: Particle[Any] = Particle(propose(source).transform(model(), Binding(question=0.25)))
    evaluate(particle.run())
    assert particle.choices[0].dist == Bernoulli(0.25)
    assert repr(model() | propose(guide, 0.1)) == "model | propose(guide, defensive=0.1)"
    assert (model() | propose(guide)).law.assumptions == ("q = 0 only where the target is",)
    assert isinstance(_first(propose(guide, 0.1).transform(model(), Binding())).dist, Mixture)
    assert_same(measure(model() | propose(lambda: settings(0.9)) | draw(1)), target)


def _first(changed: Program[Any]) -> Any:
    particle: Particle[Any] = Particle(changed)
    evaluate(particle.run())
    return particle.choices[0]


def test_check_tests_a_guide_on_its_own_program() -> None:
    report = check(model() | propose(guide) | smc(3), seconds=2)
    assert report.verdict == "valid"
    assert any(f.toy.startswith("model") or "model" in f.toy for f in report.findings)
    with pytest.raises(PonderError, match="with the program that it is for"):
        check(propose(guide), seconds=1)


@pytest.mark.parametrize("defensive", [0.0, 0.1])
def test_a_density_is_not_weighed_against_a_probability(defensive: float) -> None:
    @ponder.program
    def model() -> ponder.Effects[float]:
        return (yield from ponder.sample(ponder.Normal(), "z"))

    @ponder.program
    def wrong() -> ponder.Effects[bool]:
        return (yield from ponder.sample(ponder.Bernoulli(0.5), "z"))

    with pytest.raises(PonderError, match="at z, where the program samples Normal"):
        ponder.infer(model() | ponder.propose(wrong(), defensive) | ponder.draw(4))
    with pytest.raises(PonderError, match="at z, where the program samples Bernoulli"):
        ponder.infer(wrong() | ponder.propose(model(), defensive) | ponder.draw(4))
