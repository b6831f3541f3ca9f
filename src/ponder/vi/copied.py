"""``copies(program, k)``: independent runs of one program, batched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from ponder.dist import Stream
from ponder.effects import Each, Effects, Program, Sample
from ponder.errors import PonderError

Numbered = Callable[[torch.Tensor], Program[Any]]


@dataclass(frozen=True, eq=False)
class Copies:
    """A sample from a point mass: the stacked values of ``count`` runs, or None if not batched.

    ``program(i)`` is the run of number i, an integer tensor of shape ().
    """

    program: Numbered
    count: int

    def draw(self, stream: Stream) -> None:
        return None

    def log_prob(self, value: Any) -> float:
        return 0.0

    def support(self) -> Sequence[tuple[None, float]]:
        return [(None, 0.0)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Copies) and other.count == self.count

    def __hash__(self) -> int:
        return hash(self.count)


def copies(program: Program[Any] | Numbered, count: int) -> Effects[Any]:
    """``values = yield from copies(program, k)``: k independent values, stacked.

    They are stacked along a new first axis: tensors, or tuples, lists and dicts of tensors.
    A function of the copy's number (a tensor of shape ()) may answer the program, for copies that
    differ in a row of something stacked. Batched by vmap, unless a site of the program names enum
    or mvd: then the copies run one after the other, as parts of one run.
    """
    numbered = (lambda _: program) if isinstance(program, Program) else program
    values = yield Sample(Copies(numbered, count))
    if values is None:
        programs = [numbered(torch.tensor(number)) for number in range(count)]
        runs = yield Each(programs)
        try:
            values = pytree.tree_map(_stacked, *runs)
        except ValueError as error:
            raise PonderError(
                f"copies of {programs[0].name} sample or answer differently from one another; the "
                "sites of one must be those of all"
            ) from error
    return values


def _stacked(*parts: Any) -> torch.Tensor:
    return torch.stack([*map(torch.as_tensor, parts)])
