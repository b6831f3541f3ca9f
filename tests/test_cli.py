"""The command line: what a person types, mistakes included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import Cli

SMOL = ("--model", "smollm2-135m")
SHORT = ("--strategy", "cot(max_tokens=24) | draw(3) | vote")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ask", ""], "the question is empty"),
        (["ask", "hi", "-s", "ct | draw(8) | vote"], "did you mean cot"),
        (["ask", "hi", "-s", "cot | vote"], "put an inference block such as draw(8) before"),
        (["ask", "hi", "-s", "__import__('os')"], "unknown name '__import__'"),
        (["ask", "hi", "-m", "nonesuch"], "qwen2.5-coder-1.5b"),
        (["ask", "hi", "-m", "none.gguf"], "none.gguf"),
        (["ask", "hi", "--max-tokens", "0"], "--max-tokens must be more than 0"),
        (["ask", "hi", "--max-seconds", "-1"], "--max-seconds must be more than 0"),
        (["ask", "hi", "--kind", "poem"], "unknown kind 'poem'"),
        (["ask", "hi", "-s", " "], "the strategy is empty"),
        (["ask", "hi", "-s", "cot(top_p=2)"], "0 < top_p <= 1"),
        (["run", __file__, "--out", "/dev/full"], "not an ordinary file"),
        (["ask", "hi", "--no-bank", "--replay"], "--no-bank cannot be combined"),
        (["ask", "hi", "--replay"], "there is no bank"),
        (["run", "absent.jsonl", "--out", "x.jsonl"], "cannot read absent.jsonl"),
        (["models", "get", "nonesuch"], "no model is called 'nonesuch'"),
        (["models", "rm", "nonesuch"], "no model is called 'nonesuch'"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(
    cli: Cli, arguments: list[str], says: str
) -> None:
    done = cli(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert says in done.stderr
    assert done.stderr.startswith("ponder: ")
    assert done.stderr.count("\n") == 1


def test_an_output_that_cannot_be_written_costs_no_model(cli: Cli, tmp_path: Path) -> None:
    questions = tmp_path / "q.jsonl"
    questions.write_text('{"question": "What is 1 + 1?"}\n')
    done = cli("run", str(questions), "--out", str(tmp_path / "no" / "out.jsonl"))
    assert done.returncode == 2
    assert "choose another --out" in done.stderr


def test_results_of_another_strategy_are_not_mixed(cli: Cli, tmp_path: Path) -> None:
    questions, out = tmp_path / "q.jsonl", tmp_path / "out.jsonl"
    questions.write_text('{"id": "a", "question": "What is 1 + 1?"}\n')
    line = '{"id": "a", "strategy": "direct | draw(1) | vote", "seed": 0, "model": "m"}\n'
    out.write_text(line)
    done = cli("run", str(questions), "--out", str(out))
    assert done.returncode == 2
    assert "choose another --out" in done.stderr
    assert out.read_text() == line


def test_help_and_version_answer_without_a_model(cli: Cli) -> None:
    assert "ask" in cli("--help").stdout
    assert cli("--version").stdout.startswith("ponder ")


def test_models_are_listed_with_their_sizes(cli: Cli) -> None:
    rows = {m["name"]: m for m in json.loads(cli("models", "--json").stdout)}
    assert rows["qwen2.5-coder-1.5b"]["size"] == 1_117_320_768
    assert "smollm2" in rows["smollm2-135m"]["how_to_get"]
    assert "1.12 GB" in cli("models").stdout


@pytest.mark.smollm2
def test_one_question_as_json_then_from_the_bank_alone(cli: Cli) -> None:
    first = cli("ask", "What is 2 + 3?", *SMOL, *SHORT, "--json", "--show-traces")
    assert first.returncode == 0, first.stderr
    answer = json.loads(first.stdout)
    expected = {"answer", "probability", "probability_of", "posterior", "ess", "unparsed", "law"}
    assert expected | {"ledger", "strategy", "model", "cut_short"} <= answer.keys()
    assert answer["probability_of"] == "model posterior"
    assert answer["strategy"] == "cot(max_tokens=24) | draw(3) | vote"
    assert answer["unparsed"] + sum(s["count"] for s in answer["posterior"]) == 3
    assert len(answer["traces"]) == 3
    assert 0 < answer["ledger"]["generated"] <= 72

    again = cli("ask", "What is 2 + 3?", *SMOL, *SHORT, "--json", "--show-traces", "--replay")
    replayed = json.loads(again.stdout)
    assert replayed["ledger"]["generated"] == 0
    assert replayed["ledger"]["banked"] == answer["ledger"]["generated"]
    assert {k: v for k, v in replayed.items() if k != "ledger"} == {
        k: v for k, v in answer.items() if k != "ledger"
    }
    missing = cli("ask", "What is 2 + 3?", *SMOL, *SHORT, "--replay", "--seed", "1")
    assert missing.returncode == 2
    assert "the bank has no sample" in missing.stderr


@pytest.mark.smollm2
def test_a_question_on_standard_input_is_shown_to_a_person(cli: Cli) -> None:
    done = cli("ask", "-", *SMOL, *SHORT, "--kind", "text", text="Name a colour.")
    assert done.returncode == 0, done.stderr
    assert "smoke test" in done.stderr
    for part in ("effective sample size", "law: ", "cost: prompt tokens", "tokens/s"):
        assert part in done.stdout


@pytest.mark.smollm2
def test_a_prompt_longer_than_the_context_is_refused(cli: Cli) -> None:
    done = cli("ask", "-", *SMOL, "--context", "256", text="word " * 400)
    assert done.returncode == 2
    assert "shorten the question or raise --context" in done.stderr


@pytest.mark.smollm2
def test_a_cap_below_the_prompt_costs_nothing(cli: Cli) -> None:
    done = cli("ask", "What is 2 + 3?", *SMOL, "--json", "--max-tokens", "20")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert (answer["answer"], answer["cut_short"]) == (None, "max_tokens")
    assert answer["ledger"]["prompt_computed"] == answer["ledger"]["generated"] == 0
    assert answer["unfinished"] == 8
    assert "raise the cap" in done.stderr


@pytest.mark.smollm2
def test_what_a_cap_kept_from_being_asked_is_asked_next_time(cli: Cli, tmp_path: Path) -> None:
    questions, out = tmp_path / "q.jsonl", tmp_path / "out.jsonl"
    rows = [
        {"id": f"q{i}", "question": f"What is {i} + 1?", "answer": f"{i + 1}"} for i in range(3)
    ]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ("run", str(questions), "--out", str(out), *SMOL)
    strategy = ("--strategy", "cot(max_tokens=12) | draw(1) | vote")
    cut = cli(*command, *strategy, "--max-calls", "1")
    assert "not answered; start again to go on" in cut.stdout
    assert len(out.read_text().splitlines()) <= 1
    whole = cli(*command, *strategy)
    assert "3 of 3 questions answered" in whole.stdout
    # A changed question is asked again; the others stay.
    rows[1]["question"] = "What is 7 + 7?"
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    again = cli(*command, *strategy)
    assert "3 of 3 questions answered (2 of them before)" in again.stdout
    other = cli("run", str(questions), "--out", str(out), "-m", "qwen2.5-coder-1.5b", *strategy)
    assert other.returncode == 2
    assert "holds results of the model smollm2-135m" in other.stderr


@pytest.mark.smollm2
def test_bad_lines_are_named_and_the_rest_goes_on(cli: Cli, tmp_path: Path) -> None:
    questions, out = tmp_path / "q.jsonl", tmp_path / "out.jsonl"
    questions.write_bytes(
        b'{"id": "a", "question": "What is 1 + 1?", "answer": "2", "kind": "number"}\n'
        b"not json\n"
        b"\n"
        b'{"id": "a", "question": "again"}\n'
        b'{"id": "c"}\n'
        b'{"id": "d", "question": "\xff"}\n'
        b'{"id": "e", "question": "What is 2 + 2?"}\n'
        b'{"id": "f", "question": "' + b"long " * 900 + b'"}\n'
    )
    done = cli("run", str(questions), "--out", str(out), *SMOL, *SHORT, "--context", "512")
    assert done.returncode == 1
    for number in (2, 4, 5, 6):
        assert f"line {number}: " in done.stderr
    assert "ponder: f: the prompt has" in done.stderr
    lines = {line["id"]: line for line in map(json.loads, out.read_text().splitlines())}
    assert lines.keys() == {"a", "e"}
    assert lines["a"]["correct"] in (True, False)
    assert "correct" not in lines["e"]
    assert {"answer", "probability", "posterior", "ledger"} <= lines["a"].keys()
    assert "2 of 3 questions answered" in done.stdout
