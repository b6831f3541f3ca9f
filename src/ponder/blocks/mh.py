"""``mh(steps)`` and ``regenerate(steps)``: Metropolis-Hastings moves on traces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from ponder.blocks.arguments import check_count
from ponder.blocks.kernel import Kernel, accept, propose_trace
from ponder.dist import Categorical
from ponder.effects import Effects, Sample
from ponder.errors import PonderError
from ponder.particle import Particle
from ponder.trace import Choice


@dataclass(frozen=True, repr=False)
class MH(Kernel):
    """Redraws one choice of the trace, or those called ``names``, and keeps the others.

    Single-site Metropolis-Hastings (Wingate et al. 2011) with the ratio of Green (1995): a choice
    is picked uniformly, redrawn from its distribution, and the program runs again, keeping every
    other choice that it still makes; choices that appear are drawn, and since their number
    changes, so does the probability of the pick: |old| / |new| is part of the ratio. With
    ``names`` (separated by commas) the block is fixed, and that term is not there. Law: invariant
    and reversible. Not irreducible wherever two choices can only change together.
    """

    names: str = ""
    partial: ClassVar[bool] = True
    notation: ClassVar[str] = "mh"

    def step(self, particle: Particle[Any], stage: int | None) -> Effects[Particle[Any]]:
        choices = particle.choices
        block = self.names.split(",") if self.names else None
        if block is None:
            if not choices:
                return particle
            site = yield Sample(Categorical([1.0] * len(choices)), "site")
            kept = {c.address: c for i, c in enumerate(choices) if i != site}
        else:
            kept = {c.address: c for c in choices if named(c) not in block}
            if len(kept) == len(choices):
                return particle
        new, log_ratio = yield from propose_trace(particle, kept, stage)
        if block is None:
            log_ratio += math.log(len(choices)) - math.log(max(1, len(new.choices)))
        return (yield from accept(particle, new, log_ratio))


@dataclass(frozen=True, repr=False)
class Regenerate(Kernel):
    """Cuts the trace at a place picked uniformly, and draws all that follows again.

    The move for language models: what is kept keeps its law, so that the model is asked for new
    text only. The ratio is that of the factors times |old| / |new| for the pick of the cut. With
    ``cut`` named, the cut is at the first choice of that name, and that term is not there. Law:
    invariant and reversible; irreducible, since everything may be redrawn.
    """

    cut: str = ""
    partial: ClassVar[bool] = True
    notation: ClassVar[str] = "regenerate"

    def step(self, particle: Particle[Any], stage: int | None) -> Effects[Particle[Any]]:
        choices = particle.choices
        if not choices:
            return particle
        if self.cut:
            names = [named(c) for c in choices]
            if self.cut not in names:
                return particle
            at = names.index(self.cut)
        else:
            at = yield Sample(Categorical([1.0] * len(choices)), "cut")
        kept = {c.address: c for c in choices[:at]}
        new, log_ratio = yield from propose_trace(particle, kept, stage)
        if not self.cut:
            log_ratio += math.log(len(choices)) - math.log(max(1, len(new.choices)))
        return (yield from accept(particle, new, log_ratio))


def named(choice: Choice) -> str:
    """The name of a choice, without the programs around it and the number of its visit."""
    return choice.address.rsplit("/", 1)[-1].split("#", 1)[0]


def mh(steps: int = 1, names: str = "") -> MH:
    """``mh(steps)``: single-site, or ``mh(steps, names='a,b')``: a block. See :class:`MH`."""
    return MH(check_count("mh", steps), _check_names("mh", names))


def regenerate(steps: int = 1, cut: str = "") -> Regenerate:
    """``regenerate(steps)``: see :class:`Regenerate`."""
    return Regenerate(check_count("regenerate", steps), _check_names("regenerate", cut))


def _check_names(name: str, names: str) -> str:
    if not isinstance(names, str):
        raise PonderError(f"{name} needs names as text, such as 'theta', got {names!r}")
    return names.replace(" ", "")
