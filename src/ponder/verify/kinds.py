"""What kind of answer a question asks for.

The kind decides how replies are read and compared, so a wrong guess costs answers; where the rules
below see no clear sign they say ``text``, which loses the least.
"""

import re

from ponder.verify.markup import sentences

KINDS = ("number", "choice", "bool", "text", "json", "code", "logic", "math")
"""The kinds of answer: exact number, option, yes or no, free text, JSON value, Python program, the
verdict True, False or Uncertain on a conclusion, and a formula (which is never inferred)."""

_MOST = 20_000
_CODE = re.compile(
    r"\b(?:write|implement|complete|create|give|return)\b[^.?!\n]{0,40}?\b"
    r"(?:function|program|script|class|method|code)\b|\bpython (?:function|program|script|code)\b",
    re.IGNORECASE,
)
_SOURCE = re.compile(r"\s*(?:import \w|from [\w.]+ import|def \w+\s?\(|class \w+\s?[:(]|@\w+\n)")
_JSON = re.compile(
    r"\b(?:as|in|into|valid|return|returns|output|give|produce|only)\s(?:a\s|an\s|valid\s|the\s)?"
    r"json\b|\bjson\s(?:object|array|list|format|value|schema|document)\b",
    re.IGNORECASE,
)
_LOGIC = re.compile(
    r"\btrue,\s?false,?\sor\s(?:uncertain|unknown)\b|"
    r"\bconclusion\b[^?]{0,20}\btrue or false\b|\bfollows? from the premises\b",
    re.IGNORECASE,
)
_OPTION = re.compile(r"(?:^|(?<=[\s;,]))\(?([A-Z])\)\s?\S|^[ \t]{0,8}([A-Z])[.:]\s\S", re.MULTILINE)
_BOOL = re.compile(
    r"\b(?:true or false|yes or no|yes/no|true/false|valid or invalid|plausible\?)|"
    r"^- (?:yes|no|valid|invalid|true|false)[ \t]*$|"
    r"^(?:not |[( ]){0,50}(?:true|false)\b(?:[ ()]|and|or|not|true|false){0,200} is$",
    re.IGNORECASE | re.MULTILINE,
)
_YES_NO = re.compile(
    r"(?:is|are|was|were|am|do|does|did|can|could|will|would|should|shall|has|have|had|may|might|"
    r"must|(?:is|are|was|do|does|did|ca|could|wo|would|should)n't)\b",
    re.IGNORECASE,
)
_OPEN_WORD = re.compile(r"\b(?:what|which|who|whom|whose|why|how)\b", re.IGNORECASE)
_ALTERNATIVE = re.compile(r"\bor\b(?! not\b)", re.IGNORECASE)
_FORMULA = re.compile(
    r"\b(?:radical form|in terms of|complex number|interval notation|ordered (?:pair|triple))\b",
    re.IGNORECASE,
)
_NOUN = (
    r"(?:total|sum|number|average|mean|median|difference|product|cost|price|profit|age|value|amount|"
    r"percent|percentage|probability|weights?|height|speed|length|width|depth|area|volume|perimeter|"
    r"distance|time|ratio|rate|sales?|salary|income|score|degrees?|change|balance|fraction|count|"
    r"capacity|temperature|remainder)\b"
)
_QUANTITY = re.compile(
    r"\bhow (?:many|much|old|long|far|tall|fast|high|deep|heavy|wide|big|large|often)\b|"
    r"\b(?:calculate|compute|evaluate|solve for)\b|\bremainder when\b|"
    rf"\bwhat(?:'s| is| was| will| would| are| were)\s[^?]{{0,40}}?\b{_NOUN}|"
    r"\bwhat (?:will|does|did|would|should)\s[^?]{0,40}?\b(?:cost|be|weigh|earn|pay|make|owe)\b|"
    rf"\b(?:what|which|find (?:the|his|her|its|their)(?: \w+){{0,2}}) {_NOUN}",
    re.IGNORECASE,
)
_NUMERAL = re.compile(
    r"[0-9]|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|half|twice|"
    r"double|triple|thirds?|quarters?|hundred|thousand)\b",
    re.IGNORECASE,
)
_COUNT = re.compile(r"\bhow (?:many|much)\b", re.IGNORECASE)
_ARITHMETIC = re.compile(r"[0-9)]\s?(?:[-+*/^x\u00d7\u00f7]|\*\*)\s?[-(]{0,6}[0-9]")
_ASKS_VALUE = re.compile(r"\bwhat(?: is|'s)\b|=\s*\??$|^\W*[-+*/^()0-9.\s]+$", re.IGNORECASE)


def _lists_options(question: str) -> bool:
    """Whether the question lists options A and B, in that order."""
    seen = "".join(match.group(1) or match.group(2) for match in _OPTION.finditer(question))
    return "AB" in seen


def _asked(question: str) -> str:
    """The sentence that asks: the last with a question mark among the last three, else the last.

    What follows a question is often how to answer it ("Express your answer in dollars.").
    """
    lines = [line.strip() for line in question.splitlines() if line.strip()]
    last = [sentence for line in lines for sentence in sentences(line)][-3:]
    asking = [sentence for sentence in last if sentence.endswith("?")]
    return (asking or last or [""])[-1]


def _asks_yes_or_no(asked: str) -> bool:
    """Whether a sentence asks for yes or no: its verb comes first, or first after a preamble."""
    asked = re.sub(r"^question:\s*", "", asked, flags=re.IGNORECASE)
    if not asked.endswith("?") or _ALTERNATIVE.search(asked):
        return False
    position = 0
    for clause in asked.split(","):  # "In 2005, did ...?", "If ..., would ...?"
        if _YES_NO.match(clause.strip()):
            return _OPEN_WORD.search(asked, 0, position) is None
        position += len(clause) + 1
    return False


def infer_kind(question: str) -> str:
    """The kind of answer a question asks for, by its wording alone.

    In this order: a request to write code, or code to complete: ``code``; a request for JSON:
    ``json``; a conclusion to judge: ``logic``; options A, B, ...: ``choice``; "how many":
    ``number``; "true or false", or a question that opens with its verb: ``bool``; numerals and a
    quantity asked for, or arithmetic: ``number``; anything else: ``text``. Only the last
    20,000 characters count.
    """
    if _SOURCE.match(question):
        return "code"
    question = question[-_MOST:]
    if _CODE.search(question):
        return "code"
    if _JSON.search(question):
        return "json"
    if _LOGIC.search(question):
        return "logic"
    if _lists_options(question):
        return "choice"
    asked = _asked(question)
    if _COUNT.search(asked) and not _YES_NO.match(asked):
        return "number"
    if _BOOL.search(question) or _asks_yes_or_no(asked):
        return "bool"
    if _FORMULA.search(question):
        return "text"
    if _NUMERAL.search(question) and _QUANTITY.search(asked):
        return "number"
    if _ARITHMETIC.search(asked) and _ASKS_VALUE.search(asked):
        return "number"
    return "text"
