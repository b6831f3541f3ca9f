"""Schemathesis on the server's own description: does it keep to what it says of itself?

Starts ``ponder serve`` twice, with keys and without, and has schemathesis (in an environment of
its own: ``python -m venv peer && peer/bin/pip install schemathesis``) send what /openapi.json
allows, and what it does not, with all checks on. Everything stays short: the operator's ceilings
are a hundred tokens and a second or two.

    python benchmarks/soak_schema.py --schemathesis peer/bin/schemathesis
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import machine
from soak_requests import MODEL
from soak_server import KEY, Server

HOOKS = "soak_schema_hooks"
CEILINGS = ("--max-tokens-per-request", "100", "--max-seconds-per-request", "1.5", "--grace", "5")


def examine(command: list[str], server: Server, examples: int, key: bool) -> bool:
    """Run schemathesis; whether it has found nothing, and nothing is left behind."""
    told = ["--header", f"Authorization: Bearer {KEY}"] if key else []
    checks = ["--checks", "all", "--max-examples", str(examples), "--continue-on-failure"]
    limits = ["--request-timeout", "60", "--seed", "1", "--suppress-health-check", "all"]
    done = subprocess.run(
        [*command, "run", f"{server.url}/openapi.json", *checks, *limits, *told],
        env={**os.environ, "SCHEMATHESIS_HOOKS": HOOKS, "PYTHONPATH": str(Path(__file__).parent)},
        cwd=server.log_path.parent,  # where it leaves its database
        check=False,
    )
    idle = server.seconds_to_idle()
    bugs = server.lines("a bug in ponder", "Traceback")
    print(f"status {done.returncode}, idle after {idle:.2f} s, {len(bugs)} bugs in the log")
    for line in bugs[:20]:
        print(f"log: {line}")
    return done.returncode == 0 and server.healthy() and idle < 2 and not bugs


def main() -> None:
    """Both servers, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schemathesis", type=Path, required=True, help="the command")
    parser.add_argument("--max-examples", type=int, default=40, help="of an operation")
    parser.add_argument("--keep", type=Path, help="a folder for the servers' logs")
    given = parser.parse_args()
    given.schemathesis = given.schemathesis.absolute()
    print(", ".join(f"{name} {value}" for name, value in machine().items()), flush=True)
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for key in (True, False):
            name = "with a key" if key else "without keys"
            print(f"\n== {name}", flush=True)
            server = Server(folder, MODEL, "--no-bank", *CEILINGS, key=key, name=name)
            try:
                found.append(examine([str(given.schemathesis)], server, given.max_examples, key))
                server.terminate()
                found.append(server.process.wait(30) == 0)
            finally:
                server.close()
    print("\nno failures" if all(found) else "\nfailures")
    sys.exit(0 if all(found) else 1)


if __name__ == "__main__":
    main()
