"""Questions: what is asked, what kind of answer is wanted, and files of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ponder.errors import PonderError
from ponder.verify.answers import KINDS, infer_kind, is_correct


@dataclass(frozen=True)
class Question:
    """One question. ``kind`` decides how answers are asked for, parsed and compared.

    ``options`` are the texts of the choices A, B, ...; ``labels`` the allowed words where the
    answer is one of them. ``answer`` is the right one where it is known, ``system`` replaces the
    model's own system prompt. ``history`` holds the turns of a conversation before the question:
    (role, text).
    """

    text: str
    kind: str
    id: str = ""
    options: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    answer: str | None = None
    system: str | None = None
    history: tuple[tuple[str, str], ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def correct(self, candidate: Any) -> bool | None:
        """Whether a canonical answer is right; None where the right one is not known."""
        if self.answer is None:
            return None
        return is_correct(
            candidate, self.answer, self.kind, options=self.options, labels=self.labels
        )


def make_question(
    text: str, *, kind: str | None = None, system: str | None = None, id: str = ""
) -> Question:
    """A question from plain text; the kind is inferred unless given. Raises on an empty text."""
    if not text.strip():
        raise PonderError("the question is empty; give some text, or - to read standard input")
    if kind is not None and kind not in KINDS:
        raise PonderError(f"unknown kind {kind!r}; use one of {', '.join(KINDS)}")
    try:
        f"{text}{system or ''}{id}".encode()
    except UnicodeEncodeError:
        raise PonderError("the question is not valid Unicode; save it as UTF-8") from None
    return Question(text, kind or infer_kind(text), id=id, system=system)


@dataclass(frozen=True)
class BadLine:
    """A line of a file that is not a question, and why."""

    number: int
    why: str


def read_questions(path: Path, *, system: str | None = None) -> Iterator[Question | BadLine]:
    """The questions of a JSON-lines file, in order; what cannot be read is answered as BadLine.

    Raises PonderError if the file cannot be opened.
    """
    try:
        handle = path.open("rb")
    except OSError as error:
        raise PonderError(f"cannot read {path}: {error.strerror}; give a JSON-lines file") from None
    seen: dict[str, int] = {}
    with handle:
        for number, raw in enumerate(handle, 1):
            if raw.strip():
                yield _read_line(raw, number, seen, system)


def _read_line(
    raw: bytes, number: int, seen: dict[str, int], system: str | None
) -> Question | BadLine:
    try:
        row = json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError:
        return BadLine(number, "not UTF-8; save the file as UTF-8")
    except (ValueError, RecursionError):
        return BadLine(
            number, 'not JSON; write one object a line, like {"id": "q1", "question": "..."}'
        )
    if not isinstance(row, dict) or not isinstance(row.get("question"), str):
        return BadLine(number, 'no "question" text in it; add one')
    id = f"line-{number}" if row.get("id") is None else str(row["id"])
    if id in seen:
        return BadLine(number, f"the id {id!r} stands at line {seen[id]} already; make ids unique")
    seen[id] = number
    given = row.get("meta")
    meta: dict[str, Any] = given if isinstance(given, dict) else {}
    try:
        question = make_question(row["question"], kind=row.get("kind"), system=system, id=id)
    except PonderError as error:
        return BadLine(number, str(error))
    answer = row.get("answer")
    if answer is not None and not isinstance(answer, str):
        answer = json.dumps(answer)
    return Question(
        question.text,
        question.kind,
        id=id,
        options=_words(meta.get("options")),
        labels=_words(meta.get("labels")),
        answer=answer,
        system=system,
        meta=meta,
    )


def _words(value: Any) -> tuple[str, ...]:
    return tuple(str(v) for v in value) if isinstance(value, list | tuple) else ()
