"""Answering a file of questions, resumably: one result line per question, as it is ready."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from ponder import defaults
from ponder.answering import Answer, Session, as_strategy
from ponder.errors import PonderError
from ponder.ledger import Ledger
from ponder.question import BadLine, Question, read_questions
from ponder.spending.spread import can_spread, spread
from ponder.strategy import Pipeline, Source


@dataclass
class Summary:
    """What became of a file.

    ``failed`` holds (what, why) for lines and questions that could not be answered, ``unanswered``
    counts those that the cap kept from it, ``cut_short`` names the cap that ended the work;
    ``unsettled`` answers would have got more samples if the cap had let them; ``correct`` of
    ``known`` were right; ``silent`` of ``answered`` have no answer, and of the
    ``abstained`` none was given.
    """

    total: int = 0
    answered: int = 0
    resumed: int = 0
    unanswered: int = 0
    unsettled: int = 0
    correct: int = 0
    known: int = 0
    silent: int = 0
    abstained: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    cut_short: str | None = None


def result_line(answer: Answer, seed: int, card: str | None = None) -> dict[str, Any]:
    """The JSON object of one question in the results file."""
    line = {"id": answer.question.id, **answer.as_dict(), "seed": seed}
    if card is not None:
        line["card"] = card
    line["asked"] = fingerprint(answer.question)
    if answer.correct is not None:
        line["correct"] = answer.correct
    return line


def fingerprint(question: Question) -> str:
    """Identifies what was asked, so that a changed question is asked again."""
    q = question
    asked = [q.text, q.kind, q.options, q.labels, q.system]
    return sha256(json.dumps(asked, ensure_ascii=True).encode()).hexdigest()[:16]


class Results:
    """The results file: appended line by line, each durable before the next is begun.

    Opening keeps the whole lines of an earlier run of the same strategy, model, seed and card, and
    drops a torn last line and lines that were cut short. Raises PonderError if the file holds
    something else, cannot be written, or is being written by another process.
    """

    def __init__(self, path: Path, strategy: str, seed: int, card: str | None = None) -> None:
        self.path = path
        self.done: dict[str, dict[str, Any]] = {}
        self.card = card
        self._law = (strategy, seed, card)
        if path.exists() and not path.is_file():
            raise PonderError(f"{path} is not an ordinary file; choose another --out")
        self._file = self._locked()
        self._read()

    def _locked(self) -> IO[bytes]:
        try:
            file = self.path.open("a+b")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PonderError(
                f"another process is writing {self.path}; wait for it, or choose another --out"
            ) from None
        except OSError as error:
            raise PonderError(
                f"cannot write {self.path} ({error.strerror}); choose another --out"
            ) from None
        return file

    def _rewrite(self, content: bytes) -> None:
        """Replace what the file holds, whole or not at all: a kill in between loses nothing."""
        target = self.path.resolve()
        fresh = target.with_name(target.name + ".part")
        try:
            with fresh.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, target)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise PonderError(
                f"cannot write {self.path} ({error.strerror}); free some disk and start again"
            ) from None
        self._file.close()
        self._file = self._locked()

    def _read(self) -> None:
        self._file.seek(0)
        keep = []
        content = self._file.read()
        for raw in content.split(b"\n"):
            line = _parsed(raw)
            if line is None:
                if raw.strip() and raw != content.split(b"\n")[-1]:
                    raise self._foreign("a line that is not a result")
                continue
            if "strategy" not in line:
                raise PonderError(f"{self.path} holds no results; choose another --out")
            law = line.get("strategy"), line.get("seed"), line.get("card")
            if law != self._law:
                card = "" if law[2] == self.card else f", card {law[2] or 'none'}"
                raise self._foreign(f"results of {law[0]!r}, seed {law[1]}{card}")
            if line.get("cut_short") is None:
                self.done[str(line["id"])] = line
                keep.append(raw)
        wanted = b"".join(raw + b"\n" for raw in keep)
        if wanted != content:
            self._rewrite(wanted)

    def keep(self, model: str | None, asked: Mapping[str, str]) -> None:
        """Forget results of questions that have changed; refuse those of another model."""
        if model is not None:
            self.check_model(model)
        changed = {
            id for id, what in asked.items() if self.done.get(id, {}).get("asked", what) != what
        }
        if changed:
            self.done = {id: line for id, line in self.done.items() if id not in changed}
            lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in self.done.values()]
            self._rewrite("".join(lines).encode())

    def check_model(self, model: str) -> None:
        """Refuse to mix the results of two models."""
        for line in self.done.values():
            if line.get("model") != model:
                raise self._foreign(f"results of the model {line.get('model')}")

    def append(self, line: dict[str, Any]) -> None:
        """Add one result. Raises PonderError if the disk is full; what stands there stays whole."""
        self._write(json.dumps(line, ensure_ascii=False).encode() + b"\n")

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _write(self, data: bytes) -> None:
        size = os.fstat(self._file.fileno()).st_size
        try:
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            os.ftruncate(self._file.fileno(), size)
            raise PonderError(
                f"cannot write {self.path} ({error.strerror}); free some disk and start again: "
                "finished answers are kept"
            ) from None

    def _foreign(self, what: str) -> PonderError:
        return PonderError(f"{self.path} holds {what}; choose another --out, or remove the file")


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) and "id" in line else None


def answer_file(
    path: str | Path,
    out: str | Path,
    *,
    session: Callable[[Pipeline, list[Question]], Session],
    strategy: str | Pipeline | Source = defaults.STRATEGY,
    model: str | None = None,
    seed: int = 0,
    card: str | None = None,
    even: bool = False,
    system: str | None = None,
    limit: int | None = None,
    progress: Callable[[Summary, Answer | None], None] | None = None,
) -> Summary:
    """Answer the questions of the JSON-lines file ``path`` into ``out``.

    ``model`` is the name of the model, if it is known before it is loaded. ``session`` makes the
    session for the questions that are left, once there are some, so that bad input costs no model;
    ``card`` is the fingerprint of its worth, since another card makes other results.
    ``progress`` is called with the summary so far, at the beginning and after every answer.
    Started again it goes on where it was; samples in the bank are not drawn again.

    Under a cap on tokens, samples of a strategy that draws them independently go to the questions
    where they are worth the most (:mod:`ponder.spending`), unless ``even``; then results are
    written when all has been spent.
    """
    pipeline = as_strategy(strategy)
    questions, summary = _read_all(Path(path), system, limit)
    results = Results(Path(out), repr(pipeline), seed, card)
    try:
        results.keep(model, {q.id: fingerprint(q) for q in questions})
        todo = [q for q in questions if q.id not in results.done]
        _count_done(questions, results, summary)
        if progress:
            progress(summary, None)
        if todo:
            made = session(pipeline, todo)
            spending = not even and can_spread(made)
            for answer in _answered(made, todo, results, seed, summary, spending, progress):
                if progress:
                    progress(summary, answer)
    finally:
        results.close()
    return summary


def _read_all(path: Path, system: str | None, limit: int | None) -> tuple[list[Question], Summary]:
    questions: list[Question] = []
    summary = Summary()
    for item in read_questions(path, system=system):
        if limit is not None and len(questions) >= limit:
            break
        if isinstance(item, BadLine):
            summary.failed.append((f"line {item.number}", item.why))
        else:
            questions.append(item)
    if not questions and not summary.failed:
        raise PonderError(f'{path} holds no questions; write one object a line with "question"')
    summary.total = len(questions)
    return questions, summary


def _count_done(questions: list[Question], results: Results, summary: Summary) -> None:
    for question in questions:
        line = results.done.get(question.id)
        if line is not None:
            summary.resumed += 1
            _count(line, summary)


def _count(line: Mapping[str, Any], summary: Summary) -> None:
    correct, abstained = line.get("correct"), line.get("abstained") is not None
    summary.answered += 1
    summary.abstained += abstained
    summary.silent += line.get("answer") is None and not abstained
    if correct is not None:
        summary.known += 1
        summary.correct += correct


def _answered(
    session: Session,
    todo: list[Question],
    results: Results,
    seed: int,
    summary: Summary,
    spending: bool,
    progress: Callable[[Summary, Answer | None], None] | None,
) -> Iterator[Answer]:
    results.check_model(session.model_name)
    left, banked = len(todo), 0

    def told(asked: int) -> None:
        if progress:
            spent = session.runtime.spent
            progress(replace(summary, answered=summary.answered + asked, ledger=spent), None)

    pairs = spread(session, todo, told) if spending else session.answers(todo)
    for question, answer in pairs:
        if isinstance(answer, PonderError):
            summary.failed.append((question.id, str(answer)))
            left -= 1
            continue
        if isinstance(answer, BaseException):
            raise answer
        if answer.cut_short and answer.text is None:
            continue  # nothing finished: the next start asks it
        left -= 1
        summary.unsettled += spending and answer.cut_short is not None
        line = result_line(answer, seed, results.card)
        results.append(line)
        _count(line, summary)
        banked += answer.ledger.banked
        summary.ledger = session.runtime.spent
        yield answer
    summary.ledger = session.runtime.spent
    if spending:  # what a wave takes from the bank an earlier one may have paid
        summary.ledger.banked = banked
    # A budget that is spread ends before its cap would be passed.
    summary.cut_short = session.runtime.cut or ("max_tokens" if spending and left else None)
    summary.unanswered = left
