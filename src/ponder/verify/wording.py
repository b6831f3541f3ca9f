"""Free-text answers reduced to one spelling.

Two answers get the same form when they differ only in case, spacing, outer punctuation, a leading
article or LaTeX dressing. Nothing is proved: ``x+1`` and ``1+x`` keep different forms.
"""

import re
import unicodedata

from ponder.verify.markup import LONGEST, plain
from ponder.verify.numbers import read_number

_OUTER_SIGNS = " ,;:!?\"'`*_$"  # the point apart: it opens the number .5
_ARTICLE = re.compile(r"^(?:the|an?) +(?=\S)")
_WHOLLY_NUMBER = re.compile(
    r"[-+]?[$€£¥₹]?-?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9][0-9,.]*)?\s?%?"
)
_WORD = re.compile(r"(?<![\\a-z])[a-z]{2,}")
_OPTION_LETTER = re.compile(r"\(([a-z])\)")


def text_form(text: str) -> str | None:
    """The canonical spelling of a free-text answer; None if nothing is left of it.

    A text that is wholly a number is spelled as that number in lowest terms (``1,000`` as
    ``1000``, ``\\frac{2}{4}`` as ``1/2``). Formulas, that is texts without a word of two letters,
    lose their inner spaces. Texts longer than 2000 characters are no answers.
    """
    if len(text) > LONGEST:
        return None
    form = plain(unicodedata.normalize("NFC", text))
    form = " ".join(form.casefold().split()).strip(_OUTER_SIGNS)
    if _WHOLLY_NUMBER.fullmatch(form.rstrip(".")):
        value = read_number(form)
        if value is not None:
            return str(value)
    form = _ARTICLE.sub("", form.strip(_OUTER_SIGNS + "."))
    letter = _OPTION_LETTER.fullmatch(form)
    form = letter.group(1) if letter else re.sub(r" (?=\^)", "", form)
    return (form if _WORD.search(form) else form.replace(" ", "")) or None
