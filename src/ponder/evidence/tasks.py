"""Questions whose right answers are known, from files and generated tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ponder.errors import PonderError
from ponder.evidence.gym import generated
from ponder.evidence.scorers import Scorer, checked, load_scorer
from ponder.question import BadLine, Question, read_questions
from ponder.recipes.coding import all_tests

GYM = "gym:"
SIZE = 50
"""How many questions ``gym:NAME`` means."""


@dataclass
class Tasks:
    """``questions`` with unique ids; ``names[i]`` is the task of the i-th.

    ``scorers`` are those of the questions that have one, by id. ``bad`` says what of the sources
    was left out and why, a line each.
    """

    questions: list[Question] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    scorers: dict[str, Scorer] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)


def read_tasks(
    sources: Sequence[str], limit: int | None = None, scorer: str | Scorer | None = None
) -> Tasks:
    """The questions of all sources in order, at most ``limit`` of each.

    A source is a JSON-lines file, whose name without .jsonl is the task's, or
    ``gym:NAME[:n[:seed]]``: n questions (50) of reasoning-gym by a seed (0). ``scorer`` is for the
    questions of files (:func:`load_scorer`); generated ones bring their own. A question without a
    right answer, tests or a scorer is left out. An id that another question has already becomes
    ``task:id``. Raises PonderError for a source that cannot be read or has no questions.
    """
    if not sources:
        raise PonderError("no questions given; name a JSON-lines file or gym:NAME")
    if limit is not None and limit < 1:
        raise PonderError(f"at most {limit} questions are none; give a limit of at least 1")
    own = None if scorer is None else load_scorer(scorer)
    tasks = Tasks()
    for source in sources:
        before = len(tasks.bad)
        by = own
        if source.startswith(GYM):
            name, questions, by = _of_gym(source, limit)
        else:
            name = Path(source).name.removesuffix(".jsonl")
            questions = _of_file(Path(source), limit, own, tasks.bad)
        if not questions:
            why = f": {tasks.bad[before]}" if len(tasks.bad) > before else "; add some"
            raise PonderError(f"{source} has no questions that can be used{why}")
        _add(tasks, name, questions, by)
    return tasks


def _of_file(
    path: Path, limit: int | None, scorer: Scorer | None, bad: list[str]
) -> list[Question]:
    """The questions of a file that can be graded; of the others ``bad`` is told."""
    found: list[Question] = []
    for line in read_questions(path):
        if isinstance(line, BadLine):
            bad.append(f"{path} line {line.number}: {line.why}")
        elif (
            scorer is None and line.answer is None and not (line.kind == "code" and all_tests(line))
        ):
            bad.append(f'{path}: {line.id} has no right "answer"; add one, or give a scorer')
        else:
            found.append(line)
        if len(found) == limit:
            break
    return found


def _of_gym(source: str, limit: int | None) -> tuple[str, list[Question], Scorer]:
    """The task, its questions and its scorer."""
    name, *numbers = source.removeprefix(GYM).split(":")
    if not name or len(numbers) > 2 or not all(x.isascii() and x.isdigit() for x in numbers):
        raise PonderError(f"cannot read {source!r}; write it like gym:chain_sum:50 or :50:1")
    n, seed = (*map(int, numbers), *(SIZE, 0)[len(numbers) :])
    if n < 1:
        raise PonderError(f"{source} asks for no questions; give at least 1")
    questions, scorer = generated(name, n, seed)
    return f"gym:{name}", questions[:limit], checked(scorer)


def _add(tasks: Tasks, name: str, questions: Sequence[Question], scorer: Scorer | None) -> None:
    known = {question.id: question for question in tasks.questions}
    for question in questions:
        other = known.get(question.id)
        if other is not None and other.text != question.text:
            question = dataclasses.replace(question, id=f"{name}:{question.id}")
        if question.id in known:
            raise PonderError(f"the question {question.id} comes twice; give each source once")
        known[question.id] = question
        tasks.questions.append(question)
        tasks.names.append(name)
        if scorer is not None:
            tasks.scorers[question.id] = scorer
