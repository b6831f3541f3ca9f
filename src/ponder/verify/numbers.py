"""The exact number a short answer states, as a :class:`fractions.Fraction`.

Units, currency signs and thousands separators carry no value. A percent sign carries none either:
``50%`` is 50, because questions that ask for a percentage hold gold answers such as 50. An answer
that states two numbers, or an expression left unevaluated, states no number.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from ponder.verify.markup import plain, sentences

_MOST_DIGITS = 400
_LARGEST_EXPONENT = 400

_DECIMAL = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)"
_TOKEN = re.compile(
    rf"(?<![0-9A-Za-z_])(?P<sign>[-+]\s?)?(?P<currency>[$€£¥₹]\s?)?(?P<inner>-)?"
    rf"(?P<digits>{_DECIMAL})"
    r"(?:[eE](?P<exponent>[-+]?[0-9]+)|\s?[*x]\s?10\s?\^\s?\(?(?P<power>[-+]?[0-9]+)\)?)?"
    rf"(?:\s?/\s?[$€£¥₹]?(?P<denominator>{_DECIMAL}))?"
    r"(?:\s?(?P<scale>hundred|thousand|million|billion|trillion)\b)?"
)
_SCALE = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_WORDS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
_NOT_AFTER_A_WORD = {*_WORDS, *_SCALE, "and", "of", "or", "to", "half", "dozen", "point", "in"}
_RAISED_DIGITS = re.compile(r"[0-9][\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2079\u2150-\u215f]")
_UNIT_POWER = re.compile(r"\b(mm|cm|dm|km|m|ft|in|yd|mi|feet|inch|inches|units?|s)\s?\^\s?[23]\b")
_LEAD = re.compile(
    r"^(?:(?:about|approximately|approx\.?|around|roughly|exactly|only|just|a total of)\b|"
    r"(?:rs|inr|usd|us|eur|gbp)\b\.?|"
    r"[\s(\"'])*",
    re.IGNORECASE,
)
_CIRCUMSTANCE = frozenset(
    ("in", "over", "for", "per", "during", "each", "every", "within", "from", "on")
)
_VARIABLE_AFTER = re.compile(r"(?:[A-Za-z]|\s[b-hj-zB-HJ-Z])(?![A-Za-z'])")
_UNIT_LETTERS = frozenset("mgshlLKCFWVJNAM")


@dataclass(frozen=True)
class _Token:
    value: Fraction
    start: int
    end: int
    currency: bool
    proper_fraction: bool


def _scaled(digits: str, exponent: str | None) -> Fraction | None:
    """``digits`` times ten to the ``exponent``; None for a number too large to hold."""
    digits = digits.replace(",", "")
    power = int(exponent or "0")  # of at most 2000 digits, the length of a plain text
    if len(digits) > _MOST_DIGITS or abs(power) > _LARGEST_EXPONENT:
        return None
    return Fraction(digits) * Fraction(10) ** power


def _token(match: re.Match[str]) -> _Token | None:
    value = _scaled(match["digits"], match["exponent"] or match["power"])
    if value is None:
        return None
    proper = False
    if match["denominator"] is not None:
        below = _scaled(match["denominator"], None)
        if not below:
            return None
        proper = value < below
        value /= below
    if match["scale"]:
        value *= 10 ** _SCALE[match["scale"]]
    negative = (match["sign"] or "").startswith("-") != (match["inner"] is not None)
    return _Token(
        -value if negative else value,
        match.start(),
        match.end(),
        match["currency"] is not None,
        proper,
    )


def _tokens(text: str) -> list[_Token] | None:
    """Every number in ``text``; None if one of them is too large or divides by zero."""
    found = []
    for match in _TOKEN.finditer(text):
        token = _token(match)
        if token is None:
            return None
        found.append(token)
    return found


def _operand(text: str, token: _Token) -> bool:
    """Whether the number is a term of a larger expression, such as the 8 of ``H - 8``."""
    before, after = text[: token.start], text[token.end :].removeprefix("%")
    if before.rstrip()[-1:] in tuple("+*/^<>÷") or re.search(r"[\w)]-$", before):
        return True
    spaced_sign = text[token.start : token.start + 2] in ("- ", "+ ")
    if before.strip() and (spaced_sign or re.search(r"(?:^|\s)[b-zB-HJ-Z]\s?$", before)):
        return True
    if re.match(r"\s?[+*^<>÷(]|\s?/\s?(?![A-Za-z])|\s-\s?[A-Za-z]\b|\s?-\s?\(", after):
        return True
    letter = _VARIABLE_AFTER.match(after)
    return letter is not None and letter.group().strip() not in _UNIT_LETTERS


def _stated(text: str, tokens: list[_Token]) -> _Token | None:
    """The one number an answer states, by the reading rules for answers that hold several."""
    first = tokens[0]
    if len(tokens) == 1:
        return first
    if len(tokens) == 2 and tokens[1].proper_fraction and not first.proper_fraction:
        between = text[first.end : tokens[1].start]
        if between.isspace() and first.value.denominator == 1 and tokens[1].value > 0:
            part = tokens[1].value if first.value >= 0 else -tokens[1].value
            return _Token(first.value + part, first.start, tokens[1].end, first.currency, False)
    # "72 clips in 2 months" and "spends $75 over 30 days" state their first number only;
    # "80 miles and 80 miles" states two, and "5:30" or "3 feet 2 inches" none by itself.
    between = text[first.end : tokens[-1].start]
    if "and" in between.split() or re.search(r"[,;:]", between):
        return None
    if all(token.value == first.value for token in tokens):
        return first
    if _CIRCUMSTANCE.isdisjoint(text[first.end : tokens[1].start].split()[1:]):
        return None
    leads = not text[: first.start].strip()
    paid = first.currency and not any(token.currency for token in tokens[1:])
    return first if leads or paid else None


def _right_hand_side(text: str) -> str | None:
    """What follows the last equals sign; None for a list of equations (``x = 5, y = 3``)."""
    left, sign, right = re.sub("\u2248", "=", text).rpartition("=")
    if not sign:
        return text
    if "=" in left and re.search(r",(?![0-9])|;|\band\b", left):
        return None
    return right


def _spelled(text: str) -> Fraction | None:
    words = re.findall(r"[^\W\d_]+|-", text.lower())
    if not 1 <= len(words) <= 3 or words[0] not in _WORDS:
        return None
    if not _NOT_AFTER_A_WORD.isdisjoint(words[1:]) or "-" in words:
        return None
    return Fraction(_WORDS.index(words[0]))


def read_number(text: str, *, leading: bool = False) -> Fraction | None:
    """The number that a short answer states, exactly; None if it states none, or more than one.

    With ``leading`` the number must open the answer ("72 clips"), not merely occur in it ("he has
    72 clips"). A chain of equalities states its last side; in several sentences the first counts.
    """
    text = plain(text)
    text = re.sub(r"\b(?:negative|minus)\s(?=[$0-9.])", "-", text)
    text = _UNIT_POWER.sub(r"\1", text)
    sentence, *more = sentences(text)
    leading = leading or bool(more)
    aside = re.sub(r"(?<=[\w%])\s\([^()]*\)", " ", sentence)
    side = _right_hand_side(aside if re.search("[0-9]", aside) else sentence)
    if side is None or re.match(r"\s*not\b", side) or _RAISED_DIGITS.search(side):
        return None
    side = re.sub(r"\$(?!\s?[-0-9.])", "", _LEAD.sub("", side))
    tokens = _tokens(side)
    if not tokens:
        return _spelled(side) if tokens is not None else None
    if re.search(r"[\\^√π∞±½]", _TOKEN.sub(" ", side)):
        return None
    stated = _stated(side, tokens)
    if stated is None or _operand(side, stated) or (leading and side[: stated.start].strip()):
        return None
    if re.match(r"\s(?:and|&)\s(?:(?:a|one)\s)?(?:half|third|quarter)", side[stated.end :]):
        return None
    return stated.value


def show_number(value: Fraction) -> str:
    """A number for people: ``72``, ``2.5``, ``3/4``, ``22/7``.

    Terminating decimals are written as decimals, except the proper fractions with a one-digit
    denominator (3/4, 1/8), which read better as fractions.
    """
    if value.denominator == 1:
        return str(value.numerator)
    rest, places = value.denominator, 0
    while rest % 10 == 0:
        rest, places = rest // 10, places + 1
    for prime in (2, 5):
        while rest % prime == 0:
            rest, places = rest // prime, places + 1
    if rest != 1 or places > 30 or (abs(value) < 1 and value.denominator < 10):
        return f"{value.numerator}/{value.denominator}"
    whole = abs(value.numerator) * 10**places // value.denominator
    digits = str(whole).rjust(places + 1, "0")
    decimals = digits[-places:].rstrip("0")
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{decimals}"
