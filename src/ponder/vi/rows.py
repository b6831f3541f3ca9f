"""The rows of data that an objective is made for, one row of each column at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ponder.blocks.arguments import cannot_take
from ponder.effects import Program, require_program
from ponder.errors import PonderError

Objective = Program[Any] | Callable[..., Program[Any]]
Rows = tuple[torch.Tensor, ...]  # columns of equal length


def made_anew(objective: Objective, columns: int = 0) -> Callable[..., Program[Any]]:
    """A function of one row of each column that makes the objective.

    PonderError if it cannot be called so.
    """
    make: Callable[..., Program[Any]] = (
        (lambda: objective) if isinstance(objective, Program) else objective
    )
    why = cannot_take(make, columns)
    if why is not None:
        wanted = (
            f"a function of one row of each of the {columns} columns of data"
            if columns
            else "a program or a function without arguments, as there is no data"
        )
        raise PonderError(f"the objective must be {wanted}: {why}")

    def made(*row: torch.Tensor) -> Program[Any]:
        program = make(*row)
        require_program(program, "an objective")
        return program

    return made


def rows_of(data: object) -> Rows | None:
    """A tensor, or a tuple of them, as columns; PonderError if their lengths differ or are 0."""
    if data is None:
        return None
    rows = (data,) if isinstance(data, torch.Tensor) else data
    if not isinstance(rows, tuple | list) or not all(
        isinstance(column, torch.Tensor) and column.ndim for column in rows
    ):
        raise PonderError(
            "data must be a tensor of rows, or a tuple of them, not "
            f"{type(data).__name__}; give torch.as_tensor(data)"
        )
    lengths = {len(column) for column in rows}
    if len(lengths) != 1 or lengths == {0}:
        raise PonderError(f"data must have one length of at least 1, got {sorted(lengths)}")
    return tuple(rows)


def drawn_rows(rows: Rows, batch: int | None) -> Rows:
    """``batch`` rows without replacement, by the global noise; all of them if it is None."""
    if batch is None or batch == len(rows[0]):
        return rows
    chosen = torch.randperm(len(rows[0]))[:batch]
    return tuple(column[chosen] for column in rows)
