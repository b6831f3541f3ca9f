"""Answers drawn from a closed list: a lettered option, a label, yes or no, a truth value.

Each reader takes one line of text and returns the item it names, or None where it names none or
names two. With ``leading`` the line must open with the item; otherwise naming exactly one item
anywhere in the line is enough.
"""

import re
from collections.abc import Sequence

from ponder.verify.markup import plain, sentences
from ponder.verify.numbers import read_number
from ponder.verify.wording import text_form

_ALONE = re.compile(
    r"(?:(?:the\s)?(?:option|choice|letter)\s)?\(?([A-Za-z])\)?[.:]?", re.IGNORECASE
)
_OPENING = re.compile(
    r"(?:(?:the\s)?(?:option|choice|letter)\s)?(?:\(([A-Za-z])\)|([A-Za-z])\)|([A-Z])(?![\w'-]))",
    re.IGNORECASE,
)
_MENTION = re.compile(r"\(([A-Z])\)|\b(?:[Oo]ption|[Cc]hoice)\s\(?([A-Z])\b")
_NO_WORD = re.compile(r"[.:,;!]|\s-|$|\s(?:because|since|is|as)\b|\s\(", re.IGNORECASE)
_SECOND = re.compile(  # "A and C", "(A) or (B)", "A/B/C/D"; but not "B, I think"
    r"\s?(?:[,;/&]|\b(?:and|or)\b)\s?(?:(?:and|or)\s)?\(?(?!I\s[a-z])[A-Z]\)?(?![\w'])"
)

_TRUE = frozenset(("yes", "true", "valid", "plausible"))
_FALSE = frozenset(("no", "false", "invalid", "implausible"))
_LOGIC = {
    "true": "True",
    "false": "False",
    "uncertain": "Uncertain",
    "unknown": "Uncertain",
    "undetermined": "Uncertain",
}
_NEGATED = re.compile(
    r"(?:\b(?:can)?not|\bnever|n't)\s(?:\w+\s){0,2}(valid|plausible|true|false|invalid|yes)\b"
)
_PAIR = re.compile(r"([a-z]+)(?:\s?/|,|,?\sor)\s?([a-z]+)\b")
_DETERMINED = re.compile(r"\b(?:cannot|can't|can not) be determined\b")
_WORDS = re.compile(r"[^\W\d_]+(?:'[a-z]+)?")
_GOES_ON = re.compile(r"\s(?:because|since|as|it|he|she|they|this|that|there|we|you|the|not)\b")


def _option_worded(text: str, options: Sequence[str]) -> str | None:
    """The letter of the one option whose wording ``text`` is."""
    wanted = text_form(text)
    forms = [text_form(option) for option in options]
    found = wanted is not None and forms.count(wanted) == 1
    return chr(ord("A") + forms.index(wanted)) if found else None


def _option_valued(text: str, options: Sequence[str]) -> str | None:
    """The letter of the one option that states the number ``text`` states."""
    wanted = read_number(text, leading=True)
    values = [read_number(option, leading=True) for option in options]
    found = wanted is not None and values.count(wanted) == 1
    return chr(ord("A") + values.index(wanted)) if found else None


def _opening_letter(text: str, options: Sequence[str]) -> str | None:
    """The letter a line opens with, if the letter stands as a letter and not as a word."""
    match = _OPENING.match(text)
    if match is None:
        return None
    bare = match.group(3)
    letter = (match.group(1) or match.group(2) or bare).upper()
    rest = text[match.end() :]
    if _SECOND.match(rest):
        return None
    if bare is None or match.start(3) > 0:  # "(b) ...", "option b ..."
        return letter
    if bare.islower():
        return None
    # "A parent" and "I think" are words; "A parents" is option A with its text beside it.
    if not _NO_WORD.match(rest):
        return letter if _option_worded(rest, options) == letter else None
    return letter


def read_choice(
    text: str, options: Sequence[str] = (), labels: Sequence[str] = (), *, leading: bool = False
) -> str | None:
    """The option a line names, as an upper-case letter, or the label it names, as spelled there.

    Labels are tried first; where there are labels and no options, letters mean nothing. Where a
    letter and an option's text disagree, the letter counts.
    """
    if labels:
        label = read_label(text, labels, leading=leading)
        if label is not None or not options:
            return label
    text = plain(text).strip(" *_`\"'$")
    if not text or text.lower().startswith("not "):
        return None
    alone = _ALONE.fullmatch(text)
    letter = alone.group(1).upper() if alone else None
    if letter is None:
        first = sentences(text)[0]
        letter = _option_worded(text, options) or _option_worded(first, options)
        letter = letter or _opening_letter(text, options) or _option_valued(first, options)
    if letter is None and not leading:
        mentioned = {match.group(1) or match.group(2) for match in _MENTION.finditer(text)}
        letter = mentioned.pop() if len(mentioned) == 1 else None
    if letter is not None and options and ord(letter) - ord("A") >= len(options):
        return None
    return letter


def read_label(text: str, labels: Sequence[str], *, leading: bool = False) -> str | None:
    """The one of ``labels`` that a line is, opens with or (unless ``leading``) alone names."""
    line = " ".join(plain(text).casefold().split()).strip(" *_`\"'$(")
    found: dict[str, re.Match[str]] = {}
    for label in labels:
        folded = " ".join(label.casefold().split())
        match = re.search(rf"(?<!\w){re.escape(folded)}(?!\w)", line) if folded else None
        if match is not None:
            found[label] = match
    # The longest first: where "Not sure" is a label, it must not be read as "Not".
    for label, match in sorted(found.items(), key=lambda item: -item[1].end()):
        if match.start() == 0:
            listed = re.match(r"\s?(?:[,/]|\bor\b)[\s/]?(?:or\s)?", line[match.end() :])
            after = match.end() + listed.end() if listed else -1
            return None if any(other.start() == after for other in found.values()) else label
    if leading or len(found) != 1:
        return None
    ((label, match),) = found.items()
    return None if re.search(r"\b(?:not|never)\s$|n't\s$", line[: match.start()]) else label


def _lists_verdicts(line: str) -> bool:
    """Whether a line repeats the list to choose from: "True, False, or Uncertain"."""
    pair = _PAIR.match(line.lstrip(" (\"'"))
    if pair is None:
        return False
    sides = {
        "yes" if word in _TRUE else "no" if word in _FALSE else _LOGIC.get(word)
        for word in pair.groups()
    }
    return len(sides) == 2 and None not in sides


def read_truth(text: str, *, leading: bool = False) -> bool | None:
    """Yes, true, valid, plausible: True; no, false, invalid, implausible, not valid: False."""
    line = plain(text).lower()
    negated = _NEGATED.search(line)
    words = _WORDS.findall(line)
    if not words or _lists_verdicts(line):
        return None
    if words[0] in _TRUE:
        return True
    if words[0] in _FALSE:
        # "No one can ..." is no verdict; "No, ..." and "No it cannot" are.
        after = line[line.index(words[0]) + len(words[0]) :]
        determiner = words[0] == "no" and after[:1] == " " and not _GOES_ON.match(after)
        return None if determiner else False
    if words[0] == "not" and negated is not None:
        return negated.group(1) in _FALSE
    if leading:
        return None
    verdicts = {word in _TRUE for word in words if word in (_TRUE | _FALSE) - {"no"}}
    if len(verdicts) != 1:
        return None
    return verdicts.pop() != (negated is not None)


def read_logic(text: str, *, leading: bool = False) -> str | None:
    """``True``, ``False`` or ``Uncertain``; "not true" is none of them, being two of them."""
    line = plain(text).lower()
    if _DETERMINED.search(line):
        return "Uncertain"
    words = _WORDS.findall(line)
    if _lists_verdicts(line):
        return None
    if words and words[0] in _LOGIC:
        return _LOGIC[words[0]]
    named = {_LOGIC[word] for word in words if word in _LOGIC}
    if leading or len(named) != 1 or _NEGATED.search(line):
        return None
    return named.pop()
