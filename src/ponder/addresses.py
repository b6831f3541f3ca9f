"""Where a program samples: names, ordinals and visits, the same for whoever counts them."""

from __future__ import annotations

from ponder.effects import Each
from ponder.errors import PonderError


class Addresses:
    """The addresses of one running program, in the order in which it asks.

    An unnamed sample is "#0", "#1", ...; a name stands for itself, and from its second visit on
    as "name#1", "name#2", ...; the programs of an unnamed ``Each`` are "#k.0", "#k.1", ...
    """

    __slots__ = ("_ordinal", "_visits")

    def __init__(self) -> None:
        self._ordinal = 0
        self._visits: dict[str, int] = {}

    def next(self, name: str | None) -> str:
        """The address of the next sample. Raises PonderError for a name with # or / in it."""
        if name is None:
            self._ordinal += 1
            return f"#{self._ordinal - 1}"
        visit = self._visits.get(name, 0)
        if visit == 0 and ("#" in name or "/" in name):
            raise PonderError(f"the name {name!r} holds # or /; choose one without")
        self._visits[name] = visit + 1
        return f"{name}#{visit}" if visit else name

    def each(self, effect: Each) -> list[str]:
        """The address parts of the programs of an ``Each``."""
        if effect.names is not None:
            return [self.next(name) for name in effect.names]
        self._ordinal += 1
        return [f"#{self._ordinal - 1}.{i}" for i in range(len(effect.programs))]

    def copy(self) -> Addresses:
        """An independent count from here on."""
        twin = Addresses()
        twin._ordinal = self._ordinal
        twin._visits = dict(self._visits)
        return twin
