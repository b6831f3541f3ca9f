"""Answers with a grammar of their own: JSON values and Python programs.

Both are reduced to a dump of what they parse to, so layout, key order and comments do not matter.
Whatever does not parse, or nests too deeply to be parsed safely, is no answer.
"""

import ast
import json
import re
import textwrap
import warnings
from collections.abc import Iterator
from typing import NamedTuple

from ponder.verify.announced import Announcement, find_announcement

_LONGEST_SOURCE = 50_000
_DEEPEST = 100
_MOST_TRIED = 50
_PYTHON = frozenset(("", "python", "python3", "py"))
_TAG = re.compile(r"[ \t]{0,3}([\w+.-]{0,20})[ \t]{0,20}(?:\n|\Z)")
_BARE_WORD = re.compile(r"[^\s\"'`\[\]{},:]+")
_PARSE_ERRORS = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError, TypeError)


class Fence(NamedTuple):
    """A fenced block of a reply; ``end`` is where it ends in the reply."""

    tag: str
    content: str
    end: int


def fenced_blocks(text: str) -> list[Fence]:
    """Every fenced block with its lower-case tag; an unclosed block runs to the end."""
    blocks = []
    end = 0
    for index, part in enumerate(text.split("```")):
        end += len(part) + 3
        if index % 2 == 0:
            continue
        tag = _TAG.match(part)
        if tag is not None:
            blocks.append(Fence(tag.group(1).lower(), part[tag.end() :], end))
        elif part.lower().startswith("json"):
            blocks.append(Fence("json", part[4:], end))
        else:
            blocks.append(Fence("", part, end))
    return blocks


def _integral(text: str) -> int | float:
    """A JSON real as an int where it is one, so that 1.0 and 1 are the same value."""
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(text)
    return int(value) if value.is_integer() else value


def _refuse(text: str) -> float:
    raise ValueError(text)


_DECODER = json.JSONDecoder(parse_float=_integral, parse_constant=_refuse)


def _too_deep(text: str) -> bool:
    """Whether brackets nest beyond a fixed depth, whatever the stack could hold."""
    depth = 0
    for bracket in re.finditer(r"[\[{()}\]]", text):
        depth = depth + 1 if bracket.group() in "[{(" else max(depth - 1, 0)
        if depth > _DEEPEST:
            return True
    return False


def _dump(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def data_form(value: object) -> str:
    """The canonical dump of JSON data, tuples as lists; TypeError or ValueError otherwise."""
    return _dump(_DECODER.decode(json.dumps(value, allow_nan=False)))


def _python_form(text: str) -> str:
    """The dump of a list or dict written in Python's spelling (single quotes, True, None)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = ast.literal_eval(text)
    if not isinstance(value, list | dict):
        raise ValueError(text)
    return data_form(value)


def _json_dump(text: str) -> str | None:
    """The canonical dump of ``text`` if the whole of it is one JSON value, else None."""
    text = text.strip()
    if not text or _too_deep(text):
        return None
    try:
        return _dump(_DECODER.decode(text))
    except _PARSE_ERRORS:
        pass
    if len(text) > _LONGEST_SOURCE or text[0] not in "[{":
        return None
    try:
        return _python_form(text)
    except _PARSE_ERRORS:
        return None


def _spans(text: str, *, quotes: bool) -> list[tuple[int, int]]:
    """Balanced ``[...]`` and ``{...}`` spans of ``text`` that lie in no other one, left to right.

    One pass; the LaTeX delimiters ``\\[`` and ``\\]`` are no brackets. With ``quotes`` brackets
    inside double-quoted strings are skipped, which is right for JSON and wrong for prose with a
    stray quotation mark.
    """
    open_at: list[int] = []
    spans: list[tuple[int, int]] = []
    in_string = False
    for match in re.finditer(r"\\[\"\\\[\]]|[\"\n\[\]{}]", text):
        sign = match.group()
        if sign in '"\n':
            in_string = quotes and sign == '"' and not in_string
        elif in_string:
            continue
        elif sign in "[{":
            open_at.append(match.start())
        elif sign in "]}" and open_at and text[open_at[-1]] + sign in ("[]", "{}"):
            start = open_at.pop()
            while spans and spans[-1][0] > start:
                spans.pop()
            spans.append((start, match.end()))
    return spans


def _last_value(text: str, after: int) -> str | None:
    """The last balanced list or object that ends beyond ``after`` and parses, of the last few."""
    for quotes in (True, False):
        for start, end in reversed(_spans(text, quotes=quotes)[-_MOST_TRIED:]):
            dump = _json_dump(text[start:end]) if end > after else None
            if dump is not None:
                return dump
    return None


def _announced_json(text: str, announcement: Announcement) -> str | None:
    """The JSON value right after an announcement; one bare word there stands for that string."""
    rest = text[announcement.start :].lstrip(" \t\n*`")
    if rest[:1] in ("[", "{"):
        for quotes in (True, False):
            for start, end in _spans(rest, quotes=quotes):
                if start == 0:
                    return _json_dump(rest[:end])
        return None
    line = text[announcement.start : announcement.stop].strip(" \t*`")
    word = line.removesuffix(".")
    dump = _json_dump(line) or _json_dump(word)
    if dump is None and _BARE_WORD.fullmatch(word):
        return json.dumps(word, ensure_ascii=False)
    return dump


def json_form(text: str) -> str | None:
    """The canonical dump (sorted keys, no spaces, 1.0 as 1) of the JSON value a reply ends on.

    Looked for, in this order: right after the last announcement, in the last fenced block, as the
    last balanced list or object, as the whole reply; what ends before the last announcement does
    not count. Lists and dicts in Python's spelling do.
    """
    announcement = find_announcement(text)
    after = 0
    if announcement is not None:
        if not announcement.body:
            return None
        dump = _announced_json(text, announcement)
        if dump is not None:
            return dump
        after = announcement.start
    for fence in reversed(fenced_blocks(text)):
        if fence.tag in ("json", "") and fence.end > after:
            dump = _json_dump(fence.content)
            if dump is not None:
                return dump
    return _last_value(text, after) or _json_dump(text)


def _statements(source: str) -> ast.Module | None:
    if len(source) > _LONGEST_SOURCE or _too_deep(source):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a reply's invalid escapes are not the user's business
        try:
            return ast.parse(textwrap.dedent(source).strip("\n"))
        except _PARSE_ERRORS:
            return None


def _documented(tree: ast.AST) -> Iterator[list[ast.stmt]]:
    """The bodies in ``tree`` that open with a docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            value = first.value if isinstance(first, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield node.body


def program_text(text: str, defines: str | None = None) -> str | None:
    """The program of a reply: its last fenced Python block, or the whole text without a fence.

    The last one that defines the function ``defines``, if any does. None if it does not parse.
    """
    blocks = fenced_blocks(text)
    sources = [content for tag, content, _ in blocks if tag in _PYTHON] if blocks else [text]
    wanted = [s for s in sources if defines and re.search(rf"\bdef\s+{re.escape(defines)}\b", s)]
    chosen = (wanted or sources)[-1:]
    if not chosen:
        return None
    tree = _statements(chosen[0])
    if tree is None or not tree.body:
        return None
    if not blocks and all(isinstance(statement, ast.Expr) for statement in tree.body):
        return None
    return textwrap.dedent(chosen[0]).strip("\n") + "\n"


def code_form(text: str, defines: str | None = None) -> str | None:
    """``ast.dump`` of :func:`program_text`.

    Comments, docstrings and layout are gone from it; names stay. An indented function body counts
    as a program; outside a fence, prose that happens to parse ("Yes") does not.
    """
    source = program_text(text, defines)
    tree = None if source is None else _statements(source)
    if tree is None:
        return None
    for body in list(_documented(tree)):
        del body[0]
    try:
        return ast.dump(tree)
    except (RecursionError, MemoryError):
        return None
