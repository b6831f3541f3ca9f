"""Whether formulas have a model: by z3, by instances, and by structures of one, two, ... objects.

z3 instantiates quantifiers as it sees fit, and may find no end. Instances of the terms at hand
decide what z3 sometimes overlooks, ``↔`` above all. A structure of few objects spells quantifiers
out, so that z3 has only propositions and equalities left; a model found there is a model. There is
at least one object; different constants may denote the same one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from ponder.verify.logic.instances import decide_by_instances
from ponder.verify.logic.syntax import Formula, ground_size
from ponder.verify.logic.translation import Translation, load_z3

# z3's resource units for a second. It mostly uses more, so that these limits, which are the same on
# every machine, end a search more often than the time. z3 may overrun both by seconds.
_UNITS = 1_500_000
_GLANCE = 0.25  # seconds: enough for what z3 can do without search
_LARGEST_DOMAIN = 8
_MOST_GROUND = 30_000


def have_model(formulas: Sequence[Formula], seconds: float) -> bool | None:
    """Whether the formulas have a model in common; None if ``seconds`` do not suffice to tell."""
    search = Search(load_z3(), time.monotonic() + seconds)
    # z3's own search comes last again: where it finds no end it takes all that is left.
    found = search.of_any_size(formulas, min(_GLANCE, seconds / 4))
    if found is None:
        found = search.by_instances(formulas, seconds / 4)
    for size in range(1, _LARGEST_DOMAIN + 1):
        if found is not None or sum(ground_size(f, size) for f in formulas) > _MOST_GROUND:
            break
        found = search.of_size(formulas, size, seconds / 4)
    return search.of_any_size(formulas, seconds / 2) if found is None else found


class Search:
    """Ways to look for a model. ``effort``: seconds, or rather what z3 uses in them."""

    def __init__(self, z3: ModuleType, deadline: float) -> None:
        self.z3 = z3
        self.deadline = deadline

    def of_any_size(self, formulas: Sequence[Formula], effort: float) -> bool | None:
        context = self.z3.Context()
        translation = Translation(self.z3, context, self.z3.DeclareSort("object", context))
        return self.check(context, [translation.formula(f, {}) for f in formulas], effort)

    def by_instances(self, formulas: Sequence[Formula], effort: float) -> bool | None:
        context = self.z3.Context()
        translation = Translation(self.z3, context, self.z3.DeclareSort("object", context))
        return decide_by_instances(
            formulas, translation, lambda found: self.check(context, found, effort)
        )

    def of_size(self, formulas: Sequence[Formula], size: int, effort: float) -> bool | None:
        """True if there is a model of ``size`` objects; that there is none proves nothing."""
        context = self.z3.Context()
        names = [f"object {i}" for i in range(size)]
        sort, objects = self.z3.EnumSort("object", names, context)
        translation = Translation(self.z3, context, sort, objects)
        return self.check(context, [translation.formula(f, {}) for f in formulas], effort) or None

    def check(self, context: Any, expressions: Sequence[Any], effort: float) -> bool | None:
        """Whether z3 finds a model of expressions, within the effort and before the deadline."""
        milliseconds = int((self.deadline - time.monotonic()) * 1000)
        if milliseconds <= 0:
            return None
        solver = self.z3.Solver(ctx=context)
        solver.set("rlimit", max(1, int(effort * _UNITS)))
        solver.set("timeout", milliseconds)
        solver.add(*expressions)
        try:
            found = solver.check()
        except self.z3.Z3Exception:
            return None  # out of memory
        return True if found == self.z3.sat else False if found == self.z3.unsat else None
