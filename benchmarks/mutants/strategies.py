"""Valid strategies on which mutants are checked, where no text writes them."""

from __future__ import annotations

from typing import Any

from ponder.blocks.constrain import Constrain, constrain
from ponder.blocks.propose import Propose, propose
from ponder.blocks.smc import smc
from ponder.dist import Bernoulli, Dist
from ponder.effects import Effects, Factor, program, sample
from ponder.strategy import Pipeline


def _tilted(name: str | None, dist: Dist[Any]) -> Dist[Any] | None:
    return Bernoulli(0.4 + 0.2 * dist.p) if isinstance(dist, Bernoulli) else None


def _short(seen: tuple[Any, ...], value: Any) -> bool:
    """Forbids some of what the toys draw, and among three outcomes allows two."""
    return len(seen) > 2 or ("hm" not in str(value) and value != 1)


def defended() -> Propose:
    """A proposal that is positive everywhere, in a mixture."""
    return propose(_tilted, defensive=0.3)


def constrained() -> Constrain:
    """One check among several values."""
    return constrain(_short)


@program
def _signals() -> Effects[tuple[bool, ...]]:
    """Three bits in a chain, each weighed."""
    bits: tuple[bool, ...] = ()
    for name in "abc":
        bit = yield from sample(Bernoulli(0.7 if bits and bits[-1] else 0.4), name)
        bits = (*bits, bit)
        yield Factor(-0.2 if bit else -1.2)
    return bits


@program
def _guide() -> Effects[None]:
    """Remembers all that it drew."""
    on = 0
    for name in "abc":
        on += yield from sample(Bernoulli(0.5 + 0.1 * on), name)


def guided() -> Pipeline:
    """A guide for the first stages of a chain, with forks on the way."""
    return _signals() | propose(_guide) | smc(3, ess=1.0)
