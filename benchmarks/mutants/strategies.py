"""Valid strategies on which mutants are checked, where no text writes them."""

from __future__ import annotations

from typing import Any

from ponder.blocks.constrain import Constrain, constrain
from ponder.blocks.propose import Propose, propose
from ponder.dist import Bernoulli, Dist


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
