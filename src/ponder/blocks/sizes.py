"""The smaller sizes of a strategy, whose samples are among its own."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

from ponder.blocks.draw import Draw
from ponder.blocks.stratify import Stratify
from ponder.errors import PonderError
from ponder.strategy import Block, Infer, Pipeline


def ladder(pipeline: Pipeline) -> list[tuple[int, Pipeline]]:
    """The nested sizes of a strategy, smallest first, itself last: (traces, strategy).

    Of its last inference block: ``draw(n)`` has the powers of two below n, ``stratify`` those of
    its smallest count, the others in proportion, rounded down. The first traces of ``draw(16)``
    are those of ``draw(8)``, so that all sizes share samples; that holds for no other block, so
    that other strategies have their own size alone. Sizes that make no strategy are left out.
    """
    place = _resizable(pipeline)
    if place is None:
        sizes = [getattr(b, "n", 1) for b in pipeline.blocks if isinstance(b, Infer)]
        return [(sizes[-1] if sizes else 1, pipeline)]
    counts = _counts(pipeline.blocks[place])
    least = min(counts)
    found: list[tuple[int, Pipeline]] = []
    for small in (2**i for i in range(least.bit_length()) if 2**i < least):
        n = sum(count * small // least for count in counts)
        found.append((n, resized(pipeline, n)))
    return [*found, (sum(counts), pipeline)]


def resized(pipeline: Pipeline, n: int) -> Pipeline:
    """The same strategy with n traces in its last inference block, a ``draw`` or ``stratify``.

    The branches of ``stratify`` get their parts of n in a fixed order, first one each, so that a
    larger n never takes a trace away. Raises PonderError for another block, or for too few.
    """
    place = _resizable(pipeline)
    if place is None:
        raise PonderError(f"{pipeline!r} has no fixed number of draws; use draw(n) or stratify")
    block = pipeline.blocks[place]
    least = len(_counts(block))
    if n < least:
        raise PonderError(f"{block!r} cannot have {n} traces; give at least {least}")
    if isinstance(block, Stratify):
        smaller: Block = dataclasses.replace(block, counts=_parts(block.counts, n))
    else:
        smaller = dataclasses.replace(block, n=n)  # type: ignore[call-arg]
    blocks = (*pipeline.blocks[:place], smaller, *pipeline.blocks[place + 1 :])
    return Pipeline(pipeline.source, blocks)


def unstopped(pipeline: Pipeline) -> Pipeline | None:
    """The same strategy without a rule that stops it; None if its traces are not independent.

    Only where all that it draws has been drawn are other orders of the samples as good as new
    ones: what a rule let be drawn depends on what was drawn.
    """
    place = _resizable(pipeline)
    if place is None:
        return None
    whole: Block = dataclasses.replace(pipeline.blocks[place], stop=None)  # type: ignore[call-arg]
    blocks = (*pipeline.blocks[:place], whole, *pipeline.blocks[place + 1 :])
    return Pipeline(pipeline.source, blocks)


def draws_all(pipeline: Pipeline) -> bool:
    """Whether its traces are independent, and as many as it says: no rule stops it."""
    whole = unstopped(pipeline)
    return whole is not None and repr(whole) == repr(pipeline)


def whole_size(pipeline: Pipeline) -> int:
    """The number of traces of its last inference block, which :func:`resized` may change."""
    place = _resizable(pipeline)
    if place is None:
        raise PonderError(f"{pipeline!r} has no fixed number of draws; use draw(n) or stratify")
    return sum(_counts(pipeline.blocks[place]))


def least_size(pipeline: Pipeline) -> int:
    """The fewest traces that it may have: one a branch."""
    place = _resizable(pipeline)
    return 1 if place is None else len(_counts(pipeline.blocks[place]))


def _resizable(pipeline: Pipeline) -> int | None:
    """Where the last inference block stands, if its traces are nested in n."""
    places = [i for i, block in enumerate(pipeline.blocks) if isinstance(block, Infer)]
    nested = bool(places) and isinstance(pipeline.blocks[places[-1]], Draw | Stratify)
    return places[-1] if nested else None


def _counts(block: Block) -> tuple[int, ...]:
    return block.counts if isinstance(block, Stratify) else (block.n,)  # type: ignore[attr-defined]


def _parts(counts: tuple[int, ...], n: int) -> tuple[int, ...]:
    """How many of the first n traces each branch has: trace j of branch i is due at j / count."""
    due = sorted((Fraction(j, count), i) for i, count in enumerate(counts) for j in range(n))
    branches = [i for _, i in due[:n]]
    return tuple(branches.count(i) for i in range(len(counts)))
