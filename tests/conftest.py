"""What tests share: a model to load, or a reason to skip."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ponder.errors import PonderError
from ponder.lm.registry import resolve

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


def _installed(name: str) -> bool:
    try:
        return resolve(name) is not None
    except PonderError:
        return False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs weights that are not installed."""
    for mark, name in (("smollm2", "smollm2-135m"), ("qwen", "qwen2.5-coder-1.5b")):
        wanted = [item for item in items if item.get_closest_marker(mark)]
        if wanted and not _installed(name):
            for item in wanted:
                item.add_marker(pytest.mark.skip(reason=f"{name} is not installed"))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a child process with a bank of its own, showing no colours."""
    own = {"PONDER_BANK": str(tmp_path / "bank.sqlite"), "NO_COLOR": "1", "COLUMNS": "100"}
    return {**os.environ, **own}


@pytest.fixture
def cli(environment: dict[str, str]) -> Cli:
    """Run ``ponder`` with arguments in a child process."""

    def run(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ponder", *arguments],
            input=text,
            capture_output=True,
            text=True,
            env=environment,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def double_and_alone() -> Iterator[None]:
    """PyTorch in double precision, on one thread."""
    import torch

    before, threads = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    yield
    torch.set_default_dtype(before)
    torch.set_num_threads(threads)
