"""One budget over a file: samples go where they help, the cap holds, nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ponder
from ponder.bank import Bank
from ponder.ledger import Budget
from scripted import Scripted

EASY, HARD = 12, 4


def questions(path: Path) -> Path:
    """Twelve questions that are always answered alike, and four that are a toss-up."""
    rows = [{"id": f"easy{i}", "question": f"easy {i}?", "answer": "1"} for i in range(EASY)]
    rows += [{"id": f"hard{i}", "question": f"hard {i}?", "answer": "1"} for i in range(HARD)]
    file = path / "questions.jsonl"
    file.write_text("".join(json.dumps({**row, "kind": "number"}) + "\n" for row in rows))
    return file


def model() -> Scripted:
    even = {f"Answer: {n}": 0.25 for n in (1, 2, 3, 4)}
    return Scripted(lambda prompt: "Answer: 1" if "easy" in prompt else even)


def run(folder: Path, cap: int | None, **options: Any) -> tuple[Any, dict[str, Any], Any]:
    asked = model()
    out = folder / options.pop("out", "out.jsonl")
    summary = ponder.run(
        questions(folder),
        out,
        strategy="cot | draw(8) | vote",
        model=asked,
        bank=options.pop("bank", None) or Bank(folder / "bank.sqlite"),
        budget=Budget(max_tokens=cap),
        **options,
    )
    lines = {row["id"]: row for row in map(json.loads, out.read_text().splitlines())}
    return summary, lines, asked


def samples(lines: dict[str, Any], name: str) -> int:
    return sum(row["ledger"]["calls"] for id, row in lines.items() if id.startswith(name))


def test_samples_go_where_answers_differ(tmp_path: Path) -> None:
    summary, lines, asked = run(tmp_path, 500)  # ten tokens a sample
    assert summary.answered == EASY + HARD
    assert samples(lines, "hard") / HARD > 1.5 * samples(lines, "easy") / EASY
    assert len(asked.asked) == samples(lines, "")
    assert all(row["law"].startswith("heuristic") for row in lines.values())


def test_the_cap_holds_and_every_sample_is_paid_once(tmp_path: Path) -> None:
    summary, lines, asked = run(tmp_path, 500)
    assert summary.ledger.generated == 10 * len(asked.asked)
    assert 400 < summary.ledger.tokens <= 510
    assert sum(row["ledger"]["generated"] for row in lines.values()) == summary.ledger.generated


def test_evenly_means_each_question_in_turn(tmp_path: Path) -> None:
    summary, lines, _ = run(tmp_path, 500, even=True)
    assert 0 < summary.answered < EASY + HARD
    assert summary.unanswered > 0
    finished = [row for row in lines.values() if row["cut_short"] is None]
    assert all(row["ledger"]["calls"] == 8 for row in finished)


def test_what_more_samples_might_change_is_taken_up_again(tmp_path: Path) -> None:
    first, lines, _ = run(tmp_path, 300)
    assert first.unsettled == sum(row["cut_short"] == "max_tokens" for row in lines.values()) > 0
    second, later, asked = run(tmp_path, 2000)
    assert second.resumed == len(lines) - first.unsettled
    kept = sum(len(row["posterior"]) > 0 for row in lines.values())
    assert kept == len(lines)
    before, after = samples(lines, "hard"), samples(later, "hard")
    assert after > 0
    assert len(asked.asked) == sum(
        row["ledger"]["calls"] for id, row in later.items() if row != lines.get(id)
    )
    assert before + after <= 8 * HARD  # what was drawn before is not drawn again


def test_settled_questions_end_before_the_budget_does(tmp_path: Path) -> None:
    summary, lines, _ = run(tmp_path, 100_000)
    assert summary.unsettled == 0
    assert summary.ledger.tokens < 10 * 8 * (EASY + HARD)
    assert samples(lines, "easy") < 8 * EASY


def test_a_question_that_fails_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    file = questions(tmp_path)
    broken = {"id": "bad", "question": "x", "kind": "code", "meta": {"entry_point": 3}}
    file.write_text(json.dumps(broken) + "\n" + file.read_text())
    summary = ponder.run(
        file,
        tmp_path / "o.jsonl",
        strategy="cot | draw(4) | vote",
        model=model(),
        bank=tmp_path / "b.sqlite",
        budget=Budget(max_tokens=400),
    )
    assert [id for id, _ in summary.failed] == ["bad"]
    assert summary.answered == EASY + HARD


@pytest.mark.parametrize(
    "strategy",
    ["cot | draw(4, stop=majority(0.6)) | vote", "cot | weigh(perplexity) | smc(4) | vote"],
)
def test_what_cannot_be_spread_is_answered_in_turn(tmp_path: Path, strategy: str) -> None:
    summary = ponder.run(
        questions(tmp_path),
        tmp_path / "o.jsonl",
        strategy=strategy,
        model=model(),
        bank=tmp_path / "b.sqlite",
        budget=Budget(max_tokens=100),
    )
    assert summary.unsettled == 0
    assert summary.unanswered > 0
