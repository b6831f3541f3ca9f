"""Drawing until a rule stops: which traces, what is claimed, and certifying what was stopped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

import ponder.recipes  # noqa: F401 - registers the names
from ponder.binding import Binding
from ponder.blocks import draw, mh, pool, resample, vote, weigh
from ponder.blocks.best import best
from ponder.blocks.product import corroborated
from ponder.errors import PonderError
from ponder.guarantee.certify import certify
from ponder.guarantee.stopping import agreement, settled
from ponder.interpret import enumerate_runs, evaluate
from ponder.notation import parse
from toys import coins


@dataclass(frozen=True)
class Twice:
    """Stops at the first answer that was given twice."""

    def stops(self, answers: Sequence[Any]) -> bool:
        return len(set(answers)) < len(answers)


@dataclass(frozen=True)
class Good:
    sees: ClassVar[str] = "scores"

    def stops(self, scores: Sequence[float]) -> bool:
        return max(scores) > -1


def test_it_stops_where_the_rule_says_and_not_before() -> None:
    sizes = set()
    for population, _ in enumerate_runs((coins(1) | draw(5, stop=Twice())).bind(Binding())):
        values = [t.value for t in population.traces]
        assert not Twice().stops(values[:-1])
        assert Twice().stops(values)
        sizes.add(len(values))
        assert population.log_weights == pytest.approx([-math.log(len(values))] * len(values))
    assert sizes == {2, 3}


def test_its_traces_are_the_first_ones_of_a_plain_draw() -> None:
    for seed in range(20):
        every = evaluate((coins(3) | draw(8)).bind(Binding()), seed)
        some = evaluate((coins(3) | draw(8, stop=Twice())).bind(Binding()), seed)
        waves = evaluate((coins(3) | draw(8, stop=Twice(), every=3)).bind(Binding()), seed)
        values = [t.value for t in every.traces]
        assert [t.value for t in some.traces] == values[: len(some)]
        assert [t.value for t in waves.traces] == values[: len(waves)]
        assert len(waves) in (3, 6, 8)


def test_a_rule_may_look_at_scores() -> None:
    pipeline = coins(1) | weigh(lambda v: 0.0 if v[0] else -2.0) | draw(4, stop=Good()) | best()
    for posterior, _ in enumerate_runs(pipeline.bind(Binding())):
        values = [t.value[0] for t in posterior.population.traces]
        assert values == [False] * (len(values) - 1) + [True] or values == [False] * 4
        assert posterior.answer == (values[-1],)


def test_what_is_claimed() -> None:
    stop = draw(9, stop=agreement(0.95))
    assert (coins(2) | stop).law.kind == "heuristic"
    assert "stopped by agreement(0.95)" in str((coins(2) | stop | vote).law)
    assert (coins(2) | stop | certify(0.1)).law.kind == "bounded"
    assert (coins(2) | draw(9) | certify(0.1)).law.kind == "bounded"
    assert (coins(2) | stop | mh(1) | certify(0.1)).law.kind == "bounded"
    for broken in (
        coins(2) | weigh(lambda v: 0.0) | stop,
        coins(2) | stop | weigh(lambda v: 0.0),
        coins(2) | stop | resample(4),
        coins(2) | draw(9) | resample(4),
    ):
        assert (broken | certify(0.1)).law.kind == "heuristic", broken
    assert (coins(2) | stop | pool(2) | certify(0.1)).law.kind == "bounded"


def test_certify_answers_only_what_is_settled() -> None:
    pipeline = coins(1) | draw(9) | certify(0.05)
    for posterior, _ in enumerate_runs(pipeline.bind(Binding())):
        values = [t.value for t in posterior.population.traces]
        leader = max(values, key=values.count)
        wanted = leader if settled(0.05).stops(values) else None
        assert posterior.answer == wanted
        assert posterior.law.kind == "bounded"


def test_the_notation_round_trips() -> None:
    text = "cot | draw(32, stop=settled(0.05), every=4) | certify(0.05)"
    assert repr(parse(text)) == text.replace("certify(0.05)", "certify")


def test_a_rule_may_go_by_its_bare_name() -> None:
    assert draw(4, stop=agreement) == draw(4, stop=agreement(0.95))


@pytest.mark.parametrize("bad", [3, "agreement", object(), corroborated])
def test_what_is_no_rule_is_refused(bad: Any) -> None:
    with pytest.raises(PonderError, match="draw stops by a rule such as agreement"):
        draw(4, stop=bad)
