"""The default model, where it is installed: the README's question gets its answer."""

from __future__ import annotations

import json

import pytest

from conftest import Cli

QUESTION = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in "
    "May. How many clips did Natalia sell altogether in April and May?"
)


@pytest.mark.qwen
def test_the_question_of_the_readme(cli: Cli) -> None:
    done = cli("ask", QUESTION, "--model", "qwen2.5-coder-1.5b", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["answer"] == "72"
    assert answer["probability"] > 0.5
    assert answer["law"].startswith("consistent for cot")
    assert answer["ledger"]["prompt_reused"] > answer["ledger"]["prompt_computed"]


@pytest.mark.qwen
def test_a_budget_for_one_trace_gives_an_answer(cli: Cli) -> None:
    done = cli("ask", QUESTION, "--model", "qwen2.5-coder-1.5b", "--json", "--max-tokens", "650")
    answer = json.loads(done.stdout)
    assert answer["answer"] is not None
    assert answer["ledger"]["prompt_computed"] + answer["ledger"]["generated"] <= 650 + 40
