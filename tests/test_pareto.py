"""Tails of importance weights, and what neither they nor the effective sample size can see."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from exact import population_of
from ponder.binding import Binding
from ponder.blocks import draw, propose, smc
from ponder.checking.forward_kl import forward_kl
from ponder.dist import Bernoulli, Categorical, Dist, Mixture, Normal
from ponder.effects import Effects, Factor, Program, each, observe, program, sample
from ponder.errors import PonderError
from ponder.guarantee.pareto import _note, diagnose, pareto_k, smoothed
from ponder.interpret import evaluate
from ponder.measure import log_sum_exp


def powers(n: int, k: float) -> np.ndarray[Any, Any]:
    return -k * np.log((np.arange(n) + 0.5) / n)


def waves(n: int) -> np.ndarray[Any, Any]:
    return 2 * np.sin(np.arange(n) ** 2.0)


# (log-weights, k, the first two smoothed and normalised): arviz.psislw of ArviZ 0.23.4.
REFERENCE = [
    (powers(30, 0.3), 0.3854659140026859, -2.517812720307674, -2.805307292034329),
    (powers(30, 1.2), 0.6299921311566493, -1.0631511266153932, -1.922673683744754),
    (waves(30), -0.3249515453259778, -3.947626624136821, -2.831352503352294),
    (powers(100, 0.7), 0.6062891118970055, -2.106546930011002, -2.791072959003562),
    (waves(100), -1.032090235957529, -5.462541345764294, -3.771292345638569),
    (powers(1000, 0.3), 0.32356064382606115, -4.983915800174848, -5.274677268393788),
    (powers(1000, 1.2), 1.104673929250239, -1.1376930189988177, -2.35210127002824),
]


@pytest.mark.parametrize(("logs", "k", "first", "second"), REFERENCE)
def test_the_fit_is_that_of_the_reference(logs: Any, k: float, first: float, second: float) -> None:
    assert pareto_k(logs) == pytest.approx(k, abs=1e-11)
    assert pareto_k(logs + 700.0) == pytest.approx(k, abs=1e-9)
    smooth = smoothed(logs)
    assert smooth[:2] - log_sum_exp(smooth) == pytest.approx([first, second], abs=1e-11)
    assert smooth.max() <= logs.max()


def test_where_there_is_no_tail() -> None:
    assert pareto_k(np.zeros(1000)) is None
    assert pareto_k([0.0, 1.0, 2.0]) is None
    assert pareto_k(np.full(50, -np.inf)) is None
    assert pareto_k([*np.full(500, -np.inf), *powers(50, 0.4)]) is not None
    assert (smoothed(np.zeros(40)) == 0).all()
    for wrong in ([math.nan, 0.0], [math.inf, 0.0]):
        with pytest.raises(PonderError, match="NaN or infinite"):
            pareto_k(wrong)
    with pytest.raises(PonderError, match="one row"):
        pareto_k(np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("logs", "said"),
    [
        (powers(1000, 0.3), "can be trusted"),
        (powers(1000, 0.9), "draws are needed|times the draws"),
        (powers(1000, 1.6), "have no mean"),
        (
            np.log(np.array([1.0] * 248 + [1 + 1e-3 * (52 / (i + 1)) ** 1.5 for i in range(52)])),
            "in clusters",
        ),
        (np.zeros(100), "all weights are equal"),
        (np.array([0.0, 1.0, 3.0]), "too few weights"),
        (np.full(10, -np.inf), "no trace has any weight"),
    ],
)
def test_a_diagnosis_says_what_follows(logs: Any, said: str) -> None:
    population = population_of(range(len(logs)), np.exp(logs) / len(logs))
    found = diagnose(population)
    assert re.search(said, found.note)
    assert "\n" not in str(found)
    assert found.ess == pytest.approx(population.ess)
    if "mean" in said:
        assert found.relative_error == math.inf


@pytest.mark.parametrize("k", [0.8, 0.95, 0.998, 1 - 1e-12, math.nextafter(1.0, 0.0)])
def test_a_shape_next_to_one_is_told(k: float) -> None:
    weights = 0.5 ** np.arange(1, 101)
    said = _note(weights / weights.sum(), 100, k, False)
    assert ("more draws than can be had" in said) == (k > 0.94)
    assert "forward_kl" in said


def test_after_resampling_there_is_no_tail() -> None:
    population = replace(population_of(range(40), powers(40, 0.5)), eves=(0,) * 20 + (1,) * 20)
    found = diagnose(population)
    assert found.pareto_k is None
    assert "resampled" in found.note
    assert found.ess <= 2


def test_the_error_of_the_evidence_is_right() -> None:
    """Against the exact variance of the evidence of n draws."""

    @program
    def coin() -> Effects[bool]:
        x = yield from sample(Bernoulli(0.3), "x")
        yield Factor(math.log(0.9 if x else 0.2))
        return x

    mean, square = 0.3 * 0.9 + 0.7 * 0.2, 0.3 * 0.81 + 0.7 * 0.04
    exact = math.sqrt((square / mean**2 - 1) / 2000)
    found = diagnose(evaluate((coin() | draw(2000)).bind(Binding())))
    assert found.relative_error == pytest.approx(exact, rel=0.05)
    assert abs(found.log_evidence - math.log(mean)) < 6 * exact
    many = diagnose(evaluate((coin() | smc(50, ess=1.0)).bind(Binding())))
    assert many.relative_error is not None


@program
def joint() -> Effects[float]:
    """Its posterior has two modes, at y / 3 and at -y / 3."""
    z = yield from sample(Normal(0.0, 1.0), "z")
    return (yield from sample(Normal(3 * abs(z), 0.3), "y"))


@program
def given(y: float) -> Effects[float]:
    z = yield from sample(Normal(0.0, 1.0), "z")
    yield from observe(Normal(3 * abs(z), 0.3), y)
    return z


def around(*means: float) -> Program[float]:
    @program
    def guide() -> Effects[float]:
        parts: tuple[Dist[Any], ...] = tuple(Normal(m, 0.1) for m in means)
        return (yield from sample(Mixture(parts, (1.0,) * len(parts)), "z"))

    return guide()


def test_a_lost_mode_shows_in_simulated_pairs_and_not_in_weights() -> None:
    y = 2.0
    lost = evaluate((given(y) | propose(around(y / 3)) | draw(500)).bind(Binding()))
    diagnosis = diagnose(lost)
    assert diagnosis.ess > 490
    assert diagnosis.pareto_k is not None
    assert diagnosis.pareto_k < 0.1
    both = evaluate((given(y) | propose(around(y / 3, -y / 3)) | draw(500)).bind(Binding()))
    assert both.log_evidence - lost.log_evidence == pytest.approx(math.log(2), abs=0.05)

    kl = forward_kl(joint(), lambda y: around(y / 3), pairs=60, draws=30)
    assert kl.beyond > 0.3
    assert "at z" in kl.note
    assert "lost modes" in kl.note
    assert kl.low[0] > 1
    right = forward_kl(joint(), lambda y: around(y / 3, -y / 3), pairs=60, draws=30)
    assert right.note == "no sign of lost modes"
    assert right.high[0] < 0.1


@program
def linear() -> Effects[float]:
    z = yield from sample(Normal(0.0, 1.0), "z")
    return (yield from sample(Normal(z, 1.0), "y"))


@program
def normal(mean: float, sd: float) -> Effects[float]:
    return (yield from sample(Normal(mean, sd), "z"))


@pytest.mark.parametrize("scale", [0.75, 1.0, 1.4])
def test_the_forward_kl_is_that_of_the_closed_form(scale: float) -> None:
    sd = math.sqrt(0.5)
    exact = math.log(scale) + 1 / (2 * scale**2) - 0.5
    found = forward_kl(linear(), lambda y: normal(y / 2, scale * sd), pairs=300, draws=40)
    assert (
        found.low[0] - 5 * found.low[1] - 1e-9 <= exact <= found.high[0] + 5 * found.high[1] + 1e-9
    )
    assert found.low[0] <= found.high[0] + 1e-9
    entropy = 0.5 * math.log(2 * math.pi * math.e * 0.5) + exact
    assert abs(found.cross_entropy - entropy) < 5 * found.error + 1e-9
    if scale == 1.0:  # every weight is the evidence
        assert abs(found.low[0]) < 1e-12
        assert abs(found.high[0]) < 1e-12


def test_what_a_guide_cannot_draw_is_named() -> None:
    @program
    def three() -> Effects[int]:
        x, z = yield from each([die(), die()], ["left", "right"])
        return (yield from sample(Categorical((1, 1 + x, 1 + z)), "y"))

    @program
    def die() -> Effects[int]:
        return (yield from sample(Categorical((1, 1, 1)), "n"))

    @program
    def two(values: int) -> Effects[int]:
        return (yield from sample(Categorical([1.0] * values), "n"))

    @program
    def guide(values: int) -> Effects[Any]:
        return (yield from each([die(), two(values)], ["left", "right"]))

    found = forward_kl(three(), lambda y: guide(2), pairs=60, draws=5)
    assert 0.1 < found.lost < 0.6
    assert found.worst == "right/n"
    assert "impossible for it, at right/n" in found.note
    assert found.low[0] == found.high[0] == math.inf
    assert forward_kl(three(), lambda y: guide(3), pairs=40, draws=5).lost == 0


def test_bad_input() -> None:
    @program
    def factored(y: float) -> Effects[float]:
        yield Factor(1.0)
        return (yield from sample(Normal(y, 1.0), "z"))

    @program
    def other(y: float) -> Effects[float]:
        return (yield from sample(Normal(y, 1.0), "zeta"))

    with pytest.raises(PonderError, match="guide yields a factor"):
        forward_kl(linear(), factored)
    with pytest.raises(PonderError, match="the model yields a factor"):
        forward_kl(given(1.0), lambda y: normal(y, 1.0))
    with pytest.raises(PonderError, match=r"samples 'zeta'.*does not \(it samples z, y\)"):
        forward_kl(linear(), other)
    with pytest.raises(PonderError, match="pairs, a whole number of at least 2"):
        forward_kl(linear(), other, pairs=1)
    with pytest.raises(PonderError, match=r"forward_kl needs a program, got linear; call it"):
        forward_kl(linear, other)
    with pytest.raises(PonderError, match="the guide as a function of the data"):
        forward_kl(linear(), other(1.0))
    with pytest.raises(PonderError, match="forward_kl, of its guide, needs a program, got 3"):
        forward_kl(linear(), lambda y: 3)
