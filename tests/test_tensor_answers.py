"""Values that are tensors of one number vote and are counted as that number."""

from __future__ import annotations

import pytest

import ponder
from ponder.interpret import enumerate_measure

torch = pytest.importorskip("torch")


@ponder.program
def flip() -> ponder.Effects[object]:
    from ponder.tensors import Torch

    return (yield from ponder.sample(Torch(torch.distributions.Bernoulli(0.25))))


def test_tensors_of_one_number_are_one_answer() -> None:
    found = ponder.infer(flip() | ponder.draw(50) | ponder.vote)
    assert {share.answer for share in found.shares} == {0.0, 1.0}
    assert sum(share.count for share in found.shares) == 50


def test_and_one_key() -> None:
    assert enumerate_measure(flip()) == pytest.approx({0.0: 0.75, 1.0: 0.25})
