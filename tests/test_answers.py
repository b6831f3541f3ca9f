"""Replies are read the way a careful person reads them, or not at all."""

import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ponder.errors import PonderError
from ponder.verify.answers import (
    KINDS,
    canonical,
    display,
    infer_kind,
    is_correct,
    parse_answer,
)

OPTIONS = ["parents", "old people", "play ball", "many adults", "grown ups"]
LABELS = ["Correct", "Incorrect", "Unknown"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Answer: 72", 72),
        ("so \\boxed{72}", 72),
        ("48 + 24 = 72\n#### 72", 72),
        ("The answer is **72**.", 72),
        ("**Answer:** 72 clips", 72),
        ("**Answer: \\(\\boxed{72}\\)**", 72),
        ("## Final Answer\n\n72", 72),
        ("Answer:\n\\[\n72\n\\]", 72),
        ("The correct answer to the question is $72.", 72),
        ("Answer: $1,234.50", Fraction("1234.5")),
        ("Answer: 3/4", Fraction(3, 4)),
        ("Answer: \\(\\dfrac{3}{4}\\) cups", Fraction(3, 4)),
        ("\\boxed{\\frac{1}{2}}", Fraction(1, 2)),
        ("\\boxed{\\text{Total} = \\frac{-35}{9}}", Fraction(-35, 9)),
        ("Answer: 2\\frac{1}{2}", Fraction(5, 2)),
        ("Answer: 2 1/2 cups", Fraction(5, 2)),
        ("Answer: 50%", 50),
        ("Answer: -7", -7),
        ("Answer: -$7", -7),
        ("Answer: \u22127 degrees", -7),
        ("Answer: 1.5e3", 1500),
        ("Answer: $1.5 \\times 10^{3}$", 1500),
        ("Answer: 2 million", 2_000_000),
        ("Answer: twelve", 12),
        ("Answer: 2 + 3 = 5", 5),
        ("Answer: 72 (since 48 + 24 = 72)", 72),
        ("Answer: x \u2248 1.47 pages", Fraction("1.47")),
        ("Answer: 11,\\! 111,\\! 100", 11_111_100),
        ("Answer: 90^\\circ", 90),
        ("Answer: 15\\mbox{ cm}^2", 15),
        ("Answer: 72. The 3 others do not count.", 72),
        ("Answer: 72 clips in 2 months", 72),
    ],
)
def test_announced_numbers_are_read_exactly(text: str, value: Fraction) -> None:
    assert parse_answer(text, "number") == Fraction(value)


@pytest.mark.parametrize(
    "text",
    [
        "She sold 48 clips in April and 24 in May, so she sold 72 clips altogether in both.",
        "In April: 48\nIn total: 72",
        "",
        "Answer:",
        "Answer: [number]",
        "Answer: ___",
        "Answer: not 5",
        "Answer: 5 or 6",
        "Answer: 5-6",
        "Answer: 80 miles and 80 miles",
        "Answer: 5:30 PM",
        "Answer: 1,2",
        "Answer: 1.234,50",
        "Answer: x = 5, y = 3",
        "Answer: 5x",
        "Answer: 2^{10}",
        "Answer: 2**3",
        "Answer: 2\\sqrt{3}",
        "Answer: 2 and a half",
        "Answer: 1/0",
        "Answer: COVID-19",
        "Answer:\n1. Add the numbers.",
        "Answer:\nStep 1: add the numbers.",
        "Answer: First we halve 48.\nThen we go on.",
        "#### Step 3\nAdd them up.",
        "Answer: 5\nWait. The answer is unclear.",
        "\\boxed{72",
    ],
)
def test_no_number_is_guessed(text: str) -> None:
    assert parse_answer(text, "number") is None


def test_the_last_announcement_wins() -> None:
    assert parse_answer("Answer: 1\n\\boxed{2}\n#### 3", "number") == 3
    assert parse_answer("#### 3\n\\boxed{2}\nso the answer is 1", "number") == 1
    assert parse_answer("\\boxed{3} or rather \\boxed{2}.", "number") == 2
    assert parse_answer("\\boxed{Answer: 4}", "number") == 4


@pytest.mark.parametrize("form", ["[your answer]", "<answer>", "**...**", "____", "{text}"])
def test_a_form_left_blank_is_no_answer(form: str) -> None:
    assert parse_answer(f"Answer: {form}", "text") is None
    assert parse_answer(form, "text") is None


def test_bare_short_replies_are_answers() -> None:
    assert parse_answer("72", "number") == 72
    assert parse_answer(" 72 clips.\n", "number") == 72
    assert parse_answer("He has 72", "number") is None
    assert parse_answer("Crystal Dynamics", "text") == "crystal dynamics"
    assert parse_answer("It is long. " * 20, "text") is None


# Replies of Qwen2.5-Coder-1.5B-Instruct to grade-school problems, cut to their last lines.
REAL_REPLIES = [
    ("Profit = $50,000 - $80,000 = -$30,000\n\nAnswer: Josh made a loss of $30,000.", 30_000),
    ("Therefore, Melanie started with 18 vacuum cleaners. Answer: 18", 18),
    ("Answer: Terry spends $75.00 on yogurt over 30 days.", 75),
    ("So, Wendi needs to give her chickens \\(\\boxed{20}\\) cups of feed in the final meal.", 20),
    (
        "# Answer: Harry slept 2 more hours\n```\n```output\n3.0\n```\nHarry slept \\boxed{2}.",
        2,
    ),
    ("annual salary after three more years of service is Answer: $808.60.", Fraction("808.6")),
    ("Answer: 80 miles westward and 150 miles northward.", None),
    ("5. The final answer is:\n   \\[\n   \\boxed{H - 8}\n   \\]", None),
    ("Therefore, Marie ordered 2 boxes of pizza. She ate 1.\nSo 1 box is left over now.", None),
]


@pytest.mark.parametrize(("text", "value"), REAL_REPLIES)
def test_real_replies(text: str, value: Fraction | None) -> None:
    assert parse_answer(text, "number") == value


def test_percent_is_not_a_hundredth() -> None:
    assert canonical("50%", "number") == 50
    assert canonical("0.5", "number") == canonical("1/2", "number") == Fraction(1, 2)


@pytest.mark.parametrize("digits", ["1e999999999", "-1E+401", "9" * 5000, "1e" + "9" * 90_000])
def test_numbers_too_large_to_hold_are_unreadable(digits: str) -> None:
    assert parse_answer(f"Answer: {digits}", "number") is None
    assert canonical(digits, "number") is None


def test_correctness_of_numbers() -> None:
    assert is_correct(Fraction(72), "72", "number")
    assert not is_correct(Fraction(47, 8), "6", "number")  # an integer gold is exact
    assert is_correct(Fraction(1, 3), "0.33", "number")
    assert is_correct(Fraction("0.335"), "0.33", "number")
    assert not is_correct(Fraction("0.336"), "0.33", "number")
    assert not is_correct(Fraction("0.3"), "0.33", "number")  # fewer decimals: exact
    assert not is_correct(None, "72", "number")
    assert not is_correct(Fraction(1), "yes", "bool")
    assert is_correct("B", "old people", "choice", options=OPTIONS)


def test_display() -> None:
    shown = {
        Fraction(72): "72",
        Fraction(3, 4): "3/4",
        Fraction(5, 2): "2.5",
        Fraction(-151, 4): "-37.75",
        Fraction(1, 20): "0.05",
        Fraction(22, 7): "22/7",
    }
    assert {value: display(value, "number") for value in shown} == shown
    assert display(True, "bool") == "yes"
    assert display(None, "text") == "(none)"
    assert display("two\nlines", "text") == "two\u2026"
    assert display("\x1b[31mred", "text") == "\ufffd[31mred"
    assert len(display("x" * 500, "text")) == 60
    assert display(canonical("def f(x):\n  return 1", "code"), "code") == "def f"


def test_unknown_kind_is_named_with_the_known_ones() -> None:
    with pytest.raises(PonderError, match=r"unknown answer kind 'integer': use one of number, .*"):
        parse_answer("72", "integer")
    with pytest.raises(PonderError):
        canonical("72", "")


MARKERS = ("Answer: ", "answer is ", "\\boxed{", "#### ", "```", "json", "how many", "def f():")
SIGNS = tuple("}{[]$-/%= \n\"',^?\\\x00\ud800\u00bd\u0661")
PARTS = ("\\frac", "\\text{", "**", "\\(", "1,234", ".5", "e9", "A", "(B)", "A) ", "I ", "Is ")
WORDS = ("yes", "no ", "not ", "True", "or ", "and ")
FRAGMENTS = st.sampled_from([*MARKERS, *SIGNS, *PARTS, *WORDS])


@settings(derandomize=True, deadline=None, max_examples=400)
@given(text=st.text() | st.lists(FRAGMENTS, max_size=20).map("".join), data=st.data())
def test_no_text_raises_and_every_form_can_be_counted_and_shown(text: str, data: object) -> None:
    assert infer_kind(text) in KINDS
    for kind in KINDS:
        for form in (
            parse_answer(text, kind, options=OPTIONS, labels=LABELS),
            parse_answer(text, kind, options=[text, text[:1]], labels=[text]),
            canonical(text, kind),
        ):
            hash(form)
            shown = display(form, kind)
            assert len(shown) <= 60
            assert shown.isprintable()
            is_correct(form, text, kind)


@settings(derandomize=True, deadline=None)
@given(
    numerator=st.integers(-(10**9), 10**9),
    places=st.integers(0, 4),
    template=st.sampled_from(
        ["Answer: {}", "\\boxed{{{}}}", "#### {}", "Answer: {} clips", "So **the answer is {}**."]
    ),
)
def test_every_decimal_survives_writing_and_reading(
    numerator: int, places: int, template: str
) -> None:
    value = Fraction(numerator, 10**places)
    written = f"{numerator / 10**places:,.{places}f}"
    assert parse_answer(f"4 + 4 = 8\n{template.format(written)}", "number") == value
    assert canonical(display(value, "number"), "number") == value


def test_adversarial_texts_take_linear_time() -> None:
    units = ["\\boxed{", "Answer:", "answer to ", '\\"', "[", "[]", "\\frac{1}{2}", "\n", " ", "1,"]
    units += ["#### ", "```json\n[", "not (", "*_ ", "$", "9", "Mr. A "]
    for unit in units:
        text = unit * (100_000 // len(unit))
        started = time.process_time()
        infer_kind(text)
        for kind in KINDS:
            parse_answer(text, kind, options=OPTIONS, labels=LABELS)
        assert time.process_time() - started < 1.0, unit  # about 0.1; a quadratic step takes 10
