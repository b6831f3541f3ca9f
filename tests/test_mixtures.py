"""Gaussian mixtures: densities, conditionals, closed forms, and guides that are exact."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

pytest.importorskip("torch")  # the package says so itself: tests/test_amortize_training.py

import ponder
from ponder.amortize.closed_forms import conjugate, kl, moved, reduced
from ponder.amortize.em import fit
from ponder.amortize.guides import as_guide
from ponder.amortize.mixtures import Gaussians, Mixtures
from ponder.checking.betting import Bet, log_threshold
from ponder.dist import Dist, Normal, Stream
from ponder.effects import Effects, program, sample
from ponder.errors import PonderError


def random_mixture(dims: int, k: int, seed: int = 0, warps: Any = "identity") -> Gaussians:
    noise = np.random.default_rng(seed)
    factors = np.tril(0.4 * noise.normal(size=(k, dims, dims)), -1)
    factors += np.exp(0.4 * noise.normal(size=(k, dims)))[..., None] * np.eye(dims)
    return Gaussians(noise.dirichlet(np.ones(k)), noise.normal(size=(k, dims)), factors, warps)


TWO = Gaussians([0.25, 0.75], [-1.0, 2.0], [0.5, 1.5])
MIXED = ("log", "identity", "logit")
INSIDE = np.array([[0.7, -1.3, 0.2], [2.5, 0.4, 0.9]])


def test_density_is_scipys() -> None:
    g = random_mixture(3, 4)
    x = np.random.default_rng(1).normal(size=(20, 3))
    parts = zip(g.weights, g.means, g.covariances, strict=True)
    terms = [w * stats.multivariate_normal(m, c).pdf(x) for w, m, c in parts]
    assert g.log_probs(x) == pytest.approx(np.log(np.sum(terms, axis=0)), abs=1e-11)


@pytest.mark.parametrize("warp", ["log", "logit"])
def test_a_warped_density_is_normalised_and_nothing_outside(warp: str) -> None:
    g = Gaussians([0.4, 0.6], [-1.0, 0.5], [0.6, 0.4], warp)
    u = np.linspace(-9, 9, 20_001)
    x = np.exp(u) if warp == "log" else 1 / (1 + np.exp(-u))
    assert np.trapezoid(np.exp(g.log_probs(x[:, None])), x) == pytest.approx(1, abs=1e-6)
    assert g.log_prob(-0.1) == g.log_prob(0.0) == -math.inf
    assert warp == "log" or g.log_prob(1.0) == -math.inf
    if warp == "log":
        one = Gaussians.normal(0.3, 0.8, "log")
        assert one.log_prob(1.7) == pytest.approx(
            stats.lognorm(0.8, scale=math.exp(0.3)).logpdf(1.7)
        )


def test_draws_near_a_boundary_stay_inside() -> None:
    g = Gaussians.normal(0.0, 25.0, "logit")
    x = g.draws(Stream(b"boundary"), 2000)
    assert np.isfinite(g.log_probs(x)).all()
    assert x.min() < 1e-20  # as small as they are, not rounded to a multiple of 1e-16
    assert stats.kstest(np.log(x[x < 0.5]), lambda u: 2 * stats.norm.cdf(u / 25)).pvalue > 1e-6


@pytest.mark.parametrize("warps", ["identity", MIXED])
def test_marginal_times_conditional_is_the_joint(warps: Any) -> None:
    g = random_mixture(3, 4, warps=warps)
    for x in INSIDE:
        for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
            first, rest = order[0], sorted(order[1:])
            parts = g.marginal([first]).log_prob(x[first])
            parts += g.conditional({first: x[first]}).log_prob(x[rest])
            assert parts == pytest.approx(g.log_prob(x), abs=1e-12)


def test_draws_have_the_density_s_law() -> None:
    g = random_mixture(2, 3, warps=("log", "identity"))
    draws = g.draws(Stream(b"draws"), 40_000)
    batch = Mixtures.of([g] * 10_000).draw(Stream(b"batch"))
    along = np.array([0.6, -0.8])
    for cut in (-0.5, 0.3, 1.2):  # P(along . f(x) < cut) in closed form
        sds = np.sqrt(np.einsum("i,kij,j->k", along, g.covariances, along))
        exact = float(g.weights @ stats.norm.cdf((cut - g.means @ along) / sds))
        for values in (draws, batch):
            u = np.column_stack([np.log(values[:, 0]), values[:, 1]])
            bet = Bet(exact, high=1.0)
            bet.observe((u @ along < cut).astype(np.float64))
            assert bet.log_e < log_threshold(6)
            found = bet.detectable(len(values), log_threshold(6))
            assert found is not None
            assert found < 0.06


def test_a_value_is_a_float_or_a_row() -> None:
    assert isinstance(TWO, Dist)
    assert isinstance(TWO.draw(Stream(b"x")), float)
    assert random_mixture(2, 2).draw(Stream(b"x")).shape == (2,)
    assert Gaussians([1, 3], [-1.0, 2.0], [0.5, 1.5]) == TWO
    assert Gaussians([1, 2], [-1.0, 2.0], [0.5, 1.5]) != TWO


def test_the_conjugate_update_is_bayes() -> None:
    z, sd = [0.4, 1.1, -0.2], [0.7, 0.9, 2.0]
    posterior, log_evidence = conjugate(TWO, z, sd)
    x = np.linspace(-12, 14, 40_001)[:, None]
    joint = TWO.log_probs(x) + sum(
        stats.norm(x[:, 0], s).logpdf(v) for v, s in zip(z, sd, strict=True)
    )
    assert np.log(np.trapezoid(np.exp(joint), x[:, 0])) == pytest.approx(log_evidence, abs=1e-9)
    assert posterior.log_probs(x[::4000]) == pytest.approx(joint[::4000] - log_evidence, abs=1e-9)


def test_updates_in_a_row_are_one_update() -> None:
    prior, design = random_mixture(2, 3), np.array([[1.0, 0.5], [0.2, -1.0], [0.0, 2.0]])
    z = np.array([0.3, -1.0, 0.7])
    joint, evidence = conjugate(prior, z, 0.5, design)
    half, first = conjugate(prior, z[:1], 0.5, design[:1])
    both, second = conjugate(half, z[1:], 0.5, design[1:])
    assert first + second == pytest.approx(evidence, abs=1e-12)
    assert both.means == pytest.approx(joint.means, abs=1e-12)
    assert both.log_prob([0.1, 0.2]) == pytest.approx(joint.log_prob([0.1, 0.2]), abs=1e-12)


def test_a_move_adds_its_moments() -> None:
    g, noise, a = (
        random_mixture(2, 3),
        np.array([[0.5, 0.2], [0.2, 0.3]]),
        np.array([[1.0, 0.3], [0, 2]]),
    )
    mean, covariance = g.moments()
    shifted, grown = moved(g, [1.0, -1.0], noise, a).moments()
    assert shifted == pytest.approx(a @ mean + [1.0, -1.0])
    assert grown == pytest.approx(a @ covariance @ a.T + noise)


def test_padding_keeps_the_density_and_reducing_the_moments() -> None:
    g = random_mixture(2, 4)
    assert g.padded(9).log_probs(INSIDE[:, :2]) == pytest.approx(
        g.log_probs(INSIDE[:, :2]), abs=1e-12
    )
    assert reduced(g.padded(9), 4).components == 4
    for k in (1, 2, 3):
        for before, after in zip(g.moments(), reduced(g, k).moments(), strict=True):
            assert after == pytest.approx(before)


def test_merging_takes_the_nearest_first() -> None:
    g = Gaussians([0.3, 0.3, 0.4], [0.0, 0.1, 5.0], [1.0, 1.0, 1.0])
    assert sorted(reduced(g, 2).means[:, 0]) == pytest.approx([0.05, 5.0])


def test_divergence() -> None:
    p, q = Gaussians.normal(0.3, 0.5, "log"), Gaussians.normal(-0.2, 2.0, "log")
    exact = math.log(4) + (0.25 + 0.25) / 8 - 0.5
    assert kl(p, q) == (pytest.approx(exact, abs=1e-10), 0.0)
    assert kl(TWO, TWO.padded(5)).value == pytest.approx(0, abs=1e-12)
    p, q = Gaussians.normal(0.0, 4.0, "logit"), Gaussians.normal(1.0, 5.0, "logit")
    exact = math.log(5 / 4) + (16 + 1) / 50 - 0.5
    assert kl(p, q).value == pytest.approx(exact, abs=1e-10)
    narrow = Gaussians([0.5, 0.5], [0.0, 3.0], [1.0, 0.003])
    wide = Gaussians.normal(1.0, 2.0)
    x = np.unique(
        np.concatenate([np.linspace(-12, 15, 200_001), 3 + np.linspace(-0.04, 0.04, 20_001)])
    )
    log_p = narrow.log_probs(x[:, None])
    exact = float(np.trapezoid(np.exp(log_p) * (log_p - wide.log_probs(x[:, None])), x))
    assert kl(narrow, wide).value == pytest.approx(exact, abs=1e-4)
    value, error = kl(random_mixture(2, 1), random_mixture(2, 1, seed=1))
    a, b = random_mixture(2, 1), random_mixture(2, 1, seed=1)
    inverse, apart = np.linalg.inv(b.covariances[0]), b.means[0] - a.means[0]
    ratio = a.covariances[0] @ inverse
    exact = 0.5 * (np.trace(ratio) - np.linalg.slogdet(ratio)[1] - 2 + apart @ inverse @ apart)
    assert value == pytest.approx(exact, abs=5 * error)
    assert error < 0.02


def test_a_fit_finds_what_it_is_fitted_to() -> None:
    x = stats.norm(1.5, 0.7).ppf((np.arange(2000) + 0.5) / 2000)
    one = fit(np.exp(x), 1, "log")
    assert one.means[0, 0] == pytest.approx(1.5, abs=1e-6)
    assert one.factors[0, 0, 0] == pytest.approx(0.7, abs=2e-3)
    quantiles = stats.invgamma(3).ppf((np.arange(1000) + 0.5) / 1000)
    closer = [
        float(fit(quantiles, k, "log").log_probs(quantiles[:, None]).mean()) for k in (1, 2, 4)
    ]
    assert closer == sorted(closer)
    assert closer[2] == pytest.approx(-stats.invgamma(3).entropy(), abs=5e-3)


@pytest.mark.parametrize("names", ["xyz", ["x", "y", "z"]])
def test_a_guide_s_sites_have_the_mixture_s_density(names: Any) -> None:
    g = random_mixture(3, 4, warps=MIXED)
    for seed in range(5):
        trace = ponder.infer(as_guide(g, names) | ponder.draw(1), seed=seed).traces[0]
        total = sum(choice.dist.log_prob(choice.value) for choice in trace.choices)
        assert total == pytest.approx(g.log_prob(trace.value), abs=1e-11)
        assert [c.address for c in trace.choices] == (["xyz"] if names == "xyz" else names)


@program
def plane() -> Effects[tuple[float, float]]:
    x = yield from sample(Normal(0.5, 2.0), "x")
    y = yield from sample(Normal(x, 1.0), "y")
    yield from ponder.observe(Normal(x + y, 0.5), 1.3)
    return x, y


PLANE = Gaussians([1.0], [[0.5, 0.5]], [[[2.0, 0.0], [2.0, 1.0]]])


def test_the_exact_posterior_as_a_guide_weighs_every_trace_alike() -> None:
    posterior, log_evidence = conjugate(PLANE, [1.3], 0.5, [[1.0, 1.0]])
    strategy = plane() | ponder.propose(as_guide(posterior, ["x", "y"])) | ponder.draw(6)
    assert ponder.infer(strategy).log_weights + math.log(6) == pytest.approx(
        log_evidence, abs=1e-10
    )


def test_any_guide_weighs_by_joint_over_guide() -> None:
    q = Gaussians([0.5, 0.5], [[1.0, 0.0], [-1.0, 1.0]], [np.eye(2) * 3] * 2)
    strategy = plane() | ponder.propose(as_guide(q, ["x", "y"])) | ponder.draw(5)
    population = ponder.infer(strategy)
    for trace, log_weight in zip(population.traces, population.log_weights, strict=True):
        x, y = trace.value
        joint = PLANE.log_prob([x, y]) + Normal(x + y, 0.5).log_prob(1.3)
        found = joint - q.log_prob([x, y]) - math.log(5)
        assert log_weight == pytest.approx(found, abs=1e-11)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Gaussians([1.0], [0.0], [-1.0]), "positive diagonals"),
        (lambda: Gaussians([1.0], [math.nan], [1.0]), "finite means"),
        (lambda: Gaussians([-1.0, 2.0], [0.0, 0.0], [1.0, 1.0]), "weights >= 0"),
        (lambda: Gaussians([1.0], [[0.0, 0.0]], [[[1.0, 0.5], [0.0, 1.0]]]), "lower triangular"),
        (lambda: Gaussians([1.0], [[0.0, 0.0]], [1.0]), r"factors \(B, K, d, d\)"),
        (lambda: Gaussians([1.0], [0.0], [1.0], "square"), "no warp 'square'"),
        (lambda: Mixtures.of([TWO, TWO.padded(3)]), "one size"),
        (lambda: random_mixture(2, 2).marginal([0, 0]), "different numbers"),
        (
            lambda: random_mixture(2, 2, warps="log").conditional({0: -1.0}),
            "outside of the support",
        ),
        (lambda: as_guide(TWO, ["x", "y"]), "1 different names"),
        (lambda: kl(TWO, Gaussians.normal(0.0, 1.0, "log")), "same coordinates and warps"),
        (lambda: conjugate(PLANE, [1.0, 2.0, 3.0], 0.5), "need a design"),
        (lambda: reduced(TWO, 0), "at least one"),
        (lambda: fit([-1.0, 2.0, 3.0], 1, "log"), "inside of the warps' support"),
    ],
)
def test_refusals_are_one_line(make: Any, says: str) -> None:
    with pytest.raises(PonderError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)
