"""Which forms of repacked weights work on this machine.

Some virtual machines advertise AMX and then kill the process that uses it; a llama.cpp built there
from source does. So where the library has AMX, the first load tries one decode in a child process,
and remembers for this processor and library what the child survived.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path

from ponder.lm.binding import Packing, lib
from ponder.lm.weights import cache_dir

_CHILD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
from ponder.lm.llama import LlamaLM
model = LlamaLM(sys.argv[1], fingerprint="probe", cells=256, packing=sys.argv[2])
model.next_log_probs(model.tokenize("one two three four five") or (0,))
"""


def best_packing(path: Path) -> Packing:
    """The fastest form that works here. Asks child processes at most once a machine."""
    if b"AMX" not in lib.llama_print_system_info():
        return "all"
    key = f"{_processor()} {lib.__file__} {Path(lib.__file__).stat().st_mtime_ns}"
    memory = cache_dir() / "packing.json"
    remembered = _read(memory).get(key)
    packing: Packing
    for packing in ("all", "no-amx"):
        if remembered == packing:
            break
        if remembered is None:
            status = _try(path, packing)
            if status == 0:
                break
            if status > 0:  # the file cannot be loaded at all: that says nothing of the machine
                return "plain"
    else:
        packing = "plain"
    if remembered is None:
        try:
            memory.parent.mkdir(parents=True, exist_ok=True)
            memory.write_text(json.dumps({key: packing}))
        except OSError:
            pass  # asked again next time
    return packing


def _try(path: Path, packing: Packing) -> int:
    """The exit status of a child that decodes: 0, above 0 for an error, below if it was killed."""
    command = [sys.executable, "-c", _CHILD, str(path), packing]
    child = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return child.returncode


def _read(memory: Path) -> dict[str, str]:
    try:
        found = json.loads(memory.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor()
