"""The server of the soak: a process of its own, its memory, its counters, its log."""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

KEY = "soak-key-0123456789"
ALIASES = (
    "sc4=cot(max_tokens=40) | draw(4) | vote",
    "json4=chat(max_tokens=40) | draw(4) | vote",
    "long=chat(max_tokens=1500) | draw(16) | vote",
)


@dataclass(frozen=True)
class Memory:
    """At ``time`` (monotonic seconds): resident bytes, those that no file backs, open files."""

    time: float
    resident: float
    anonymous: float
    files: int


class Server:
    """``ponder serve`` on a free port of this machine, with a key or without, in ``folder``."""

    def __init__(
        self, folder: Path, model: str, *options: str, key: bool = True, name: str = "server"
    ) -> None:
        keys = folder / "keys"
        keys.write_text(KEY + "\n")
        protected = ["--api-key-file", str(keys)] if key else []
        self.log_path = folder / f"{name}.log"
        aliases = [part for alias in ALIASES for part in ("--alias", alias)]
        command = ["serve", "--model", model, "--port", "0", *protected]
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ponder", *command, *aliases, *options],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "NO_COLOR": "1"},
            )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        found = re.search(r"http://\S+", said)
        if found is None:
            raise SystemExit(f"ponder serve did not start; it says:\n{said}{self.log}")
        self.url = found[0]

    @property
    def pid(self) -> int:
        """Its process, which must stay the same."""
        return self.process.pid

    @property
    def log(self) -> str:
        """What it has written to its error output."""
        return self.log_path.read_text(errors="replace")

    def lines(self, *words: str) -> list[str]:
        """The lines of the log that have one of some words."""
        return [line for line in self.log.splitlines() if any(word in line for word in words)]

    def memory(self) -> Memory:
        """What the process holds now, from /proc."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        kilobytes = {k: int(v) for k, v in re.findall(r"^(\w+):\s+(\d+) kB", status, re.M)}
        files = len(list(Path(f"/proc/{self.pid}/fd").iterdir()))
        anonymous = kilobytes["RssAnon"]
        return Memory(time.monotonic(), kilobytes["VmRSS"] * 1024, anonymous * 1024, files)

    def metrics(self) -> dict[str, float]:
        """Every counter and gauge by its name with its labels."""
        headers = {"Authorization": f"Bearer {KEY}"}
        page = httpx.get(f"{self.url}/metrics", headers=headers, timeout=30).text
        rows = [line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in rows}

    def busy(self) -> float:
        """Requests and sequences that are at work or wait, whoever counts them."""
        names = ["requests_at_work", "requests_queued"]
        names += ["engine_requests", "engine_running", "engine_waiting"]
        found = self.metrics()
        return sum(found[f"ponder_{name}"] for name in names)

    def seconds_to_idle(self, patience: float = 30.0) -> float:
        """How long it takes until nothing is at work; infinity if it does not come to that."""
        began = time.monotonic()
        while self.busy():
            if time.monotonic() - began > patience:
                return float("inf")
            time.sleep(0.02)
        return time.monotonic() - began

    def healthy(self) -> bool:
        """Whether the process lives and says that all is well."""
        alive = self.process.poll() is None
        return alive and httpx.get(f"{self.url}/health", timeout=30).status_code == 200

    def terminate(self) -> None:
        """Ask it to end."""
        self.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """End it whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@dataclass(frozen=True)
class Course:
    """How a quantity went after the warm-up: medians of the first and last tenth, the largest,
    and the slope of a straight line a minute."""

    start: float
    end: float
    largest: float
    slope: float

    @property
    def growth(self) -> float:
        """By how much the largest exceeds the start, as a share."""
        return self.largest / self.start - 1

    def megabytes(self) -> str:
        """For the table."""
        start, end, top, slope = (x / 1e6 for x in (self.start, self.end, self.largest, self.slope))
        return f"{start:.1f} -> {end:.1f} MB, at most {top:.1f}, {slope:+.2f} MB/min"


def course(times: Sequence[float], values: Sequence[float]) -> Course:
    """The course of ``values`` at ``times`` (seconds)."""
    edge = max(1, len(values) // 10)
    line = statistics.linear_regression(times, values) if len(values) > 1 else None
    return Course(
        statistics.median(values[:edge]),
        statistics.median(values[-edge:]),
        max(values),
        60 * line.slope if line else 0.0,
    )
