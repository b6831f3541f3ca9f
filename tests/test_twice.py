"""Two people's answers in one reply, and what is made of them."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import pytest

from exact import assert_same, measure, population_of
from ponder.answering import Session
from ponder.binding import Binding
from ponder.blocks import draw, vote
from ponder.errors import PonderError
from ponder.guarantee.pairs import counted_pairs
from ponder.interpret import enumerate_runs, evaluate
from ponder.measure import answer_of
from ponder.notation import NAMES, parse, register
from ponder.question import Question, make_question
from ponder.recipes import cot
from ponder.recipes.pairs import (
    PairedReply,
    PairPosterior,
    halves,
    pair_of,
    pairs,
    stated,
    twice,
)
from scripted import Said, Scripted

NUMBER = Question("How many?", "number", id="q1")
REPLIES = {
    " 4\nPerson 2: Answer: 4": 0.4,
    " 4\nPerson 2: Answer: 5": 0.1,
    " 5\nPerson 2: 4": 0.2,
    " 5, Person 2: Answer: 5.": 0.2,
    " 4": 0.06,
    " hm\nPerson 2: Answer: 4": 0.04,
}
LAW = {(4, 4): 0.4, (4, 5): 0.1, (5, 4): 0.2, (5, 5): 0.2, (4, None): 0.06, (None, 4): 0.04}


def said(prompt: str) -> Said:
    assert prompt.endswith("assistant:Person 1: Answer:")
    assert "Two people answer this, each alone" in prompt
    return REPLIES


def bound(question: Question = NUMBER, reply: Any = said) -> Binding:
    return Binding(question=question, model=Scripted(reply))


def law_of_pairs(binding: Binding, source: Any = twice) -> dict[Any, float]:
    found: dict[Any, float] = defaultdict(float)
    for value, mass in measure(source | draw(1), binding).items():
        found[value.answer, value.second] += mass
    return dict(found)


def test_both_answers_are_read() -> None:
    assert_same(law_of_pairs(bound()), LAW)
    assert (twice | draw(3)).law.kind == "exact"


def test_the_first_answers_are_the_posterior() -> None:
    first = {4: 0.56, 5: 0.4, None: 0.04}
    for block in (pairs, vote):
        found: dict[Any, float] = defaultdict(float)
        for posterior, log_mass in enumerate_runs((twice | draw(1) | block).bind(bound())):
            found[posterior.answer] += math.exp(log_mass)
        assert_same(found, first)


def test_a_reply_that_was_cut_off_has_no_answer() -> None:
    assert law_of_pairs(bound(), twice(max_tokens=5)) == {
        (None, None): pytest.approx(0.94),
        (4, None): pytest.approx(0.06),
    }


def test_thinking_ends_in_an_answer() -> None:
    def thinks(prompt: str) -> Said:
        assert prompt.endswith("assistant:Person 1:")
        return " 2 and 2 is 4.\nAnswer: 4\n\n**Person 2:** 3 and 2.\nSo 5.\nAnswer: 5"

    assert law_of_pairs(bound(reply=thinks), twice(think=True)) == {(4, 5): 1.0}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (" 4\nPerson 2: Answer: 5", ("4", "Answer: 5")),
        (" 4\n**Person 2:** 5", ("4\n**", "5")),
        (" 4 and person 2 : 5", ("4 and", "5")),
        ("Answer: 4\nAnswer: 5", ("Answer: 4", "Answer: 5")),
        ("Person 2 says nothing", ("Person 2 says nothing", "")),
        ("", ("", "")),
    ],
)
def test_halves(text: str, parts: tuple[str, str]) -> None:
    assert halves(text) == parts


def test_without_thinking_the_first_line_is_the_answer() -> None:
    talks = " they have 4\nThis is sure.\nPerson 2: it must be 5\nSo 7 it is"
    binding = bound(reply=lambda prompt: talks)
    assert law_of_pairs(binding) == {(4, 5): 1.0}
    ((value, _),) = measure(twice | draw(1), binding).items()
    assert value.text == f"Person 1: Answer:{talks}"


def reply(answer: Any, second: Any) -> PairedReply:
    return PairedReply("", answer, "stop", (), second=second)


def test_what_pairs_say_is_what_is_counted() -> None:
    runs = 0
    for posterior, _ in enumerate_runs((twice | draw(3) | pairs).bind(bound())):
        runs += 1
        assert isinstance(posterior, PairPosterior)
        values = [trace.value for trace in posterior.population.traces]
        both = [
            (v.answer, v.second) for v in values if v.answer is not None and v.second is not None
        ]
        assert posterior.leader == posterior.answer
        firsts = [v.answer for v in values if v.answer is not None]
        if firsts:
            assert firsts.count(posterior.leader) == max(map(firsts.count, firsts))
        assert posterior.law.kind == "heuristic"
        if not both:
            assert posterior.pair is None
            continue
        wanted = counted_pairs(*zip(*both, strict=True), posterior.leader)
        assert repr(posterior.pair) == repr(wanted)
        assert stated(wanted) in str(posterior.law)
    assert runs > 6**3 - 1


def test_weights_count() -> None:
    population = population_of([reply(4, 4), reply(4, 5), reply(5, 5)], [0.5, 0.25, 0.25])
    found = pair_of(population, 4)
    assert found is not None
    assert (found.m, found.c) == (0.75, pytest.approx(2 / 3))
    dead = pair_of(population_of([reply(4, 4), reply(4, 5)], [1.0, 0.0]), 4)
    assert dead is not None
    assert (dead.n, dead.c) == (1, 1)


def test_with_beta_only_what_is_known_is_answered() -> None:
    known = [reply(4, 4)] * 3 + [reply(5, 4)]  # m = .75, c = 1
    spread = [reply(4, 4), reply(4, 5), reply(5, 4), reply(5, 5)]  # random, and known to be

    def answered(values: list[PairedReply], block: Any) -> Any:
        posterior = evaluate(block.decide(population_of(values), Binding()))
        return posterior.answer, posterior.leader

    assert answered(known, pairs) == (4, 4)
    assert answered(known, pairs(0.2)) == (None, 4)
    assert answered(known, pairs(0.3)) == (4, 4)
    assert answered(spread, pairs(0.01))[0] in (4, 5)
    assert answered([reply(4, None)], pairs(0.5)) == (None, 4)
    assert answered([reply(None, 4)], pairs) == (None, None)


def test_what_is_stated() -> None:
    found = pair_of(population_of([reply(4, 4), reply(4, 5), reply(5, 5), reply(4, 4)]), 4)
    assert stated(found) == (
        "of 4 pairs 0.75 give it first, of those 0.67 again; epistemic variance 0.00 ± 0.31, "
        "made up with probability <= 0.11 if second-order calibrated"
    )
    assert stated(None) == "no trace gave two answers"
    assert stated(pair_of(population_of([reply(4, 4)]), 5)) == (
        "of 1 pair none gave the answer first"
    )
    assert "unknown" in stated(pair_of(population_of([reply(4, 4)]), 4))


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(PonderError, match="draw them from twice"):
        evaluate((cot | draw(2) | pairs).bind(bound(reply=lambda prompt: "Answer: 4")))
    with pytest.raises(PonderError, match="use direct or cot"):
        evaluate((twice | draw(2) | pairs).bind(bound(Question("Add.", "code"))))
    with pytest.raises(PonderError, match="think=True"):
        twice(think=3)
    with pytest.raises(PonderError, match="between 0 and 1"):
        pairs(2)
    with pytest.raises(PonderError, match="no setting"):
        twice(beta=0.1)


def test_notation_and_law() -> None:
    for name, thing in (("twice", twice), ("pairs", pairs)):
        if name not in NAMES:
            register(name, thing)
    for text in ("twice | draw(16) | pairs", "twice(think=True) | draw(4) | pairs(0.1)"):
        pipeline = parse(text)
        assert repr(pipeline) == text
        assert pipeline.law.kind == "heuristic"
        assert "not known to be calibrated" in str(pipeline.law)


@pytest.mark.smollm2
def test_a_real_model_is_asked_and_answers() -> None:
    import ponder

    model = ponder.load("smollm2-135m")
    session = Session(model, twice(max_tokens=40) | draw(8) | pairs)
    question = make_question("Name the capital of France.", id="q")
    ((_, answer),) = session.answers([question])
    if isinstance(answer, BaseException):
        raise answer
    posterior = answer.posterior
    assert isinstance(posterior, PairPosterior)
    traces = posterior.population.traces
    assert all(trace.value.text.startswith("Person 1: Answer:") for trace in traces)
    assert posterior.pair is not None
    assert any(answer_of(trace) == posterior.leader for trace in traces)
    assert "pairs" in str(answer.law)
