"""What cannot work is refused where it is written; what is long or deep still works."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ponder.blocks import best, draw, resample, smc, vote, weigh
from ponder.dist import Bernoulli
from ponder.effects import Each, Effects, Sample, program
from ponder.errors import PonderError
from ponder.interpret import enumerate_measure, evaluate, simulate
from ponder.question import Question
from ponder.recipes import cot, steps
from ponder.recipes.prompting import ask_messages


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
        (lambda: draw(2.5), "draw needs a number of traces, a whole one"),
        (lambda: draw(10**9), "draw takes at most 100000"),
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


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"temperature": -1}, "temperature must be at least 0"),
        ({"top_p": 2}, "0 < top_p <= 1"),
        ({"max_tokens": 0}, "max_tokens must be a whole number"),
        ({"temperature": "hot"}, "must be"),
        ({"warmth": 1}, "its settings: temperature"),
    ],
)
def test_settings_are_checked_when_written(settings: dict[str, object], says: str) -> None:
    for source in (cot, steps):
        with pytest.raises(PonderError, match=says):
            source(**settings)


def test_the_enumerator_refuses_a_program_that_changes_its_mind() -> None:
    odds = iter(range(1, 100))

    @program
    def fickle() -> Effects[bool]:
        first: bool = yield Sample(Bernoulli(1 / (1 + next(odds))))
        return first

    with pytest.raises(PonderError, match="not a function of its choices"):
        enumerate_measure(fickle())


def test_options_that_the_question_does_not_list_are_listed() -> None:
    bare = Question("Which is a fruit?", "choice", options=("car", "apple"))
    (message,) = ask_messages(bare, "Answer.")
    assert message["content"] == "Which is a fruit?\nA) car\nB) apple\n\nAnswer."
    full = Question("Which is a fruit? A) car B) apple", "choice", options=("car", "apple"))
    (message,) = ask_messages(full, "Answer.")
    assert message["content"] == "Which is a fruit? A) car B) apple\n\nAnswer."


def test_a_program_that_was_not_called_is_named() -> None:
    @program
    def coin(p: float) -> Effects[bool]:
        return (yield Sample(Bernoulli(p)))

    with pytest.raises(PonderError, match=r"draw\(4\) needs a program, got coin; call it: coin\("):
        coin | draw(4)
    with pytest.raises(TypeError, match="unsupported operand"):
        3 | draw(4)
