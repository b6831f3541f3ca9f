"""What is known of a method that claims nothing: the law of its answers, beside the target's."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable
from typing import Any

from ponder.checking.cases import Case
from ponder.checking.claims import Finding
from ponder.checking.enumerated import LIMIT, specified
from ponder.interpret import enumerate_runs
from ponder.measure import Abstain, answer_of
from ponder.strategy import Decide

Law = dict[Hashable, float]


def answers_selected(case: Case) -> Law:
    """The exact law of the answer of a strategy that decides; None where it abstains."""
    law: Law = defaultdict(float)
    for posterior, log_prob in enumerate_runs(case.pipeline.bind(case.binding), LIMIT):
        law[posterior.answer] += math.exp(log_prob)
    return dict(law)


def answers_of_target(case: Case) -> Law:
    """The law of the answer under the target, among the traces that give one."""
    masses: Law = defaultdict(float)
    for atom in specified(case):
        answer = answer_of(atom.trace)
        if not isinstance(answer, Abstain):
            masses[answer] += atom.mass
    total = math.fsum(masses.values())
    return {a: m / total for a, m in masses.items()}


def describe(case: Case) -> Finding | None:
    """The selected law and its distance from the target; None where there is no answer."""
    target = answers_of_target(case)
    if not target or not isinstance(case.pipeline.blocks[-1], Decide):
        return None
    selected = answers_selected(case)
    apart = 0.5 * math.fsum(
        abs(selected.get(a, 0.0) - target.get(a, 0.0)) for a in {**selected, **target}
    )
    note = f"{case.pipeline!r} answers {_shown(selected)}; the target's law is {_shown(target)}"
    return Finding(
        "heuristic: total variation between what it answers and the target",
        "enumerated",
        "heuristic",
        case.toy,
        apart,
        0.0,
        apart,
        None,
        note=note,
    )


def _shown(law: Law) -> str:
    ranked: list[Any] = sorted(law.items(), key=lambda pair: -pair[1])
    parts = [f"{answer!r} {p:.4f}" for answer, p in ranked[:4]]
    return ", ".join(parts) + (", ..." if len(ranked) > 4 else "")
