"""Whether premises prove a conclusion, prove its negation, or neither.

A model of the premises with the conclusion and one without it show that neither holds; a proof that
there is no model of the one kind, and a model of the other, show the rest. So every label stands on
proofs and models, and what they leave open stays unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ponder.errors import PonderError
from ponder.verify.logic.models import have_model
from ponder.verify.logic.names import check_names
from ponder.verify.logic.reading import read_formula
from ponder.verify.logic.syntax import Formula, Not
from ponder.verify.logic.translation import load_z3

REVISION = 1
"""Changes whenever answers might."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the premises say of the conclusion.

    ``status`` is ``ok``, and ``label`` True, False or Uncertain; or there is no label: the premises
    contradict each other (``inconsistent``), or what ``detail`` names was not found (``unknown``).
    """

    label: str | None
    status: str
    detail: str = ""


def decide(premises: Sequence[Formula], conclusion: Formula, seconds: float) -> Verdict:
    """The verdict, after about ``seconds`` at most. Needs z3 (extra ``logic``).

    Raises PonderError for a name that is used with two numbers of arguments, or as a predicate and
    as a function.
    """
    try:
        check_names([*premises, conclusion])
        with_it = have_model([*premises, conclusion], seconds / 2)
        without_it = have_model([*premises, Not(conclusion)], seconds / 2)
    except RecursionError:
        raise PonderError("a formula nests too deeply to be decided; write it flatter") from None
    match with_it, without_it:
        case True, True:
            return Verdict("Uncertain", "ok")
        case True, False:
            return Verdict("True", "ok")
        case False, True:
            return Verdict("False", "ok")
        case False, False:
            return Verdict(None, "inconsistent", "the premises contradict each other")
    return Verdict(None, "unknown", _missing(with_it, without_it))


def _missing(with_it: bool | None, without_it: bool | None) -> str:
    if with_it is without_it:
        return "found neither a proof nor a model, of the conclusion or its negation"
    if with_it is False or without_it is False:
        proved = "negation of the conclusion" if with_it is False else "conclusion"
        return f"proved the {proved}, but found no model of the premises"
    proof = "conclusion" if with_it else "negation of the conclusion"
    return f"found neither a proof of the {proof} nor a model without it"


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """Decide texts: ``{"premises": [text], "conclusion": text, "seconds": number}``.

    Returns ``{"label", "status", "detail"}`` as :class:`Verdict`, or no label and the status
    ``unreadable``, with the reason, if the texts are no formulas or their names clash.
    """
    load_z3()
    try:
        premises = [
            _read(text, f"premise {number}") for number, text in enumerate(request["premises"], 1)
        ]
        conclusion = _read(request["conclusion"], "the conclusion")
        verdict = decide(premises, conclusion, float(request["seconds"]))
    except PonderError as error:
        verdict = Verdict(None, "unreadable", str(error))
    return asdict(verdict)


def _read(text: str, which: str) -> Formula:
    try:
        return read_formula(text)
    except PonderError as error:
        raise PonderError(f"{which}: {error}") from None
