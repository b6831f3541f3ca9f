"""What answers are worth: ties, abstentions, programs, scorers; and that each is graded once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ponder.recipes  # noqa: F401 - registers the names
from exact import population_of
from ponder.binding import Binding
from ponder.blocks import best, product, vote
from ponder.errors import PonderError
from ponder.evidence.credit import Grader, decides_by_share, spelled
from ponder.guarantee.certify import certify
from ponder.interpret import enumerate_runs, evaluate
from ponder.measure import Posterior
from ponder.notation import parse
from ponder.question import Question
from ponder.strategy import Decide

QUESTION = Question("Which letter?", "text", id="q", answer="a")


@dataclass(frozen=True)
class Said:
    answer: Any
    text: str = ""
    program: str | None = None


def posterior(
    values: list[Any], weights: list[float] | None = None, how: Decide = vote, seed: int = 0
) -> Posterior:
    return evaluate(how.decide(population_of(values, weights), Binding()), seed)


def credit(of: Posterior, *, by_share: bool = True) -> float:
    return Grader({}).credit(QUESTION, of, by_share=by_share)


def test_ties_share_and_no_answer_is_worth_nothing() -> None:
    assert credit(posterior(["a", "b", "b", "a", "c"])) == 0.5
    assert credit(posterior(["b", "c"])) == 0.0
    assert credit(posterior(["a", "b", "a"])) == 1.0
    assert credit(posterior([None, None])) == 0.0
    # 0.1 + 0.2 exceeds 0.3 by rounding only.
    assert credit(posterior(["a", "b", "a"], [0.1, 0.3, 0.2])) == 0.5


@given(
    st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=6),
    st.sampled_from([vote, product()]),
    st.data(),
)
def test_shared_credit_is_the_expectation_over_how_ties_are_broken(
    values: list[Any], how: Decide, data: st.DataObject
) -> None:
    weights = data.draw(
        st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3]), min_size=len(values), max_size=len(values))
    )
    runs = list(enumerate_runs(how.decide(population_of(values, weights), Binding())))
    drawn = math.fsum(math.exp(log_p) * credit(p, by_share=False) for p, log_p in runs)
    for p, _ in runs:
        assert credit(p) == pytest.approx(drawn)


def test_a_rank_decides_where_shares_tie() -> None:
    chosen = best(lambda value: 0.0 if value == "a" else -1.0)
    found = posterior(["a", "b"], how=chosen)
    assert credit(found, by_share=False) == 1.0
    assert not decides_by_share(parse("cot | draw(2) | best"))
    assert not decides_by_share(parse("cot | draw(2) | certify(0.1)"))
    assert not decides_by_share(parse("cot | draw(2) | tournament"))
    assert decides_by_share(parse("cot | draw(2) | weigh(perplexity) | vote"))
    assert decides_by_share(parse("either(cot, pot) | stratify(1, 1) | product"))


def test_an_abstention_is_worth_nothing_though_it_leads() -> None:
    kept = posterior(["a", "a", "b"], how=certify(0.05))
    assert kept.answer is None
    assert kept.shares[0].answer == "a"
    assert credit(kept) == credit(kept, by_share=False) == 0.0
    assert Grader({}).covered(QUESTION, kept) == 1.0


def test_coverage_sees_rejected_traces() -> None:
    found = posterior(["b", "a"], [1.0, 0.0])
    assert credit(found) == 0.0
    assert Grader({}).covered(QUESTION, found) == 1.0
    assert Grader({}).covered(QUESTION, posterior(["b", None])) == 0.0


class Python:
    """A sandbox in which programs that mention 2 pass."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append(request["program"])
        return {"status": "passed" if "2" in request["program"] else "failed"}


def test_programs_are_run_once_each() -> None:
    question = Question("Write f.", "code", id="c", meta={"test_list": ["assert f() == 2"]})
    python = Python()
    grader = Grader({"python": python})
    replies = [Said("two", program="return 2"), Said("three", program="return 3")]
    for _ in range(3):
        assert grader.credit(question, posterior([*replies, *replies]), by_share=True) == 0.5
        assert grader.covered(question, posterior(replies[1:])) == 0.0
    assert sorted(python.asked) == ["return 2", "return 3"]


def test_answers_are_scored_once_each_and_by_question() -> None:
    asked: list[tuple[str | None, str]] = []

    def scorer(answer: str | None, question: Question) -> float:
        asked.append((answer, question.id))
        return 0.25 if answer == "Amelia is a Hero" else 0.0

    replies = [
        Said("amelia is a hero", "So it is. Answer: Amelia is a Hero."),
        Said("amelia is a hero", "Answer: AMELIA is a hero"),
        Said("nobody is", "what else"),
    ]
    questions = [Question("Who?", "text", id=name) for name in ("one", "two")]
    grader = Grader({}, {"one": scorer, "two": scorer})
    for _ in range(2):
        assert grader.credit(questions[0], posterior(replies), by_share=True) == 0.25
        assert grader.covered(questions[0], posterior(replies)) == 0.25
    assert asked == [("Amelia is a Hero", "one"), ("nobody is", "one")]
    assert grader.credit(questions[1], posterior([None]), by_share=True) == 0.0  # unasked
    assert len(asked) == 2
    grader.credit(questions[1], posterior(replies), by_share=True)
    assert asked[-1] == ("Amelia is a Hero", "two")


def test_what_a_scorer_reads() -> None:
    number = Question("How many?", "number")
    assert spelled(number, Fraction(5, 2), "Answer: 2.50 metres") == "2.5"
    assert spelled(Question("Is it?", "bool"), True, "") == "yes"
    assert spelled(Question("Which?", "choice"), "B", "Answer: (b)") == "B"
    text = Question("Who?", "text")
    assert spelled(text, "paris", "Answer: **Paris**") == "Paris"
    assert spelled(text, "paris", "Paris") == "Paris"
    assert spelled(text, "paris", "print('Rome')") == "paris"


def test_where_nobody_knows() -> None:
    with pytest.raises(PonderError, match="nobody knows what is right for the question 'u'"):
        Grader({}).credit(Question("Why?", "text", id="u"), posterior(["a"]))
