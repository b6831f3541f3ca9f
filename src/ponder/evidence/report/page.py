"""The page: one file of HTML that loads nothing, so that it can be kept, sent and printed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from ponder.errors import PonderError
from ponder.evidence.report import table
from ponder.evidence.report.foretold import foretold
from ponder.evidence.report.frontier import frontier
from ponder.evidence.report.genealogy import genealogy, told_in_full
from ponder.evidence.report.heat import heat
from ponder.evidence.report.lettering import Lettered, lettered
from ponder.evidence.report.palette import DARK, LIGHT, variables
from ponder.evidence.report.reliability import reliability
from ponder.evidence.report.schema import Results, checked
from ponder.evidence.report.selective import selective
from ponder.evidence.report.sheet import Picture, drawing
from ponder.evidence.report.tokens import tokens_spent
from ponder.evidence.report.verdict import tasks, verdict
from ponder.evidence.report.wording import joined, printable, several

Section = tuple[Picture | None, str]
"""A picture, or why there is none."""


def write_report(results: Mapping[str, Any], path: Path) -> None:
    """Write the results of a bench (``results.json``) to ``path`` as one HTML file.

    The same results give the same bytes. Raises PonderError if the results cannot be read, or the
    file cannot be written.
    """
    page = report(checked(results))
    try:
        path.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise PonderError(f"cannot write {path}: {error.strerror}; name another file") from error


def report(results: Results) -> str:
    """The page as text."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printed,
    )
    source = resources.files(__package__).joinpath("report.html.j2").read_text(encoding="utf-8")
    shown = lettered(results)
    return environment.from_string(source).render(
        title=_title(results),
        deck=_deck(results, shown),
        verdict=verdict(results, shown),
        sections=_sections(results, shown),
        genealogy=results["genealogy"],
        traces=told_in_full(results),
        made=table.made_rows(results),
        command=results["made"].get("command"),
        light=variables(LIGHT),
        dark=variables(DARK),
        **_tables(results, shown),
    )


def _printed(value: Any) -> Any:
    """Text without what HTML may not hold; markup as it is, made of such text."""
    return printable(value) if type(value) is str else value


def _title(results: Results) -> str:
    model = results["made"].get("model") or "Methods"
    return f"{model} on {joined(tasks(results) or ['no questions'])}"


def _deck(results: Results, shown: tuple[Lettered, ...]) -> str:
    parts = [
        several(len(results["questions"]), "question"),
        several(len(shown), "method"),
        f"{several(results['made']['orders'], 'order')} of the samples",
    ]
    return " · ".join([*parts, *filter(None, [results["made"].get("date")])])


def _tables(results: Results, shown: tuple[Lettered, ...]) -> dict[str, Any]:
    return {
        "methods": table.method_rows(shown),
        "baselines": table.baseline_rows(results["baselines"]),
        "sizes": table.size_rows(shown, results["pareto"]),
        "probabilities": table.probability_rows(shown),
        "comparisons": table.comparison_rows(results["comparisons"]),
        "failures": table.failure_rows(shown),
        "notes": results["notes"],
    }


def _sections(results: Results, shown: tuple[Lettered, ...]) -> list[Section]:
    """The pictures in the order of the page."""
    with drawing():
        return [
            (frontier(results, shown), ""),
            (reliability(shown), "No reliability diagram: no method stated a probability."),
            (selective(shown), "No risk by coverage: no method stated a probability."),
            (
                foretold(results["forecast"], shown),
                "No forecast: nothing was foretold from a pilot of fewer samples.",
            ),
            (genealogy(results), "No traces to look at: none were kept with these results."),
            (tokens_spent(shown), ""),
            (heat(results, shown), "No picture by question: the results hold none of its numbers."),
        ]
