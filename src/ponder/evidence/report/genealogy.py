"""The traces of one question: as a family tree by stage, or by answer if there is one stage."""

from __future__ import annotations

from functools import partial

from ponder.evidence.report.answers import Share, last_stage, shares
from ponder.evidence.report.draws import draws_sheet
from ponder.evidence.report.schema import Descendant, Results
from ponder.evidence.report.sheet import Picture, picture
from ponder.evidence.report.tree import tree_sheet
from ponder.evidence.report.wording import number, percent, several


def genealogy(results: Results) -> Picture | None:
    """The picture of the question whose traces the results hold; None if there are none."""
    found = results["genealogy"]
    if found is None or not found["traces"]:
        return None
    kinds = {question["id"]: question["kind"] for question in results["questions"]}
    answers = shares(found, kinds.get(found["question"], "text"))
    stages = len({trace["stage"] for trace in found["traces"]})
    draw = tree_sheet if stages > 1 else draws_sheet
    caption = _caption(stages, len(last_stage(found["traces"])))
    label = f"The traces of question {found['question']}. {_said(answers)}"
    drawn = partial(draw, found["traces"], answers)
    return picture("genealogy", "One question, trace by trace", caption, label, drawn)


def _caption(stages: int, traces: int) -> str:
    marked = "The right answer is green and ticked."
    if stages == 1:
        return (
            f"Each disc is one of {several(traces, 'trace')}, in the row of its answer; areas go "
            f"with weights. {marked} Point at a disc to read the trace."
        )
    return (
        f"{several(stages, 'stage')} from left to right; each disc is a trace, joined to the one "
        "that it goes on from, and areas go with weights. Filled discs have given their answer, "
        "open ones are still on their way and wear the colour of the answer that all their "
        "descendants at the last stage give; that of this text, if they give several; faint "
        f"grey, if there are none. {marked} Point at a disc to read the trace."
    )


def _said(answers: list[Share]) -> str:
    return " ".join(
        f"{share.text}{' (right)' if share.right else ''}: {percent(share.weight)} of the weight, "
        f"{several(len(share.traces), 'trace')}."
        for share in answers
    )


def told_in_full(results: Results) -> list[dict[str, str]]:
    """The traces of the last stage as printed, heaviest first."""
    found = results["genealogy"]
    traces: list[Descendant] = [] if found is None else last_stage(found["traces"])
    return [
        {
            "index": str(trace["index"]),
            "weight": f"{trace['weight']:.3f}",
            "answer": trace["answer"] or "no answer",
            "tokens": number(trace["tokens"]),
            "text": trace["text"],
        }
        for trace in sorted(traces, key=lambda t: (-t["weight"], t["index"]))
    ]
