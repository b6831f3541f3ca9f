"""Ctrl-C and kill -9 on real processes: nothing finished is lost, nothing is paid twice."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.smollm2

# A context this small decodes one or two traces at a time, so that some end before others.
STRATEGY = ("--strategy", "cot(max_tokens=32) | draw(4) | vote")
COMMON = ("--model", "smollm2-135m", "--context", "256", *STRATEGY)


def start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ponder", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def samples(bank: Path) -> dict[bytes, str]:
    """What the bank holds; nothing while it is not there yet."""
    try:
        with sqlite3.connect(f"file:{bank}?mode=ro", uri=True) as db:
            return dict(db.execute("SELECT key, value FROM sample"))
    except sqlite3.Error:
        return {}


def wait_for_samples(bank: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while len(samples(bank)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def write_questions(path: Path, count: int) -> None:
    rows = [
        {"id": f"q{i}", "question": f"What is {i} + {i}?", "answer": 2 * i} for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_kill_9_and_start_again(tmp_path: Path, environment: dict[str, str]) -> None:
    questions, out, bank = tmp_path / "q.jsonl", tmp_path / "o.jsonl", tmp_path / "bank.sqlite"
    write_questions(questions, 4)
    command = ["run", str(questions), "--out", str(out), *COMMON]
    first = start(command, environment)
    wait_for_samples(bank, 6, first)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    before = samples(bank)
    assert 6 <= len(before) < 16, "killed too late to show anything"
    with out.open("ab") as torn:
        torn.write(b'{"id": "q3", "answ')

    second = start(command, environment)
    output, errors = second.communicate(timeout=240)
    assert second.returncode == 0, errors
    after = samples(bank)
    assert len(after) == 16
    assert {key: after[key] for key in before} == before
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(line["id"] for line in lines) == ["q0", "q1", "q2", "q3"]
    paid = sum(len(json.loads(after[key])[0]) for key in after.keys() - before.keys())
    assert f" {paid} generated;" in output

    third = start(command, environment)
    output, _ = third.communicate(timeout=240)
    assert "4 of 4 questions answered (4 of them before)" in output
    assert [json.loads(line) for line in out.read_text().splitlines()] == lines


def test_two_processes_do_not_write_one_file(tmp_path: Path, environment: dict[str, str]) -> None:
    questions, out, bank = tmp_path / "q.jsonl", tmp_path / "o.jsonl", tmp_path / "bank.sqlite"
    write_questions(questions, 4)
    command = ["run", str(questions), "--out", str(out), *COMMON]
    first = start(command, environment)
    wait_for_samples(bank, 1, first)
    second = start(command, environment)
    _, errors = second.communicate(timeout=240)
    first.kill()
    first.communicate()
    assert second.returncode == 2
    assert "another process is writing" in errors


def test_the_first_interrupt_answers_with_what_there_is(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    process = start(["ask", "What is 1 + 1?", "--json", *COMMON], environment)
    wait_for_samples(tmp_path / "bank.sqlite", 1, process)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 130, errors
    answer = json.loads(output)
    assert answer["cut_short"] == "interrupt"
    assert answer["law"].startswith("heuristic")
    assert answer["ledger"]["calls"] >= 1
    kept = sum(len(json.loads(value)[0]) for value in samples(tmp_path / "bank.sqlite").values())
    assert kept == answer["ledger"]["generated"] - answer["ledger"]["wasted"]


def test_an_interrupt_before_the_model_is_there_quits(environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ponder", "ask", "-", *COMMON],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    time.sleep(1.0)  # it waits for its question
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.endswith("ponder: interrupted\n")
