"""The signs, words and names that formulas are written with, and a place in a text of them."""

from __future__ import annotations

import re
from typing import NoReturn

from ponder.errors import PonderError

_SPELLINGS = {
    "∀": r"∀ \forall",
    "∃": r"∃ \exists",
    "∄": r"∄ \nexists",
    "¬": r"¬ ~ ∼ ! - − \neg \lnot \sim",
    "∧": r"∧ ⋀ & && /\ \& \land \wedge",
    "∨": r"∨ ⋁ | || \/ \lor \vee",
    "⊕": r"⊕ ⊻ ⨁ \oplus \veebar \xor",
    "→": r"→ ⇒ ⟶ ⟹ ⊃ -> --> => ==> \to \rightarrow \Rightarrow \longrightarrow"
    r" \Longrightarrow \implies \supset",
    "↔": r"↔ ⇔ ⟷ ⟺ ≡ <-> <--> <=> <==> \iff \equiv \leftrightarrow \Leftrightarrow"
    r" \longleftrightarrow \Longleftrightarrow",
    "=": "= ==",
    "≠": r"≠ != /= =/= \neq \ne",
    "(": "( （",
    ")": ") ）",
    "[": "[",
    "]": "]",
    ",": ", ，",
    ".": ".",
    ":": ":",
    ";": ";",
}
_MEANT = {written: sign for sign, all_ in _SPELLINGS.items() for written in all_.split()}
_MACRO_END = "(?![A-Za-z])"
_SIGN = re.compile(
    "|".join(
        re.escape(written) + (_MACRO_END if written[1:].isalpha() else "")
        for written in sorted(_MEANT, key=len, reverse=True)
    )
)
_BLANK = re.compile(
    r"(?:[\s\u200b\ufeff]|\\[,;:!\s]|\\(?:q?quad|left|right|[bB]igg?[lr]?)" + _MACRO_END + ")*"
)
_WORD = r"(?:\w|[\u0300-\u036f]|\\_)+"
NAME = re.compile(rf"{_WORD}(?:[-.'’‐‑–/]{_WORD})*[+%]*['’′]*(?:\.(?=\s?[,)\]]))?")
QUOTED = re.compile(
    r"\"([^\"]+)\"|'([^']+)'|“([^”]+)”|‘([^’]+)’|`([^`]+)`"
    r"|\\(?:text|textit|textrm|mathrm|mathit|mathsf|mathbf|operatorname)\{([^{}]+)\}"
)


class Cursor:
    """A place in a text. What is looked at comes after blanks; only what is taken moves it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fail(self, message: str, at: int | None = None) -> NoReturn:
        at = self.at if at is None else at
        rest = self.text[at : at + 24]
        place = f"at character {at + 1}, {rest!r}" if rest.strip() else "at its end"
        raise PonderError(f"cannot read a formula {place}: {message}")

    def skip(self) -> None:
        blank = _BLANK.match(self.text, self.at)
        self.at = blank.end() if blank else self.at

    def sign(self) -> str | None:
        """The sign that comes next, in its first spelling; it is not taken."""
        self.skip()
        found = _SIGN.match(self.text, self.at)
        return _MEANT[found.group()] if found else None

    def take(self, *wanted: str) -> str | None:
        """Take the next sign if it is one of ``wanted``."""
        sign = self.sign()
        if sign not in wanted:
            return None
        found = _SIGN.match(self.text, self.at)
        assert found is not None
        self.at = found.end()
        return sign

    def word(self, words: dict[str, str]) -> tuple[str, int] | None:
        """The sign that the next word stands for and where the word ends; it is not taken."""
        self.skip()
        found = NAME.match(self.text, self.at)
        sign = words.get(found.group().casefold()) if found else None
        return (sign, found.end()) if found and sign else None
