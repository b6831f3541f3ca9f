"""Methods that change the prompt: approaches, orders of options, items, examples, premises."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from exact import assert_same, measure
from ponder.binding import Binding
from ponder.blocks import draw, vote
from ponder.blocks.stratify import stratify
from ponder.errors import PonderError
from ponder.interpret import enumerate_runs, evaluate
from ponder.question import Question
from ponder.recipes import cot
from ponder.recipes.correlation import error_correlation
from ponder.recipes.diversity import diverse, diverse_once, listed_in
from ponder.recipes.neighbours import cosine, nearest, neighbours
from ponder.recipes.perceiving import perceived
from ponder.recipes.premises import Sides, relevant, sides
from ponder.recipes.prompting import question_text
from ponder.recipes.shuffling import shuffled, turned_by
from ponder.recipes.thinksum import combined, thinksum
from ponder.strategy import Infer, Source
from scripted import Said, Scripted

NUMBER = Question("How many?", "number", id="q1")
CAPITAL = Question("Capital?", "choice", id="q2", options=("Paris", "Rome", "Oslo"))


def bound(reply: Callable[[str], Said], question: Question = NUMBER) -> Binding:
    return Binding(question=question, model=Scripted(reply))


def answers(source: Source, binding: Binding, how: Infer | None = None) -> dict[Any, float]:
    """The exact law of a source's answers, None for those that abstain."""
    found: dict[Any, float] = defaultdict(float)
    for value, mass in measure(source | (how or draw(1)), binding).items():
        found[getattr(value, "answer", value)] += mass
    return dict(found)


# Approaches.


def by_approach(prompt: str) -> Said:
    if "List 3 different approaches" in prompt:
        return "Here are some:\n1. algebra\n2) guess"
    if "approach: algebra" in prompt:
        return {"Answer: 4": 0.9, "Answer: 5": 0.1}
    if "approach: guess" in prompt:
        return {"Answer: 4": 0.2, "Answer: 7": 0.8}
    return "Answer: 9"


def test_diverse_is_the_mixture_over_approaches() -> None:
    given = diverse(approaches="algebra | guess")
    mixture = {4: 0.55, 5: 0.05, 7: 0.4}
    assert_same(answers(given, bound(by_approach)), mixture)
    assert_same(answers(given, bound(by_approach), draw(2)), mixture)
    assert_same(answers(given, bound(by_approach), stratify(1, 1)), mixture)
    assert_same(answers(cot, bound(by_approach)), {9: 1.0})
    assert (given | draw(5)).law.kind == "exact"


def test_diverse_uses_each_approach_once_when_stratified() -> None:
    program = (diverse(approaches="algebra|guess") | stratify(1, 1)).bind(bound(by_approach))
    for population, _ in enumerate_runs(program):
        assert [trace["which"] for trace in population.traces] == [0, 1]


def test_diverse_asks_for_approaches_and_does_without_those_that_are_missing() -> None:
    third = 1 / 3
    expected = {4: 1.1 * third, 5: 0.1 * third, 7: 0.8 * third, 9: third}
    assert_same(answers(diverse(n=3), bound(by_approach)), expected)


def test_lists_of_approaches() -> None:
    text = "Sure:\n1. **Draw** it\n\n- work: back\n3) x\n4. y"
    assert listed_in(text, 3) == ("**Draw** it", "work: back", "x")
    assert listed_in("none", 2) == ("", "")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"approaches": "a||b"}, "with | between"),
        ({"approaches": "a|b", "n": 3}, "leave out n"),
        ({"n": 0}, "at least 1"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_diverse_refuses(settings: dict[str, Any], said: str) -> None:
    for source in (diverse, diverse_once):
        with pytest.raises(PonderError, match=said):
            source(**settings)


WAYS = "Way 1: count.\nAnswer: 4\n\n**Way 2:** add.\nAnswer: 4\nWay 3: guess.\nAnswer: 7"


def test_diverse_once_is_the_majority_inside_one_reply_not_the_last_answer() -> None:
    assert_same(answers(diverse_once(n=3), bound(lambda _: WAYS)), {4: 1.0})
    assert_same(answers(cot, bound(lambda _: WAYS)), {7: 1.0})
    model = Scripted(lambda _: WAYS)
    evaluate(diverse_once(approaches="count|add|guess").bind(Binding(NUMBER, model)))
    assert len(model.asked) == 1
    assert "3 different ways" in model.asked[0]
    assert "count; add; guess" in model.asked[0]


def test_diverse_once_breaks_ties_evenly_and_abstains_where_nothing_can_be_read() -> None:
    tied = "Way 1: Answer: 4\nWay 2: Answer: 7\nWay 3: no idea"
    assert_same(answers(diverse_once(n=3), bound(lambda _: tied)), {4: 0.5, 7: 0.5})
    assert_same(answers(diverse_once(n=3, max_tokens=30), bound(lambda _: WAYS)), {None: 1.0})
    assert_same(answers(diverse_once(n=3), bound(lambda _: "Answer: 4")), {None: 1.0})


def test_error_correlation_of_known_methods() -> None:
    same = error_correlation([[1, 1, 1], [0, 0, 0], [1, 1, 1], [0, 0, 0]])
    assert same.rho == pytest.approx(1)
    assert same.share_variance == pytest.approx(0.25)
    independent = error_correlation([[0, 0], [0, 1], [1, 0], [1, 1]])
    assert independent.rho == pytest.approx(0)
    assert independent.share_variance == pytest.approx(0.125)
    opposite = error_correlation([[1, 0], [0, 1]])
    assert opposite.rho == pytest.approx(-1)
    assert opposite.share_variance == pytest.approx(0)


def test_the_variance_of_vote_shares_is_an_identity() -> None:
    right = np.random.default_rng(5).random((40, 4)) < [0.3, 0.5, 0.6, 0.9]
    found = error_correlation(right)
    assert found.share_variance == pytest.approx(right.mean(axis=1).var(), abs=1e-15)
    assert found.accuracy == pytest.approx(right.mean())


@pytest.mark.parametrize("wrong", [[], [1, 0], [[1], [0]], [[1, 1]], [[0, 0]], [[0.5, 1]]])
def test_error_correlation_refuses(wrong: Sequence[Any]) -> None:
    with pytest.raises(PonderError):
        error_correlation(wrong)


# Orders of options.


def letter_of(option: str, prompt: str) -> str:
    """The letter under which a prompt lists an option."""
    (line,) = [line for line in prompt.splitlines() if line.endswith(f") {option}")]
    return line[-len(option) - 3]


def test_a_model_that_always_says_a_says_nothing_once_shuffled() -> None:
    binding = bound(lambda _: "Answer: A", CAPITAL)
    assert_same(answers(cot, binding), {"A": 1.0})
    assert_same(answers(shuffled, binding), dict.fromkeys("ABC", 1 / 3))
    for posterior, _ in enumerate_runs((shuffled | stratify(1, 1, 1) | vote).bind(binding)):
        assert [share.share for share in posterior.shares] == pytest.approx([1 / 3] * 3)


def test_a_minority_that_reads_the_options_wins_once_shuffled() -> None:
    def biased(prompt: str) -> Said:
        rome = letter_of("Rome", prompt)
        return {"Answer: A": 1.0} if rome == "A" else {"Answer: A": 0.6, f"Answer: {rome}": 0.4}

    binding = bound(biased, CAPITAL)
    assert_same(answers(cot, binding), {"A": 0.6, "B": 0.4})
    assert_same(answers(shuffled, binding), {"A": 0.2, "B": 0.6, "C": 0.2})


@pytest.mark.parametrize("by", range(3))
def test_a_model_that_knows_says_the_same_in_every_order(by: int) -> None:
    binding = bound(lambda prompt: f"Answer: {letter_of('Oslo', prompt)}", CAPITAL)
    assert_same(answers(shuffled, binding), {"C": 1.0})
    back = turned_by(turned_by(CAPITAL, by), 3 - by if by else 0)
    assert back.options == CAPITAL.options


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("Which?\nOptions:\nA) a cat\nB) 1/2\nC) a", "Which?\nOptions:\nA) 1/2\nB) a\nC) a cat"),
        ("Which: (A) a cat, (B) 1/2, (C) a?", "Which: (A) 1/2, (B) a, (C) a cat?"),
        ("A. a cat B. 1/2 C. a", "A. 1/2 B. a C. a cat"),
        ("1/2 or a, or a cat?", "1/2 or a, or a cat?\nA) 1/2\nB) a\nC) a cat"),
        ("Which?", "Which?\nA) 1/2\nB) a\nC) a cat"),
    ],
)
def test_listed_options_are_exchanged_where_they_stand(text: str, after: str) -> None:
    question = Question(text, "choice", options=("a cat", "1/2", "a"))
    assert question_text(turned_by(question, 1)) == after


def test_shuffled_refuses() -> None:
    other = Question("Which?\nA) x\nB) y", "choice", id="q7", options=("x", "z"))
    with pytest.raises(PonderError, match=r"'q7' lists other options"):
        measure(shuffled | draw(1), bound(lambda _: "A", other))
    with pytest.raises(PonderError, match=r"shuffled needs .*meta\.options.*'q1'"):
        measure(shuffled | draw(1), bound(lambda _: "A"))


# Items.

TABLE = {"Peru": (0.5, 0.3, 0.2), "Chad": (0.1, 0.3, 0.6), "Which?": (0.2, 0.5, 0.3)}
NULL = (0.2, 0.2, 0.6)


def associations(prompt: str) -> Said:
    row = next((row for item, row in TABLE.items() if item in prompt), NULL)
    return dict(zip("ABC", row, strict=True))


def about(**meta: Any) -> Binding:
    colours = ("red", "green", "blue")
    return bound(associations, Question("Which?", "choice", id="q3", options=colours, meta=meta))


def normalised(scores: Sequence[float]) -> dict[str, float]:
    return dict(zip("ABC", np.array(scores) / math.fsum(scores), strict=True))


def test_thinksum_is_arithmetic_on_the_table() -> None:
    binding = about(items=["Peru", "Chad"])
    product = normalised([0.05, 0.09, 0.12])
    mixture = normalised([0.6, 0.6, 0.8])
    ratio = normalised([0.05 / 0.04, 0.09 / 0.04, 0.12 / 0.36])
    assert_same(answers(thinksum, binding), product)
    assert_same(answers(thinksum(mode="mixture"), binding), mixture)
    assert_same(answers(thinksum(mode="ratio"), binding), ratio)
    assert (thinksum | draw(8) | vote).law.kind == "consistent"


def test_the_ratio_takes_the_question_for_the_item_and_removes_the_prior() -> None:
    assert_same(answers(thinksum(mode="ratio"), about()), normalised([1.0, 2.5, 0.5]))


def test_items_are_put_without_the_question_and_with_the_options() -> None:
    binding = about(items=["Peru", "Chad"])
    evaluate(thinksum(mode="ratio").bind(binding))
    peru, chad, null = binding.model.asked
    assert peru.startswith("user: Peru\nA) red\nB) green\nC) blue\n\n")
    assert chad == peru.replace("Peru", "Chad")
    assert null == peru.replace("Peru", "")


def test_combined_scores_at_the_edge() -> None:
    no = -math.inf
    assert combined("mixture", [[no, 0.0], [no, no]]) == [no, pytest.approx(math.log(0.5))]
    assert combined("product", [[0.0, -1.0], [no, -1.0]]) == [no, -2.0]
    assert combined("ratio", [[no, -1.0, -1.0]], [-1.0, -2.0, no]) == [no, 1.0, no]


def test_thinksum_abstains_where_no_option_is_possible_and_refuses_what_is_missing() -> None:
    question = Question("?", "choice", id="q4", options=("x", "y"), meta={"items": ["Peru"]})
    assert_same(answers(thinksum, bound(lambda _: "neither", question)), {None: 1.0})
    with pytest.raises(PonderError, match=r"meta\.items .*'q3'"):
        answers(thinksum, about())
    with pytest.raises(PonderError, match=r"meta\.items as a list"):
        answers(thinksum, about(items="Peru"))
    with pytest.raises(PonderError, match=r"modes product, mixture, ratio"):
        thinksum(mode="sum")


# Examples.

EXAMPLES = [
    {"question": "Ann has 3 pears and buys 4 pears", "reply": "Answer: 7", "answer": "7"},
    {"question": "A train is late", "solution": "Ten more.", "answer": "10"},
    {"question": "Bob has 3 pears and eats 1", "reply": "So 3. Answer: 3", "answer": "2"},
    {"question": "Tom has 9 pears", "reply": "I count. Answer: 9", "answer": "9"},
    {"question": "Tim has 3 pears and buys 5", "solution": "It is 8.", "answer": "8"},
]
PEARS = Question("Tim has 3 pears and buys 5", "number", id="q5", meta={"examples": EXAMPLES})


def test_cosine_of_word_counts() -> None:
    assert cosine("a b", "A, b!") == pytest.approx(1)
    assert cosine("a a b", "a c") == pytest.approx(2 / math.sqrt(10))
    assert cosine("a", "b") == cosine("", "a") == 0


def test_neighbours_are_similar_right_and_not_the_question_itself() -> None:
    assert [e["answer"] for e in nearest(PEARS, 2)] == ["9", "7"]
    assert [e["answer"] for e in nearest(PEARS, 9)] == ["10", "9", "7"]


def test_neighbours_stand_before_the_question_as_chat() -> None:
    model = Scripted(lambda prompt: "Answer: 7" if "Answer: 7\nuser: Tim" in prompt else "?")
    assert_same(answers(neighbours(k=1), Binding(PEARS, model)), {7: 1.0})
    assert_same(answers(cot, Binding(PEARS, model)), {None: 1.0})
    evaluate(neighbours(k=3).bind(Binding(PEARS, model)))
    assert "assistant: Ten more.\nAnswer: 10\nuser: Tom" in model.asked[0]


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({}, r"meta\.examples .*'q6'"),
        ({"examples": {"question": "x"}}, r"meta\.examples as a list"),
        ({"examples": ["x"]}, r"'question' in meta\.examples .*'q6'"),
        ({"examples": [{"question": "x", "reply": "y"}]}, r"'answer' in meta\.examples"),
        ({"examples": [{"question": "x", "answer": "y"}]}, r"'reply' or 'solution'"),
    ],
)
def test_neighbours_names_what_is_missing(meta: dict[str, Any], said: str) -> None:
    with pytest.raises(PonderError, match=said):
        measure(neighbours | draw(1), bound(lambda _: "", Question("?", "number", "q6", meta=meta)))


def test_neighbours_without_a_usable_example_is_cot() -> None:
    wrong = Question("How many?", "number", meta={"examples": EXAMPLES[2:3]})
    model = Scripted(lambda _: "Answer: 1")
    for source in (neighbours, cot):
        evaluate(source.bind(Binding(wrong, model)))
    assert model.asked[0] == model.asked[1]


# Premises.


def story(kinds: Sequence[str], length: int, claim: str) -> tuple[list[str], list[str]]:
    """(premises, proof): is-a links from kind to kind in mixed wording, with side branches."""
    proof = [f"Tess is a {kinds[0]}."]
    wording = ("Each {} is a {}.", "{}es are {}es.", "If something is a {} then it is a {}.")
    for i in range(length):
        proof.append(wording[i % 3].format(kinds[i], kinds[i + 1]).capitalize())
    proof.append(f"{kinds[length].capitalize()}es are not {claim}.")
    sides = [f"Every {kind} is shiny{i}." for i, kind in enumerate(kinds)]
    stray = [f"Gorpuses are {claim}.", "Each blimpus is a gorpus.", f"Blimpuses are {kinds[1]}es."]
    return [*stray, *sides[::-1], *proof[::-1]], proof


@pytest.mark.parametrize("length", [1, 3, 6])
def test_exactly_the_premises_of_the_proof_are_kept_in_its_order(length: int) -> None:
    kinds = ("wumpus", "zumpus", "dumpus", "rompus", "tumpus", "vumpus", "impus")
    premises, proof = story(kinds, length, "sour")
    kept = [premises[i] for i in relevant(premises, "Tess is sour.", 10)]
    assert kept == proof
    nearer = [premises[i] for i in relevant(premises, "Tess is sour.", 2)]
    assert nearer[-1] == proof[-1], "the last link stands last"
    assert set(nearer) < set(premises)


@pytest.mark.parametrize(
    ("statement", "needs", "gives"),
    [
        ("All cats are animals.", {"cat"}, {"animal"}),
        ("If someone is kind and big, then they chase the dog.", {"kind", "big"}, {"chase", "dog"}),
        ("Bob is cold if Bob sees parties.", {"bob", "see", "party"}, {"bob", "cold"}),
        ("People who are kind are not rough.", {"kind"}, {"rough"}),
        ("The bear likes Tess", {"bear", "like", "tess"}, {"bear", "like", "tess"}),
    ],
)
def test_sides_of_statements(statement: str, needs: set[str], gives: set[str]) -> None:
    assert sides(statement) == Sides(frozenset(needs), frozenset(gives))


def test_all_premises_stay_where_none_is_linked() -> None:
    assert relevant(["Cats are big.", "Dogs are small."], "Tess is sour.", 5) == [0, 1]
    assert relevant([], "Tess is sour.", 5) == []


def test_perceived_puts_only_those_to_the_model() -> None:
    premises, proof = story(("wumpus", "zumpus"), 1, "sour")
    meta = {"premises": premises, "conclusion": "Tess is sour."}
    distracted = bound(
        lambda prompt: f"Answer: {'True' if 'Gorpus' in prompt else 'False'}",
        Question("\n".join(premises), "logic", meta=meta),
    )
    assert_same(answers(perceived, distracted), {"False": 1.0})
    assert_same(answers(cot, distracted), {"True": 1.0})
    evaluate(perceived.bind(distracted))
    numbered = "\n".join(f"{i}. {p}" for i, p in enumerate(proof, 1))
    assert f"Premises:\n{numbered}\nConclusion: Tess is sour." in distracted.model.asked[0]


@pytest.mark.parametrize("field", ["premises", "conclusion"])
def test_perceived_names_what_is_missing(field: str) -> None:
    meta = {"premises": ["Cats are big."], "conclusion": "Tess is big."}
    del meta[field]
    question = Question("Line\none", "logic", meta=meta)
    with pytest.raises(PonderError, match=rf"perceived needs meta\.{field} .*'Line\\none'"):
        measure(perceived | draw(1), bound(lambda _: "", question))
