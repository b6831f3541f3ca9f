"""``either``: one of several programs, chosen by chance."""

from __future__ import annotations

from typing import Any

from ponder.binding import Binding
from ponder.blocks.stratify import WHICH
from ponder.dist import Categorical
from ponder.effects import Effects, Program, sample
from ponder.errors import PonderError
from ponder.strategy import Source


def either(*programs: Source | Program[Any], share: float | None = None) -> Source:
    """``either(cot, pot)``: the mixture of programs, each with its settings.

    A draw first chooses a program, at the address "which", then runs it: the first one with
    probability ``share``, the others evenly; all evenly without it. The measure is the sum of
    theirs times these probabilities, factors included. ``stratify`` draws fixed numbers of each.
    """
    sources = [Source.of(p) if isinstance(p, Program) else p for p in programs]
    wrong = next((s for s in sources if not isinstance(s, Source)), None)
    if wrong is not None or len(sources) < 2:
        got = f"{len(sources)}" if wrong is None else repr(wrong)
        raise PonderError(f"either takes two programs or more, such as either(cot, pot), got {got}")
    if share is not None and not (isinstance(share, int | float) and 0 < share < 1):
        raise PonderError(f"either needs a share between 0 and 1, such as 0.5, got {share!r}")
    first = 1 / len(sources) if share is None else share
    shares = [first] + [(1 - first) / (len(sources) - 1)] * (len(sources) - 1)
    normalised = all(source.normalised for source in sources)

    def build(binding: Binding) -> Program[Any]:
        branches = [source.bind(binding) for source in sources]

        def run() -> Effects[Any]:
            which: int = yield from sample(Categorical(shares), WHICH)
            return (yield from branches[which])

        return Program(run, name, normalised=normalised)

    settings = [] if share is None else [f"share={share!r}"]
    name = f"either({', '.join([*map(repr, sources), *settings])})"
    return Source(name, build, normalised, fixed=all(source.fixed for source in sources))
