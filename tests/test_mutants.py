"""``ponder check`` has power: it refutes methods with a known mistake, by the claim they break."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "mutants.py"


@pytest.fixture(scope="module")
def suite() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants"] = module
    spec.loader.exec_module(module)
    return module


def test_the_quick_ones_are_refuted_and_the_control_is_valid(suite: ModuleType) -> None:
    wanted = [m for m in suite.mutants() if m.quick]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick"], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == f"{len(wanted)} of {len(wanted)} refuted"
    controls = len(suite.controls(wanted))
    assert lines[-2] == f"{controls} of {controls} controls valid"
    for mutant in wanted:
        (line,) = [line for line in lines if line.split()[1] == mutant.name]
        assert mutant.refuted in line


def test_every_patch_fits_the_code_as_it_is(suite: ModuleType) -> None:
    everything = suite.mutants()
    assert len(everything) >= 45
    assert len({m.file for m in everything if m.file.startswith("blocks/")}) >= 17
    for mutant in everything:
        suite.fits(mutant)


def test_a_patch_that_no_longer_fits_is_an_error(suite: ModuleType) -> None:
    mutant = next(m for m in suite.mutants() if m.file)
    with pytest.raises(suite.Stale, match="occurs 0 times"):
        suite.fits(replace(mutant, old="this text is not in ponder"))
    with pytest.raises(suite.Stale, match="times"):
        suite.fits(replace(mutant, old="import"))
    with pytest.raises(suite.Stale, match="write it anew"):
        next(suite.outcomes([replace(mutant, new=mutant.old)]))


def test_what_is_not_broken_is_not_counted(
    suite: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "SECONDS", 1.0)
    harmless = suite.Mutant(
        "harmless",
        "nothing",
        "draw(2)",
        "weighted",
        "blocks/draw.py",
        '"""``draw(n)``: independent traces, all at once or until a rule stops them."""',
        '"""Independent traces."""',
    )
    outcome = suite.outcome_of(harmless, tmp_path)
    assert not outcome.good
    assert "NOT REFUTED" in str(outcome)


def test_another_claim_than_the_named_one_does_not_count(suite: ModuleType) -> None:
    mutant = next(m for m in suite.mutants() if m.name == "best-called-weighted")
    outcome = suite.Outcome(mutant, "refuted", "something else fell")
    assert not outcome.good
    assert suite.Outcome(mutant, "refuted", mutant.refuted).good
