"""The sampler is the inverse CDF of the plain law, tested as one: no frequencies, no luck."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ponder.lm.sampling import Sampler
from ponder.lm.sampling_law import SamplingLaw, log_law

Row = NDArray[np.float32]
SIZES = (7, 512, 513, 49_152)
LAST = 1 - 2.0**-53  # the largest uniform that a stream gives
LAWS = (
    SamplingLaw(),
    SamplingLaw(0.7),
    SamplingLaw(0.05),
    SamplingLaw(3.0),
    SamplingLaw(1.0, top_k=1),
    SamplingLaw(0.8, top_k=40),
    SamplingLaw(1.0, top_k=10**6),
    SamplingLaw(1.0, top_p=0.1),
    SamplingLaw(0.7, top_p=0.9),
    SamplingLaw(1.5, top_p=0.999),
    SamplingLaw(1.0, min_p=0.05),
    SamplingLaw(1.0, min_p=1.0),
    SamplingLaw(2.0, min_p=1e-5),
    SamplingLaw(0.9, 30, 0.9),
    SamplingLaw(0.9, 30, 1.0, 0.1),
    SamplingLaw(0.9, 0, 0.95, 0.02),
    SamplingLaw(0.8, 40, 0.95, 0.05),
    SamplingLaw(1.2, 5, 0.62, 0.3),
)


def some_logits(size: int, seed: int, spread: float = 3.0) -> Row:
    return (spread * np.random.default_rng(seed).standard_normal(size)).astype(np.float32)


def plain(logits: Row, law: SamplingLaw) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log-probabilities at temperature 1 and under the law, in float64 throughout."""
    exact = logits.astype(np.float64)
    top = exact.max()
    logp = exact - (top + math.log(np.exp(exact - top).sum()))
    return logp, np.asarray(log_law(logp, law), dtype=np.float64)


def check(logits: Row, law: SamplingLaw, us: Any) -> None:
    """At each u: the token of the plain inverse CDF, up to rounding, with its log-probabilities."""
    logp, logq = plain(logits, law)
    probabilities = np.exp(logq)
    upper = np.cumsum(probabilities)
    sampler = Sampler(len(logits))
    for u in us:
        token, found_p, found_q = sampler.draw(logits, law, float(u))
        assert probabilities[token] > 0, (u, token)
        assert found_p == pytest.approx(logp[token], abs=1e-4)
        if logq[token] > -80:  # beyond, float32 has no normal numbers; u = 0 finds such tokens
            assert found_q == pytest.approx(logq[token], abs=1e-4)
        below = upper[token] - probabilities[token]
        assert below - 2e-6 <= u <= upper[token] + 2e-6, (u, token)


def edges(logits: Row, law: SamplingLaw, count: int, seed: int) -> list[float]:
    """Points of the CDF, and what is just beside them."""
    cdf = np.cumsum(np.exp(plain(logits, law)[1]))
    chosen = np.random.default_rng(seed).choice(cdf, min(count, len(cdf)), replace=False)
    around = [v + d for v in (*chosen, *cdf[:3], *cdf[-3:]) for d in (-1e-7, -1e-12, 0.0, 1e-7)]
    return [float(min(max(u, 0.0), LAST)) for u in around]


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("size", SIZES)
def test_draws_are_the_inverse_of_the_plain_law(size: int, law: SamplingLaw) -> None:
    for seed in range(3 if size < 1000 else 1):
        logits = some_logits(size, seed)
        grid = np.linspace(0, LAST, 101 if size < 1000 else 31)
        check(logits, law, [*grid, *edges(logits, law, 20, seed)])


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_the_us_of_a_token_are_as_many_as_its_probability(law: SamplingLaw) -> None:
    """The map from u to tokens is a step function; its steps, found by bisection, are the law."""
    size = 23
    for seed in range(3):
        logits = some_logits(size, 100 + seed)
        probabilities = np.exp(plain(logits, law)[1])
        sampler = Sampler(size)

        def token(u: float, sampler: Sampler = sampler, logits: Row = logits) -> int:
            return sampler.draw(logits, law, u)[0]

        measured = np.zeros(size)
        start = 0.0
        while True:
            current = token(start)
            low, high = start, LAST
            if token(LAST) == current:
                measured[current] += 1 - start
                break
            while high - low > 1e-10:
                middle = (low + high) / 2
                low, high = (middle, high) if token(middle) == current else (low, middle)
            measured[current] += high - start
            start = high
        np.testing.assert_allclose(measured, probabilities, atol=3e-7)
        assert (measured[probabilities > 1e-9] > 0).all()


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    values=st.lists(st.one_of(st.integers(-6, 6), st.just(-math.inf)), min_size=1, max_size=30),
    temperature=st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0]),
    top_k=st.integers(0, 8),
    top_p=st.sampled_from([0.05, 0.33, 0.62, 0.9, 0.97, 1.0]),
    min_p=st.sampled_from([0.0, 0.013, 0.11, 0.47, 1.0]),
    us=st.lists(st.floats(0, LAST), min_size=1, max_size=10),
)
def test_ties_and_impossible_tokens(
    values: list[float], temperature: float, top_k: int, top_p: float, min_p: float, us: list[float]
) -> None:
    """Logits with many ties; none of the cuts falls on a sum of these probabilities by design."""
    if max(values) == -math.inf:
        values = [*values, 0.0]
    logits = np.array(values, dtype=np.float32)
    law = SamplingLaw(temperature, top_k, top_p, min_p)
    if not on_the_edge(logits, law):
        check(logits, law, [0.0, LAST, *us])


def on_the_edge(logits: Row, law: SamplingLaw) -> bool:
    """Whether rounding decides what the law keeps."""
    kept = {
        tuple(np.isfinite(plain(logits, nudged)[1]))
        for d in (-1e-5, 1e-5)
        for nudged in (
            SamplingLaw(law.temperature, law.top_k, min(law.top_p * (1 + d), 1.0), law.min_p),
            SamplingLaw(law.temperature, law.top_k, law.top_p, min(law.min_p * (1 + d), 1.0)),
        )
    }
    return len(kept) > 1 and law.min_p < 1


def test_ties_go_to_the_lowest_tokens() -> None:
    logits = np.array([1, 2, 2, 2, 0, 2], dtype=np.float32)
    sampler = Sampler(6)

    def tokens(law: SamplingLaw) -> set[int]:
        return {sampler.draw(logits, law, float(u))[0] for u in np.linspace(0, LAST, 200)}

    assert tokens(SamplingLaw(0.0)) == {1}
    assert tokens(SamplingLaw(1.0, top_k=2)) == {1, 2}
    assert tokens(SamplingLaw(1.0, top_p=0.3)) == {1, 2}
    assert tokens(SamplingLaw(1.0, min_p=1.0)) == {1, 2, 3, 5}


def test_greedy_is_certain() -> None:
    logits = some_logits(1000, 1)
    best = int(logits.argmax())
    for u in (0.0, 0.5, LAST):
        token, logp, logq = Sampler(1000).draw(logits, SamplingLaw(0.0), u)
        assert (token, logq) == (best, 0.0)
        assert logp == pytest.approx(plain(logits, SamplingLaw())[0][best], abs=1e-5)


@pytest.mark.parametrize("law", [*LAWS, SamplingLaw(0.0), SamplingLaw(1e-300)], ids=str)
@pytest.mark.parametrize("size", [1, 7, 513, 1024])
def test_rows_with_one_possible_token(size: int, law: SamplingLaw) -> None:
    """Wherever the token lies, whatever else the row is filled with, and at both ends of u."""
    for place in sorted({0, size // 2, size - 1}):
        for rest in (-math.inf, -1e9):
            logits = np.full(size, rest, dtype=np.float32)
            logits[place] = 3.0
            sampler = Sampler(size)
            for u in (0.0, 0.5, LAST):
                token, logp, logq = sampler.draw(logits, law, u)
                assert token == place
                assert logp == pytest.approx(0.0, abs=1e-6)
                assert logq == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("law", [SamplingLaw(), SamplingLaw(0.7), SamplingLaw(1.0, top_p=0.9999)])
def test_the_last_u_is_a_possible_token(law: SamplingLaw) -> None:
    """Whole blocks of impossible tokens at the end, and totals that round up."""
    for seed in range(60):
        logits = some_logits(2000, seed, 0.5)
        logits[900 + seed :] = -math.inf
        token = Sampler(2000).draw(logits, law, LAST)[0]
        assert token < 900 + seed
        check(logits, law, [LAST])


def test_a_sampler_forgets_the_last_row() -> None:
    sampler = Sampler(513)
    for seed in range(10):
        logits = some_logits(513, seed, 1 + seed)
        law = LAWS[seed % len(LAWS)]
        fresh = [Sampler(513).draw(logits, law, u) for u in (0.1, 0.9)]
        assert [sampler.draw(logits, law, u) for u in (0.1, 0.9)] == fresh


@pytest.mark.parametrize("size", SIZES)
def test_log_probs_are_normalised(size: int) -> None:
    for offset in (0.0, 300.0, -300.0):
        logits = (some_logits(size, 5) + np.float32(offset)).astype(np.float32)
        found = Sampler(size).log_probs(logits)
        np.testing.assert_allclose(found, plain(logits, SamplingLaw())[0], atol=1e-4)
        assert found.dtype == np.float32
        assert float(np.exp(found.astype(np.float64)).sum()) == pytest.approx(1.0, abs=1e-4)
