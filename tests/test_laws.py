"""Composition computes the law."""

from __future__ import annotations

from typing import Any

import pytest

from ponder.binding import Binding, Potential
from ponder.blocks import (
    best,
    draw,
    propose,
    resample,
    smc,
    temper,
    vote,
    weigh,
)
from ponder.interpret import evaluate
from ponder.law import MEANING, Kind, Law
from ponder.strategy import Pipeline
from toys import chain, coins


def invert(name: str | None, dist: Any) -> Any:
    return None


JUDGE = Potential("judge", lambda x: -float(sum(x)))
LAWS: list[tuple[Pipeline, str]] = [
    (coins() | draw(4), "exact"),
    (coins() | draw(4) | weigh(JUDGE), "weighted"),
    (coins() | weigh(JUDGE) | draw(4), "weighted"),
    (coins() | temper(2.0) | draw(4), "weighted"),
    (coins() | propose(invert) | draw(4), "weighted"),
    (coins() | draw(4) | resample(), "weighted"),
    (coins() | smc(4), "weighted"),
    (chain() | draw(4), "weighted"),
    (chain() | draw(4) | resample() | weigh(JUDGE), "weighted"),
    (coins() | draw(4) | vote, "consistent"),
    (chain() | smc(4) | vote, "consistent"),
    (coins() | draw(4) | best(JUDGE), "heuristic"),
    (chain() | smc(4) | resample() | best(JUDGE), "heuristic"),
]


@pytest.mark.parametrize(("pipeline", "kind"), LAWS, ids=lambda x: str(x))
def test_the_law_follows_from_the_table(pipeline: Pipeline, kind: str) -> None:
    assert pipeline.law.kind == kind
    assert kind in MEANING
    # What comes out of a run makes the same statement as the composition did.
    assert evaluate(pipeline.bind(Binding())).law == pipeline.law


def test_laws_say_their_target_and_assumptions() -> None:
    assert str((coins() | draw(4)).law) == "exact for coins"
    weighed = (coins() | draw(4) | weigh(JUDGE)).law
    assert weighed.target == "coins * exp(judge)"
    assert "unbiased shares" in str((coins() | draw(4) | vote).law)
    assert "unbiased" not in str(weighed)
    assert "q = 0" in str((coins() | propose(invert) | draw(2)).law)


KINDS: list[Kind] = ["consistent", "heuristic"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_lost_is_not_regained(kind: Kind) -> None:
    for block in (weigh(JUDGE), resample(), smc(2), draw(2), temper(2.0), vote):
        assert block.law(Law(kind, "x")).kind == kind
    assert best(JUDGE).law(Law(kind, "x")).kind == "heuristic"
