"""Questions by methods: which method gets which question right."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ponder.evidence.report.labels import name_key
from ponder.evidence.report.lettering import Lettered
from ponder.evidence.report.palette import BLUE, INK, RULE, SOFT
from ponder.evidence.report.schema import QuestionRow, Results
from ponder.evidence.report.sheet import SMALL, Picture, Sheet, is_narrow, picture
from ponder.evidence.report.wording import percent, several, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import PathPatch as Patch

Floats = NDArray[np.float64]
LEVELS = 10
"""Shades; credits between two are drawn in the nearer."""
_ROW, _HEAD, _FOOT = 20.0, 26.0, 40.0


def heat(results: Results, shown: tuple[Lettered, ...]) -> Picture | None:
    """A row for each method, a column for each question; None without credits by question."""
    questions = results["questions"]
    credit = np.array([method.full["by_question"].get("right", []) for method in shown])
    if credit.shape != (len(shown), len(questions)) or not len(questions):
        return None
    columns = by_difficulty(questions, credit)
    never = int((credit.max(axis=0) == 0).sum())
    always = int((credit.min(axis=0) == 1).sum())
    caption = (
        "A column is a question, from those that most methods get right to those that none does"
        + (", by task" if len(columns) > 1 else "")
        + "; the stronger the blue, the more often the method in its row is right. "
        f"{several(always, 'question')} every method always gets right, {never} none ever."
    )
    label = f"Credit of each method on each question. {caption}"
    title = "Which questions, which method"
    return picture("heat", title, caption, label, partial(_sheet, questions, shown, credit))


def by_difficulty(questions: Sequence[QuestionRow], credit: Floats) -> list[tuple[str, list[int]]]:
    """The columns of each task, easiest first: by the mean credit of all methods, then by place."""
    tasks: dict[str, list[int]] = {}
    for i, question in enumerate(questions):
        tasks.setdefault(question["task"], []).append(i)
    ease = credit.mean(axis=0)
    return [(task, sorted(ids, key=lambda i: (-ease[i], i))) for task, ids in tasks.items()]


def _sheet(
    questions: Sequence[QuestionRow], shown: tuple[Lettered, ...], credit: Floats, width: int
) -> Sheet:
    narrow = is_narrow(width)
    left = 34.0 if narrow else 330.0
    sheet = Sheet(width, _HEAD + _ROW * len(shown) + _FOOT)
    plane = sheet.plane()
    for row, method in enumerate(shown):
        y = _HEAD + _ROW * (row + 0.5)
        name_key(plane, 4, y, method.letter, method.colour)
        if not narrow:
            name = shortened(method.strategy, 46)
            plane.text(13 + 9 * len(method.letter), y, name, va="center", size=SMALL, color=INK)
    tasks = by_difficulty(questions, credit)
    apart = min(8.0, 0.2 * (width - left) / len(tasks))
    cell = (width - left - 6 - apart * (len(tasks) - 1)) / len(questions)
    at = left
    for task, columns in tasks:
        _task(plane, task, at, cell * len(columns))
        _cells(plane, credit[:, columns], at, cell)
        _hovers(sheet, plane, [questions[i] for i in columns], shown, credit[:, columns], at, cell)
        at += cell * len(columns) + apart
    _key(plane, left, _HEAD + _ROW * len(shown) + 22)
    return sheet


def _task(plane: Axes, name: str, left: float, width: float) -> None:
    text = shortened(name, max(3, int(width / 6.6)))
    plane.text(left, _HEAD - 12, text, va="center", size=SMALL, color=SOFT)


def _cells(plane: Axes, credit: Floats, left: float, cell: float) -> None:
    """One path for each shade; equal neighbours in a row are one rectangle."""
    rows, columns = credit.shape
    plane.add_patch(_rectangles([(left, _HEAD, cell * columns, _ROW * rows)], RULE, 0.6))
    level = np.rint(credit * LEVELS).astype(int)
    for shade in range(1, LEVELS + 1):
        found = []
        for row in range(rows):
            for first, last in _runs(level[row] == shade):
                x, y = left + first * cell, _HEAD + row * _ROW
                found.append((x, y + 0.75, (last - first) * cell, _ROW - 1.5))
        if found:
            plane.add_patch(_rectangles(found, BLUE, shade / LEVELS))


def _runs(chosen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Where runs of True begin and end."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], chosen.astype(int), [0]))))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _rectangles(
    of: Sequence[tuple[float, float, float, float]], colour: str, alpha: float
) -> Patch:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    corners = [[(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)] for x, y, w, h in of]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * len(of)
    path = Path([corner for rectangle in corners for corner in rectangle], codes)
    return PathPatch(path, facecolor=colour, edgecolor="none", alpha=alpha)


def _hovers(
    sheet: Sheet,
    plane: Axes,
    questions: Sequence[QuestionRow],
    shown: tuple[Lettered, ...],
    credit: Floats,
    left: float,
    cell: float,
) -> None:
    """A column to point at for each question, drawn without being seen."""
    for i, question in enumerate(questions):
        height = _ROW * len(shown)
        column = _rectangles([(left + i * cell, _HEAD, cell, height)], RULE, 0.0)
        plane.add_patch(column)
        said = (f"{m.letter} {percent(c)}" for m, c in zip(shown, credit[:, i], strict=True))
        sheet.hover(column, [f"{question['id']}\n{', '.join(said)}"])


def _key(plane: Axes, left: float, y: float) -> None:
    """The shades from never to always right."""
    plane.text(left, y, "never right", va="center", size=SMALL, color=SOFT)
    for shade in range(LEVELS + 1):
        box = (left + 76 + 11 * shade, y - 5, 11.0, 10.0)
        plane.add_patch(_rectangles([box], RULE, 0.6))
        if shade:
            plane.add_patch(_rectangles([box], BLUE, shade / LEVELS))
    plane.text(left + 82 + 11 * (LEVELS + 1), y, "always", va="center", size=SMALL, color=SOFT)
