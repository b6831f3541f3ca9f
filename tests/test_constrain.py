"""Constrained sampling is exact in measure, value by value, and asks about few values."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from exact import assert_same, measure
from ponder.binding import Binding, Potential
from ponder.blocks import draw, propose, smc, temper, vote, weigh
from ponder.blocks.constrain import constrain
from ponder.blocks.draw import Draw
from ponder.blocks.smc import SMC
from ponder.dist import Bernoulli, Categorical, Dist, Normal
from ponder.effects import Done, Effects, Factor, Program, each, iterate, program, sample
from ponder.errors import PonderError
from ponder.interpret import enumerate_measure, enumerate_runs, evaluate
from ponder.lm.protocol import NextToken, Tokens
from ponder.lm.sampling_law import SamplingLaw
from ponder.lm.table import TableLM
from ponder.meaning import Atom, atoms, by_value
from ponder.particle import Particle
from toys import NEG_INF, PROGRAMS, chain, coins, doomed, early, steps, walk, writer

BOUND = Binding()
Seen = tuple[Any, ...]


def not_twice(seen: Seen, value: Any) -> bool:
    """Never the same value twice in a row."""
    return not seen or seen[-1] != value


def first_head(seen: Seen, value: Any) -> bool:
    """The first sample of every program comes up True."""
    return bool(seen) or bool(value)


def anything(seen: Seen, value: Any) -> bool:
    return True


def nothing(seen: Seen, value: Any) -> bool:
    return False


def meant(p: Program[Any], *blocks: Any) -> dict[Any, float]:
    atoms_: Any = atoms(p)
    for block in blocks:
        atoms_ = block.meaning(atoms_, BOUND)
    return by_value(atoms_)


@pytest.mark.parametrize("name", list(PROGRAMS))
@pytest.mark.parametrize("allowed", [not_twice, first_head, anything, nothing])
def test_the_measure_is_what_it_means(name: str, allowed: Callable[[Seen, Any], bool]) -> None:
    p = PROGRAMS[name]
    target = meant(p, constrain(allowed))
    assert_same(enumerate_measure((p | constrain(allowed, checks=2)).bind(BOUND)), target)
    assert_same(measure(p | constrain(allowed) | draw(1)), target)
    assert_same(measure(p | constrain(allowed) | smc(2, ess=1.0)), target)


def test_the_meaning_is_right_where_it_is_known() -> None:
    # Two coins: p(head) is 0.3, and 0.5 after a head.
    alternating = {(True, False): 0.3 * 0.5, (False, True): 0.7 * 0.3}
    assert_same(meant(coins(2), constrain(not_twice)), alternating)
    assert_same(meant(coins(2), constrain(nothing)), {})


@program(normalised=True)
def die(weights: tuple[float, ...] = (4, 3, 2, 1.5, 1, 0.5)) -> Effects[Any]:
    return (yield from sample(Categorical(weights), "face"))


GOOD = {1, 3, 4}


def good(seen: Seen, value: int) -> bool:
    return value in GOOD


FACES: tuple[float, ...] = (4, 3, 2, 1.5, 1, 0.5)


@pytest.mark.parametrize("checks", [1, 2, 3, 4, 5, 6, 9])
def test_every_allowed_value_has_its_own_mass(checks: int) -> None:
    target = {v: FACES[v] / 12 for v in GOOD}
    assert_same(measure(die() | constrain(good, checks) | draw(1)), target)


def test_two_traces_share_the_mass() -> None:
    p = die((3, 2, 1, 1))
    assert_same(measure(p | constrain(good) | draw(2)), {1: 2 / 7, 3: 1 / 7})
    assert_same(measure(p | constrain(good) | smc(2, ess=1.0)), {1: 2 / 7, 3: 1 / 7})


def moments(checks: int) -> tuple[float, float]:
    """Mean and variance of the weight of one trace."""
    strategy = die() | constrain(good, checks) | draw(1)
    runs = [(lm, pop.log_evidence) for pop, lm in enumerate_runs(strategy.bind(BOUND))]
    mean = math.fsum(math.exp(lm + w) for lm, w in runs)
    return mean, math.fsum(math.exp(lm + 2 * w) for lm, w in runs) - mean**2


def test_more_checks_less_variance() -> None:
    allowed_mass = sum(FACES[v] for v in GOOD) / 12
    means, variances = zip(*(moments(checks) for checks in range(1, 7)), strict=True)
    for mean in means:
        assert mean == pytest.approx(allowed_mass, abs=1e-12)
    assert all(later < before - 1e-4 for before, later in pairwise(variances[:4]))
    assert variances[-1] == pytest.approx(0, abs=1e-12)  # everything was asked about
    indicator = allowed_mass - allowed_mass**2  # what drawing and rejecting would give
    assert variances[0] < 0.8 * indicator


def test_the_value_is_independent_of_what_was_rejected() -> None:
    block = constrain(good, checks=9)  # the weight then is the allowed mass, whatever came before
    weights = set()
    for population, _ in enumerate_runs((die() | block | draw(1)).bind(BOUND)):
        weights.add(round(population.log_evidence, 12))
    assert len(weights) == 1


def test_weights_are_positive_unless_nothing_is_allowed() -> None:
    for population, _ in enumerate_runs((die() | constrain(good) | draw(1)).bind(BOUND)):
        assert population.log_evidence > NEG_INF
    for population, _ in enumerate_runs((die() | constrain(nothing) | draw(1)).bind(BOUND)):
        assert population.log_evidence == NEG_INF
        assert population.traces[0].status == "dead"


def test_few_values_are_asked_about_and_none_twice() -> None:
    asked: list[int] = []

    def odd(seen: Seen, value: int) -> bool:
        asked.append(value)
        return value % 2 == 1

    size, calls = 400, []
    for checks in (1, 3):
        p = constrain(odd, checks).transform(die(tuple([1.0] * size)), BOUND)
        for seed in range(60):
            asked.clear()
            evaluate(p, seed)
            assert len(set(asked)) == len(asked)
            calls.append(len(asked))
        # Half of the mass is allowed: two tries on average, then the checks.
        assert max(calls) < 20 < size
        assert abs(sum(calls[-60:]) / 60 - (2 + checks)) < 1
    rejecting = constrain(lambda seen, value: value == 7).transform(die(tuple([1.0] * 20)), BOUND)
    assert {evaluate(rejecting, seed) for seed in range(5)} == {7}


@program(normalised=True)
def text(model: TableLM, law: SamplingLaw) -> Effects[Tokens]:
    """Token by token until the end."""
    tokens: Tokens = ()
    while not tokens or tokens[-1] != model.end:
        tokens = (*tokens, (yield from sample(NextToken(model, tokens, law))))
    return tokens


def no_end_after_newline(seen: Seen, value: int) -> bool:
    """A grammar with dead ends: where the context is full, a model must end."""
    return not (seen and seen[-1] == 2 and value in (0, 3))


@pytest.mark.parametrize(
    ("law", "allowed"),
    [
        (SamplingLaw(), not_twice),
        (SamplingLaw(), no_end_after_newline),
        (SamplingLaw(temperature=0.7, top_k=3), no_end_after_newline),
    ],
)
def test_tokens_of_a_language_model_are_constrained(
    law: SamplingLaw, allowed: Callable[[Seen, Any], bool]
) -> None:
    p = text(writer(context=2), law)
    by_hand = {
        tokens: mass
        for tokens, mass in enumerate_measure(p).items()
        if all(allowed(tokens[:i], t) for i, t in enumerate(tokens))
    }
    assert 0 < sum(by_hand.values()) < 0.95
    assert_same(meant(p, constrain(allowed)), by_hand)
    for checks in (1, 2):
        assert_same(measure(p | constrain(allowed, checks) | draw(1)), by_hand)


def test_constrained_tokens_are_resampled() -> None:
    rows = {(): (0.5, 0.3, 0.2), (0,): (0.3, 0.3, 0.4), (1,): (0.6, 0.0, 0.4)}
    p = text(TableLM(("a", "b", "<end>"), rows, context=2), SamplingLaw())
    target = meant(p, constrain(not_twice))
    assert sum(target.values()) < 0.9
    assert_same(measure(p | constrain(not_twice) | smc(2, ess=1.0)), target)


def test_segments_are_constrained_as_wholes() -> None:
    rows = {(): (0.5, 0.3, 0.2), (0,): (0.3, 0.3, 0.4), (1,): (0.6, 0.0, 0.4)}
    p = steps(TableLM(("a", "\n", "<end>"), rows, context=2))

    def no_empty_line(seen: Seen, value: Any) -> bool:
        return bool(value.text != "\n")

    target = {tokens: m for tokens, m in enumerate_measure(p).items() if tokens[0] != 1}
    assert 0 < sum(target.values()) < 0.9
    assert_same(measure(p | constrain(no_empty_line) | draw(1)), target)
    assert_same(measure(p | constrain(no_empty_line) | smc(2, ess=1.0)), target)


def test_what_is_seen_belongs_to_one_program() -> None:
    @program
    def pair(name: str) -> Effects[tuple[Any, ...]]:
        x = yield from sample(Categorical((1, 1), (f"{name}0", f"{name}1")))
        y = yield from sample(Categorical((1, 2), (f"{name}2", f"{name}3")))
        return x, y

    @program
    def family() -> Effects[Any]:
        x = yield from sample(Categorical((1, 1), ("x0", "x1")))
        both = yield from each([pair("a"), pair("b")])
        y = yield from sample(Bernoulli(0.5))
        return x, both, y

    histories = set()

    def watched(seen: Seen, value: Any) -> bool:
        histories.add(tuple(str(v)[0] for v in (*seen, value)))
        return True

    evaluate((family() | constrain(watched) | draw(3)).bind(BOUND), 1)
    expected = {("x",), ("a",), ("a", "a"), ("b",), ("b", "b"), ("x", "T"), ("x", "F")}
    assert histories <= expected
    assert len(histories) >= 6


def test_restarts_remember_what_was_seen() -> None:
    def at_most_one_head(seen: Seen, value: bool) -> bool:
        return not value or not any(seen)

    p: Program[Any] = iterate(walk, ())
    target = meant(p, constrain(at_most_one_head))
    assert target[(False, True, False)] > 0
    assert max(sum(bits) for bits in target) == 1
    assert_same(measure(p | constrain(at_most_one_head) | smc(2, ess=1.0)), target)


def test_forks_share_nothing_and_replay_little() -> None:
    log: list[Any] = []

    def counted(state: tuple[bool, ...]) -> Program[Any]:
        @program
        def step() -> Effects[Any]:
            log.append(state)
            x = yield from sample(Bernoulli(0.5), "bit")
            yield Factor(-0.2 * x)
            after = (*state, x)
            return Done(after) if len(after) == 12 else after

        return step()

    def no_three(seen: Seen, value: bool) -> bool:
        return seen[-2:] != (value, value)

    particle = Particle(constrain(no_three).transform(iterate(counted, ()), BOUND))
    ends = set()
    for seed in range(50):
        evaluate(particle.run(stop=True), seed)
        if particle.status != "running":
            break
        log.clear()
        heir = particle.fork()
        assert len(log) <= 2, "a fork ran finished steps again"
        before = heir.trace()
        evaluate(heir.fork().run(), seed + 1)
        assert heir.trace() == before
        evaluate(heir.run(), seed + 2)
        ends.add(heir.value)
    assert particle.status == "finished"
    assert len(ends) > 3
    for bits in [*ends, particle.value]:
        assert bits is not None
        assert len(bits) == 12
        assert all(len(set(bits[i : i + 3])) > 1 for i in range(10))


def test_values_stand_at_the_addresses_of_the_program() -> None:
    for population, _ in enumerate_runs((coins(2) | constrain(not_twice) | draw(1)).bind(BOUND)):
        [trace] = population.traces
        if trace.status == "finished":
            assert (trace["coin0"], trace["coin1"]) == trace.value
            samples = [c.address for c in trace.choices if c.dist is not None]
            assert samples == ["coin0", "coin1"]


@pytest.mark.parametrize("block", [draw(1), smc(2, ess=1.0)], ids=repr)
def test_blocks_that_follow_see_the_values_alone(block: Draw | SMC) -> None:
    def bits_only(seen: Seen) -> float:
        assert all(isinstance(v, bool) for v in seen)
        assert len(seen) <= 2
        return 0.7 * sum(seen)

    guide = Potential("guide", lambda bits: -0.3 * sum(bits), bits_only)
    for p in (chain(), coins()):
        guided = {b: m * math.exp(-0.3 * sum(b)) for b, m in enumerate_measure(p).items()}
        target = {b: m for b, m in guided.items() if b[0] != b[1]}
        assert_same(measure(p | constrain(not_twice) | weigh(guide) | block), target)
        assert_same(measure(p | weigh(guide) | constrain(not_twice) | block), target)


def test_constraints_add_up() -> None:
    def no_ace(seen: Seen, value: int) -> bool:
        return value != 1

    target = {v: FACES[v] / 12 for v in GOOD - {1}}
    both = die() | constrain(good) | constrain(no_ace)
    assert_same(measure(both | draw(1)), target)
    assert_same(measure(die() | constrain(no_ace) | constrain(good) | smc(2)), target)
    assert_same(meant(die(), constrain(good), constrain(no_ace)), target)


def test_proposals_before_and_after_keep_the_target() -> None:
    def flat(name: str | None, dist: Dist[Any]) -> Dist[Any] | None:
        return Categorical([1.0] * 6) if name == "face" else None

    target = {v: FACES[v] / 12 for v in GOOD}
    assert_same(measure(die() | propose(flat) | constrain(good) | draw(1)), target)

    def lazy(name: str | None, dist: Dist[Any]) -> Dist[Any] | None:
        listed = dist.support()
        assert listed is not None
        return Categorical([1.0] * len(listed), [v for v, _ in listed])

    p = die((3, 2, 1))
    constrained = meant(p, constrain(good))
    assert_same(measure(p | constrain(good) | propose(lazy) | draw(1)), constrained)


def test_temper_before_is_as_meant() -> None:
    for p in (chain(), early()):
        blocks = (temper(0.5), constrain(not_twice))
        assert_same(measure(p | blocks[0] | blocks[1] | smc(2, ess=1.0)), meant(p, *blocks))


def test_values_that_cannot_be_listed_are_weighed_by_the_indicator() -> None:
    @program
    def height() -> Effects[float]:
        return (yield from sample(Normal(), "height"))

    p = height() | constrain(lambda seen, value: value > 0) | draw(200)
    population = evaluate(p.bind(BOUND))
    alive = [t.value for t in population.traces if t.status == "finished"]
    assert 70 < len(alive) < 130
    assert min(alive) > 0
    assert population.log_evidence == pytest.approx(math.log(len(alive) / 200))


def test_repeated_values_are_one() -> None:
    @program
    def doubled() -> Effects[Any]:
        return (yield from sample(Categorical((1, 1, 1, 1), ("a", "b", "a", "c"))))

    strategy = doubled() | constrain(lambda seen, value: value != "b") | draw(1)
    assert_same(measure(strategy), {"a": 0.5, "c": 0.25})


def test_no_mass_is_no_answer() -> None:
    for p in (doomed(), coins()):
        posterior = evaluate((p | constrain(nothing) | smc(3) | vote).bind(BOUND))
        assert posterior.answer is None


def test_the_law_and_the_notation() -> None:
    strategy = coins() | constrain(not_twice, checks=3) | draw(8)
    assert str(strategy.law) == "weighted for coins * 1[not_twice]"
    assert repr(strategy) == "coins | constrain(not_twice, checks=3) | draw(8)"
    assert repr(constrain(good)) == "constrain(good)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("abc",), "a function allowed"),
        ((draw(2),), "a function allowed"),
        ((good, 0), "at least 1 check"),
        ((good, 1.5), "at least 1 check"),
        ((good, True), "at least 1 check"),
    ],
)
def test_mistakes_are_named(arguments: Any, message: str) -> None:
    with pytest.raises(PonderError, match=message) as info:
        constrain(*arguments)
    assert "\n" not in str(info.value)


def test_atoms_that_are_not_allowed_are_gone() -> None:
    kept = constrain(not_twice).meaning(atoms(coins(2)), BOUND)
    assert all(isinstance(atom, Atom) and atom.value[0] != atom.value[1] for atom in kept)
    assert len(kept) == 2
