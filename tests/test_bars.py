"""Bar distributions: normalised exactly, and every function of them says the same."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("torch")

from scipy import integrate, stats

from ponder.amortize.bars import Bars, Grid
from ponder.dist import NEG_INF, Dist, Stream, derive
from ponder.errors import PonderError

BORDERS = [-1.0, -0.4, 0.0, 0.1, 2.0, 5.0]
WEIGHTS = [0.3, 1.0, 0.2, 0.0, 0.5]
BARS = Bars(BORDERS, WEIGHTS)


def integral(f, bars: Bars = BARS) -> float:
    """Piece by piece between the borders, where the density is smooth; the tails to infinity."""
    edges = [-math.inf, *bars.grid.borders[1:-1].tolist(), math.inf]
    pieces = [integrate.quad(f, a, b, epsabs=1e-13, epsrel=1e-12)[0] for a, b in pairwise(edges)]
    return math.fsum(pieces)


def test_the_density_is_normalised_and_has_the_stated_moments() -> None:
    assert integral(lambda x: math.exp(BARS.log_prob(x))) == pytest.approx(1.0, abs=1e-11)
    mean = integral(lambda x: x * math.exp(BARS.log_prob(x)))
    assert BARS.mean == pytest.approx(mean, abs=1e-11)
    square = integral(lambda x: (x - mean) ** 2 * math.exp(BARS.log_prob(x)))
    assert BARS.sd == pytest.approx(math.sqrt(square), abs=1e-10)


def test_each_bucket_has_its_probability() -> None:
    p = np.array(WEIGHTS) / 2
    inner = BORDERS[1:-1]
    cumulative = np.cumsum(p)
    assert [BARS.cdf(b) for b in inner] == pytest.approx(cumulative[:-1], abs=1e-15)
    assert BARS.log_prob(-0.2) == pytest.approx(math.log(0.5 / 0.4))
    assert BARS.log_prob(1.0) == NEG_INF


def test_half_of_a_tail_lies_within_the_bucket() -> None:
    assert BARS.cdf(-1.0) == pytest.approx(0.15 / 2, abs=1e-15)
    assert BARS.cdf(5.0) == pytest.approx(1 - 0.25 / 2, abs=1e-15)
    scale = 3.0 / stats.norm.ppf(0.75)
    for x in (2.5, 7.0, 30.0):
        exact = math.log(0.25) + stats.halfnorm.logpdf(x - 2.0, scale=scale)
        assert BARS.log_prob(x) == pytest.approx(exact, rel=1e-12)


def test_the_cdf_is_the_integral_and_the_quantile_its_inverse() -> None:
    for x in (-3.0, -0.7, -0.1, 0.05, 1.5, 2.5, 9.0):
        below = integral(lambda t, x=x: math.exp(BARS.log_prob(t)) if t <= x else 0.0)
        assert BARS.cdf(x) == pytest.approx(below, abs=1e-6)
    for level in (1e-12, 0.01, 0.149, 0.15, 0.4, 0.65, 0.75, 0.75 + 1e-9, 0.99, 1 - 1e-12):
        assert BARS.cdf(BARS.quantile(level)) == pytest.approx(level, abs=1e-12)
    assert BARS.quantile(0.0) == -math.inf
    assert BARS.quantile(1.0) == math.inf
    with pytest.raises(PonderError, match="between 0 and 1"):
        BARS.quantile(1.5)


def test_arrays_say_what_single_distributions_say() -> None:
    random = np.random.Generator(np.random.PCG64(3))
    p = random.dirichlet(np.ones(5), size=(4, 3))
    values, levels = random.normal(1.0, 3.0, (4, 3)), random.random((4, 3))
    grid = Grid(BORDERS)
    single = [[Bars(grid, q) for q in row] for row in p]
    for i in range(4):
        for j in range(3):
            bars, v = single[i][j], values[i, j]
            assert grid.log_density(p, values)[i, j] == pytest.approx(bars.log_prob(v), rel=1e-12)
            assert grid.cdf(p, values)[i, j] == pytest.approx(bars.cdf(v), rel=1e-12)
            assert grid.quantile(p, levels)[i, j] == pytest.approx(bars.quantile(levels[i, j]))
            assert grid.mean(p)[i, j] == pytest.approx(bars.mean)
            assert grid.sd(p)[i, j] == pytest.approx(bars.sd)


def test_draws_are_quantiles_of_uniforms() -> None:
    key = derive(b"bars", "draws")
    for i in range(200):
        stream = Stream(derive(key, str(i)))
        u = Stream(derive(key, str(i))).uniform()
        assert BARS.cdf(BARS.draw(stream)) == pytest.approx(u, abs=1e-12)
        assert stream.count == 1

    class Zero(Stream):
        def uniform(self) -> float:
            return 0.0

    class One(Stream):
        def uniform(self) -> float:
            return 1 - 2.0**-53

    # 77 equal buckets: their sum may fall short of one by rounding.
    fine = Bars(np.linspace(0, 1, 78), np.ones(77))
    for bars in (BARS, fine, Bars(BORDERS, [0, 1, 0, 1, 0])):
        for stream in (Zero(b""), One(b"")):
            value = bars.draw(stream)
            assert math.isfinite(value)
            assert bars.log_prob(value) > NEG_INF


def test_borders_are_quantiles_and_the_outer_ones_halve_the_ends() -> None:
    sample_ = np.arange(10_001) / 10_000
    grid = Grid.at_quantiles(sample_, 10)
    assert grid.borders == pytest.approx([0.05, *np.arange(1, 10) / 10, 0.95])
    labels = np.repeat(np.arange(4.0), 10)
    assert 3 <= Grid.at_quantiles(labels, 10).buckets < 10  # without those of no width
    with pytest.raises(PonderError, match="too few values for bars"):
        Grid.at_quantiles(np.ones(100), 10)


def test_what_are_no_bars_is_refused() -> None:
    for borders in ([0.0, 1.0, 2.0], [0.0, 2.0, 1.0, 3.0], [0.0, 1.0, 2.0, math.inf]):
        with pytest.raises(PonderError):
            Grid(borders)
    for weights in ([1, 1], [1, 1, 1, 1, -1], [0] * 5, [math.nan] * 5, [math.inf] * 5):
        with pytest.raises(PonderError):
            Bars(BORDERS, weights)


def test_bars_are_a_distribution_like_any_other() -> None:
    assert isinstance(BARS, Dist)
    assert Bars(BORDERS, np.array(WEIGHTS) * 2) == BARS
    assert hash(Bars(BORDERS, np.array(WEIGHTS) * 2)) == hash(BARS)
    assert Bars(BORDERS, WEIGHTS[::-1]) != BARS
    assert Bars(np.array(BORDERS) + 1, WEIGHTS) != BARS
    assert BARS.log_prob(math.nan) == NEG_INF
    assert BARS.log_prob(math.inf) == NEG_INF
    with pytest.raises(ValueError, match="read-only"):
        BARS.probabilities[0] = 1.0
