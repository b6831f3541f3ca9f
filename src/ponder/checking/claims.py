"""What a check found: one line a claim, and what follows from all of them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["valid", "refuted", "untested", "heuristic", "known"]
STATUS: dict[Verdict, int] = {"valid": 0, "refuted": 1, "untested": 2, "heuristic": 2, "known": 0}


@dataclass(frozen=True)
class Finding:
    """One claim, how it was tested, and what came out.

    ``estimate`` and ``exact`` are the quantity where the method did worst. ``evidence`` is the
    largest difference found (enumerated) or the log10 of the e-value (sampled). ``would_find`` is
    the smallest bias of that quantity that would have been refuted: always, or with probability
    99%. "known" is a fact that claims nothing.
    """

    claim: str
    method: Literal["enumerated", "sampled", "none"]
    verdict: Verdict
    toy: str = ""
    estimate: float | None = None
    exact: float | None = None
    evidence: float | None = None
    would_find: float | None = None
    runs: int = 0
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the evidence under its own name, what is infinite as text."""
        said = asdict(self)
        evidence = said.pop("evidence")
        said["log10_e_value" if self.method == "sampled" else "difference"] = evidence
        return {k: str(v) if v in (math.inf, -math.inf) else v for k, v in said.items()}


TOLERANCE = 1e-12
Apart = tuple[float, float, float]  # difference, estimate, exact value


def enumerated(claim: str, toy: str, apart: Apart, runs: int) -> Finding:
    """The finding of a claim that was computed exactly: refuted unless it is off by rounding."""
    difference, estimate, exact = apart
    ok = difference <= TOLERANCE
    return Finding(
        claim,
        "enumerated",
        "valid" if ok else "refuted",
        toy,
        estimate,
        exact,
        difference,
        TOLERANCE,
        runs,
    )


@dataclass(frozen=True)
class Report:
    """All findings about one subject. ``verdict`` is the worst of them."""

    subject: str
    law: str
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def verdict(self) -> Verdict:
        verdicts = {f.verdict for f in self.findings}
        order: tuple[Verdict, ...] = ("refuted", "heuristic", "untested", "valid")
        return next((v for v in order if v in verdicts), "untested")

    @property
    def status(self) -> int:
        """0 valid, 1 refuted, 2 could not be tested or makes no claim."""
        return STATUS[self.verdict]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "subject": self.subject,
            "law": self.law,
            "verdict": self.verdict,
            "status": self.status,
            "seconds": round(self.seconds, 2),
            "claims": [f.as_dict() for f in self.findings],
        }
