"""Reads formulas in the notation of FOLIO, and what language models make of it.

Signs: ``∀ ∃ ¬ ∧ ∨ ⊕ → ↔ = ≠``, their relatives in Unicode, ASCII (``all x. P(x) -> -Q(x)``),
words (``forall``, ``not``, ``and``, ``implies``) and LaTeX (``\\forall``, ``\\land``). Words are
signs only where a sign can stand, so that a constant may be called ``all``.

Binding, tightest first: ``=``; ``¬`` and quantifiers; ``∧``; ``⊕``; ``∨``; ``→`` (to the right);
``↔`` (not chained). A chain of ``⊕`` is parity. A quantifier followed by a dot, colon or comma
reaches as far right as it can, any other over the next part only; where that leaves one of its
variables free, all quantifiers of the formula are read to reach as far as they can.

A name without arguments is a constant as a term, a proposition as a formula; as an argument it may
have several words, elsewhere in quotes. A variable that no quantifier binds is refused, since
whether it meant all or some would be a guess; where FOLIO has one it is a slip of the pen. As
variables count the names that the formula quantifies, in either case, the letters u to z, and x, y
or z with a digit.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from ponder.errors import PonderError
from ponder.verify.logic.signs import NAME, QUOTED, Cursor
from ponder.verify.logic.syntax import (
    And,
    Atom,
    Equal,
    Exists,
    ForAll,
    Formula,
    Function,
    Iff,
    Implies,
    Not,
    Or,
    Term,
    Variable,
    Xor,
)

LONGEST = 20_000
DEEPEST = 100

_DOLLARS = re.compile(r"\s*(?:\$\$?|\\\(|\\\[)(.*?)(?:\$\$?|\\\)|\\\])\s*", re.DOTALL)
_VARIABLE = re.compile(r"[^\W\d]\w*['’′]*")
_STUCK = re.compile(r"[a-z]\d*(?=[A-Z]\w*\()")  # the x of ∀xPerson(x)
_LETTER = re.compile(r"[a-z][\d_]*['’′]*(?!\w)")
_FREE = re.compile(r"[u-z]['’′]*|[xyz]_?\d")
_TRUTH = ("true", "false", "⊤", "⊥")

_PREFIXES = {"not": "¬", "all": "∀", "forall": "∀", "exists": "∃", "some": "∃"}
_INFIXES = {"and": "∧", "or": "∨", "xor": "⊕", "implies": "→", "iff": "↔"}
_POWER = {"↔": 1, "→": 2, "∨": 3, "⊕": 4, "∧": 5}
_TIGHTEST = 6
_CHAINS: dict[str, Callable[[tuple[Formula, ...]], Formula]] = {"∧": And, "∨": Or, "⊕": Xor}
_CLOSING = {"(": ")", "[": "]"}


def read_formula(text: str) -> Formula:
    """The formula that ``text`` writes; a full stop may end it.

    Raises PonderError, with the place, for what cannot be read, is longer than 20,000 characters or
    nests deeper than about 50 brackets.
    """
    text = unicodedata.normalize("NFC", text)
    if len(text) > LONGEST:
        raise PonderError(f"a formula has {len(text)} characters; write at most {LONGEST}")
    wrapped = _DOLLARS.fullmatch(text)
    text = (wrapped.group(1) if wrapped else text).rstrip()
    text = text[:-1] if text.endswith((".", ";")) else text
    reader = _Reader(text, wide=False)
    formula = reader.whole()
    if reader.unbound():
        reader = _Reader(text, wide=True)
        formula = reader.whole()
    for at, name in reader.unbound():
        reader.fail(f"no quantifier binds the variable {name}; bind it or rename it", at)
    return formula


class _Reader(Cursor):
    """Reads one formula; knows the variables that are bound where it is."""

    def __init__(self, text: str, *, wide: bool) -> None:
        super().__init__(text)
        self.wide = wide
        self.depth = 0
        self.scope: list[str] = []
        self.quantified: set[str] = set()
        self.constants: list[tuple[int, str]] = []

    def whole(self) -> Formula:
        formula = self.formula(0)
        self.skip()
        if self.at < len(self.text):
            closing = self.sign() in (")", "]")
            self.fail("nothing opens this bracket" if closing else "expected a connective here")
        return formula

    def unbound(self) -> list[tuple[int, str]]:
        """Constants that are named like variables, with their places."""
        return [
            (at, name)
            for at, name in self.constants
            if name.casefold() in self.quantified or _FREE.fullmatch(name)
        ]

    def infix(self) -> str | None:
        """The connective that comes next, not taken."""
        sign = self.sign()
        if sign in _POWER:
            return sign
        worded = self.word(_INFIXES)
        return worded[0] if worded else None

    def take_infix(self) -> None:
        if self.take(*_POWER) is None:
            worded = self.word(_INFIXES)
            assert worded is not None
            self.at = worded[1]

    def deeper(self, levels: int = 1) -> None:
        self.depth += levels
        if self.depth > DEEPEST:
            self.fail("it nests too deeply; write it flatter")

    def formula(self, least: int) -> Formula:
        """A formula whose outermost connective binds at least as tightly as ``least``."""
        self.deeper()
        left = self.prefixed()
        while (sign := self.infix()) is not None and _POWER[sign] >= least:
            power = _POWER[sign]
            if sign in _CHAINS:
                parts = [left]
                while self.infix() == sign:
                    self.take_infix()
                    parts.append(self.formula(power + 1))
                left = _CHAINS[sign](tuple(parts))
                continue
            self.take_infix()
            if sign == "→":
                left = Implies(left, self.formula(power))
                continue
            left = Iff(left, self.formula(power + 1))
            if self.infix() == "↔":
                self.fail("a chain of ↔ can be read in two ways; write brackets")
        self.depth -= 1
        return left

    def prefixed(self) -> Formula:
        """What stands between connectives: negated, quantified, in brackets or an atom."""
        sign = self.take("¬", "∀", "∃", "∄") or self.worded_prefix()
        if sign == "¬":
            return Not(self.formula(_TIGHTEST))
        if sign is not None:
            quantified = self.quantified_by(ForAll if sign == "∀" else Exists)
            return Not(quantified) if sign == "∄" else quantified
        opened = self.take("(", "[")
        if opened is None:
            return self.atom()
        outer = self.at
        inside = self.formula(0)
        if self.take(_CLOSING[opened]) is None:
            self.fail(f"expected {_CLOSING[opened]}, to close the bracket of character {outer}")
        return inside

    def worded_prefix(self) -> str | None:
        """Take a word that negates or quantifies: ``not``, ``for all x``, ``exists x``."""
        start = self.at
        for opening in ({"for": "for", "there": "there"}, {}):
            lead = self.word(opening)
            self.at = lead[1] if lead else self.at
            found = self.word(_PREFIXES)
            if found is not None and (found[0] != "¬" or lead is None):
                self.at = found[1]
                if found[0] == "¬" or _VARIABLE.match(self.text, self.skipped()):
                    return found[0]
            self.at = start
        return None

    def skipped(self) -> int:
        self.skip()
        return self.at

    def quantified_by(self, quantifier: type[ForAll] | type[Exists]) -> Formula:
        names = [self.variable()]
        while (name := self.another_variable()) is not None:
            names.append(name)
        far = self.take(".", ":", ",") is not None or self.wide
        self.deeper(len(names))
        self.scope.extend(names)
        self.quantified.update(name.casefold() for name in names)
        body = self.formula(0 if far else _TIGHTEST)
        del self.scope[-len(names) :]
        self.depth -= len(names)
        for name in reversed(names):
            body = quantifier(name, body)
        return body

    def variable(self) -> str:
        self.skip()
        found = _STUCK.match(self.text, self.at) or _VARIABLE.match(self.text, self.at)
        if found is None:
            self.fail("expected the variable of a quantifier")
        self.at = found.end()
        return found.group()

    def another_variable(self) -> str | None:
        """Take one more letter of ``∀x, y`` or ``∀x y``; ``∀x p(x)`` has no second one."""
        start = self.at
        comma = self.take(",")
        self.skip()
        found = _LETTER.match(self.text, self.at)
        if found is None or (comma is None and self.text[found.end() :].startswith("(")):
            self.at = start
            return None
        self.at = found.end()
        return found.group()

    def atom(self) -> Formula:
        start = self.skipped()
        term = self.term("a formula")
        relation = self.take("=", "≠")
        if relation is not None:
            equal = Equal(term, self.term("a term"))
            return equal if relation == "=" else Not(equal)
        if isinstance(term, Variable):
            self.fail(f"the variable {term.name} is no formula; put it into a predicate", start)
        if not term.arguments:
            self.constants.pop()  # it was the last name
        return Atom(term.name, term.arguments)

    def term(self, wanted: str) -> Term:
        start = self.skipped()
        name = self.name(wanted)
        if self.take("(") is None:
            if name in self.scope:
                return Variable(name)
            self.constants.append((start, name))
            return Function(name)
        self.deeper()
        arguments = [self.argument()]
        while self.take(",") is not None:
            arguments.append(self.argument())
        if self.take(")") is None:
            self.fail(f"expected , or ) in the arguments of {name}")
        self.depth -= 1
        return Function(name, tuple(arguments))

    def argument(self) -> Term:
        """A term; a constant of several words may do without quotes here: ``P(new york)``."""
        term = self.term("a term")
        while isinstance(term, Function) and not term.arguments:
            start = self.skipped()
            if not NAME.match(self.text, start) or self.word(_INFIXES):
                break
            more = self.term("a term")
            if isinstance(more, Variable) or more.arguments:
                self.fail("expected a comma between the arguments", start)
            at, _ = self.constants[-2]
            term = Function(f"{term.name} {more.name}")
            self.constants[-2:] = [(at, term.name)]
        return term

    def name(self, wanted: str) -> str:
        quoted = QUOTED.match(self.text, self.at)
        found = quoted or NAME.match(self.text, self.at)
        if found is None:
            self.fail(f"expected {wanted}")
        name = next(group for group in quoted.groups() if group) if quoted else found.group()
        name = " ".join(name.replace("\\_", "_").replace("’", "'").split())
        if not name or name.casefold() in _TRUTH:
            self.fail(f"{name or 'nothing'} is no name; write the atom, or its negation")
        self.at = found.end()
        return name
