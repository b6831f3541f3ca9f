"""Mathematical answers: one spelling for a formula, and whether two formulas are equal.

The canonical form of an answer is LaTeX, or a fraction in lowest terms where the answer is plainly
a number, or ``\\text{...}`` where it is words. Forms that differ may still be equal: that is asked
of the library math-verify, with guards where it says yes too easily.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from itertools import combinations
from typing import Any

from ponder.errors import PonderError
from ponder.verify.markup import LONGEST, sentences
from ponder.verify.numbers import read_number
from ponder.verify.wording import text_form
from ponder.verify.worker import Worker, failed

_GLYPHS = {
    **dict.fromkeys("\u2212\u2013\u2014", "-"),
    **dict.fromkeys("\u00a0\u202f\u2009\u200b\n\r\t", " "),
    **dict.fromkeys("\u00b0\u02da", ""),
    **dict.fromkeys("\u00d7\u00b7\u22c5", "\\cdot "),
    **dict(zip("\u03c0\u03b8\u221e", ("\\pi ", "\\theta ", "\\infty "), strict=True)),
    **dict(zip("\u2264\u2265\u2260\u00b1", ("\\le ", "\\ge ", "\\ne ", "\\pm "), strict=True)),
    **dict(zip("\u222a\u2229\u2208", ("\\cup ", "\\cap ", "\\in "), strict=True)),
    **dict(zip("\u00b2\u00b3\u00f7", ("^2", "^3", "/"), strict=True)),
}
_NAMES = r"(?:arc)?(?:sin|cos|tan)|cot|sec|csc|(?:sin|cos|tan)h|log|ln|exp|pi|theta|max|min|gcd"
_TEXT = r"\\(?:text|textrm|textbf|textit|mbox|mathrm|mathbf)\s?"
_DRESSING = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<=[0-9])(?:\\,|,\\!|\{,\}|\\!|\\ ) ?(?=[0-9]{3}(?![0-9]))", ""),  # 10,\!080
        (r"\\(?:left|right)\s?\.|\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])", ""),
        (r"\\(?:displaystyle|limits)(?![a-zA-Z])|\\!", ""),
        (r"(?<!\\)\\[()\[\]]|\\?\$", " "),
        (r"(?<!\\)\\[,;: ]|~|\\q?quad(?![a-zA-Z])", " "),
        (r"\^\s?\{?\s?\\(?:circ|degree)\s?\}?|\\degree(?![a-zA-Z])|\\?%", ""),
        (_TEXT + r"\{\s?,?\s?(?:and|or)\s?\}|(?<=[\w)}])\s?,? (?:and|or) ", ", "),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\math(?:rm|bf)\s?\{([a-zA-Z])\}", r" \1"),
    )
]
_NOTATION = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\*\*", "^"),
        (r"\*|\\times(?![a-zA-Z])", r"\\cdot "),
        (r"\\([lgn])eq(?![a-zA-Z])", r"\\\1e "),
        (r"\\lt(?![a-zA-Z])", "<"),
        (r"\\gt(?![a-zA-Z])", ">"),
        (rf"(?<![\\a-zA-Z])({_NAMES})(?![a-zA-Z])", r"\\\1 "),
        (r"(?<![\\a-zA-Z])infinity(?![a-zA-Z])", r"\\infty "),
        (r"(?:(?<![\\a-zA-Z])sqrt|\u221a)\s?\(([^()]*)\)", r"\\sqrt{\1}"),
        (r"\u221a\s?([0-9]+|[a-zA-Z])", r"\\sqrt{\1}"),
        (r"\\sqrt\s?([0-9a-zA-Z])", r"\\sqrt{\1}"),
        (r"\\frac\s?([0-9a-zA-Z])", r"\\frac{\1}"),
        (r"(\\frac\s?\{[^{}]*\})\s?([0-9a-zA-Z])", r"\1{\2}"),
        (r"([\^_])\s?(-?[0-9]+|[a-zA-Z])", r"\1{\2}"),
        (r"^[a-zA-Z]\s?\\in(?![a-zA-Z])", ""),
    )
]
_UNIT = re.compile(r"(?<=[\w})\]])\s*" + _TEXT + r"\{[^{}]*\}\s*(?:\^\s?\{?[0-9]\}?)?\s*$")
_WORD = r"[a-zA-Z]{2,}(?:\^\{?[23]\}?)?"
_UNIT_WORDS = re.compile(rf"((?:.*[^a-zA-Z])?[0-9])\s({_WORD}(?:[ /.]{{1,2}}{_WORD})*)")
_WHOLLY_TEXT = re.compile(_TEXT + r"\{([^{}]*)\}")
_LETTER = re.compile(r"\s*\(?([a-zA-Z])\)?\s*")
_COMMAND = re.compile(r"\\(?:begin|end|operatorname)\s?\{[a-z*]*\}|\\[a-zA-Z]+")
_FUNCTION = re.compile(_NAMES + r"|sqrt|infinity|infty|mod|lcm", re.IGNORECASE)
_NUMERAL = re.compile(
    r"[-+]?\s?(?=[0-9.\\])(?:[0-9][0-9,]*(?:\.[0-9]*)?|\.[0-9]+)?\s?"
    r"(?:/\s?[0-9.,]+|[0-9]+\s?/\s?[0-9]+|\\frac\s?\{\s?-?[0-9.,]+\s?\}\s?\{\s?[0-9.,]+\s?\}|"
    r"\\frac\s?[0-9]\s?[0-9])?"
)
_ASSIGNED = re.compile(r"(?:[a-zA-Z]|\\[a-z]+)(?:_\{?\w\}?)?\s?=([^=]*)")
_NUMBER_FORM = re.compile(r"-?[0-9]+(?:/[0-9]+)?")
_TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|\S")
_SEGMENT = re.compile(
    r"\$\$(.+?)\$\$|(?<![\\$])\$(?!\s)([^$]+?)(?<![\s\\])\$(?![0-9])|"
    r"(?<!\\)\\\((.+?)\\\)|(?<!\\)\\\[(.+?)\\\]"
)
_LINK = re.compile(r"\s?(?:,|,?\s?(?:and|or)\b)\s?")
_EQUALS = re.compile(r"\s?(?:is|are|equals|=)\s?")
_STATES = re.compile(r"(?:\b(?:is|are|be|equals?|gives|to)|[=:])\s?$")
_REASON = re.compile(r",?\s(?:because|since|which|where|when|so)\s")


def read_formula(line: str, *, leading: bool = False) -> str | None:
    """The canonical form of the formula that a line of a reply states; None if it states none.

    A formula between dollar signs or brackets goes before the words around it. Of several, the
    first counts where it opens the line, else the last where "is" or the like leads to it. With
    ``leading`` it must open the line.
    """
    line = line[:LONGEST]
    found = list(_SEGMENT.finditer(line))
    if not found:
        return math_form(_REASON.split(sentences(line)[0])[0])
    runs: list[list[re.Match[str]]] = []  # "$2$ and $3$" is one; so is "$x$ is $5$", which says 5
    for segment in found:
        between = line[runs[-1][-1].end() : segment.start()] if runs else ""
        if runs and _EQUALS.fullmatch(between):
            runs[-1] = [segment]
        elif runs and _LINK.fullmatch(between):
            runs[-1].append(segment)
        else:
            runs.append([segment])
    run = runs[0]
    if re.search(r"\w", line[: run[0].start()]):
        run = runs[-1]
        if leading or (len(runs) > 1 and not _STATES.search(line[: run[0].start()])):
            return None
    return math_form(", ".join(next(filter(None, segment.groups())) for segment in run))


def math_form(text: str) -> str | None:
    """The canonical form of a formula; None if nothing is left of it, or it is too long.

    Dressing goes: delimiters, sizes, spaces, units, a final point, and the signs of degrees, per
    cent and currency, which carry no value here as for numbers. A number is computed exactly, and
    nothing else is.
    """
    if len(text) > LONGEST:
        return None
    form = "".join(_GLYPHS.get(character, character) for character in text)
    for pattern, replacement in _DRESSING:
        form = pattern.sub(replacement, form)
    form = " ".join(form.split()).strip("= ").rstrip(".,;: ")
    form = _UNIT.sub("", form)
    whole = _WHOLLY_TEXT.fullmatch(form)
    letter = _LETTER.fullmatch(whole[1] if whole else form)
    if letter is not None:
        return letter[1]
    number = _number(whole[1] if whole else form)
    if number is not None:
        return str(number)
    if whole is not None or _wordy(form):
        words = (text_form(form) or "").translate({ord("{"): None, ord("}"): None})
        return f"\\text{{{words}}}" if words else None
    for pattern, replacement in _NOTATION:
        form = pattern.sub(replacement, form)
    return _closed_up(form) or None


def _number(form: str) -> Fraction | None:
    """The value of what is plainly a number: "2\\frac{1}{2}", "x = 10,080", "12 square inches"."""
    united = _UNIT_WORDS.fullmatch(form)
    if united is not None and not any(map(_FUNCTION.fullmatch, re.findall("[a-z]+", united[2]))):
        form = united[1]
    assigned = _ASSIGNED.fullmatch(form)
    form = (assigned[1] if assigned else form).strip()
    if form.startswith("(") and form.endswith(")"):
        form = form[1:-1].strip()
    return read_number(form) if form and _NUMERAL.fullmatch(form) else None


def _wordy(form: str) -> bool:
    """Whether a form is words, of which math-verify would make products of letters."""
    if re.search(r"\\(?:text|mbox)", form):
        return True
    shortest = 3 if re.fullmatch(r"[a-zA-Z .,'-]*", form) else 4
    words = re.findall("[a-zA-Z]+", _COMMAND.sub(" ", form))
    return any(len(word) >= shortest and not _FUNCTION.fullmatch(word) for word in words)


def _closed_up(form: str) -> str:
    """Without spaces, but for those that end the name of a command."""
    tokens: list[str] = []
    for token in _TOKEN.findall(form):
        if tokens and token.isalpha() and re.fullmatch(r"\\[a-zA-Z]+", tokens[-1]):
            token = " " + token
        tokens.append(token)
    return "".join(tokens)


def is_number(form: str) -> bool:
    """Whether a canonical form is a number, ``Fraction(form)``."""
    return _NUMBER_FORM.fullmatch(form) is not None


def _comparable(form: str) -> bool:
    """Whether math-verify may be asked about a form; the others are equal to themselves only."""
    # It reads 2516_8 as 2516, and f' as f.
    return not re.search(r"\\text\{|[0-9]_|'", form)


def math_verify_installed() -> bool:
    """Whether formulas can be compared by more than their forms."""
    return find_spec("math_verify") is not None


class MathEquivalence:
    """A service: are two formulas equal? ``{"a": str, "b": str}`` is answered with ``equal``.

    ``status`` is ``ok``; or ``unreadable`` if one of them is no formula, or a failure of the
    :class:`~ponder.verify.worker.Worker`, and then they are not equal. What math-verify says
    depends on which of two is called the gold one; either order may make them equal here.
    Formulas are compared as real ones, whose ``i`` is the imaginary unit. Raises PonderError if
    math-verify is not installed.
    """

    name = "math"

    def __init__(self, seconds: float = 5.0) -> None:
        if not math_verify_installed():
            raise PonderError(
                "comparing formulas needs math-verify; install it: pip install 'ponder[math]'"
            )
        version = metadata.version("math-verify")
        self.fingerprint = f"1 math-verify {version} {seconds:g} s"
        warm = {"a": "\\frac{x}{2}", "b": "\\frac{1}{2}x"}
        self._worker = Worker("ponder.verify.mathematics:compare", seconds, warm=warm)

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Whether ``request["a"]`` and ``request["b"]`` are equal."""
        a, b = (math_form(str(request.get(side, ""))) for side in "ab")
        if a is None or b is None:
            return {"status": "unreadable", "equal": False}
        if a == b or not _comparable(a) or not _comparable(b) or (is_number(a) and is_number(b)):
            return {"status": "ok", "equal": a == b}
        found = self._worker.answer({"a": min(a, b), "b": max(a, b)})
        return {**found, "equal": False} if failed(found) else found

    def equal(self, a: str, b: str) -> bool:
        """Whether two formulas are equal; False where that is not known."""
        return bool(self.answer({"a": a, "b": b})["equal"])

    def abort(self) -> None:
        """Stop what is being answered; from any thread."""
        self._worker.abort()

    def close(self) -> None:
        """End the process."""
        self._worker.close()


def equivalence_classes(forms: Sequence[str], equal: Callable[[str, str], bool]) -> list[int]:
    """The class of each form, numbered from 0 by first occurrence: the transitive closure.

    ``equal`` is asked once of a pair of different forms, the lesser one first, and not at all
    where the answer follows; so the partition is the same for every order of ``forms``.
    """
    root = {form: form for form in forms}

    def find(form: str) -> str:
        while root[form] != form:
            root[form] = root[root[form]]
            form = root[form]
        return form

    for a, b in combinations(sorted(root), 2):
        if find(a) != find(b) and equal(a, b):
            root[find(b)] = find(a)
    numbers: dict[str, int] = {}
    return [numbers.setdefault(find(form), len(numbers)) for form in forms]


def compare(request: Mapping[str, Any]) -> dict[str, Any]:
    """In the worker: whether two canonical forms are equal."""
    try:
        from math_verify import verify
    except ImportError as error:
        raise PonderError(
            f"math-verify cannot be imported ({error}); install it: pip install 'ponder[math]'"
        ) from None
    try:
        a, b = _parsed(request["a"]), _parsed(request["b"])
    except Exception as error:
        return {"status": "unreadable", "equal": False, "detail": type(error).__name__}
    if _lenient(a, b) or _lenient(b, a):
        return {"status": "ok", "equal": False}
    # No time limit of its own: its alarm cannot stop what runs in C, and we kill.
    both = ((a, b), (b, a))
    equal = any(verify(gold, target, timeout_seconds=None) for gold, target in both)
    return {"status": "ok", "equal": equal}


@lru_cache(maxsize=1000)
def _parsed(form: str) -> Any:
    """The SymPy object of a form. Raises what the parser raises."""
    from latex2sympy2_extended import NormalizationConfig, latex2sympy, normalize_latex
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig
    from sympy import I, Symbol

    # Not math_verify.parse: it looks for something to read, and finds the 3 of "$?? 3$"; it drops
    # letters at the end as units, so that 2c is 2d, and capitals, so that R is r.
    config = NormalizationConfig(malformed_operators=True, nits=True, boxed="none")
    found = latex2sympy(
        normalize_latex(form, config),
        is_real=True,
        normalization_config=None,
        conversion_config=ConversionConfig(lowercase_symbols=False),
    )
    imaginary = Symbol("i", real=True)
    return found.subs(imaginary, I) if imaginary in found.free_symbols else found


def _lenient(a: Any, b: Any) -> bool:
    """Whether a yes of math-verify to these would not mean that they are equal.

    It calls 2x + y = 0 equal to 0, and a point equal to the list of its coordinates, which is equal
    to the list in another order.
    """
    from latex2sympy2_extended.sets import FiniteSet
    from math_verify.grader import is_assignment_relation, is_equation
    from sympy import Eq, Interval, Tuple

    if is_equation(a) and not is_assignment_relation(a) and not is_equation(b):
        return True
    if not isinstance(a, FiniteSet):
        return False
    if isinstance(b, Tuple | Interval):
        return True
    assigned = {part.lhs for part in a.args if isinstance(part, Eq)}
    return len(assigned) > 1 and not any(isinstance(part, Eq) for part in b.args)
