"""``copies(program, k)``: independent runs of one program, batched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from ponder.dist import Stream
from ponder.effects import Each, Effects, Program, Sample


@dataclass(frozen=True, eq=False)
class Copies:
    """A sample from a point mass: the stacked values of ``count`` runs, or None if not batched."""

    program: Program[Any]
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


def copies(program: Program[Any], count: int) -> Effects[Any]:
    """``values = yield from copies(program, k)``: k independent values, stacked.

    They are stacked along a new first axis: tensors, or tuples, lists and dicts of tensors.
    Batched by vmap, unless a site of the program names enum or mvd: then the copies run one after
    the other, as parts of one run.
    """
    values = yield Sample(Copies(program, count))
    if values is None:
        runs = yield Each([program] * count)
        values = pytree.tree_map(lambda *parts: torch.stack([*map(torch.as_tensor, parts)]), *runs)
    return values
