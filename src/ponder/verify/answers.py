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
an ``ast.dump``, comparable within one Python version only.
"""

import re
from collections.abc import Hashable, Sequence
from fractions import Fraction

from ponder.errors import PonderError
from ponder.verify.announced import bare_answer, find_announcement
from ponder.verify.kinds import KINDS, infer_kind
from ponder.verify.markup import sentences
from ponder.verify.numbers import read_number, show_number
from ponder.verify.structured import code_form, json_form
from ponder.verify.verdicts import read_choice, read_logic, read_truth
from ponder.verify.wording import text_form

__all__ = ["KINDS", "canonical", "display", "infer_kind", "is_correct", "parse_answer"]

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
    # Words after the answer may belong to an explanation that only mentions what it discusses.
    return _read(announcement.body, kind, options, labels, leading=not announcement.closes)


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
    either rule for ties. Abstentions and golds that cannot be read are never correct.
    """
    answer = canonical(gold, kind, options=options, labels=labels)
    if candidate is None or answer is None or type(candidate) is not type(answer):
        return False
    if candidate == answer:
        return True
    decimals = _DECIMALS.fullmatch(gold.strip())
    if decimals is None or not isinstance(candidate, Fraction) or not isinstance(answer, Fraction):
        return False
    unit = Fraction(1, 10 ** len(decimals.group(1)))
    # A candidate with d decimals or fewer lies a whole unit away, so this admits longer ones only.
    return 2 * abs(candidate - answer) <= unit


def display(answer: Hashable | None, kind: str) -> str:
    """A canonical answer as one line for people: at most 60 characters, all of them printable."""
    if answer is None:
        return "(none)"
    if isinstance(answer, Fraction):
        shown = show_number(answer)
    elif isinstance(answer, bool):
        shown = "yes" if answer else "no"
    else:
        shown = str(answer)
        if kind == "code":
            name = _FUNCTION_NAME.search(shown)
            shown = f"def {name.group(1)}" if name else shown
    lines = shown.strip().splitlines()
    first = "".join(c if c.isprintable() else "\ufffd" for c in lines[0]) if lines else ""
    cut = len(lines) > 1 or len(first) > _WIDTH
    return first[: _WIDTH - 1].rstrip() + "\u2026" if cut else first
