"""Array-valued samples: their streams, their laws, equality, and the filter written with them."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from ponder.arrays import MultinomialAncestors, Normals, SystematicAncestors
from ponder.binding import Binding
from ponder.blocks import draw, smc
from ponder.blocks.resample import Systematic
from ponder.dist import Bernoulli, Categorical, Independent, Normal, Stream, derive
from ponder.effects import Done, Effects, Factor, Program, iterate, observe, program, sample
from ponder.errors import NotAFunctionOfItsChoices, PonderError
from ponder.interpret import enumerate_runs, evaluate, simulate
from ponder.particle import Particle
from shuffled import evaluate_shuffled
from test_statistics import assert_mean

Floats = NDArray[np.float64]
Scheme = Callable[[Floats, int], Any]
SCHEMES: list[Scheme] = [SystematicAncestors, MultinomialAncestors]
KEY = derive(b"arrays", "test")


def benchmark() -> ModuleType:
    """What ``benchmarks/state_space.py`` measures is what is tested here."""
    folder = Path(__file__).parent.parent / "benchmarks"
    spec = importlib.util.spec_from_file_location("state_space", folder / "state_space.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["state_space"] = module  # its dataclasses look themselves up there
    sys.path.insert(0, str(folder))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    return module


state_space = benchmark()


# Streams


def test_a_stream_of_arrays_is_a_function_of_key_and_count() -> None:
    for read in (Stream.uniforms, Stream.normals):
        first = read(Stream(KEY), 1000)
        assert first.tobytes() == read(Stream(KEY), 1000).tobytes()
        assert first[:10].tobytes() == read(Stream(KEY), 10).tobytes()
        stream = Stream(KEY)
        read(stream, (2, 3))
        assert stream.count == 1, "an array counts as one, whatever its shape"
        assert read(stream, 5).tobytes() == read(Stream(KEY, 1), 5).tobytes()
        others = [Stream(KEY, 1), Stream(derive(KEY, "child"))]
        assert all(not np.intersect1d(read(other, 1000), first).size for other in others)


def test_no_array_repeats_the_single_uniforms() -> None:
    single = Stream(KEY)
    singles = [single.uniform() for _ in range(1000)]
    assert not np.intersect1d(singles, Stream(KEY).uniforms(1000)).size


def test_uniforms_are_philox_keyed_by_the_hash_on_every_machine() -> None:
    # Philox itself, unlike NumPy's normals, never changes (NEP 19): so these are pinned.
    scaled = (Stream(b"pinned").uniforms(3) * 2.0**53).astype(np.int64).tolist()
    assert scaled == [5644074845664257, 2187090576243582, 5995525335830625]


@pytest.mark.parametrize("order", range(3))
def test_arrays_do_not_depend_on_batch_order(order: int) -> None:
    model = state_space.LinearGaussian()
    filters = state_space.array_filter(model, model.data(4), 20) | smc(6, ess=1.0)
    expected = evaluate(filters.bind(Binding()), 3)
    found, in_flight = evaluate_shuffled(filters.bind(Binding()), 3, order)
    assert in_flight >= 6
    assert found.log_weights.tobytes() == expected.log_weights.tobytes()
    for left, right in zip(found.traces, expected.traces, strict=True):
        pairs = zip(left.choices, right.choices, strict=True)
        assert all(a.value.tobytes() == b.value.tobytes() for a, b in pairs)


# Laws


def test_normals_are_normal() -> None:
    """No distance to the law beyond what Dvoretzky, Kiefer, Wolfowitz and Massart allow."""
    n = 500_000
    limit = math.sqrt(math.log(2 / 1e-9) / (2 * n))
    mean, sd = np.linspace(-3, 5, n), np.linspace(0.1, 4, n)
    value = Normals(mean, sd).draw(Stream(KEY))
    ranks = np.arange(n + 1) / n

    def distance(claimed_mean: Floats, claimed_sd: Floats) -> float:
        found = np.sort(special.ndtr((value - claimed_mean) / claimed_sd))
        return float(max((ranks[1:] - found).max(), (found - ranks[:-1]).max()))

    assert distance(mean, sd) < limit
    assert distance(mean + 0.02 * sd, sd) > limit, "this test has no power"
    assert distance(mean, 1.04 * sd) > limit, "this test has no power"
    assert value.shape == (n,)
    assert value.dtype == np.float64


def test_array_normals_score_as_scalar_normals() -> None:
    mean, sd = np.array([[0.5], [-1.0]]), np.array([0.1, 1.0, 20.0])
    dist = Normals(mean, sd)
    assert dist.shape == (2, 3)
    value = dist.draw(Stream(KEY))
    scalars = [
        [Normal(float(mean[i, 0]), float(sd[j])).log_prob(float(value[i, j])) for j in range(3)]
        for i in range(2)
    ]
    assert dist.log_probs(value) == pytest.approx(np.array(scalars), rel=1e-14)
    assert dist.log_prob(value) == pytest.approx(math.fsum(map(math.fsum, scalars)), rel=1e-14)
    assert isinstance(dist.log_prob(value), float)
    assert dist.log_prob(value[0]) == -math.inf, "another shape is outside of the support"


def test_one_observation_weighs_every_particle() -> None:
    x = np.array([0.0, 1.0, -2.0])
    expected = [Normal(m, 0.3).log_prob(0.7) for m in x.tolist()]
    assert Normals(x, 0.3).log_probs(0.7) == pytest.approx(expected, rel=1e-14)


def weights_of_all_kinds() -> list[Floats]:
    generator = np.random.Generator(np.random.PCG64(5))
    skewed = [generator.dirichlet(np.full(k, 0.3)) for k in (1, 2, 3, 4, 4, 4)]
    return [*skewed, np.array([0.0, 2.0, 0.0, 6.0]), np.full(4, 0.25), np.array([0.0, 0.0, 1e-9])]


@pytest.mark.parametrize("weights", weights_of_all_kinds())
@pytest.mark.parametrize("n", [1, 3, 4])
def test_ancestors_have_the_law_of_the_scalar_ones(weights: Floats, n: int) -> None:
    independent = Independent((Categorical(weights.tolist()),) * n)
    pairs: list[tuple[Any, Any]] = [
        (SystematicAncestors(weights, n), Systematic(tuple(weights.tolist()), n)),
        (MultinomialAncestors(weights, n), independent),
    ]
    for array, scalar in pairs:
        listed = {tuple(v.tolist()): lp for v, lp in array.support()}
        assert len(listed) == len(array.support())
        expected = {v: p for v, lp in scalar.support() if (p := math.exp(lp)) > 1e-14}
        kept = {v: math.exp(lp) for v, lp in listed.items() if math.exp(lp) > 1e-14}
        assert kept == pytest.approx(expected, rel=1e-12, abs=1e-14)
        for value, log_prob in array.support():
            assert array.log_prob(value) == pytest.approx(log_prob, abs=1e-12)
        counts = sum(math.exp(lp) * np.bincount(v, None, len(weights)) for v, lp in array.support())
        assert counts == pytest.approx(n * weights / weights.sum(), abs=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_drawn_ancestors_are_in_the_support(scheme: Scheme) -> None:
    generator = np.random.Generator(np.random.PCG64(1))
    for k in range(50):
        weights = generator.dirichlet(np.full(300, 0.05))
        dist = scheme(weights, 500)
        value = dist.draw(Stream(derive(KEY, str(k))))
        assert value.shape == (500,)
        assert -math.inf < dist.log_prob(value) <= 0
        assert weights[value].min() > 0
    outside = [value[:-1], np.append(value[1:], 300), np.append(value[1:], -1), value + 0.5]
    assert [dist.log_prob(v) for v in outside] == [-math.inf] * 4
    assert dist.log_prob(np.full(500, int(weights.argmin()))) == -math.inf


def test_the_same_uniforms_give_the_same_ancestors() -> None:
    generator = np.random.Generator(np.random.PCG64(3))
    for k in range(50):
        weights = generator.dirichlet(np.full(30, 0.3))
        key = derive(KEY, str(k))
        systematic = SystematicAncestors(weights, 20).draw(Stream(key))
        scalar = Systematic(tuple(weights.tolist()), 20).draw(Stream(key))
        assert tuple(systematic.tolist()) == scalar
        multinomial = MultinomialAncestors(weights, 20).draw(Stream(key))
        edges = np.cumsum(weights)
        expected = [int((edges <= u).sum()) for u in Stream(key).uniforms(20)]
        assert multinomial.tolist() == expected, "one uniform an ancestor, in its order"


def test_systematic_ancestors_take_every_edge_exactly() -> None:
    generator = np.random.Generator(np.random.PCG64(2))
    for k in range(200):
        dist = SystematicAncestors(generator.dirichlet(np.full(40, 0.2)), 60)
        cuts = (60 * dist.edges) % 1.0
        for u in (0.0, 1 - 2.0**-53, float(cuts[k % 40]), float(np.nextafter(cuts[k % 40], 0))):
            value = dist._at(u)
            assert value.shape == (60,)
            assert dist.log_prob(value) > -math.inf


# Equality and safety


def test_equality_is_equality_of_distributions() -> None:
    mean, sd = np.array([0.0, 1.0]), np.array([2.0, 2.0])
    dist = Normals(mean, 2.0)
    assert dist == Normals(mean.copy(), sd)
    assert hash(dist) == hash(Normals(mean, sd))
    assert Normals(np.zeros(2), sd) == Normals(0.0, sd)
    different = [Normals(mean, 2.1), Normals(mean + 1e-9, 2.0), Normals(mean[:1], 2.0), Normal()]
    assert all(dist != other for other in different)
    assert Normals(np.zeros(1)) != Normals(np.zeros(2)) != Normals(np.zeros(3))
    weights = np.array([0.5, 0.25, 0.25])
    for scheme in SCHEMES:
        assert scheme(weights, 3) == scheme(4 * weights, 3)
        assert hash(scheme(weights, 3)) == hash(scheme(4 * weights, 3))
        assert scheme(weights, 3) != scheme(weights, 4)
        assert scheme(weights, 3) != scheme(weights[::-1], 3)
        assert scheme(weights, 3) != scheme(np.append(weights, 0.0), 3)
    assert SystematicAncestors(weights, 3) != MultinomialAncestors(weights, 3)


def test_nothing_recorded_can_be_changed() -> None:
    mean = np.zeros(3)
    dist = Normals(mean, 1.0)
    value = dist.draw(Stream(KEY))
    mean += 7.0
    assert dist == Normals(np.zeros(3), 1.0), "the parameters are the distribution's own"
    drawn = [scheme(np.ones(3), 3).draw(Stream(KEY)) for scheme in SCHEMES]
    for array in (value, dist.mean, dist.sd, *drawn):
        with pytest.raises(ValueError, match="read-only"):
            array += 1
    assert Normals(value, 1.0).mean is value, "what nobody can change is not copied"
    view = np.zeros(6)[::2]
    view.flags.writeable = False
    assert Normals(view, 1.0).mean is not view, "its base may still be changed"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Normals(np.array([0.0, math.nan])),
        lambda: Normals(np.zeros(2), np.array([1.0, 0.0])),
        lambda: Normals(np.zeros(2), math.inf),
        lambda: SystematicAncestors(np.zeros(3), 3),
        lambda: MultinomialAncestors(np.array([1.0, -1e-9]), 3),
        lambda: SystematicAncestors(np.array([1.0, math.nan]), 3),
        lambda: SystematicAncestors(np.ones((2, 2)), 3),
        lambda: MultinomialAncestors(np.ones(2), 0),
    ],
)
def test_mistakes_are_told_in_one_line(wrong: Callable[[], Any]) -> None:
    with pytest.raises(PonderError) as caught:
        wrong()
    assert "\n" not in str(caught.value)
    assert "needs" in str(caught.value)


# Programs


def sticky(offset: list[float]) -> Program[float]:
    """Two arrays and an observation, replayed from the start at a fork."""

    @program
    def run() -> Effects[float]:
        x = yield from sample(Normals(np.zeros(1000) + offset[0], 1.0), "x")
        x2 = yield from sample(Normals(0.5 * x, 2.0), "x2")
        yield from observe(Normals(x2, 1.0), np.ones(1000))
        last = yield from sample(Normals(x2, 1.0), "last")
        return float(last.sum())

    return run()


def advanced(particle: Particle[Any], seed: int, stop: bool = True) -> Particle[Any]:
    evaluate(Program(lambda: particle.advance(stop=stop), "on"), seed)
    return particle


def test_a_replayed_program_asks_for_equal_arrays() -> None:
    offset = [0.0]
    parent = advanced(Particle(sticky(offset)), 1)
    heir = parent.fork()
    values = {advanced(p, 9, stop=False).value for p in (parent, heir)}
    assert len(values) == 1
    changed = advanced(Particle(sticky(offset)), 1)
    offset[0] = 1e-12
    with pytest.raises(NotAFunctionOfItsChoices) as caught:
        changed.fork()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_heirs_share_states_without_replay_and_leave_them_alone() -> None:
    model = state_space.LinearGaussian(sigma_y=0.2)  # narrow: every step resamples
    observed = model.data(12)
    begun = []

    def counted(state: Any) -> Program[Any]:
        begun.append(state)
        return step(state)

    @program
    def step(state: tuple[int, Floats]) -> Effects[Any]:
        t, x = state
        x = yield from sample(Normals(model.rho * x, model.sigma_x))
        log_weights = Normals(x, model.sigma_y).log_probs(observed[t])
        yield Factor(float(special.logsumexp(log_weights)) - math.log(50))
        a = yield from sample(SystematicAncestors(np.exp(log_weights - log_weights.max()), 50))
        return Done(float(x[a].mean())) if t == 11 else (t + 1, x[a])

    parent: Particle[Any] = Particle(iterate(counted, (0, np.zeros(50))))
    for _ in range(8):
        advanced(parent, 4)
    seen = len(begun)
    before = [choice.value.tobytes() for choice in parent.trace().choices]
    states = [state[1].tobytes() for state in begun]
    heirs = [parent.fork() for _ in range(5)]
    assert [b[0] for b in begun[seen:]] == [begun[seen - 1][0]] * 5, "only the last step again"
    assert all(b[1] is begun[seen - 1][1] for b in begun[seen:]), "the state is shared, not copied"
    ends = [advanced(heir, 20 + k, stop=False).trace() for k, heir in enumerate(heirs)]
    assert len({t.value for t in ends}) == 5
    assert [choice.value.tobytes() for choice in parent.trace().choices] == before
    assert [state[1].tobytes() for state in begun[:seen]] == states
    again = [advanced(p, 77, stop=False).trace() for p in (parent.fork(), parent)]
    assert again[0].value == again[1].value
    assert again[0].log_potential == again[1].log_potential


# The filter: exactly where the states are finite, by betting where they are not


FLIP, RIGHT = 0.3, (0.9, 0.2, 0.7)  # chance to change state; of the observation, in state 1


def finite_filter(scheme: Scheme, n: int) -> Program[tuple[int, ...]]:
    """A bootstrap filter of n coins that flip; resamples at every step; the final states."""

    @program
    def run() -> Effects[tuple[int, ...]]:
        x = np.zeros(n, dtype=np.int64)
        for right in RIGHT:
            chances = [FLIP if s == 0 else 1 - FLIP for s in x.tolist()]
            x = np.array((yield from sample(Independent(tuple(map(Bernoulli, chances))))), int)
            weights = np.where(x == 1, right, 1 - right)
            yield Factor(math.log(weights.mean()))
            ancestors = yield from sample(scheme(weights, n))
            x = x[ancestors]
        return tuple(x.tolist())

    return run()


@pytest.mark.parametrize(("scheme", "n"), [(SystematicAncestors, 3), (MultinomialAncestors, 2)])
def test_the_expected_estimate_of_a_finite_filter_is_exact(scheme: Scheme, n: int) -> None:
    forward = np.array([1.0, 0.0])
    move = np.array([[1 - FLIP, FLIP], [FLIP, 1 - FLIP]])
    for right in RIGHT:
        forward = (forward @ move) * np.array([1 - right, right])
    found: dict[int, float] = defaultdict(float)
    for states, log_mass in enumerate_runs(finite_filter(scheme, n)):
        for state in states:
            found[state] += math.exp(log_mass) / n
    assert [found[0], found[1]] == pytest.approx(forward.tolist(), rel=1e-12)


def test_the_kalman_filter_is_exact() -> None:
    model = state_space.LinearGaussian(rho=0.8, sigma_x=0.7, sigma_y=0.4)
    observed = model.data(6)
    variances = [1.0]
    for _ in range(5):
        variances.append(model.rho**2 * variances[-1] + model.sigma_x**2)
    covariance = [
        [model.rho ** abs(i - j) * variances[min(i, j)] for j in range(6)] for i in range(6)
    ]
    joint = stats.multivariate_normal(np.zeros(6), np.array(covariance) + 0.4**2 * np.eye(6))
    assert model.log_evidence(observed) == pytest.approx(joint.logpdf(observed), rel=1e-12)


# Particles, the share of them below which it resamples, the block around it, seeds, the relative
# bias that would be noticed.
FILTERS = {
    "always": (40, 1.0, draw(1), 1200, 0.15),
    "adaptive": (40, 0.5, draw(1), 1200, 0.15),
    "islands": (20, 0.5, smc(2, ess=1.0), 500, 0.3),
}


@pytest.mark.parametrize("name", FILTERS)
def test_the_array_filter_is_unbiased(name: str) -> None:
    n, ess, block, seeds, notices = FILTERS[name]
    model = state_space.LinearGaussian(rho=0.9, sigma_x=1.0, sigma_y=1.0)
    observed = np.array([0.3, -0.4, 0.2, 0.1])
    # No observation has a density above its normal's peak: so the estimate lies in [0, bound].
    log_bound = len(observed) * Normal(0.0, model.sigma_y).log_prob(0.0)
    p = (state_space.array_filter(model, observed, n, ess) | block).bind(Binding())
    runs = [evaluate(p, seed) for seed in range(seeds)]
    parts = [math.exp(r.log_evidence - log_bound) for r in runs]
    resampled = sum(len(r.traces[0].choices) > len(observed) for r in runs)
    assert resampled > 0.3 * seeds, "the threshold is hardly ever met"
    assert_mean(parts, math.exp(model.log_evidence(observed) - log_bound), 1.0, notices)


def test_a_filter_that_always_resamples_starts_each_step_with_equal_weights() -> None:
    """Unequal ones would hardly bias the estimate; they would only make it worse."""
    model = state_space.LinearGaussian()
    observed = model.data(5)
    trace = simulate(state_space.array_filter(model, observed, 30, ess=1.0), 1)
    states = [c.value for c in trace.choices if isinstance(c.dist, Normals)]
    resamplings = [c.dist for c in trace.choices if isinstance(c.dist, SystematicAncestors)]
    weights = [
        np.exp(Normals(x, model.sigma_y).log_probs(y))
        for x, y in zip(states, observed, strict=True)
    ]
    assert len(resamplings) == len(observed) - 1
    for dist, w in zip(resamplings, weights, strict=False):
        assert dist.edges[1:] == pytest.approx(np.cumsum(w) / w.sum(), rel=1e-12)
    by_hand = math.fsum(math.log(w.mean()) for w in weights)
    assert trace.log_potential == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("way", ["array", "scalar"])
def test_both_ways_denote_the_same_measure(way: str) -> None:
    """A filter of one particle is a trajectory: densities of states and observations by hand."""
    model = state_space.LinearGaussian()
    observed = model.data(5)
    one = state_space.array_filter(model, observed, 1)
    trace = simulate(one if way == "array" else state_space.trajectory(model, observed), 3)
    states = [float(np.squeeze(choice.value)) for choice in trace.choices]
    laws = [Normal(), *(Normal(model.rho * x, model.sigma_x) for x in states[:-1])]
    chosen = math.fsum(law.log_prob(x) for law, x in zip(laws, states, strict=True))
    seen = zip(states, observed.tolist(), strict=True)
    weight = math.fsum(Normal(x, model.sigma_y).log_prob(y) for x, y in seen)
    assert trace.log_prob == pytest.approx(chosen, rel=1e-12)
    assert trace.log_potential == pytest.approx(weight, rel=1e-12)
    assert trace.value == pytest.approx(states[-1], rel=1e-12)
