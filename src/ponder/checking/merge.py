"""Findings on many toys, as one a claim."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from ponder.checking.claims import Finding


def merged(findings: Sequence[Finding]) -> list[Finding]:
    """One finding a claim, in the order in which claims were first tested."""
    by_claim: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        by_claim[finding.claim, finding.method].append(finding)
    return [_one(group) for group in by_claim.values()]


def _one(group: Sequence[Finding]) -> Finding:
    if group[0].verdict == "known":
        return _counted(group)
    refuted = [f for f in group if f.verdict == "refuted"]
    runs = sum(f.runs for f in group)
    if group[0].method == "sampled" and not refuted:
        sharpest = min(group, key=_sharpness)
        most = max(f.evidence or 0.0 for f in group)
        note = f"the largest e of {len(group)} statistics; {sharpest.note}"
        return replace(sharpest, evidence=most, runs=runs, note=note)
    worst = max(refuted or group, key=lambda f: f.evidence or 0.0)
    toys = _count(len(group), "statistic" if worst.method == "sampled" else "toy")
    toys = "" if worst.method == "none" else toys
    toys += f", refuted on {len(refuted)}" if refuted else ""
    return replace(worst, runs=runs, note="; ".join(n for n in (toys, worst.note) if n))


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")


def _sharpness(finding: Finding) -> float:
    """The smallest bias that would have been found, relative to the value."""
    found, exact = finding.would_find, finding.exact
    return math.inf if found is None or not exact else found / abs(exact)


def _counted(facts: Sequence[Finding]) -> Finding:
    """One line for a fact about many toys; where it does not hold its evidence is not zero."""
    if not facts[0].toy:
        return facts[0]
    missing = [f.toy for f in facts if f.evidence]
    if len(missing) == len(facts) and facts[0].claim.endswith(" moves"):
        note = f"on none of {_count(len(facts), 'toy')}: to stay where it is keeps every target"
        return replace(facts[0], verdict="untested", toy="", evidence=None, note=note)
    note = f"on {len(facts) - len(missing)} of {_count(len(facts), 'toy')}"
    if missing:
        note += f"; not on {', '.join(missing[:3])}"
    return replace(facts[0], toy="", evidence=None, note=note)
