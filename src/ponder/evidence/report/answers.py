"""The answers of one question's traces: their shares, their colours, which one is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ponder.errors import PonderError
from ponder.evidence.report.palette import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION
from ponder.evidence.report.schema import Descendant, Genealogy
from ponder.verify.answers import canonical, display

_WRONG = (VERMILION, BLUE, ORANGE, PURPLE, SKY)


@dataclass(frozen=True)
class Share:
    """An answer, or None for traces that gave none; its share of the weight."""

    answer: str | None
    weight: float
    traces: tuple[Descendant, ...]
    colour: str
    right: bool

    @property
    def text(self) -> str:
        return "no answer" if self.answer is None else self.answer


def last_stage(traces: Sequence[Descendant]) -> list[Descendant]:
    """The population that answers."""
    end = max((trace["stage"] for trace in traces), default=0)
    return [trace for trace in traces if trace["stage"] == end]


def shares(genealogy: Genealogy, kind: str) -> list[Share]:
    """The answers of the last stage, heaviest first, those without one at the end.

    Green is the right answer, wherever it stands; the wrong ones have five hues among them.
    """
    groups: dict[str | None, list[Descendant]] = {}
    for trace in last_stage(genealogy["traces"]):
        groups.setdefault(trace["answer"], []).append(trace)
    total = sum(t["weight"] for group in groups.values() for t in group) or 1.0
    weights = {answer: sum(t["weight"] for t in g) / total for answer, g in groups.items()}
    order = sorted(groups, key=lambda a: (a is None, -round(weights[a], 9), groups[a][0]["index"]))
    right = {answer: _is_right(answer, genealogy["right_answer"], kind) for answer in order}
    wrong = iter(_WRONG)
    colours = {
        answer: GREEN if right[answer] else GREY if answer is None else next(wrong, GREY)
        for answer in order
    }
    return [
        Share(answer, weights[answer], tuple(groups[answer]), colours[answer], right[answer])
        for answer in order
    ]


def _is_right(answer: str | None, right: str | None, kind: str) -> bool:
    """Whether an answer as displayed is the right one, by its form or by its letters."""
    if answer is None or right is None:
        return False
    try:
        form = canonical(right, kind)
    except PonderError:
        form = None
    return answer.strip() == right.strip() or (form is not None and answer == display(form, kind))
