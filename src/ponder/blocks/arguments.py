"""What blocks accept as arguments, checked where they are written and not when they run."""

from __future__ import annotations

import inspect
from typing import Any

from ponder.binding import AnyPotential, Potential, PotentialSource
from ponder.errors import PonderError
from ponder.notation import NAMES
from ponder.strategy import Block, Source

MOST = 100_000  # a trace takes kilobytes; more at once would fill the memory before any ends


def check_count(name: str, n: Any) -> int:
    """A number of traces that makes sense."""
    if isinstance(n, bool) or not isinstance(n, int):
        raise PonderError(f"{name} needs a number of traces, a whole one, got {n!r}")
    if n < 1:
        raise PonderError(f"{name} needs a number of traces of at least 1, got {n}")
    if n > MOST:
        raise PonderError(f"{name} takes at most {MOST} traces at once, got {n}")
    return n


def check_least(name: str, argument: str, number: Any, least: int = 0) -> int:
    """A whole number of at least ``least``."""
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise PonderError(
            f"{name} needs {argument}, a whole number of at least {least}, got {number!r}"
        )
    return number


def check_sizes(name: str, **sizes: Any) -> None:
    """Whole numbers of at least 1, each by the name of its argument."""
    for argument, size in sizes.items():
        check_least(name, argument, size, 1)


def cannot_take(function: Any, count: int) -> str | None:
    """Why a function takes no ``count`` arguments; None if it does, or does not tell."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError as error:
        return str(error)
    except ValueError:
        pass
    return None


def check_potential(name: str, potential: Any) -> AnyPotential:
    """Something that scores: a potential, its name in the notation, or a function of the value."""
    known = isinstance(potential, Potential | PotentialSource)
    # A name of ponder's notation that can be called makes a block, a rule or a score.
    ours = str(getattr(potential, "__module__", "")).startswith("ponder.")
    named = ours and any(thing is potential for thing in NAMES.values())
    if known or (callable(potential) and not named and not isinstance(potential, Block | Source)):
        checked: AnyPotential = potential
        return checked
    got = getattr(potential, "__name__", repr(potential))
    raise PonderError(f"{name} needs something that scores, such as judge, got {got}")


def check_resampler(name: str, resampler: Any) -> Any:
    """One of the resamplers, or a function like them."""
    if not callable(resampler) or isinstance(resampler, Block | Source | type):
        raise PonderError(
            f"{name} needs a resampler (multinomial, stratified, systematic, residual), "
            f"got {resampler!r}"
        )
    return resampler
