"""Thinning without replacement: every weight is kept in expectation, to rounding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exact import assert_same, measure, population_of
from ponder.binding import Binding
from ponder.blocks import draw
from ponder.blocks.thin import thin, without_replacement
from ponder.effects import Program
from ponder.interpret import enumerate_measure, enumerate_runs, evaluate
from ponder.measure import Floats, Population
from toys import NEG_INF, PROGRAMS, chain, coins

Survivors = list[tuple[int, float]]
SMALL = ("chain", "coins", "early", "asserting", "doomed", "opaque")


def thinned(weights: Sequence[float] | Floats, n: int) -> Program[Survivors]:
    w = np.asarray(weights, float)
    return Program(lambda: without_replacement(w, n), "thinned")


def outcomes(weights: Sequence[float], n: int) -> list[tuple[Survivors, float]]:
    """Every outcome of thinning, with its probability."""
    return [(found, math.exp(lp)) for found, lp in enumerate_runs(thinned(weights, n))]


def threshold(weights: Sequence[float], n: int) -> float:
    """c with sum min(1, c W) = n, by bisection on its logarithm."""
    low, high = -50.0, 800.0
    for _ in range(200):
        middle = (low + high) / 2
        total = math.fsum(min(1.0, math.exp(min(middle + math.log(w), 0.0))) for w in weights if w)
        low, high = (middle, high) if total < n else (low, middle)
    return math.exp(high)


def check_thinning(weights: Sequence[float], n: int) -> None:
    """All that is promised of thinning, on one vector of weights."""
    found = outcomes(weights, n)
    positive = [i for i, w in enumerate(weights) if w > 0]
    assert math.fsum(p for _, p in found) == pytest.approx(1, abs=1e-12)
    mean = np.zeros(len(weights))
    for survivors, probability in found:
        indices = [i for i, _ in survivors]
        assert indices == sorted(set(indices))
        assert set(indices) <= set(positive)
        assert len(indices) <= n
        if probability > 1e-9:
            assert len(indices) == min(n, len(positive))
        assert math.fsum(w for _, w in survivors) == pytest.approx(math.fsum(weights), rel=1e-12)
        for i, w in survivors:
            mean[i] += probability * w
    np.testing.assert_allclose(mean, weights, atol=1e-12, rtol=0)
    if len(positive) <= n:
        assert [survivors for survivors, _ in found] == [[(i, weights[i]) for i in positive]]
        return
    c = threshold(weights, n)
    assert math.fsum(min(1.0, c * w) for w in weights) == pytest.approx(n, rel=1e-9)
    for survivors, probability in found:
        kept = dict(survivors)
        for i, w in enumerate(weights):
            if c * w > 1 + 1e-9:
                assert kept[i] == w
            elif i in kept and probability > 1e-9:
                assert kept[i] == pytest.approx(1 / c, rel=1e-9)


WEIGHTS = [
    [0.1, 0.2, 0.7],
    [0.25, 0.25, 0.25, 0.25],
    [1 / 3, 1 / 3, 1 / 3],
    [0.1] * 10,
    [0.5, 0.5, 0.0],
    [0.0, 0.0, 1.0, 0.0],
    [0.4, 0.0, 0.4, 0.2, 0.0],
    [0.01, 0.01, 0.01, 0.48, 0.49],
    [0.05, 0.15, 0.3, 0.2, 0.1, 0.2],
    [1e-9, 1e-9, 1e-9, 1 - 3e-9],
    [0.98, 0.005, 0.005, 0.01],
    [0.6, 0.1, 0.3],
    [0.7],
]


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_thinning_keeps_every_weight_in_expectation(weights: list[float]) -> None:
    for n in range(1, len(weights) + 2):
        check_thinning(weights, n)


numbers = st.one_of(st.just(0.0), st.sampled_from([0.1, 0.2, 0.5]), st.floats(1e-9, 1.0))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(numbers, min_size=1, max_size=9), st.integers(1, 9))
def test_thinning_keeps_any_weights_in_expectation(raw: list[float], n: int) -> None:
    total = math.fsum(raw)
    check_thinning([w / total for w in raw] if total else raw, n)


def test_the_threshold_is_that_of_the_largest_light_one() -> None:
    """The first that fails would be one too far: sum min(1, c W) would not be n."""
    found = {tuple(survivors): p for survivors, p in outcomes([0.1, 0.2, 0.7], 2)}
    [first, second] = sorted(found)
    assert [i for i, _ in first] == [0, 2]
    assert [i for i, _ in second] == [1, 2]
    for survivors in (first, second):
        assert [w for _, w in survivors] == pytest.approx([0.3, 0.7], rel=1e-15)
    assert found[first] == pytest.approx(1 / 3, rel=1e-12)
    assert found[second] == pytest.approx(2 / 3, rel=1e-12)


def test_thinning_changes_the_weights_least() -> None:
    """Against keeping any other number of the heaviest whole and selecting among the rest."""
    for weights in WEIGHTS:
        heaviest = sorted((w for w in weights if w > 0), reverse=True)
        for n in range(1, len(heaviest)):
            ours = math.fsum(
                p * math.fsum((dict(survivors).get(i, 0.0) - w) ** 2 for i, w in enumerate(weights))
                for survivors, p in outcomes(weights, n)
            )
            for whole in range(n):
                light = heaviest[whole:]
                unit = math.fsum(light) / (n - whole)
                if light[0] <= unit:
                    assert ours <= math.fsum(w * (unit - w) for w in light) + 1e-12


def test_thinning_survives_extreme_weights() -> None:
    tiny = 5e-324
    for weights in ([1.0, tiny, tiny, tiny], [tiny] * 4, [1e300, 1e300, 1e-300, 0.0]):
        for n in (1, 2, 3):
            for survivors, _ in outcomes(weights, n):
                assert len(survivors) == n
                assert all(0 < w < math.inf for _, w in survivors)


def test_thinning_many() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 10, 100, 999):
        weights = rng.exponential(size=1000) ** 4
        weights /= weights.sum()
        survivors = evaluate(thinned(weights, n), seed=n)
        assert len({i for i, _ in survivors}) == n
        assert math.fsum(w for _, w in survivors) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_thin_keeps_the_measure(name: str) -> None:
    target = enumerate_measure(PROGRAMS[name])
    assert_same(measure(PROGRAMS[name] | draw(2) | thin(1)), target)
    if name in SMALL:
        assert_same(measure(PROGRAMS[name] | draw(3) | thin(2)), target)


def thin_by(population: Population[Any], n: int) -> list[Population[Any]]:
    return [after for after, _ in enumerate_runs(thin(n).move(population, Binding()))]


def test_thin_keeps_evidence_eves_and_law() -> None:
    before = replace(population_of("abcde", [0.6, 0.3, 0.0, 1.5, 0.6]), eves=(7, 7, 8, 9, 3))
    for after in thin_by(before, 3):
        assert len(after) == 3
        assert after.log_evidence == pytest.approx(math.log(3.0), abs=1e-12)
        for trace, weight, eve in zip(after.traces, after.log_weights, after.eves, strict=True):
            index = "abcde".index(str(trace.value))
            assert trace is before.traces[index]
            assert eve == before.eves[index]
            assert math.exp(weight) == pytest.approx(1.5 if trace.value == "d" else 0.75)
    assert (coins() | draw(3) | thin(2)).law.kind == "weighted"
    assert (chain() | draw(3) | thin(2)).law.kind == "weighted"


def test_thin_leaves_what_is_few_and_what_has_no_mass() -> None:
    few = population_of("abc", [0.2, 0.0, 0.5])
    [same] = thin_by(few, 3)
    assert same.traces == few.traces
    assert same.log_weights.tolist() == few.log_weights.tolist()
    [positive] = thin_by(few, 2)
    assert [t.value for t in positive.traces] == ["a", "c"]
    assert np.exp(positive.log_weights) == pytest.approx([0.2, 0.5])
    massless = population_of("abc", [0.0, 0.0, 0.0])
    [dead] = thin_by(massless, 2)
    assert dead.traces == massless.traces
    assert dead.log_evidence == NEG_INF
