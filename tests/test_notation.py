"""The notation reads back what it writes, refuses all else, and composition computes the law."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ponder
from ponder import notation
from ponder.binding import Binding, Potential, PotentialSource
from ponder.blocks import (
    best,
    draw,
    resample,
    smc,
    systematic,
    temper,
    vote,
    weigh,
)
from ponder.blocks.resample import multinomial, residual, stratified
from ponder.effects import Program
from ponder.errors import PonderError
from ponder.notation import parse, register
from ponder.strategy import Pipeline, Source, StageError
from toys import chain, coins

POTENTIALS = {
    "judge": Potential("judge", lambda x: -float(sum(x))),
    "reward": Potential("reward", lambda x: 0.5 * x[0], lambda seen: 0.1 * sum(seen)),
}


def build_toss(binding: Binding, temperature: float = 1.0, style: str = "plain") -> Program[Any]:
    return coins(2)


TOSS = Source("toss", build_toss, normalised=True, allowed=("style", "temperature"))
DRIFT = Source("drift", lambda binding: chain(2))


@pytest.fixture(autouse=True, scope="module")
def names() -> Iterator[None]:
    before = dict(notation.NAMES)
    notation.NAMES.update(toss=TOSS, drift=DRIFT)
    yield
    notation.NAMES.clear()
    notation.NAMES.update(before)


def read(text: str) -> Pipeline:
    return parse(text, POTENTIALS)


CANONICAL = [
    "toss",
    "toss | draw(16)",
    "toss | draw(16) | vote",
    "toss | draw(16) | weigh(judge) | vote",
    "toss | draw(16) | best(judge)",
    "toss(temperature=0.7) | draw(8) | vote",
    "toss(style='it\\'s \"so\"', temperature=0) | draw(8)",
    "drift | weigh(reward) | smc(16) | vote",
    "drift | weigh(reward) | smc(16, ess=0.25) | vote",
    "drift | weigh(reward) | smc(16, resample=multinomial, ess=1.0) | vote",
    "drift | temper(0.5) | smc(4, resample=residual) | resample | vote",
    "drift | draw(4) | resample(2) | resample(resample=stratified) | vote",
    "drift | draw(4) | resample(8, resample=stratified) | best(reward)",
]


@pytest.mark.parametrize("text", CANONICAL)
def test_canonical_text_reads_back_as_itself(text: str) -> None:
    written = text.replace("'it\\'s \"so\"'", repr('it\'s "so"'))
    assert repr(read(text)) == written
    assert read(written) == read(text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("  toss|draw( n = 8 )|vote ", "toss | draw(8) | vote"),
        ("(toss | draw(8)) | vote", "toss | draw(8) | vote"),
        ("drift | smc(16, resample=systematic, ess=0.5)", "drift | smc(16)"),
        ("drift | smc(16, multinomial, 1)", "drift | smc(16, resample=multinomial, ess=1.0)"),
        ("toss() | draw(1) | resample()", "toss | draw(1) | resample"),
        ("toss(temperature=2, style='x')", "toss(style='x', temperature=2)"),
    ],
)
def test_other_spellings_have_one_canonical_text(text: str, canonical: str) -> None:
    assert repr(read(text)) == canonical


def toss_with(settings: dict[str, Any]) -> Source:
    return TOSS(**settings)


counts = st.integers(1, 10**5)
resamplers = st.sampled_from([multinomial, stratified, systematic, residual])
fractions = st.floats(0, 1)
potentials = st.sampled_from(
    [PotentialSource(name, lambda binding: POTENTIALS["judge"]) for name in POTENTIALS]
)
sources = st.one_of(
    st.just(DRIFT),
    st.builds(
        toss_with,
        st.dictionaries(
            st.sampled_from(["style", "temperature"]),
            st.one_of(st.integers(-9, 9), st.floats(0, 9), st.text(max_size=8), st.none()),
        ),
    ),
)
transforms = st.lists(
    st.one_of(st.builds(weigh, potentials), st.builds(temper, st.floats(0, 1e300))), max_size=3
)
inferences = st.one_of(st.builds(draw, counts), st.builds(smc, counts, resamplers, fractions))
moves = st.lists(
    st.one_of(
        st.builds(weigh, potentials),
        st.builds(resample, st.one_of(st.none(), counts), resamplers),
    ),
    max_size=3,
)
decisions = st.lists(st.one_of(st.just(vote), st.builds(best, potentials)), max_size=1)


@settings(derandomize=True, max_examples=300, deadline=None, database=None)
@given(sources, transforms, inferences, moves, decisions)
def test_every_pipeline_reads_back(
    source: Source, before: list[Any], inference: Any, after: list[Any], decision: list[Any]
) -> None:
    pipeline = Pipeline(source, (*before, inference, *after, *decision))
    again = read(repr(pipeline))
    assert again == pipeline
    assert repr(again) == repr(pipeline)
    assert str(again.law) == str(pipeline.law)
    assert again.stage == ("posterior" if decision else "population")


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("toss | vote", r"in toss \| vote: vote works on a population; put .* draw\(8\) before"),
        ("toss | resample", r"resample works on a population"),
        ("toss | best(judge)", r"best\(judge\) works on a population"),
        ("toss | draw(4) | draw(4)", r"draw\(4\) works on a program; put it before"),
        ("toss | draw(4) | temper(2)", r"temper\(2\.0\) works on a program; put it before"),
        ("toss | smc(4) | vote | vote", r"already decided; nothing can follow, remove vote"),
        ("toss | draw(4) | vote | weigh(judge)", r"already decided"),
        ("toss | drift", r"drift cannot follow \|"),
        ("toss | 3", r"3 cannot follow \|"),
    ],
)
def test_a_wrong_order_is_refused_with_a_remedy(text: str, remedy: str) -> None:
    with pytest.raises(StageError, match=remedy) as info:
        read(text)
    assert isinstance(info.value, PonderError)
    assert isinstance(info.value, TypeError)


def test_composition_in_python_is_checked_alike() -> None:
    with pytest.raises(StageError):
        coins() | vote
    with pytest.raises(TypeError):
        coins() | "vote"  # type: ignore[operator]
    with pytest.raises(StageError, match="cannot follow"):
        coins() | draw(2) | "vote"  # type: ignore[operator]
    assert repr(chain() | weigh(len) | smc(8) | vote) == "chain | weigh(len) | smc(8) | vote"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tos | draw(8)", r"unknown name 'tos' .* did you mean .*toss"),
        ("toss | drwa(8)", r"did you mean .*draw"),
        ("toss | smc(8, resample=systematics)", r"did you mean systematic"),
        ("toss | draw(8) | best(jugde)", r"did you mean .*judge"),
        ("toss | qqqqq", r"known: .*best.*draw.*judge.*vote"),
        ("draw(8) | vote", r"begins with a program \(.*toss.*\), not draw\(8\)"),
        ("toss | draw", r"draw: draw missing 1 required positional argument: 'n'"),
        ("toss | draw(0)", r"draw needs a number of traces of at least 1, got 0"),
        ("toss | draw(2.5)", r"draw needs a number"),
        ("toss | draw(True)", r"draw needs a number"),
        ("toss | draw(8, 9)", r"draw stops by a rule such as agreement"),
        ("toss | draw(m=8)", r"unexpected keyword argument 'm'"),
        ("toss | draw(*[8])", r"write the arguments of draw out"),
        ("toss | draw(**{})", r"write the arguments of draw out"),
        ("toss | smc(8, ess=2)", r"ess threshold between 0 and 1, got 2"),
        ("toss | smc(8, ess='x')", r"smc: "),
        ("toss | temper(-1)", r"temper needs a finite power"),
        ("toss | temper(1e999)", r"temper needs a finite power"),
        ("toss | vote(3)", r"vote takes no arguments"),
        ("toss(speed=3)", r"toss has no setting 'speed'; its settings: style, temperature"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(PonderError, match=message) as info:
        read(text)
    assert "\n" not in str(info.value)


def test_a_name_is_registered_once() -> None:
    assert register("draw", draw) is draw
    with pytest.raises(PonderError, match="the name 'draw' is taken"):
        register("draw", smc)


@pytest.mark.parametrize(
    "text",
    [
        "cot | draw(2) | gibbs(1, n=2)",
        "cot | draw(2) | gibbs(3, n=8, ess=1.0, ancestors=True)",
        "steps | weigh(judge) | smc(4, move=mh(1))",
        "steps | weigh(judge) | smc(4, multinomial, move=regenerate(2, cut='reply'))",
        "steps | weigh(judge) | steer(4, k=3) | pool(2) | thin(3)",
        "cot | weigh(judge) | ladder(0.5, 0.2) | draw(2) | mh(2, names='a,b') | swap(1) | vote",
        "cot | speculate('tiny', ahead=2) | draw(2) | collapse | draw(1) | regenerate(1) | vote",
    ],
)
def test_kernels_and_wrappers_round_trip(text: str) -> None:
    strategy = ponder.parse(text)
    assert ponder.parse(repr(strategy)) == strategy
    assert repr(ponder.parse(repr(strategy))) == repr(strategy)
