"""What every benchmark here shares: a quiet machine, alternation, medians, one report.

Ratios are of things measured in one run, in turns (A B A B ...), so that drift of the machine
cancels; a figure is the median of its repetitions.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

X = TypeVar("X")
BUSY = 0.2  # another process that uses more than this share of a core spoils a measurement
# No prompt here is from a benchmark's held-out part; with a chat template about 94 tokens.
QUESTION = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in "
    "May. How many clips did Natalia sell altogether in April and May?"
)


@dataclass(frozen=True)
class Figure:
    """One measured number: what it is, its repetitions' median and range, and what is wanted."""

    case: str
    model: str
    name: str
    value: float
    unit: str = ""
    low: float | None = None
    high: float | None = None
    target: str = ""
    note: str = ""


@dataclass
class Report:
    """Figures as they are measured, printed at once, and written as JSON at the end."""

    machine: dict[str, Any]
    figures: list[Figure] = field(default_factory=list)

    def add(
        self,
        place: tuple[str, str],
        name: str,
        values: float | Sequence[float],
        unit: str = "",
        target: str = "",
        note: str = "",
    ) -> None:
        """Add a figure of (case, model): the median of its values."""
        many = [values] if isinstance(values, int | float) else list(values)
        low, high = (min(many), max(many)) if len(many) > 1 else (None, None)
        figure = Figure(*place, name, statistics.median(many), unit, low, high, target, note)
        self.figures.append(figure)
        span = "" if low is None else f"  [{low:.4g} .. {high:.4g}]"
        wanted = f"  (wanted {target})" if target else ""
        shown = f"{figure.value:10.4g} {unit}{span}{wanted}  {note}"
        print(f"  {place[0]:<13} {place[1]:<19} {name:<45} {shown.rstrip()}", flush=True)

    def write(self, path: Path) -> None:
        """All figures and the machine they were measured on."""
        found = {"machine": self.machine, "figures": [asdict(f) for f in self.figures]}
        path.write_text(json.dumps(found, indent=1) + "\n")


def machine(packages: Sequence[str] = ("ponder", "llama-cpp-python", "numpy")) -> dict[str, Any]:
    """The processor, its cores, the date, the versions of these packages."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
        "spin": os.environ.get("GOMP_SPINCOUNT", "default"),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    found = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in found.items()}
    return f"{fields.get('model name', '?')} (model {fields.get('model', '?')})"


def _cpu_seconds() -> dict[int, float]:
    """Processor seconds that every other process has used so far, by its number."""
    used: dict[int, float] = {}
    tick = os.sysconf("SC_CLK_TCK")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue  # it has ended
            used[int(entry.name)] = (int(fields[11]) + int(fields[12])) / tick
    return used


def busiest(seconds: float = 1.0) -> float:
    """The largest share of a core that another process used during the next ``seconds``."""
    before = _cpu_seconds()
    time.sleep(seconds)
    after = _cpu_seconds()
    return max(((v - before.get(pid, v)) / seconds for pid, v in after.items()), default=0.0)


class Quiet:
    """Waits for other processes to fall silent, and says what they used since: ``str``."""

    def __init__(self, patience: float = 180.0) -> None:
        self._end = time.monotonic() + patience
        self.redone = 0
        self.wait()
        self._began, self._others = time.monotonic(), _others_seconds()

    def wait(self) -> None:
        """Return when the others are silent, or when all patience has been used up."""
        while time.monotonic() < self._end and busiest() > BUSY:
            time.sleep(2)

    @property
    def patient(self) -> bool:
        """Whether a disturbed measurement may still be repeated."""
        return time.monotonic() < self._end

    def __str__(self) -> str:
        seconds = time.monotonic() - self._began
        share = (_others_seconds() - self._others) / max(seconds, 0.1)
        redone = f", {self.redone} disturbed rounds repeated" if self.redone else ""
        return f"others used {max(share, 0.0):.2f} cores in {seconds:.0f} s{redone}"


def _others_seconds() -> float:
    """Processor seconds that all processes outside of this one's group have used."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    ticks = [int(x) for x in fields[:8]]  # user nice system idle iowait irq softirq steal
    busy = sum(ticks) - ticks[3] - ticks[4]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(stat[2]) == os.getpgrp():
                busy -= sum(int(x) for x in stat[11:15])  # its own and its ended children's
    return busy / os.sysconf("SC_CLK_TCK")


def alternate(
    cases: Mapping[str, Callable[[], X]], repeat: int, quiet: Quiet
) -> dict[str, list[X]]:
    """Run every case ``repeat`` times, in turns; answers what each returned.

    A round during which other processes used more than BUSY cores is repeated once they are
    silent, as long as ``quiet`` has patience.
    """
    found: dict[str, list[X]] = {name: [] for name in cases}
    names = list(cases)
    while len(found[names[0]]) < repeat:
        others, began = _others_seconds(), time.monotonic()
        values = {name: cases[name]() for name in names}
        share = (_others_seconds() - others) / (time.monotonic() - began)
        if share > BUSY and quiet.patient:
            quiet.redone += 1
            quiet.wait()
            continue
        for name, value in values.items():
            found[name].append(value)
        names.reverse()  # A B B A: neither is always first
    return found


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Paired ratios of two alternating measurements."""
    return [a / b for a, b in zip(above, below, strict=True)]


def child(script: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> Any:
    """Run a script of this project in a process of its own; its last output line is JSON."""
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def options(
    doc: str | None, cases: Sequence[str], *, models: bool = True
) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of: {', '.join(cases)} (all)")
    if models:
        parser.add_argument("--model", action="append", help="may be given twice; default both")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions (5)")
    parser.add_argument("--quick", action="store_true", help="small and rough: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser


def begin() -> Report:
    """Print the machine; answers an empty report."""
    about = machine()
    print(", ".join(f"{key} {value}" for key, value in about.items()), flush=True)
    return Report(about)
