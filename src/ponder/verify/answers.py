"""Canonical answers: what replies are compared and counted by, in place of their text.

A reply is read in two steps: :mod:`~ponder.verify.announced` finds where it announces its final
answer, and the reader of the answer's kind turns that line into a hashable canonical form. Two
replies agree exactly when their forms are equal. A reply that cannot be read is an abstention
(None) and never votes; the last number of a text that announces no answer is never taken for one.

Whether a reply was cut off by a token limit cannot be seen from its text: callers must treat
truncated replies as abstentions themselves.

Canonical forms by kind: ``number`` an exact :class:`~fractions.Fraction` (``50%`` is 50, not 1/2);
``choice`` an upper-case letter, or a label as spelled; ``bool`` True or False; ``logic`` one of
"True", "False", "Uncertain"; ``text`` a normalised string; ``json`` a canonical dump; ``code``
an ``ast.dump``, comparable within one Python version only; ``math`` LaTeX in one spelling, a
fraction such as ``1/2`` if it is a number. Formulas may be equal under different forms.
"""

import atexit
import re
from collections.abc import Hashable, Sequence
from fractions import Fraction
from functools import lru_cache

from ponder.errors import PonderError
from ponder.verify.announced import Announcement, bare_answer, find_announcement
from ponder.verify.kinds import KINDS, infer_kind
from ponder.verify.markup import LONGEST, sentences
from ponder.verify.mathematics import (
    MathEquivalence,
    is_number,
    math_form,
    math_verify_installed,
    read_formula,
)
from ponder.verify.numbers import read_number, show_number
from ponder.verify.structured import code_form, json_form
from ponder.verify.verdicts import read_choice, read_logic, read_truth
from ponder.verify.wording import text_form

__all__ = [
    "KINDS",
    "canonical",
    "display",
    "infer_kind",
    "is_correct",
    "one_line",
    "parse_answer",
    "written",
]

_WIDTH = 60
_DECIMALS = re.compile(r"[-+]?[0-9,]*\.([0-9]+)")
_FUNCTION_NAME = re.compile(r"FunctionDef\(name='(\w+)'")


def _check(kind: str) -> None:
    if kind not in KINDS:
        raise PonderError(f"unknown answer kind {kind!r}: use one of {', '.join(KINDS)}")


def _read(
    line: str, kind: str, options: Sequence[str], labels: Sequence[str], *, leading: bool
) -> Hashable | None:
    """The canonical form of one line that states an answer; see ``leading`` in the readers."""
    if kind == "number":
        return read_number(line, leading=leading)
    if kind == "choice":
        return read_choice(line, options, labels, leading=leading)
    if kind == "bool":
        return read_truth(line, leading=leading)
    if kind == "logic":
        return read_logic(line, leading=leading)
    if kind == "math":
        return read_formula(line, leading=leading)
    return text_form(sentences(line)[0])


def parse_answer(
    text: str, kind: str, *, options: Sequence[str] = (), labels: Sequence[str] = ()
) -> Hashable | None:
    """The canonical form of the final answer of a free-form reply; None if it cannot be read.

    The last announcement wins ("Answer:", "the answer is", ``\\boxed``, ``####``). A reply without
    one counts only if the whole of it is a bare answer: one short line that opens with it. JSON
    and code need no announcement. ``options`` are the texts of options A, B, ...; ``labels`` are
    words to choose from. Raises :class:`PonderError` for an unknown ``kind``, and nothing for any
    ``text``.
    """
    _check(kind)
    if kind == "json":
        return json_form(text)
    if kind == "code":
        return code_form(text)
    announcement = find_announcement(text)
    if announcement is None:
        line = bare_answer(text)
        return None if line is None else _read(line, kind, options, labels, leading=True)
    if not announcement.body:
        return None
    if kind == "math":
        return read_formula(_with_signs(text, announcement))
    # Words after the answer may belong to an explanation that only mentions what it discusses.
    return _read(announcement.body, kind, options, labels, leading=not announcement.closes)


def _with_signs(text: str, announcement: Announcement) -> str:
    """What is announced, its dollar signs kept; the whole of a matrix that takes several lines."""
    start, stop = announcement.start, announcement.stop
    opened = text.rfind("\\begin{", start, stop)
    if opened >= 0 and text.find("\\end{", opened, stop) < 0:
        end = re.compile(r"\\end\{\w+\}").search(text, stop, start + LONGEST)
        stop = stop if end is None else end.end()
    return text[start:stop].strip(" \t\r*_`")


def canonical(
    answer: str, kind: str, *, options: Sequence[str] = (), labels: Sequence[str] = ()
) -> Hashable | None:
    """The canonical form of a bare answer, such as a gold answer; None if it is none of its kind.

    Raises :class:`PonderError` for an unknown ``kind``.
    """
    _check(kind)
    if kind == "json":
        return json_form(answer)
    if kind == "code":
        return code_form(answer)
    if kind == "text":
        return text_form(answer)
    if kind == "math":
        return math_form(answer)
    return _read(answer, kind, options, labels, leading=False)


def is_correct(
    candidate: Hashable | None,
    gold: str,
    kind: str,
    *,
    options: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> bool:
    """Whether a canonical ``candidate`` is the gold answer.

    Forms must be equal, with one concession: a gold number written with d >= 1 decimals also
    accepts a candidate with more than d decimals (1/3 has infinitely many) that rounds to it, by
    either rule for ties. Formulas may also be equal in the opinion of math-verify, where that is
    installed; it is asked in a process of its own. Abstentions and golds that cannot be read are
    never correct.
    """
    answer = canonical(gold, kind, options=options, labels=labels)
    if candidate is None or answer is None or type(candidate) is not type(answer):
        return False
    if candidate == answer:
        return True
    if isinstance(candidate, str) and isinstance(answer, str) and kind == "math":
        if not (is_number(candidate) and is_number(answer)):
            return _same_formula(candidate, answer)
        candidate, answer = Fraction(candidate), Fraction(answer)
    decimals = _DECIMALS.fullmatch(gold.strip())
    if decimals is None or not isinstance(candidate, Fraction) or not isinstance(answer, Fraction):
        return False
    unit = Fraction(1, 10 ** len(decimals.group(1)))
    # A candidate with d decimals or fewer lies a whole unit away, so this admits longer ones only.
    return 2 * abs(candidate - answer) <= unit


@lru_cache(maxsize=1)
def _formulas() -> MathEquivalence:
    """The process that compares formulas for :func:`is_correct`, until ponder ends."""
    service = MathEquivalence()
    atexit.register(service.close)
    return service


@lru_cache(maxsize=10_000)
def _same_formula(a: str, b: str) -> bool:
    return math_verify_installed() and _formulas().equal(a, b)


def display(answer: Hashable | None, kind: str) -> str:
    """A canonical answer as one line for people: at most 60 characters, all of them printable."""
    return one_line(written(answer, kind))


def one_line(text: str) -> str:
    """The first line of a text, cut after 60 characters, all of them printable."""
    lines = text.strip().splitlines()
    first = "".join(c if c.isprintable() else "\ufffd" for c in lines[0]) if lines else ""
    cut = len(lines) > 1 or len(first) > _WIDTH
    return first[: _WIDTH - 1].rstrip() + "\u2026" if cut else first


def written(answer: Hashable | None, kind: str) -> str:
    """A canonical answer as a person writes it, whole; of code only which function it is."""
    if answer is None:
        return "(none)"
    if kind == "math" and is_number(str(answer)):
        answer = Fraction(str(answer))
    if isinstance(answer, Fraction):
        return show_number(answer)
    if isinstance(answer, bool):
        return "yes" if answer else "no"
    shown = str(answer)
    if kind == "code":
        name = _FUNCTION_NAME.search(shown)
        return f"def {name.group(1)}" if name else shown
    return shown[6:-1] if kind == "math" and shown.startswith("\\text{") else shown
