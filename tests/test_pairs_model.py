"""A tiny network trained on pairs, by ``benchmarks/pairs_toy.py``, against an exact truth."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra torch")


def benchmark() -> ModuleType:
    """What ``benchmarks/pairs_toy.py`` measures is what is tested here."""
    path = Path(__file__).parent.parent / "benchmarks" / "pairs_toy.py"
    spec = importlib.util.spec_from_file_location("pairs_toy", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pairs_toy"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


toy = benchmark()
WORLD = toy.world(topics=8, details=16, seed=7)  # one in which the detail often decides


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tables() -> Any:
    """p(y1, y2 | topic) as learnt in a few seconds."""
    return toy.table(toy.trained(WORLD, each=2, steps=350, batch=256, seed=0))


def test_responses_follow_their_law() -> None:
    topics, drawn = (x.numpy() for x in WORLD.responses(200_000, 2, seed=1))
    for topic in range(3):
        mine = drawn[topics == topic]
        seen = np.zeros((toy.ANSWERS, toy.ANSWERS))
        np.add.at(seen, (mine[:, 0], mine[:, 1]), 1 / len(mine))
        ideal = WORLD.ideal[topic]
        # Six standard errors of the noisiest cell.
        assert np.abs(seen - ideal).max() < 6 * np.sqrt(ideal.max() / len(mine))


def test_claims_of_the_exact_predictor_are_exact() -> None:
    claim, _ = toy.of_pairs(WORLD.ideal)
    found = toy.judged(WORLD, claim)
    assert found["variance"] == pytest.approx(found["squared_distance"])
    for said, true, _ in found["bins"]:
        assert said == pytest.approx(true, abs=1e-9)
    for beta in toy.BETAS:
        assert found["outside_at"][beta] <= beta
        assert found["accepted"][beta]["made_up"] <= beta + 1e-9
    assert found["accepted"][0.2]["made_up"] > 0.02  # some are made up, and it is known how many


def test_a_trained_network_knows_how_much_it_does_not_know(tables: Any) -> None:
    assert tables.sum(axis=(1, 2)) == pytest.approx(np.ones(8), abs=1e-4)
    claim, c = toy.of_pairs(tables)
    found = toy.judged(WORLD, claim)
    assert found["variance"] == pytest.approx(found["squared_distance"], rel=0.2)
    for beta in toy.BETAS:
        assert found["outside_at"][beta] <= beta + 0.02
        assert found["accepted"][beta]["made_up"] <= beta + 0.02
        assert found["accepted"][beta]["share"] > 0.05
    report = toy.calibration(WORLD, claim, c, 4000)
    assert report["verdict"] == "valid"
    assert report["verdict_if_c_were_m"] == "refuted"


def test_a_network_of_single_responses_cannot_know(tables: Any) -> None:
    claim, _ = toy.of_pairs(tables)
    alone = toy.Claim(claim.m, np.zeros_like(claim.m), np.ones_like(claim.m))
    found = toy.judged(WORLD, alone)
    assert found["outside_at"][0.2] > 0.5
    assert found["accepted"][0.05]["made_up"] > 0.2
