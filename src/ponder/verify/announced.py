"""Where a reply announces its final answer, and what it says there.

Four announcements count: ``Answer:`` (also as a heading), ``the answer is``, ``\\boxed{...}`` and
``####``. The last one in the reply wins, whatever it says: a reply that takes its answer back and
then says nothing readable has no answer.
"""

import re
from dataclasses import dataclass

from ponder.verify.markup import LONGEST

_WORDS = re.compile(
    r"\b(?:answers?|(?:answer|correct)[ \t](?:choice|option))(?:[ \t]?\([^()\n]{0,40}\))?(?:"
    r"[ \t*_]{0,6}[:\uff1a]"
    r"|(?:\s{1,2}to\s[^\n.:?]{0,60}?)?\s{1,2}(?:is|are|was|would be|should be|must be|will be)\b"
    r"[ \t*_]{0,4}[:\uff1a]?)",
    re.IGNORECASE,
)
_HEADING = re.compile(
    r"^[ \t#*_>]{0,12}(?:(?:the|my|final|correct)[ \t]){0,3}answer[ \t*_:]{0,8}$",
    re.IGNORECASE | re.MULTILINE,
)
_HASHES = re.compile(r"^[ \t]{0,3}####[ \t]?(?=[^\s#])", re.MULTILINE)
_BOXES = ("\\boxed{", "\\boxed {", "\\fbox{")
_DRESSING = " \t\r*_`\"'$\u200b"
_DELIMITER_LINE = re.compile(r"[\s*_`$]*(?:\\[\[\]()]|```\w{0,10}|---+)?[\s*_`$]*")
_LIST_ITEM = re.compile(r"(?:#+\s|[-*\u2022]\s|\(?[0-9]{1,3}[.)]\s+\S|step\b)", re.IGNORECASE)
_PLACEHOLDER = re.compile(
    r"(?:\\?[\[<{(]\s?)(?:(?:insert|your|the|a|final|correct|only|single)\s)*"
    r"(?:numbers?|answers?|values?|results?|letters?|choices?|options?|text|word|yes/no|integer)"
    r"(?:\s(?:here|only))?\s?\\?[\]>})]|[.\u2026_?\s-]+",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Announcement:
    """A final answer as the reply words it.

    ``body`` is one line, at most 2000 characters, empty if nothing readable was announced.
    ``closes`` says that nothing follows it in the reply. ``reply[start:stop]`` is the line as
    written, with the emphasis, quotation marks and dollar signs that ``body`` is freed of.
    """

    body: str
    closes: bool
    start: int
    stop: int


def _box(text: str) -> tuple[int, int, int] | None:
    """(position, inner start, inner end) of the last box; an unclosed box ends where it starts."""
    position, opener = max((text.rfind(opener), opener) for opener in _BOXES)
    if position < 0:
        return None
    start = position + len(opener)
    depth = 1
    for brace in re.finditer(r"\\.|[{}]", text[start:], re.DOTALL):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return position, start, start + brace.start()
    return position, start, start


def _hashes(text: str) -> re.Match[str] | None:
    """The last ``####`` that is no heading: it heads the last line, or a bare number or letter."""
    last = None
    end = len(text.rstrip())
    for match in _HASHES.finditer(text):
        newline = text.find("\n", match.end())
        line_end = len(text) if newline < 0 else newline
        if line_end >= end or re.fullmatch(
            r"[-+$0-9.,/%]+|\(?[A-Z]\)?", text[match.end() : line_end].strip()
        ):
            last = match
    return last


def _body(text: str, start: int, end: int) -> tuple[str, int, int]:
    """(line, its start, its end): the first line of ``text[start:end]`` that says something."""
    position = start
    while position < end:
        newline = text.find("\n", position, end)
        line_end = end if newline < 0 else newline
        if line_end - position > LONGEST:
            return "", position, line_end
        line = text[position:line_end]
        if not _DELIMITER_LINE.fullmatch(line):
            below = text.find("\n", start, position) >= 0
            # A list, a step or a heading below a marker is work, not the answer.
            return ("" if below and _LIST_ITEM.match(line.lstrip()) else line), position, line_end
        position = line_end + 1
    return "", end, end


def is_placeholder(body: str) -> bool:
    """Whether ``body`` repeats the form to fill in, such as ``[number]``, in place of an answer."""
    return _PLACEHOLDER.fullmatch(body.strip(_DRESSING + ".")) is not None


def find_announcement(text: str) -> Announcement | None:
    """The last announcement of an answer in a reply; None if the reply announces none."""
    marks = [(match.start(), match.end(), len(text)) for match in _WORDS.finditer(text)]
    marks = marks[-1:]
    marks += [(match.start(), match.end(), len(text)) for match in _HEADING.finditer(text)][-1:]
    hashes = _hashes(text)
    if hashes is not None:
        marks.append((hashes.start(), hashes.end(), len(text)))
    box = _box(text)
    if box is not None:
        opened, _, closed = box
        marks = [(p, s, closed if opened < p < closed else e) for p, s, e in marks]
        marks.append(box)
    if not marks:
        return None
    _, start, end = max(marks)
    body, start, stop = _body(text, start, end)
    if is_placeholder(body):
        body = ""
    closes = not re.search(r"[^\W_]", text[stop : stop + 4096])
    return Announcement(body.strip(_DRESSING), closes, start, stop)


def bare_answer(text: str) -> str | None:
    """The whole reply where it is one short line (at most 100 characters), else None."""
    text = text.strip()
    if not text or len(text) > 100 or "\n" in text or is_placeholder(text):
        return None
    return text
