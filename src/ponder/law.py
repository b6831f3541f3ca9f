"""Laws: what a block claims about the distribution of what it returns.

A law is a statement about the model's own measure, never about the truth. It is computed when
blocks are composed, from the table in :func:`after`; whether code deserves it is for the tests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["exact", "weighted", "consistent", "bounded", "heuristic"]

MEANING: dict[Kind, str] = {
    "exact": "independent draws from the target, equal weights",
    "weighted": "unbiased for the unnormalised target, evidence included",
    "consistent": "converges to the target; bias O(1/N), error O(N^-1/2)",
    "bounded": "a finite-sample error or coverage statement under named assumptions",
    "heuristic": "no claim",
}


@dataclass(frozen=True, slots=True)
class Law:
    """(kind, target, assumptions). ``str`` is one line that a person can read.

    ``ordered`` says that the traces are the first ones, in order, of independent draws from the
    target, and that how many there are was decided by what was seen up to there and nothing else:
    what a statement that holds at every stopping time needs. Exact populations are so, and those
    that a rule has stopped.
    """

    kind: Kind
    target: str
    assumptions: tuple[str, ...] = ()
    ordered: bool = False

    def __str__(self) -> str:
        notes = f" ({'; '.join(self.assumptions)})" if self.assumptions else ""
        return f"{self.kind} for {self.target}{notes}"

    def noting(self, note: str) -> Law:
        """The same law with one more assumption or remark."""
        return replace(self, assumptions=(*self.assumptions, note))


def weighted_by(law: Law, potential: str) -> Law:
    """After reweighing by a potential: the target changes, i.i.d. equal weights are lost."""
    kind: Kind = "weighted" if law.kind == "exact" else law.kind
    return replace(law, kind=kind, target=f"{law.target} * {potential}", ordered=False)


def continued(law: Law, onward: str, *, normalised: bool) -> Law:
    """After every trace has gone on by itself; without factors nothing else changes."""
    kind: Kind = "weighted" if law.kind == "exact" and not normalised else law.kind
    ordered = law.ordered and normalised
    return replace(law, kind=kind, target=f"{law.target} | {onward}", ordered=ordered)


def stopped(law: Law, rule: str) -> Law:
    """Draws that a rule ended by what it saw: their shares are biased, their order is not."""
    return replace(heuristic(law, f"stopped by {rule}"), ordered=law.ordered)


def resampled(law: Law) -> Law:
    """After unbiased resampling: the measure is kept in expectation, independence is not."""
    return replace(law, kind="weighted" if law.kind == "exact" else law.kind, ordered=False)


def voted(law: Law) -> Law:
    """The plug-in posterior of a population."""
    if law.kind == "exact":
        return replace(law, kind="consistent").noting("unbiased shares while every trace votes")
    if law.kind in ("weighted", "consistent"):
        return replace(law, kind="consistent")
    return law


def stated(law: Law, *, complete: bool) -> Law:
    """The law of a run; where a trace was cut short, which ones are missing depends on the data."""
    return law if complete else heuristic(law, "cut short")


def heuristic(law: Law, why: str) -> Law:
    """No claim is left, and why."""
    return replace(law, kind="heuristic", ordered=False).noting(why)
