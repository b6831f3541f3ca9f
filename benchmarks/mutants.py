"""Whether ``ponder check`` finds what is broken: methods with one known mistake each.

A mutant is a small textual patch to a copy of ponder, or a method of ``mutants/methods.py`` that
claims a law which it does not keep. It counts as found if the check refutes the claim named with
it. Beside them runs the control: the same strategies, unpatched, must all be valid.

    python benchmarks/mutants.py                 # all, two at a time
    python benchmarks/mutants.py --only NAME     # some of them, several times if need be
    python benchmarks/mutants.py --quick         # those that the tests run

One line a mutant: what was refuted, by what difference (enumerated) or e-value (sampled), and
after how many seconds. Exit status 0 only if all are found and every control is valid.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DATA = HERE / "mutants"
PACKAGE = HERE.parent / "src" / "ponder"
AT_ONCE = 2
SECONDS = 60.0  # the most that one may take
CONTROL = 20.0  # the most that a valid method is looked at
QUICK = 1.0  # the same, in the tests


class Stale(Exception):
    """A patch that no longer fits the code."""


@dataclass(frozen=True)
class Mutant:
    """One mistake. ``refuted`` is part of the claim that must fall; ``file`` is below the package.

    ``on`` is what is checked: a text, a name of ``ponder check --all``, or ``file.py:name`` beside
    the data. Without ``file`` nothing is patched: what is checked is itself wrong.
    """

    name: str
    breaks: str
    on: str
    refuted: str
    file: str = ""
    old: str = ""
    new: str = ""
    quick: bool = False

    def apply(self, package: Path) -> None:
        """Patch a copy of the package. Raises Stale unless the old text is there exactly once."""
        if not self.file:
            return
        path = package / self.file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        count = text.count(self.old)
        if count != 1 or self.old == self.new:
            raise Stale(
                f"mutant {self.name}: its old text occurs {count} times in {self.file}; "
                "write it anew from the code as it is"
            )
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


def mutants() -> list[Mutant]:
    """All of them, in the order of the data files. Raises ValueError if two share a name."""
    found = [
        Mutant(**entry)
        for path in sorted(DATA.glob("*.toml"))
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    ]
    names = [m.name for m in found]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"two mutants are called {', '.join(twice)}; rename one")
    return found


def controls(of: Sequence[Mutant]) -> list[Mutant]:
    """The unpatched package on every strategy that is patched."""
    subjects = dict.fromkeys(m.on for m in of if m.file)
    return [Mutant(f"control: {on}", "nothing", on, "") for on in subjects]


@dataclass(frozen=True)
class Outcome:
    """What a check said: the claim that fell, if any did; ``trouble`` if it did not get so far."""

    mutant: Mutant
    verdict: str = ""
    claim: str = ""
    toy: str = ""
    method: str = ""
    evidence: float | None = None
    seconds: float = 0.0
    trouble: str = ""

    @property
    def good(self) -> bool:
        """The named claim fell, or the control stands."""
        if self.mutant.refuted:
            return self.verdict == "refuted" and self.mutant.refuted in self.claim
        return self.verdict == "valid"

    def __str__(self) -> str:
        m = self.mutant
        if not m.refuted:
            state = self.verdict or "FAILED"
        else:
            state = "refuted" if self.good else "NOT REFUTED"
        parts = [f"{state:8}  {m.name}"]
        if self.claim:
            kind = "off by" if self.method == "enumerated" else "log10 e"
            shown = "?" if self.evidence is None else f"{self.evidence:.2g}"
            parts.append(f"{self.claim}; {kind} {shown} on {self.toy}")
        elif self.trouble or (not self.good and m.refuted):
            parts.append(self.trouble or f"{m.breaks}; wanted: {m.refuted}")
        return "  ".join([*parts, f"{self.seconds:.1f} s"])


def outcome_of(mutant: Mutant, room: Path, control: float = CONTROL) -> Outcome:
    """Copy, patch, and check in a process of its own. Raises Stale."""
    seconds = SECONDS if mutant.refuted else control
    copy = Path(tempfile.mkdtemp(dir=room))
    shutil.copytree(PACKAGE, copy / "ponder")
    mutant.apply(copy / "ponder")
    command = [sys.executable, "-W", "ignore", "-B", str(DATA / "refute.py")]
    command += [mutant.on, mutant.refuted, str(seconds)]
    environment = {**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=2 * SECONDS
        )
    except subprocess.TimeoutExpired:
        return Outcome(mutant, seconds=2 * SECONDS, trouble="it did not come to an end")
    finally:
        shutil.rmtree(copy)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it ended without a word"]
        return Outcome(mutant, trouble=lines[-1])
    found: dict[str, Any] = json.loads(done.stdout)
    if not Path(found.pop("package")).is_relative_to(copy.resolve()):
        return Outcome(mutant, trouble="another ponder was imported than the copy")
    return Outcome(mutant, **found)


def outcomes(of: Sequence[Mutant], control: float = CONTROL) -> Iterator[Outcome]:
    """In order, two at a time. All patches are tried before anything runs."""
    with tempfile.TemporaryDirectory() as made:
        room = Path(made)
        for mutant in of:
            fits(mutant)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            yield from pool.map(partial(outcome_of, room=room, control=control), of)


def fits(mutant: Mutant) -> None:
    """Raises Stale if the patch does not fit the package as it is."""
    if not mutant.file:
        return
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / mutant.file
        path.parent.mkdir(parents=True, exist_ok=True)
        source = PACKAGE / mutant.file
        if source.is_file():
            shutil.copyfile(source, path)
        mutant.apply(Path(made))


def chosen(arguments: argparse.Namespace) -> list[Mutant]:
    """The mutants asked for. Exits if a name is unknown."""
    known = mutants()
    if arguments.only:
        unknown = set(arguments.only) - {m.name for m in known}
        if unknown:
            sys.exit(f"there is no mutant {', '.join(sorted(unknown))}; see benchmarks/mutants/")
        return [m for m in known if m.name in arguments.only]
    return [m for m in known if m.quick or not arguments.quick]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", metavar="NAME", help="this mutant")
    parser.add_argument("--quick", action="store_true", help="those that the tests run")
    parser.add_argument("--no-controls", action="store_true", help="mutants only")
    arguments = parser.parse_args()
    wanted = chosen(arguments)
    checked = [] if arguments.no_controls else controls(wanted)
    good = {True: 0, False: 0}
    try:
        control = QUICK if arguments.quick else CONTROL
        for outcome in outcomes([*checked, *wanted], control):
            print(outcome, flush=True)
            good[not outcome.mutant.refuted] += outcome.good
    except Stale as error:
        sys.exit(str(error))
    if checked:
        print(f"{good[True]} of {len(checked)} controls valid")
    print(f"{good[False]} of {len(wanted)} refuted")
    return int(good[True] < len(checked) or good[False] < len(wanted))


if __name__ == "__main__":
    sys.exit(main())
