"""What cannot work is refused where it is written; what is long or deep still works."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ponder.blocks import best, draw, resample, smc, vote, weigh
from ponder.dist import Bernoulli
from ponder.effects import Each, Effects, Sample, program
from ponder.errors import PonderError
from ponder.interpret import evaluate, simulate


@program(normalised=True)
def toss() -> Effects[bool]:
    heads: bool = yield Sample(Bernoulli(0.5))
    return heads


@program(normalised=True)
def tosses(n: int) -> Effects[int]:
    total = 0
    for _ in range(n):
        total += yield Sample(Bernoulli(0.5))
    return total


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: weigh(3), "weigh needs something that scores"),
        (lambda: best("judge"), "best needs something that scores"),
        (lambda: weigh(vote), "weigh needs something that scores"),
        (lambda: smc(4, resample=vote), "smc needs a resampler"),
        (lambda: resample(0), "resample needs a number of traces of at least 1"),
        (lambda: resample(-1), "resample needs a number of traces of at least 1"),
        (lambda: draw(2.5), "draw needs a number of traces of at least 1"),
        (lambda: smc(2, ess=2), "smc needs an ess threshold between 0 and 1"),
    ],
)
def test_arguments_are_checked_when_composed(make: Callable[[], object], says: str) -> None:
    with pytest.raises(PonderError, match=says):
        make()


def test_long_traces_compare_and_print() -> None:
    long = tosses(5000)
    a, b, c = (simulate(long, seed) for seed in (1, 1, 2))
    assert a == b
    assert a != c
    assert len(repr(a)) < 1000
    assert len(a.choices) == 5000


def test_the_same_names_twice_are_two_places() -> None:
    @program
    def twice() -> Effects[None]:
        for _ in range(2):
            yield Each([toss(), toss()], ["left", "right"])

    trace = simulate(twice())
    places = [choice.address for choice in trace.choices]
    assert places == ["left/#0", "right/#0", "left#1/#0", "right#1/#0"]


def test_too_few_names_are_refused_inside_the_program() -> None:
    @program
    def wrong() -> Effects[str]:
        try:
            yield Each([toss(), toss()], ["one"])
        except PonderError as error:
            return str(error)
        return "accepted"

    assert "1 names for 2 programs" in evaluate(wrong())


def test_a_name_that_looks_like_an_address_is_refused() -> None:
    @program
    def sly() -> Effects[bool]:
        heads: bool = yield Sample(Bernoulli(0.5), "#0")
        return heads

    with pytest.raises(PonderError, match="choose one without"):
        evaluate(sly())
