"""``ponder check``: is this method valid?"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ponder.checking.claims import Report


def check(
    subject: Annotated[
        str | None,
        typer.Argument(
            help='A strategy, e.g. "cot | draw(8) | vote", or path/to/file.py:name, where name may '
            "also be a ponder.vi.Gradients, whose estimators are then held to the exact gradient."
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Check every block, kernel and recipe of ponder.")
    ] = False,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", help="How long to look; 30, and 5 for each of --all.", min=0.1),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another seed, other samples.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    sbc: Annotated[
        bool,
        typer.Option(
            "--sbc", help="Simulation-based calibration of path/to/file.py:name, an Amortized."
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="With --sbc: draw the ranks into this .png, .svg or .pdf."),
    ] = None,
) -> None:
    """Test what a method claims: exit status 0 valid, 1 refuted, 2 it could not be tested."""
    from ponder.errors import PonderError

    if every == (subject is not None):
        both = "either, not both: " if every else ""
        raise PonderError(f"give {both}a strategy or path/to/file.py:name to check, or --all")
    if every and sbc:
        raise PonderError("give either --all or --sbc with path/to/file.py:name, not both")
    if plot is not None and not sbc:
        raise PonderError("--plot draws the ranks of --sbc; give --sbc too")
    try:
        if sbc:
            assert subject is not None
            sys.exit(_sbc(subject, 30.0 if seconds is None else seconds, seed, as_json, plot))
        if every:
            sys.exit(_all(5.0 if seconds is None else seconds, seed, as_json))
        assert subject is not None
        sys.exit(_one(subject, 30.0 if seconds is None else seconds, seed, as_json))
    except KeyboardInterrupt:
        print("ponder: interrupted; nothing was concluded", file=sys.stderr)
        sys.exit(130)


def _one(subject: str, seconds: float, seed: int, as_json: bool) -> int:
    from ponder.checking.check import check as check_one

    # What a method prints is not part of the report.
    with _shown() as told, redirect_stdout(sys.stderr):
        report = check_one(subject, seconds=seconds, seed=seed, told=told)
    return _said(report, as_json)


def _sbc(subject: str, seconds: float, seed: int, as_json: bool, plot: Path | None) -> int:
    from ponder.checking.rank_plots import draw_ranks, refuse_format
    from ponder.checking.sbc import sbc

    if plot is not None:
        refuse_format(plot)
    with _shown() as told, redirect_stdout(sys.stderr):
        calibration = sbc(subject, seconds=seconds, seed=seed, told=told)
    status = _said(calibration.report, as_json)
    if plot is not None:
        draw_ranks(calibration, plot)
    return status


def _said(report: Report, as_json: bool) -> int:
    from ponder.cli.check_view import print_report

    if as_json:
        print(json.dumps(report.as_dict(), ensure_ascii=False))
    else:
        with suppress(SystemExit):  # rich ends the process where nobody reads on
            print_report(report)
    return report.status


def _all(seconds: float, seed: int, as_json: bool) -> int:
    from ponder.checking.every import check_all, status_of
    from ponder.cli.check_view import print_all

    with _shown() as told:
        reports = check_all(seconds, seed, told)
    if as_json:
        print(json.dumps([{"name": n} | r.as_dict() for n, r in reports], ensure_ascii=False))
    else:
        print_all(reports)
    return status_of(reports)


@contextmanager
def _shown() -> Iterator[Callable[[str], None]]:
    """Tells what is being done, where somebody can see it."""
    if not sys.stderr.isatty():
        yield lambda message: None
        return
    from rich.console import Console

    with Console(stderr=True).status("checking") as status:
        yield lambda message: status.update(f"checking: {message}")
