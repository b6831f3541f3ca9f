"""Check one thing with the ponder that is imported, and stop as soon as one claim has fallen.

    python refute.py SUBJECT CLAIM SECONDS

Prints JSON: the verdict, and the first refuted claim that contains CLAIM (of any, if none does).
An empty CLAIM is a control, which ends with the check or, if that is sooner, soon after SECONDS.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ponder
from ponder.checking.check import Check
from ponder.checking.claims import Finding, Report
from ponder.checking.every import OBJECTS, TEXTS
from ponder.checking.identities import IDENTITIES
from ponder.checking.subjects import resolve

LONGER = (2.0, 10.0)  # seconds of a check; then what is left
CONTROL = 3.0


class Enough(BaseException):
    """Not an Exception, since a check goes on after those."""


def subject_of(text: str) -> Any:
    """What a name of ``ponder check --all``, a text or a file beside this one means."""
    if text in OBJECTS:
        return OBJECTS[text]()
    path, colon, _ = text.rpartition(":")
    beside = colon and path.endswith(".py")
    return resolve(str(Path(__file__).parent / text) if beside else TEXTS.get(text, text))


def refuted(findings: Sequence[Finding], claim: str) -> Finding | None:
    return next((f for f in findings if f.verdict == "refuted" and claim in f.claim), None)


def checked(subject: Any, claim: str, seconds: float) -> tuple[str, list[Finding]]:
    """(the verdict, what was found): with a claim to refute, no more than was needed for it."""

    started = time.perf_counter()

    def told(message: str) -> None:
        over = not claim and time.perf_counter() - started > seconds
        if over or (claim and refuted(check.findings, claim)):
            raise Enough

    check = Check(subject, min(seconds, CONTROL) if not claim else seconds, 0, told)
    try:
        report = check.run()
    except Enough:
        report = Report(repr(subject), "", tuple(check.findings), 0.0)
    return report.verdict, list(report.findings)


def search(text: str, claim: str, seconds: float) -> tuple[str, list[Finding]]:
    """Looks longer and longer until the claim has fallen."""
    if text in IDENTITIES:
        report = IDENTITIES[text]()
        return report.verdict, list(report.findings)
    started = time.perf_counter()
    subject = subject_of(text)
    if not claim:
        return checked(subject, claim, seconds)
    for turn in (*LONGER, seconds):
        left = seconds - (time.perf_counter() - started)
        verdict, found = checked(subject, claim, min(turn, left))
        if refuted(found, claim):
            break
    return verdict, found


def main() -> None:
    text, claim, seconds = sys.argv[1:]
    started = time.perf_counter()
    verdict, findings = search(text, claim, float(seconds))
    first = refuted(findings, claim) or refuted(findings, "")
    why = "; ".join(f"{f.claim}: {f.note}" for f in findings if f.verdict == "untested")
    found: dict[str, Any] = {
        "package": str(ponder.__file__),
        "verdict": verdict,
        "seconds": round(time.perf_counter() - started, 2),
        "trouble": why,
    }
    if first is not None:
        found |= {"claim": first.claim, "toy": first.toy, "method": first.method}
        found["evidence"] = first.evidence
    print(json.dumps(found))


if __name__ == "__main__":
    main()
