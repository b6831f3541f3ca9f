"""What ``bench`` shows: progress while it works, and the table at the end."""

from __future__ import annotations

import sys
import time
from typing import Any


class Bar:
    """Progress on the error output, if that is a terminal."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._last = 0.0
        self._tokens = ""

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, strategy: str, done: int, total: int) -> None:
        """``done`` of ``total`` questions have been sampled for a strategy."""
        if self._shown():
            self._bar.update(self._task, description=strategy, completed=done, total=total)

    def stage(self, strategy: str) -> None:
        """From now on a strategy is measured on what was sampled."""
        if self._shown():
            self._bar.update(self._task, description=f"measuring {strategy}", tokens="")

    def watch(self, runtime: Any) -> None:
        """Show what has been spent, a few times a second."""
        now = time.monotonic()
        if now - self._last > 0.3 and self._shown():
            self._last = now
            self._bar.update(self._task, tokens=f"{runtime.spent.tokens} tokens")

    def _shown(self) -> bool:
        if self._bar is None and sys.stderr.isatty():
            self._start()
        return self._bar is not None

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[tokens]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task("", total=None, tokens="")


def print_table(results: dict[str, Any]) -> None:
    """Accuracy, cost and coverage of every method at its own size, with the baselines."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for name in ("method", "right", "95%", "answered", "tokens", "any right"):
        table.add_column(name, justify="left" if name == "method" else "right", overflow="fold")
    for method in results["methods"]:
        last = method["curve"][-1]
        table.add_row(
            Text(last["strategy"]),
            f"{last['accuracy']:.3f}",
            _interval(last["interval"]),
            f"{last['answered']:.2f}",
            f"{last['tokens']:.0f}",
            f"{last['covered']:.2f}",
        )
    for row in results["baselines"]:
        table.add_row(
            Text(row["name"], style="dim"),
            f"{row['accuracy']:.3f}",
            _interval(row["interval"]),
            "",
            "" if row["tokens"] is None else f"{row['tokens']:.0f}",
            "",
        )
    console = Console(highlight=False, soft_wrap=False)
    questions, made = len(results["questions"]), results["made"]
    console.print(
        f"{questions} questions, {made['model']}; means over {made['orders']} orders of the samples"
    )
    console.print(table)
    for row in results["comparisons"]:
        low, high = row["interval"]
        console.print(
            Text(
                f"{row['a']} against {row['b']} at {row['tokens']:.0f} tokens a question: "
                f"{row['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
            )
        )
    for method in results["methods"]:
        for failure in method["failures"]:
            print(
                f"ponder: {method['strategy']}: {failure['id']}: {failure['why']}", file=sys.stderr
            )


def _interval(ends: list[float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.2f}-{ends[1]:.2f}"
