"""kill -9 of a server in the middle of a request: what was finished is kept, and not paid again."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

httpx = pytest.importorskip("httpx")
pytest.importorskip("uvicorn")
pytestmark = pytest.mark.smollm2

# A context this small decodes a few traces at a time, so that some end before others.
SERVE = ("serve", "--model", "smollm2-135m", "--port", "0", "--context", "256")
BODY = {
    "model": "smollm2-135m@cot(max_tokens=40) | draw(16) | vote",
    "messages": [{"role": "user", "content": "What is 3 + 4?"}],
    "seed": 5,
}
Start = Callable[[], tuple["subprocess.Popen[str]", str]]


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:
    """Starts a server; answers its process and its address. All are dead in the end."""
    started: list[subprocess.Popen[str]] = []

    def begin() -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "ponder", *SERVE],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        started.append(process)
        assert process.stdout is not None
        address = re.search(r"http://\S+", process.stdout.readline())
        assert address is not None
        return process, address[0]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def samples(bank: Path) -> dict[bytes, list[int]]:
    """The tokens of every sample in the bank, by its key."""
    with closing(sqlite3.connect(bank)) as db:
        rows = db.execute("SELECT key, value FROM sample").fetchall()
    return {key: json.loads(value)[0] for key, value in rows}


def finished(event: str) -> int:
    """How many traces the client has been told are finished."""
    chunk = json.loads(event.removeprefix("data: "))
    rows = chunk.get("ponder", {}).get("progress", {}).get("traces", ())
    return sum(row["status"] == "finished" for row in rows)


def ask(address: str) -> dict[str, Any]:
    """The reply to the request, which must be one."""
    reply = httpx.post(f"{address}/v1/chat/completions", json=BODY, timeout=240)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def kill_in_the_middle(server: subprocess.Popen[str], address: str) -> int:
    """Ask, and kill the server once it says that three traces are finished; how many it said."""
    body = {**BODY, "stream": True, "ponder": {"progress": True}}
    told = 0
    try:
        with httpx.stream(
            "POST", f"{address}/v1/chat/completions", json=body, timeout=240
        ) as stream:
            for line in stream.iter_lines():
                if line.startswith("data: {"):
                    told = max(told, finished(line))
                if told >= 3:
                    server.send_signal(signal.SIGKILL)
    except httpx.TransportError:
        server.wait()
        return told
    pytest.fail("the stream has ended: killed too late to show anything")


def test_what_was_finished_is_kept_and_not_paid_again(start: Start, tmp_path: Path) -> None:
    bank = tmp_path / "bank.sqlite"
    told = kill_in_the_middle(*start())
    before = samples(bank)
    assert 3 <= told <= len(before) < 16

    _, address = start()
    second = ask(address)
    after = samples(bank)
    assert len(after) == 16
    assert {key: after[key] for key in before} == before
    now, alone = second["ponder"]["cost"]["now"], second["ponder"]["cost"]["alone"]
    assert now["banked"] == sum(map(len, before.values())) > 0
    assert now["generated"] == alone["generated"] - now["banked"] > 0
    assert alone["generated"] == sum(map(len, after.values()))
    assert now["calls"] == 16 - len(before)

    third = ask(address)
    assert third["ponder"]["cost"]["now"]["generated"] == 0
    for same in ("choices", "usage"):
        assert third[same] == second[same]
    assert third["ponder"]["posterior"] == second["ponder"]["posterior"]
    assert samples(bank) == after
