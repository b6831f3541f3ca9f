"""Formulas: one spelling where it is cheap, and an equality that is a relation of equivalence."""

import time
from fractions import Fraction
from itertools import permutations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ponder.errors import PonderError
from ponder.question import Question, make_question
from ponder.verify import answers, mathematics
from ponder.verify.answers import canonical, display, infer_kind, is_correct, parse_answer
from ponder.verify.mathematics import MathEquivalence, equivalence_classes, math_form

SPELLINGS = {
    "1/2": [
        "0.5",
        ".5",
        "1/2",
        "2/4",
        "\\frac{1}{2}",
        "\\dfrac12",
        "$\\frac 12$",
        "x = 0.50",
        "50/100",
    ],
    "10080": ["10,080", "10,\\!080", "10{,}080", "10\\,080", "\\$10,080", "10080\\text{ cm}^2"],
    "120": ["120^\\circ", "120^{\\circ}", "120°", "120 degrees", "120\\%", "120 square inches"],
    "-35/9": ["-\\frac{35}{9}", "−35/9", "\\frac{-35}{9}", "y=-\\tfrac{35}{9}."],
    "5/2": ["2\\frac{1}{2}", "2 1/2", "2.5", "\\(2.50\\)", "(2.5)", "\\text{2.5}"],
    "70\\sqrt{2}": ["70 \\sqrt{2}", "70\\sqrt2", "70√2", "$70\\sqrt 2$.", "70sqrt(2)"],
    "(3,\\frac{\\pi}{2})": ["\\left( 3, \\frac{\\pi}{2} \\right)", "(3,\\,\\tfrac{\\pi}{2})"],
    "[0,\\infty)": ["x \\in [0,\\infty)", "\\left[0, \\infty\\right)", "[0, ∞)", "[0,infinity)"],
    "x^{2}+1": ["x^2+1", "x^{2} + 1", "x**2 + 1", "x²+1"],
    "2,5": ["2, 5", "2 and 5", "2 \\text{ or } 5", "2,\\;5"],
    "x\\le3": ["x \\leq 3", "x≤3"],
    "\\sin x": ["sin x", "\\sin x", "\\sin{}x".replace("{}", " ")],
    "\\text{evelyn}": ["\\text{Evelyn}", "Evelyn", "evelyn.", "\\mbox{ Evelyn }"],
    "E": ["\\text{(E)}", "(E)", "E", "\\textbf{(E)}"],
    "120_{7}": ["120_7", "120_{7}"],
}
APART = ["1/2", "-1/2", "\\frac{\\pi}{2}", "12", "1,2", "(1,2)", "[1,2]", "2,1", "x=y", "x", "X"]
APART += ["5m", "5", "2\\pi", "2516_8", "2516", "\\text{even}", "\\text{odd}", "5x-7=0", "1,234,5"]


@pytest.mark.parametrize(("form", "texts"), SPELLINGS.items())
def test_spellings_of_one_formula(form, texts):
    assert {text: math_form(text) for text in texts} == dict.fromkeys(texts, form)
    assert math_form(form) == form


def test_different_formulas_keep_different_forms():
    forms = [math_form(text) for text in APART]
    assert len(set(forms)) == len(APART)


@pytest.mark.parametrize(
    ("reply", "form"),
    [
        ("So we get\n\\boxed{\\frac{1}{\\sqrt{3}}}", "\\frac{1}{\\sqrt{3}}"),
        ("Answer: $x = 5$ because $y = 3$.", "5"),
        ("The answer is $\\frac{3}{4}$ of the cake.", "3/4"),
        ("The final answer is: $f(2)$ is $7$", "7"),
        ("Answer: the roots are $2$, $-3$ and $5$.", "2,-3,5"),
        ("#### 18+2\\pi", "18+2\\pi"),
        ("Answer:\n\\[\n\\boxed{\\begin{pmatrix} 1 \\\\\n 2 \\end{pmatrix}}\n\\]", None),
        ("Answer: \\$36", "36"),
        ("Answer: no solution", "\\text{no solution}"),
        ("Answer: we have $y$, and then again $z$", None),
        ("Answer: [answer]", None),
        ("First $\\frac12$, then I stop", None),
        ("\\frac{2}{4}", "1/2"),
        ("Answer: " + "9" * 3000, None),
    ],
)
def test_the_announced_formula(reply, form):
    if "pmatrix" in reply:
        form = "\\begin{pmatrix}1\\\\2\\end{pmatrix}"
    assert parse_answer(reply, "math") == form


def test_the_kind_is_asked_for_and_never_inferred():
    assert infer_kind("Simplify \\sqrt{50}. Express your answer in radical form.") != "math"
    question = make_question("Simplify.", kind="math")
    assert question.kind == "math"
    assert canonical("\\frac{14}{3}", "math") == "14/3"
    assert display("14/3", "math") == "14/3"
    assert display("653/2", "math") == "326.5"
    assert display("\\text{even}", "math") == "even"
    assert display("3\\sqrt{13}", "math") == "3\\sqrt{13}"
    assert display(None, "math") == "(none)"


def test_numbers_are_compared_without_anybodys_opinion(monkeypatch):
    monkeypatch.setattr(answers, "_formulas", lambda: pytest.fail("asked"))
    assert is_correct("1/2", "\\frac{2}{4}", "math")
    assert is_correct("333333/1000000", "0.33", "math")
    assert not is_correct("1/3", "0.34", "math")
    assert not is_correct("50", "0.5", "math")
    assert not is_correct(None, "1", "math")
    assert not is_correct(Fraction(1, 2), "1/2", "math")


def test_without_the_library_forms_decide(monkeypatch):
    answers._same_formula.cache_clear()
    for module in (answers, mathematics):
        monkeypatch.setattr(module, "math_verify_installed", lambda: False)
    assert is_correct("70\\sqrt{2}", "70 \\sqrt 2", "math")
    assert not is_correct("x+1", "1+x", "math")
    with pytest.raises(PonderError, match=r"ponder\[math\]"):
        MathEquivalence()
    answers._same_formula.cache_clear()


PIECES = r"\frac { } 1 2 x i \sqrt ( ) , \text{ and $ ^ _ \left( \right) \\ \ = . - / cm sin \pi %"
pieces = st.sampled_from([*PIECES.split(), " ", "\0", "\u00e9"])


@given(st.lists(pieces, max_size=14).map("".join))
@example("\\text{\\text{a}}")
def test_reading_never_fails(text):
    form = math_form(text)
    assert form is None or (form and isinstance(form, str))
    parse_answer(f"Answer: {text}", "math")
    display(parse_answer(text, "math"), "math")


@pytest.mark.parametrize(
    "piece", ["{", "a", "a ", "a.", "$", "\\text{", "\\(", "1,", "\\", "1 a ", "\\left("]
)
def test_reading_is_quick(piece):
    began = time.perf_counter()
    text = (piece * 2000)[:2000]
    math_form(text)
    parse_answer(f"\\boxed{{{text}}}", "math")
    parse_answer(f"Answer: {text[:1900]}!", "math")
    assert time.perf_counter() - began < 2


graphs = st.integers(1, 7).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, n - 1), min_size=1, max_size=9),
        st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1))),
        st.randoms(use_true_random=False),
    )
)


def partition(forms, classes):
    found = {}
    for form, number in zip(forms, classes, strict=True):
        found.setdefault(number, set()).add(form)
    return {frozenset(members) for members in found.values()}


@given(graphs)
def test_the_partition_does_not_hang_on_the_order(graph):
    numbers, edges, random = graph
    forms = [f"f{number}" for number in numbers]
    linked = {frozenset((f"f{a}", f"f{b}")) for a, b in edges}
    asked = []

    def equal(a, b):
        assert a < b
        asked.append((a, b))
        return frozenset((a, b)) in linked

    classes = equivalence_classes(forms, equal)
    assert len(asked) == len(set(asked))
    assert [classes.index(number) for number in sorted(set(classes))] == sorted(
        classes.index(number) for number in set(classes)
    )
    shuffled = random.sample(forms, len(forms))
    assert partition(shuffled, equivalence_classes(shuffled, equal)) == partition(forms, classes)
    # Reachability by brute force.
    for a, b in permutations(set(forms), 2):
        reached = {a}
        while True:
            more = {y for x in reached for y in set(forms) if frozenset((x, y)) in linked}
            if more <= reached:
                break
            reached |= more
        assert (b in reached) == (classes[forms.index(a)] == classes[forms.index(b)])


def test_classes_are_the_transitive_closure_and_cheap_cases_ask_nobody():
    pairs = {("a", "b"), ("b", "c")}
    assert equivalence_classes(["c", "d", "a", "b"], lambda *pair: pair in pairs) == [0, 1, 0, 0]
    assert equivalence_classes(["a", "a"], lambda a, b: pytest.fail("asked")) == [0, 0]
    assert equivalence_classes([], lambda a, b: pytest.fail("asked")) == []


@pytest.fixture(scope="module")
def service():
    pytest.importorskip("math_verify")
    service = MathEquivalence(20.0)
    yield service
    service.close()


@pytest.fixture(scope="module")
def quick():
    pytest.importorskip("math_verify")
    service = MathEquivalence(1.0)
    yield service
    service.close()


EQUAL = [
    ("\\frac{1}{\\sqrt{3}}", "\\frac{\\sqrt{3}}{3}"),
    ("(a+5)(b+2)", "ab+2a+5b+10"),
    ("18+2\\pi", "2(\\pi+9)"),
    ("6-5i", "-5i+6"),
    ("(1+i)^2", "2i"),
    ("1 \\pm \\sqrt{19}", "1+\\sqrt{19}, 1-\\sqrt{19}"),
    ("1,-2", "\\{-2, 1\\}"),
    ("x = 1 or x = 2", "1, 2"),
    ("\\begin{pmatrix} 1/5 \\\\ 2 \\end{pmatrix}", "\\begin{bmatrix} 0.2 \\\\ 2 \\end{bmatrix}"),
    ("5x - 7y + 4 = 0", "10x - 14y + 8 = 0"),
    ("(0,9) \\cup (9,36)", "(9,36) \\cup (0,9)"),
    ("y = 2x + 3", "2x + 3"),
    ("\\cot x", "\\frac{\\cos x}{\\sin x}"),
    ("2^{10}", "1024"),
]
ONE_ORDER_ONLY = [("1 < x < 2", "(1,2)"), ("3 < x \\le 4", "(3,4]"), ("x > 2", "(2,\\infty)")]
UNEQUAL = [
    ("5x - 7y + 4 = 0", "0"),  # the library: equal, if the equation is not the gold one
    ("(1,2)", "(2,1)"),
    ("(1,2)", "2,1"),  # the library: equal in one order; and 2,1 is 1,2
    ("(1,2)", "1,2"),
    ("[1,2]", "(1,2)"),
    ("x=1, y=2", "1,2"),  # or it would be x=2, y=1
    ("2c", "2d"),  # the library: units, dropped
    ("3R^2", "3r^2"),  # the library: in lower case
    ("2516_8", "2516"),  # the library: the base is dropped
    ("f'(x)", "f(x)"),  # the library: the prime is dropped
    ("\\text{east}", "\\text{seat}"),  # the library: products of the same letters
    ("\\text{in 3 ways}", "3"),
    ("?? 3", "3"),
    ("\\infty", "-\\infty"),
    ("x+1", "y+1"),
    ("\\sqrt{2}", "1.41"),
]


@pytest.mark.parametrize(("a", "b"), EQUAL + ONE_ORDER_ONLY)
def test_equal_formulas(service, a, b):
    assert service.answer({"a": a, "b": b}) == {"status": "ok", "equal": True}
    assert service.answer({"a": b, "b": a}) == {"status": "ok", "equal": True}


@pytest.mark.parametrize(("a", "b"), UNEQUAL)
def test_unequal_formulas(service, a, b):
    assert not service.equal(a, b)
    assert not service.equal(b, a)
    assert service.equal(a, a)
    assert service.equal(b, b)


@pytest.mark.parametrize(("a", "b"), ONE_ORDER_ONLY)
def test_the_library_alone_says_no_in_one_order(service, a, b):
    from math_verify import verify

    parsed = [mathematics._parsed(math_form(text)) for text in (a, b)]
    said = {verify(x, y, timeout_seconds=None) for x, y in permutations(parsed, 2)}
    assert said == {True, False}


def test_classes_of_formulas(service):
    forms = ["x=\\sqrt{2}", "\\sqrt{2}", "3", "y=\\sqrt{2}", "\\frac{2}{\\sqrt{2}}"]
    assert service.equal(forms[0], forms[1])
    assert service.equal(forms[1], forms[3])
    assert not service.equal(forms[0], forms[3])
    assert equivalence_classes(forms, service.equal) == [0, 0, 1, 0, 0]


def test_a_question_of_kind_math(service):
    question = Question("?", "math", answer="\\frac{\\sqrt{3}}{3}")
    assert question.correct(parse_answer("Answer: $1/\\sqrt{3}$.", "math"))
    assert question.correct(parse_answer("\\boxed{\\dfrac{\\sqrt3}{3}}", "math"))
    assert not question.correct(parse_answer("Answer: $\\sqrt{3}$.", "math"))
    assert question.correct(None) is False


HOSTILE = [
    *("9^{9^{9^{9}}}", "(" * 900 + "1" + ")" * 900, "\\int_0^1 e^{x^2}\\sin(x^{x})dx"),
    *(
        "{" * 1900,
        "\\frac{" * 300,
        "\\" * 1800,
        "\\int",
        "\0",
        "\ud800",
        "a" * 100_000,
        "",
        None,
        [],
    ),
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_formulas_end_within_the_limit(quick, hostile):
    began = time.monotonic()
    answer = quick.answer({"a": hostile, "b": "x+1"})
    assert time.monotonic() - began < 30  # the start of a process included
    assert answer["equal"] is False
    assert quick.answer({"a": "2(x+1)", "b": "2x+2"}) == {"status": "ok", "equal": True}


def test_the_limit_is_the_workers(quick):
    assert quick.answer({"a": "9^{9^{9^{9}}}", "b": "x+1"})["status"] == "timeout"
    assert quick.answer({})["equal"] is False
