"""``ponder serve`` as a process: how it starts, how it ends, and what its bank keeps."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import Cli
from serving import QUESTION

NAME = "smollm2-135m"


@contextmanager
def served(environment: dict[str, str], *options: str) -> Iterator[tuple[Any, httpx.Client]]:
    """The process and a client, once it serves."""
    command = [sys.executable, "-m", "ponder", "serve", "--model", NAME, "--port", "0"]
    process = subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith(f"ponder: serving {NAME} at http://127.0.0.1:"), process.stderr
        with httpx.Client(base_url=line.split()[-1], timeout=120) as client:
            yield process, client
    finally:
        process.kill()
        process.communicate()


def ask(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post(
        "/v1/chat/completions", json={"model": NAME, "messages": QUESTION, "max_tokens": 8, **body}
    )


def until_at_work(client: httpx.Client, count: int = 1) -> None:
    deadline = time.monotonic() + 30
    while client.get("/health").json()["running"] < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--alias", "sc=cot | drow(2)"], "did you mean draw?"),
        (["--host", "0.0.0.0"], "give --api-key-file, or --insecure"),
        (["--api-key-file", "/nowhere"], "cannot read /nowhere"),
        (["--card", "/nowhere"], "cannot read /nowhere"),
        (["--no-bank", "--bank", "x"], "leave one out"),
        (["--host", "no such host", "--insecure"], "cannot listen at"),
    ],
)
def test_a_mistake_stops_the_start_in_one_line(cli: Cli, options: list[str], says: str) -> None:
    found = cli("serve", *options)
    assert found.returncode == 2
    assert says in found.stderr
    assert found.stderr.count("\n") == 1


def test_a_port_that_is_taken(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = cli("serve", "--port", str(taken.getsockname()[1]))
    assert found.returncode == 2
    assert "choose another --port" in found.stderr


@pytest.mark.smollm2
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_requests_finish(environment: dict[str, str], number: int) -> None:
    with served(environment) as (process, client), ThreadPoolExecutor() as pool:
        assert ask(client, seed=1).status_code == 200
        slow = pool.submit(ask, client, max_tokens=30)
        until_at_work(client)
        process.send_signal(number)
        found = slow.result().json()
        assert found["ponder"]["cut_short"] is None
        assert process.wait(30) == 0


@pytest.mark.smollm2
def test_what_does_not_finish_is_answered_with_what_it_has(environment: dict[str, str]) -> None:
    with served(environment, "--grace", "0.5") as (process, client), ThreadPoolExecutor() as pool:
        endless = {"max_tokens": 5000, "temperature": 2, "n": 4}
        slow = pool.submit(ask, client, **endless)
        until_at_work(client)
        process.terminate()
        deadline = time.monotonic() + 5
        while client.get("/health").status_code != 503 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert ask(client).status_code == 503
        found = slow.result().json()
        assert any(c["ponder"]["cut_short"] == "shutdown" for c in found["choices"])
        assert process.wait(30) == 0


@pytest.mark.smollm2
def test_a_second_signal_ends_it_at_once(environment: dict[str, str]) -> None:
    with served(environment) as (process, client), ThreadPoolExecutor() as pool:
        slow = pool.submit(ask, client, max_tokens=5000, temperature=2)
        until_at_work(client)
        process.terminate()
        time.sleep(0.3)
        process.terminate()
        assert process.wait(10) == 128 + signal.SIGTERM
        with pytest.raises(httpx.HTTPError):
            slow.result()


@pytest.mark.smollm2
def test_after_a_kill_the_bank_has_what_was_finished(environment: dict[str, str]) -> None:
    how = {"model": f"{NAME}@cot(max_tokens=12) | draw(4) | vote", "max_tokens": None, "seed": 3}
    with served(environment) as (process, client):
        first = ask(client, **how).json()
        process.kill()
    assert Path(environment["PONDER_BANK"]).is_file()
    with served(environment) as (_, client):
        again = ask(client, **how).json()
    assert first["ponder"]["cost"]["now"]["generated"] > 0
    assert again["ponder"]["cost"]["now"]["generated"] == 0
    assert again["choices"] == first["choices"]
    assert again["usage"] == first["usage"]
