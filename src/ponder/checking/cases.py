"""What a subject is run on: its strategy, bound to toys of every kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ponder.binding import Binding, PotentialSource, given
from ponder.blocks import draw, smc
from ponder.blocks.propose import Propose, propose
from ponder.blocks.weigh import Weigh
from ponder.checking.gaussian import GAUSSIAN, GAUSSIAN_ATOMS, GAUSSIAN_HIGH
from ponder.checking.toy_models import BINDINGS, graded
from ponder.checking.toys import PROGRAMS
from ponder.dist import Bernoulli, Dist
from ponder.effects import Program
from ponder.errors import PonderError
from ponder.meaning import Atom
from ponder.recipes import steps
from ponder.strategy import (
    Block,
    Collapse,
    Decide,
    Infer,
    Move,
    Pipeline,
    Repeat,
    Source,
    Transform,
)


@dataclass(frozen=True)
class Case:
    """A strategy bound to one toy. ``own`` if the program is the user's.

    ``known`` is the program's measure where it cannot be enumerated, and ``high`` a bound on the
    mass of its populations.
    """

    toy: str
    pipeline: Pipeline
    binding: Binding
    own: bool = False
    known: tuple[Atom, ...] = ()
    high: float = 0.0

    def resized(self, most: int) -> Case:
        """The same with at most ``most`` particles, runs, steps, and resampling always."""
        blocks = tuple(resized(block, most) for block in self.pipeline.blocks)
        return dataclasses.replace(self, pipeline=Pipeline(self.pipeline.source, blocks))


def resized(block: Block, most: int) -> Block:
    """The block with its sizes cut down to ``most``.

    Resampling is forced, since few particles would hardly ever come to it by themselves.
    """
    changed: dict[str, Any] = {}
    for f in dataclasses.fields(block):
        value = getattr(block, f.name)
        if isinstance(value, Block):
            changed[f.name] = resized(value, most)
        elif f.name == "ess":
            changed[f.name] = 1.0
    sizes = _sizes(block)
    taken: dict[int, int] = {}
    for name, size in sorted(sizes.items(), key=lambda pair: pair[1]):
        # Only the first size can be one: with a single continuation each, nothing is steered.
        least = max(block.least, 1 if name == next(iter(sizes)) else 2)
        small = min(size, max(most, least))
        # Sizes that differ go on to differ: what a method does may hang on it.
        while any(small == s and size != of for of, s in taken.items()) and small < size:
            small += 1
        taken[size] = changed[name] = small
    return dataclasses.replace(block, **changed)


def _sizes(block: Block) -> dict[str, int]:
    """The sizes of a block, by the name of the field."""
    names = [f.name for f in dataclasses.fields(block)] if block.sizes is None else block.sizes
    values = {name: getattr(block, name) for name in names}
    return {k: v for k, v in values.items() if isinstance(v, int) and not isinstance(v, bool)}


def largest(case: Case) -> int:
    """The largest size of any block of a strategy."""
    return max((n for b in case.pipeline.blocks for n in _sizes(b).values()), default=1)


def as_pipeline(subject: Any) -> Pipeline:
    """The strategy in which a block, a program or a strategy is checked."""
    if isinstance(subject, Pipeline):
        blocks = subject.blocks
        return (
            subject if subject.stage != "program" else Pipeline(subject.source, (*blocks, draw(2)))
        )
    if isinstance(subject, Source):
        return Pipeline(subject, (draw(2),))
    if isinstance(subject, Program):
        return subject | smc(2, ess=1.0)
    toy = Source.of(PROGRAMS["chain"])
    if isinstance(subject, Infer):
        return Pipeline(toy, (subject,))
    if isinstance(subject, Move | Decide):
        return Pipeline(toy, (draw(8), subject))
    if isinstance(subject, Transform):
        return Pipeline(toy, (subject, draw(4)))
    if isinstance(subject, Repeat):
        return Pipeline(toy, (smc(2), subject))
    if isinstance(subject, Collapse):
        return Pipeline(toy, (smc(2), subject, draw(1)))
    raise PonderError(
        f"cannot check {subject!r}; give a strategy, a program, a block, or a function without "
        "arguments that returns one"
    )


def cases_of(subject: Any) -> Iterator[Case]:
    """The strategy on its own program if that is fixed, on toy models, and on toy programs."""
    pipeline = as_pipeline(subject)
    source = pipeline.source
    guides = any(isinstance(block, Propose) and block.guides for block in pipeline.blocks)
    if guides and isinstance(subject, Block):
        raise PonderError(
            f"a guide is checked with the program that it is for: program | {subject!r} | draw(4)"
        )
    if source.fixed and (guides or source.name not in PROGRAMS):
        yield Case(source.name, pipeline, Binding(), own=True)
    if not source.fixed or isinstance(subject, Block):
        spoken = Pipeline(steps if source.fixed else source, pipeline.blocks)
        for name, binding in BINDINGS.items():
            yield Case(name, spoken, binding)
    if isinstance(subject, Program):
        return
    blocks = tuple(_on_toys(block) for block in pipeline.blocks)
    for name, program in PROGRAMS.items():
        yield Case(name, Pipeline(Source.of(program), blocks), Binding())
    if all(isinstance(b, Weigh) or not isinstance(b, Transform) for b in blocks):
        gaussian = Pipeline(Source.of(GAUSSIAN), blocks)
        yield Case("gaussian", gaussian, Binding(), known=GAUSSIAN_ATOMS, high=GAUSSIAN_HIGH)


def _on_toys(block: Block) -> Block:
    """The block with a potential that scores values of every kind, a proposal for all of them."""
    if isinstance(block, Propose) and block.guides:
        return propose(tilted, block.defensive)
    reference = getattr(block, "potential", None)
    if reference is None or not dataclasses.is_dataclass(block):
        return block
    name = getattr(reference, "name", getattr(reference, "__name__", "potential"))
    toy: PotentialSource = given(str(name), graded(str(name)))
    changed: dict[str, Any] = {"potential": toy}
    return dataclasses.replace(block, **changed)


def tilted(name: str | None, dist: Dist[Any]) -> Dist[Any] | None:
    """A proposal for any program; also in the place of a guide, which knows only its own's."""
    return Bernoulli(0.4 + 0.2 * dist.p) if isinstance(dist, Bernoulli) else None
