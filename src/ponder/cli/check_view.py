"""Reports of checks, for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ponder.checking.claims import Finding, Report, Verdict

STYLE: dict[Verdict, str] = {
    "valid": "green",
    "refuted": "bold red",
    "untested": "yellow",
    "heuristic": "yellow",
    "known": "dim",
}


def print_report(report: Report) -> None:
    """Every claim: how it was tested, what came out, what would have been found."""
    console = Console()
    console.print(escape(report.subject), style="bold", soft_wrap=True)
    console.print(f"law claimed: {escape(report.law)}\n", soft_wrap=True)
    for finding in report.findings:
        _print_finding(console, finding)
    style = STYLE[report.verdict]
    console.print(f"\n[{style}]{report.verdict}[/], in {report.seconds:.1f} s", soft_wrap=True)


def _print_finding(console: Console, finding: Finding) -> None:
    style = STYLE[finding.verdict]
    console.print(f"[{style}]{finding.verdict:9}[/] {escape(finding.claim)}", soft_wrap=True)
    indent = " " * 10
    if finding.estimate is not None and finding.exact is not None:
        found = f"estimate {finding.estimate:.6g}, exact {finding.exact:.6g}; {evidence(finding)}"
        console.print(indent + found, soft_wrap=True)
    known = finding.method == "sampled" or finding.would_find is not None
    if known and finding.verdict != "refuted":
        console.print(f"{indent}{power(finding)}", soft_wrap=True)
    where = " on ".join(part for part in (how(finding), finding.toy) if part)
    note = f" ({finding.note})" if finding.note else ""
    if where or note:
        console.print(f"[dim]{indent}{escape(where + note)}[/]", soft_wrap=True)


def how(finding: Finding) -> str:
    """How a claim was tested, and on how many runs."""
    if finding.method == "none" or not finding.toy:
        return ""
    return f"{finding.method}, {finding.runs} runs, {'sharpest' if sharp(finding) else 'worst'}"


def sharp(finding: Finding) -> bool:
    """Whether what is shown is where a bias would have been found first."""
    return finding.method == "sampled" and finding.verdict == "valid"


def evidence(finding: Finding) -> str:
    """The evidence against a claim, in words."""
    if finding.evidence is None:
        return ""
    if finding.method == "sampled":
        return f"e = {power_of_ten(finding.evidence)}"
    return f"off by {finding.evidence:.1e}"


def power_of_ten(exponent: float) -> str:
    """An e-value by its decimal logarithm."""
    return f"10^{round(exponent, 1) + 0.0:.1f}"


def power(finding: Finding) -> str:
    """What would have been found, in words."""
    if finding.would_find is None:
        return "no bias would surely have been found: look longer with --seconds"
    if finding.method == "enumerated":
        return f"any bias above {finding.would_find:.0e} would have been found"
    share = f" ({finding.would_find / finding.exact:.0%})" if finding.exact else ""
    return f"a bias of {finding.would_find:.2g}{share} would have been found 99 times in 100"


def print_all(reports: Sequence[tuple[str, Report]]) -> None:
    """One line a subject."""
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("checked", "law", "off by", "e-value", "finds", "verdict"):
        table.add_column(title, no_wrap=True)
    for name, report in reports:
        style = STYLE[report.verdict]
        table.add_row(
            escape(name),
            report.law.split(" for ")[0],
            _largest(report),
            _most_evidence(report),
            _would_find(report),
            f"[{style}]{report.verdict}[/]",
        )
    console.print(table)
    console.print(
        "off by: the largest difference found exactly; e-value: the largest of the bets; finds: "
        "the smallest bias that they would have found 99 times in 100",
        style="dim",
    )
    for name, report in reports:
        for finding in report.findings:
            if finding.verdict in ("refuted", "untested"):
                console.print(f"\n{escape(name)}: {escape(report.subject)}", soft_wrap=True)
                _print_finding(console, finding)
    counts = {v: sum(r.verdict == v for _, r in reports) for v in STYLE}
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    spent = sum(r.seconds for _, r in reports)
    console.print(f"\n{len(reports)} checked: {said}; {spent:.0f} s of work", soft_wrap=True)


def _largest(report: Report) -> str:
    found = [
        f.evidence
        for f in report.findings
        if f.method == "enumerated" and f.evidence is not None and f.verdict != "heuristic"
    ]
    return f"{max(found):.1e}" if found else "-"


def _most_evidence(report: Report) -> str:
    found = [
        f.evidence for f in report.findings if f.method == "sampled" and f.evidence is not None
    ]
    return power_of_ten(max(found)) if found else "-"


def _would_find(report: Report) -> str:
    shares = [
        f.would_find / f.exact
        for f in report.findings
        if f.method == "sampled" and f.would_find is not None and f.exact
    ]
    return f"{min(shares):.0%}" if shares else "-"
