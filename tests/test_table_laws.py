"""Language models as distributions: the laws of their completions, exactly."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest

from exact import assert_same, measure
from ponder.binding import Potential
from ponder.blocks import draw, propose, smc, weigh
from ponder.dist import Dist
from ponder.interpret import enumerate_measure
from ponder.lm.protocol import Completion, NextToken, SamplingLaw
from toys import steps, whole, writer

LAWS = [
    SamplingLaw(temperature=t, top_k=k, top_p=p, min_p=m)
    for t, k, p, m in itertools.product([0, 0.5, 1, 2], [0, 2], [0.6, 1.0], [0.0, 0.45])
]


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_sampling_laws_equal_their_definition(law: SamplingLaw) -> None:
    model = writer()
    for prompt, row in {(): [0.5, 0.2, 0.2, 0.1], (0,): [0.1, 0.3, 0.4, 0.2]}.items():
        expected = _plain_law(row, law)
        listed = {t: math.exp(lp) for t, lp in NextToken(model, prompt, law).support() or ()}
        assert_same(listed, expected, 1e-6)
        assert math.fsum(listed.values()) == pytest.approx(1, abs=1e-6)
    completions = Completion(model, (), law, max_tokens=3).support()
    assert completions is not None
    assert math.fsum(math.exp(lp) for _, lp in completions) == pytest.approx(1, abs=1e-6)


def _plain_law(row: list[float], law: SamplingLaw) -> dict[int, float]:
    """Temper, keep the top k, then the top p, then the min-p, renormalise; ties to low ids."""
    tokens = sorted(range(len(row)), key=lambda t: (-row[t], t))
    if law.temperature == 0:
        return {tokens[0]: 1.0}
    power = {t: row[t] ** (1 / law.temperature) for t in tokens if row[t] > 0}
    kept = list(power)[: law.top_k or len(power)]
    mass = sum(power[t] for t in kept)
    kept = [t for i, t in enumerate(kept) if sum(power[s] for s in kept[:i]) < law.top_p * mass]
    kept = [t for t in kept if power[t] >= law.min_p * max(power.values())]
    return {t: power[t] / sum(power[s] for s in kept) for t in kept}


@pytest.mark.parametrize("law", [SamplingLaw(), SamplingLaw(temperature=0.7, top_k=2)], ids=str)
def test_segments_have_the_law_of_the_whole(law: SamplingLaw) -> None:
    model = writer(context=4)
    assert_same(enumerate_measure(steps(model, law)), enumerate_measure(whole(model, law)))


def test_segments_are_steered_without_changing_the_target() -> None:
    model = writer(context=2)
    reward = Potential(
        "reward", lambda t: -0.5 * t.count(0), lambda seen: -1.0 * sum("a" in s.text for s in seen)
    )
    target = measure(whole(model) | weigh(reward) | draw(1))
    assert_same(measure(steps(model) | weigh(reward) | smc(2, ess=1.0)), target)


def test_propose_keeps_the_law_of_a_language_model() -> None:
    def warmer(name: str | None, dist: Dist[Any]) -> Dist[Any]:
        assert isinstance(dist, Completion)
        return replace(dist, law=SamplingLaw(temperature=1.5))

    model = writer()
    strategy = whole(model) | propose(warmer) | draw(1)
    assert_same(measure(strategy), enumerate_measure(whole(model)), 1e-6)
