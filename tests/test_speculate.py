"""Speculative sampling keeps the law of every completion, whatever writes the draft."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from exact import assert_same, measure
from ponder.binding import Binding, Potential
from ponder.blocks import draw, smc, weigh
from ponder.blocks.speculate import speculate, speculation
from ponder.effects import Effects, Program, each, nested, program, sample
from ponder.errors import PonderError
from ponder.interpret import enumerate_measure, enumerate_runs, evaluate
from ponder.lm.protocol import Completion, Draw, NextToken, OptionLogProbs, Tokens
from ponder.lm.sampling_law import SamplingLaw
from ponder.lm.table import TableLM
from ponder.meaning import atoms
from ponder.particle import Particle
from ponder.runtime import Runtime
from toys import coins

BOUND = Binding()
WORDS = ("a", "b", "<end>")
ROWS: dict[Tokens, tuple[float, ...]] = {
    (): (0.5, 0.3, 0.2),
    (0,): (0.2, 0.5, 0.3),
    (1,): (0.6, 0.0, 0.4),
    (2,): (0.1, 0.2, 0.7),
}


def table(name: str, rows: dict[Tokens, tuple[float, ...]], context: int = 3) -> TableLM:
    return TableLM(WORDS, rows, context=context, name=name)


MODEL = table("large", ROWS)
NARROW = [(0, 1, 0), (1, 0, 0), (0.5, 0, 0.5), (0, 1, 0)]  # zero where the model is not
WRONG = [(0, 0, 1), (0, 0, 1), (0, 1, 0), (0, 1, 0)]  # after b, it says what cannot be
DRAFTS = {
    "equal": table("equal", ROWS),
    "sharper": table("sharper", {k: tuple(x**2 for x in row) for k, row in ROWS.items()}),
    "flat": table("flat", {k: (1, 1, 1) for k in ROWS}),  # positive where the model is not
    "narrow": table("narrow", dict(zip(ROWS, NARROW, strict=True))),
    "wrong": table("wrong", dict(zip(ROWS, WRONG, strict=True))),
    "short": table("short", ROWS, context=1),  # must end where the model need not
    "long": table("long", ROWS, context=9),  # goes on where the model must end
}
SAMPLING = [
    SamplingLaw(),
    SamplingLaw(temperature=0.6, top_k=2),
    SamplingLaw(temperature=1.7, top_p=0.8),
    SamplingLaw(temperature=0),
]
SHAPES: list[dict[str, Any]] = [
    {"max_tokens": 10},
    {"max_tokens": 1},
    {"max_tokens": 2},
    {"max_tokens": 3, "stop": ("ab", "ba")},
    {"max_tokens": 4, "stop": ("b",), "segment": True},
]


def writing(dist: Completion, draft: TableLM, ahead: int) -> Program[Draw]:
    return Program(lambda: speculation(dist, draft, ahead), "speculation")


def laws_of(dist: Completion, draft: TableLM, ahead: int) -> dict[Draw, float]:
    """The law of what speculation writes, exactly."""
    return enumerate_measure(writing(dist, draft, ahead))


def own_law(dist: Completion) -> dict[Draw, float]:
    return {d: math.exp(lp) for d, lp in dist.support() or ()}


@pytest.mark.parametrize("ahead", [1, 2, 3])
@pytest.mark.parametrize("draft", list(DRAFTS))
def test_what_is_written_has_the_law_of_the_completion(draft: str, ahead: int) -> None:
    for law in SAMPLING:
        for shape in SHAPES:
            dist = Completion(MODEL, (), law, **shape)
            assert_same(laws_of(dist, DRAFTS[draft], ahead), own_law(dist))


@pytest.mark.parametrize("law", SAMPLING, ids=str)
def test_draws_are_recorded_as_the_model_would(law: SamplingLaw) -> None:
    for shape in SHAPES:
        dist = Completion(MODEL, (0,), law, **shape)
        own = {d: d for d in own_law(dist)}
        for written, _ in enumerate_runs(writing(dist, DRAFTS["flat"], 2)):
            same = own[written]
            assert (written.text, written.finish) == (same.text, same.finish)
            np.testing.assert_allclose(written.logp, same.logp, atol=1e-12)
            np.testing.assert_allclose(written.logq, same.logq, atol=1e-12)
            assert (written.prompt, written.law, written.model) == (same.prompt, law, same.model)
            assert dist.log_prob(written) == pytest.approx(dist.log_prob(same), abs=1e-12)
            asked = dist.log_prob(replace(written, prompt=(1, 1)))  # which the model must answer
            assert dist.log_prob(written) == pytest.approx(asked, abs=1e-12)


def test_where_the_draft_is_the_model_nothing_is_refused() -> None:
    dist = Completion(MODEL, (), max_tokens=10)
    for atom in atoms(writing(dist, DRAFTS["equal"], 2)):
        assert not any("residual" in c.address for c in atom.trace.choices)
        assert all(c.value for c in atom.trace.choices if "accept" in c.address)


@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_a_round_writes_as_many_tokens_as_the_formula_says(ahead: int) -> None:
    p, q = (0.5, 0.3, 0.2, 0.0), (0.2, 0.2, 0.6, 0.0)
    words = ("a", "b", "c", "<end>")
    large = TableLM(words, {(): p}, order=0, name="p")
    small = TableLM(words, {(): q}, order=0, name="q")
    accepted = sum(min(x, y) for x, y in zip(p, q, strict=True))
    # One round, and rounds after it only where it fell short.
    dist = Completion(large, (), max_tokens=ahead + 1)
    terms = []
    for atom in atoms(writing(dist, small, ahead)):
        verdicts = [c.value for c in atom.trace.choices if c.address.startswith("accept")]
        first = verdicts[:ahead]
        kept = first.index(False) if False in first else ahead
        terms.append(atom.mass * (kept + 1))
        drafts = [c for c in atom.trace.choices if c.address.startswith("draft")]
        assert len(drafts) >= ahead
    assert math.fsum(terms) == pytest.approx(
        (1 - accepted ** (ahead + 1)) / (1 - accepted), abs=1e-12
    )


def test_nothing_is_drafted_beyond_what_may_be_written() -> None:
    for longest in (1, 2, 3):
        dist = Completion(DRAFTS["long"], (), max_tokens=longest)
        for atom in atoms(writing(dist, DRAFTS["equal"], 4)):
            choices = atom.trace.choices
            first = next((i for i, c in enumerate(choices) if c.address == "accept"), 0)
            assert first <= longest - 1
            assert len(atom.value.tokens) <= longest


@program(normalised=True)
def written(max_tokens: int = 4) -> Effects[Tokens]:
    return (yield from sample(Completion(MODEL, (), max_tokens=max_tokens), "reply")).tokens


@program(normalised=True)
def lines() -> Effects[Tokens]:
    """Segment by segment."""
    tokens: Tokens = ()
    while not tokens or tokens[-1] != MODEL.end:
        dist = Completion(MODEL, tokens, max_tokens=10, stop=("b",), segment=True)
        tokens += (yield from sample(dist)).tokens
    return tokens


@program
def mixed() -> Effects[Any]:
    """Completions in sub-programs and nested, and samples that are none of a draft's business."""
    token = yield from sample(NextToken(MODEL, ()))
    pair: list[Program[Any]] = [written(1), coins(1)]
    both = yield from each(pair)
    inner = yield from nested(written(1))
    [yes] = yield from sample(OptionLogProbs(MODEL, (token,), ((0, 1),)))
    return token, tuple(both), inner, round(yes, 9)


@pytest.mark.parametrize("p", [written(), lines(), mixed()], ids=repr)
@pytest.mark.parametrize("draft", ["sharper", "narrow"])
def test_programs_keep_their_measure(p: Program[Any], draft: str) -> None:
    target = enumerate_measure(p)
    assert_same(measure(p | speculate(DRAFTS[draft], ahead=2) | draw(1)), target)


def test_particles_of_it_keep_the_measure() -> None:
    reward = Potential(
        "reward", lambda t: -0.7 * t.count(0), lambda seen: -0.5 * sum("a" in s.text for s in seen)
    )
    target = {t: m * math.exp(-0.7 * t.count(0)) for t, m in enumerate_measure(brief()).items()}
    block = speculate(DRAFTS["sharper"], ahead=1)
    assert_same(measure(brief() | weigh(reward) | block | smc(2, ess=1.0)), target)
    # After it, a potential sees the completions and not the tokens of the draft.
    assert_same(measure(brief() | block | weigh(reward) | smc(2, ess=1.0)), target)


@program(normalised=True)
def brief() -> Effects[Tokens]:
    """Two segments of one token."""
    tokens: Tokens = ()
    for _ in range(2):
        tokens += (yield from sample(Completion(MODEL, tokens, max_tokens=1, segment=True))).tokens
    return tokens


def test_the_law_stays_exact() -> None:
    strategy = written() | speculate("tiny", ahead=2) | draw(2)
    assert str(strategy.law) == "exact for written"
    binding = Binding(drafts={"tiny": DRAFTS["flat"]})
    population = evaluate(strategy.bind(binding), 1)
    assert population.log_evidence == pytest.approx(0)
    [trace, _] = population.traces
    assert trace["reply"].tokens == trace.value  # where the program put it
    assert trace.log_potential == 0.0


def test_forks_go_on_alike() -> None:
    steering = Potential("steering", lambda t: 0.0, lambda seen: -0.1 * len(seen))
    p = (lines() | weigh(steering) | speculate(DRAFTS["flat"])).bind(BOUND)
    for seed in range(20):
        particle: Particle[Any] = Particle(p)
        evaluate(particle.run(stop=True), seed)
        if particle.status == "running":
            heir = particle.fork()
            assert heir.trace() == particle.trace()
            evaluate(heir.run(), seed)
            evaluate(particle.run(), seed)
            assert heir.trace().value == particle.trace().value
            return
    raise AssertionError("no run was long enough")


def test_the_runtime_runs_it() -> None:
    strategy = lines() | speculate(DRAFTS["sharper"]) | draw(20)
    [outcome] = Runtime(seed=3).run([("q", strategy.bind(BOUND))])
    assert outcome.error is None
    assert outcome.ledger.calls > 40
    assert len({t.value for t in outcome.value.traces}) > 3


def test_a_name_is_looked_up_in_the_binding() -> None:
    block = speculate("tiny", ahead=2)
    assert repr(block) == "speculate('tiny', ahead=2)"
    assert repr(speculate("tiny")) == "speculate('tiny')"
    assert repr(speculate(DRAFTS["flat"], 3)) == "speculate('flat', ahead=3)"
    target = enumerate_measure(written())
    binding = Binding(drafts={"tiny": DRAFTS["flat"]})
    assert_same(measure(written() | block | draw(1), binding), target)
    strategy = written() | block | draw(1)
    with pytest.raises(PonderError, match=r"no draft model 'tiny' \(known: none\); load one") as e:
        evaluate(strategy.bind(BOUND))
    assert "\n" not in str(e.value)
    with pytest.raises(PonderError, match=r"known: 'small'"):
        evaluate(strategy.bind(Binding(drafts={"small": MODEL})))


def test_another_vocabulary_is_refused() -> None:
    stranger = TableLM(("a", "b", "c", "<end>"), lambda state: (1, 1, 1, 1), name="stranger")
    strategy = written() | speculate(stranger) | draw(1)
    with pytest.raises(PonderError, match="same vocabulary"):
        evaluate(strategy.bind(BOUND))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3,), "needs a language model or the name"),
        (("tiny", 0), "at least 1 token"),
        (("tiny", 2.0), "at least 1 token"),
        (("tiny", True), "at least 1 token"),
    ],
)
def test_mistakes_are_named(arguments: Any, message: str) -> None:
    with pytest.raises(PonderError, match=message) as info:
        speculate(*arguments)
    assert "\n" not in str(info.value)
