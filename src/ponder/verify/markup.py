"""Markup taken off an answer, so that two spellings of one expression become one string.

Covers the LaTeX and markdown that language models put around short answers: delimiters, sizing,
spacing, text boxes, degrees, fractions. It rewrites notation only and never computes: ``2/4`` stays
``2/4``, and ``\\sqrt{8}`` is not ``2\\sqrt{2}``.
"""

import re

LONGEST = 2000
"""Characters; longer strings are no short answer, and the rewriting below is not linear."""

_GLYPHS = str.maketrans(
    {
        "\u2212": "-",  # minus sign
        "\u2013": "-",  # en dash
        "\u2014": "-",  # em dash
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u00a0": " ",
        "\u202f": " ",
        "\u2009": " ",
        "\u00d7": "*",
        "\u00b7": "*",
        "\u00b0": "",
        "\u02da": "",
    }
)
_COMMANDS = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        # Spaces that group digits by thousands join them; other LaTeX spaces part words.
        (r"(?<=[0-9])(?:\\[,;: ]|\{,\}|\{,?\\!,?\}|,\\!) ?(?=[0-9]{3}(?![0-9]))", ""),
        (r"\\!", ""),
        (r"\\[,;: ]|~|\\q?quad\b", " "),
        (r"\\[()\[\]]|\$\$", " "),
        (r"\\(?:left|right|displaystyle|bigl?|bigr)(?![a-zA-Z])", ""),
        (r"\\[dtc]frac\b", r"\\frac"),
        (r"\^\s?\{?\s?\\(?:circ|degree)\s?\}?|\\degree\b", ""),
        (r"\\([$%#&])", r"\1"),
        (r"\\(?:times|cdot)(?![a-zA-Z])", "*"),
        (r"\\approx(?![a-zA-Z])", "\u2248"),
        (r"\\(begin|end)\{([a-z]+)\*?\}", r"\\\1:\2 "),
        (r"(?<![0-9])\*\*|\*\*(?![0-9])", ""),  # bold, but not the power in 2**3
    )
]
_BOX = re.compile(
    r"\\(?:text|mbox|textbf|textit|mathrm|mathbf|boxed|fbox|operatorname)\s?\{([^{}]*)\}"
)
_FRACTION = re.compile(
    r"([0-9]?)\\frac\s?(?:\{([^{}]*)\}|([0-9]))\s?(?:\{([^{}]*)\}|([0-9]))",
)
_GROUP = re.compile(r"(?<!frac)(?<!frac )(?<!\})(?<!\} )\{([^{}]*)\}")
_ATOM = re.compile(r"[-+]?(?:\\?[A-Za-z]+|[0-9.,]+)")


def _fraction(match: re.Match[str]) -> str:
    before = match.group(1)
    parts = []
    for braced, digit in ((match.group(2), match.group(3)), (match.group(4), match.group(5))):
        part = digit if braced is None else braced.strip()
        parts.append(part if _ATOM.fullmatch(part) else f"({part})")
    # A digit in front makes it a mixed number: 2\frac{1}{2} is "2 1/2", not "21/2".
    return f"{before}{' ' if before else ''}{parts[0]}/{parts[1]}"


def _group(match: re.Match[str]) -> str:
    inner = match.group(1)
    return inner if len(inner) == 1 and match.string[: match.start()][-1:] in "^_" else f"({inner})"


def plain(text: str) -> str:
    """``text`` without LaTeX or markdown dressing; at most :data:`LONGEST` characters are read.

    ``\\dfrac{1}{2}`` becomes ``1/2``, ``90^\\circ`` ``90``, ``\\left(3, 4\\right)`` ``(3, 4)``,
    ``10,\\!080`` ``10080``; commands without a plain spelling (``\\sqrt``, ``\\pi``) stay.
    """
    text = text[:LONGEST].translate(_GLYPHS)
    for pattern, replacement in _COMMANDS:
        text = pattern.sub(replacement, text)
    text = text.replace("\\{", "\x02").replace("\\}", "\x03")
    for _ in range(20):  # each round opens one level of braces; deeper nesting stays as it is
        before = text
        text = _BOX.sub(r" \1 ", text)
        text = _FRACTION.sub(_fraction, text)
        text = _GROUP.sub(_group, text)
        if text == before:
            break
    return text.replace("\x02", "{").replace("\x03", "}").strip()


_SENTENCE_END = re.compile(r"(?<=[\w)%$\]}\"'*])[.!?][*_\"')$]{0,4}\s+(?=[A-Z(\[*\"'$])")
_ABBREVIATED = re.compile(
    r"(?:^|[\s.(])(?:[A-Za-z]|st|dr|mr|ms|mrs|jr|sr|vs|no|rs|approx|prof|capt|gen|gov|inc|corp)$",
    re.IGNORECASE,
)


def sentences(text: str) -> list[str]:
    """The sentences of one paragraph, in order; initials and titles do not end one."""
    parts, start = [], 0
    for end in _SENTENCE_END.finditer(text):
        stop = end.start()
        if text[stop] != "." or not _ABBREVIATED.search(text[max(0, stop - 12) : stop]):
            parts.append(text[start : end.end()].rstrip())
            start = end.end()
    return [*parts, text[start:]]
