"""For the tests of those who write methods: ``assert_valid(my_method)``."""

from __future__ import annotations

from typing import Any

from ponder.checking.check import check
from ponder.checking.claims import Report


def assert_valid(subject: Any, *, seconds: float = 10.0, seed: int = 0) -> Report:
    """Fail unless every claim of a strategy, block or program holds, as ``ponder check`` tests it.

    Raises AssertionError that names the claim, the toy, and what came out; a heuristic fails too,
    since it claims nothing. A valid method fails with probability below 10^-6 over seeds.
    """
    report = check(subject, seconds=seconds, seed=seed)
    if report.verdict != "valid":
        lines = [f"{report.subject} is {report.verdict} ({report.law})"]
        for f in report.findings:
            if f.verdict not in ("valid", "known"):
                found = "" if f.estimate is None else f": {f.estimate:.6g} against {f.exact:.6g}"
                lines.append(f"{f.verdict}: {f.claim}{found} on {f.toy} ({f.note})")
        raise AssertionError("\n".join(lines))
    return report
