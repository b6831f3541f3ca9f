"""Each kind of answer has one spelling, and each question one kind."""

import pytest

from ponder.verify.answers import canonical, infer_kind, parse_answer

OPTIONS = ["parents", "old people", "play ball", "many adults", "grown ups"]
LABELS = ["Correct", "Incorrect", "Unknown"]


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Answer: B", "B"),
        ("The answer is (b).", "B"),
        ("Answer: **C**", "C"),
        ("Answer: D) many adults", "D"),
        ("\\boxed{\\text{(D)}}", "D"),
        ("Answer: Option E, because adults grow.", "E"),
        ("the correct option is A) parents", "A"),
        ("Answer: the parents.", "A"),
        ("Answer: A parents", "A"),
        ("Answer: A because of imitation", "A"),
        ("grown ups", "E"),
        ("Answer: A person would imitate others", None),
        ("A child imitates.", None),
        ("Answer: I think so", None),
        ("C programs are fast", None),
        ("Answer: B and C", None),
        ("Answer: (A) or (B)", None),
        ("Answer: A/B/C/D/E", None),
        ("Answer: not B", None),
        ("Answer: F", None),
    ],
)
def test_choices(text: str, letter: str | None) -> None:
    assert parse_answer(text, "choice", options=OPTIONS) == letter


def test_choice_by_value_and_beyond_the_alphabet_of_options() -> None:
    assert parse_answer("Answer: $120.00", "choice", options=["100", "Rs. 120", "140"]) == "B"
    assert parse_answer("Answer: 120", "choice", options=["120 m", "120 km", "140 m"]) is None
    assert parse_answer("Answer: R", "choice") == "R"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Answer: incorrect.", "Incorrect"),
        ("Answer: The guess is **Correct**", "Correct"),
        ("Unknown", "Unknown"),
        ("Answer: not correct", None),
        ("Answer: Correct, Incorrect, or Unknown", None),
        ("Answer: C", None),
    ],
)
def test_labels(text: str, label: str | None) -> None:
    assert parse_answer(text, "choice", labels=LABELS) == label


def test_the_longest_label_is_meant() -> None:
    assert parse_answer("Answer: Not sure", "choice", labels=["Not", "Not sure"]) == "Not sure"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Answer: yes", True),
        ("No.", False),
        ("No, a cow cannot.", False),
        ("Answer: the argument is not valid", False),
        ("Answer: **Implausible**", False),
        ("\\boxed{\\text{True}}", True),
        ("Answer: No one knows", None),
        ("Answer: it doesn't seem plausible", False),
        ("Answer: Yes, plausible.", True),
        ("Answer: yes or no", None),
        ("Answer: it is valid but false", None),
        ("There is no doubt about it.", None),
    ],
)
def test_verdicts(text: str, verdict: bool | None) -> None:
    assert parse_answer(text, "bool") is verdict


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Answer: Unknown", "Uncertain"),
        ("Answer: The conclusion is False.", "False"),
        ("Answer: it cannot be determined", "Uncertain"),
        ("true", "True"),
        ("Answer: not true", None),  # false or uncertain
        ("Answer: True, False, or Uncertain", None),
    ],
)
def test_logic(text: str, value: str | None) -> None:
    assert parse_answer(text, "logic") == value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The Dark Tower", ' "the  dark tower". '),
        ("1,000", "1000"),
        ("\\frac{1}{2}", "1/2"),
        ("\\dfrac{2}{4}", "0.5"),
        ("\\frac43", "$\\tfrac{4}{3}$"),
        ("\\left( 3, \\frac{\\pi}{2} \\right)", "(3,\\pi/2)"),
        ("3\\sqrt{13}", "3 \\sqrt {13}"),
        ("\\text{east}", "East"),
        ("x^{2} + 1", "x^2+1"),
        ("120^\\circ", "120\u00b0"),
        ("\\$32,\\!348", "32,348"),
        ("\\text{(E)}", "E"),
    ],
)
def test_texts_that_are_one_answer(one: str, other: str) -> None:
    assert canonical(one, "text") == canonical(other, "text") is not None


def test_texts_that_are_two_answers() -> None:
    forms = [canonical(t, "text") for t in ("3", "-3", "3/2", "(3, 2)", "(3, 2]", "no", "not", "a")]
    assert len(set(forms)) == len(forms)
    assert canonical("\\left(", "text") == "("
    assert canonical("...", "text") is None


def test_text_ends_with_its_sentence_but_initials_do_not_end_one() -> None:
    assert parse_answer("Answer: J. R. R. Tolkien. He taught.", "text") == "j. r. r. tolkien"
    assert parse_answer("Answer: .5", "text") == "1/2"


@pytest.mark.parametrize(
    ("text", "dump"),
    [
        ('x\n```json\n{"b": 1.0, "a": [1, 2.5]}\n```\nThat is it.', '{"a":[1,2.5],"b":1}'),
        ("Answer: [[0, 1]]", "[[0,1]]"),
        ("First [1, 2], then [3, [4]] (see above).", "[3,[4]]"),
        ("First ['a', None] it is", '["a",null]'),
        ('{"a": "]"} ends', '{"a":"]"}'),
        ('a 5" nail: [1, 2]', "[1,2]"),
        ("The set \\[ [1,2] \\]", "[1,2]"),
        ("Steps: [1]\nAnswer: hw", '"hw"'),
        ('Answer: "hw"', '"hw"'),
        ("Answer: 75", "75"),
        ("Steps: [1]\n**Answer:**\n```json\n[2]\n```", "[2]"),
        ("nothing here", None),
        ("[1, NaN]", None),
        ("[1e999]", None),
        ("Steps: [1]\nAnswer:", None),
        ("Steps: [1]\nAnswer: I do not know", None),
        ('{"a": "The answer is 5", "b": [1]}', '{"a":"The answer is 5","b":[1]}'),
        ("Answer: the list [1, 2]", "[1,2]"),
        ("so \\boxed{75}.", "75"),
        ('Answer: "7"', '"7"'),
    ],
)
def test_json(text: str, dump: str | None) -> None:
    assert parse_answer(text, "json") == dump


def test_json_too_deep_to_parse_is_unreadable() -> None:
    for text in ("[" * 100_000, "[" * 50_000 + "]" * 50_000, '{"a":' * 20_000):
        assert parse_answer(text, "json") is None
    assert parse_answer("[" * 100 + "]" * 100, "json") == "[" * 100 + "]" * 100
    assert parse_answer("[" * 101 + "]" * 101, "json") is None


def test_code_is_compared_by_what_it_parses_to() -> None:
    plain = "def f(x):\n    return x + 1"
    fenced = f"```python\nnope(\n```\nOr:\n```python\n{plain}  # next\n```\n```output\n2\n```"
    documented = 'def f(x):\n\n  """Next."""\n  return (x+1)\n'
    forms = {parse_answer(text, "code") for text in (plain, fenced, documented)}
    assert len(forms) == 1
    assert None not in forms
    assert parse_answer(plain.replace("1", "2"), "code") not in forms
    assert canonical("    return x + 1\n", "code") is not None  # a function body


@pytest.mark.parametrize(
    "source",
    ["Yes", "I would use a loop.", "x = \x00", "```python\ndef f(:\n```", "```\n```"]
    + [part * 10_000 for part in ("(", "-", "not ", "a.", "lambda:", "1+", "x if ")],
)
def test_code_that_does_not_parse(source: str) -> None:
    assert parse_answer(source, "code") is None


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Tom has 3 apples and eats one. How many are left?", "number"),
        ("What is 3*4?", "number"),
        ("((0 * 3 - -9) - 8) =", "number"),
        ("Calculate the sum of 3 and 4.", "number"),
        ("A car costs $400. What's the price of 2 cars?", "number"),
        ("How many points are 5 true/false questions at 2 points?", "number"),
        ("Who wrote it?\nOptions:\nA) Ann\nB) Bob", "choice"),
        ("How many?\n(A) 1\n(B) 2", "choice"),
        ("Could a cow produce milk?", "bool"),
        ("In 1912, did the Titanic sink?", "bool"),
        ("True or False: the earth is round.", "bool"),
        ("Did Dr. J. Smith win?", "bool"),
        ("Give the row as JSON.", "json"),
        ("Return a JSON object with the key a.", "json"),
        ("Write a function that reads JSON.", "code"),
        ("def f(x):\n    '''How many?'''", "code"),
        ("Premises: ...\nIs the conclusion True, False, or Uncertain given the premises?", "logic"),
        ("Who developed Tomb Raider?", "text"),
        ("What does JSON stand for?", "text"),
        ("Is the sum of 3 and 4 even or odd?", "text"),
        ("If a shoe is 8 feet long, how long, in inches, is a sock of half its size?", "number"),
        ("What is the distance from (2, 6) to (4, 3), in simplest radical form?", "text"),
        ("", "text"),
    ],
)
def test_kind_of_question(question: str, kind: str) -> None:
    assert infer_kind(question) == kind
