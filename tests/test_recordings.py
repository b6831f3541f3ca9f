"""Recorded replies: read, put into a bank, bound to draws, and repeated."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ponder.answering import Answer, Session, as_strategy
from ponder.bank import Bank
from ponder.errors import PonderError
from ponder.evidence.recordings import (
    described,
    import_recordings,
    read_recordings,
    recipe_of,
    recorded,
)
from ponder.evidence.rerun import Exhausted, Rerun, Samples
from ponder.measure import answer_of
from ponder.question import Question

QUESTIONS = [Question(f"What is {n} + 1?", "number", id=f"q{n}", answer=str(n + 1)) for n in (1, 2)]


def row(question: str, sample: int, answer: str, **changed: Any) -> dict[str, Any]:
    return {
        "id": question,
        "sample": sample,
        "text": f"So.\nAnswer: {answer}",
        "finish": "stop",
        "prompt_tokens": 40,
        "tokens": 3,
        "logq": -1.5,
        "token_logp": [-0.5, -1.0, -0.25],
        **changed,
    }


ROWS = [row(f"q{q}", i, answer) for q in (1, 2) for i, answer in enumerate("2273")]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def bound(tmp_path: Path, rows: list[Any] | None = None) -> Samples:
    bank = Bank(tmp_path / "bank.sqlite")
    import_recordings(write(tmp_path / "x.cot.jsonl", rows or ROWS), bank, "cot", "old")
    samples = Samples()
    samples.bind(recorded(bank), QUESTIONS)
    return samples


def answers(samples: Samples, strategy: str, *, shuffled: bool, seed: int = 0) -> list[Any]:
    model = Rerun(samples, None, "old", shuffled=shuffled)
    session = Session(model, as_strategy(strategy), seed=seed)
    return [answer for _, answer in session.answers(QUESTIONS)]


def test_a_draw_gets_the_reply_recorded_for_its_number(tmp_path: Path) -> None:
    shuffled_file = sorted(ROWS, key=lambda r: -r["sample"])
    found = answers(bound(tmp_path, shuffled_file), "cot | draw(3) | vote", shuffled=False)
    for answer in found:
        assert isinstance(answer, Answer)
        assert [answer_of(t) for t in answer.posterior.population.traces] == [2, 2, 7]
        assert answer.price.generated == 9
        assert (answer.price.prompt_computed, answer.price.prompt_reused) == (40, 80)
    assert [answer.correct for answer in found] == [True, False]


def test_the_log_probabilities_are_those_recorded(tmp_path: Path) -> None:
    (first, _) = answers(bound(tmp_path), "cot | draw(1) | vote", shuffled=False)
    (trace,) = first.posterior.population.traces
    assert trace.value.log_prob == pytest.approx(-1.75)
    assert trace.log_prob == pytest.approx(-1.5)


def test_every_order_is_a_permutation_and_orders_differ(tmp_path: Path) -> None:
    samples = bound(tmp_path)
    orders = set()
    for seed in range(30):
        first = answers(samples, "cot | draw(4) | vote", shuffled=True, seed=seed)[0]
        replies = [answer_of(t) for t in first.posterior.population.traces]
        assert Counter(replies) == Counter([2, 2, 7, 3])
        orders.add(tuple(replies))
    assert len(orders) == 12  # all of them


def test_a_shorter_run_sees_the_beginning_of_a_longer_one(tmp_path: Path) -> None:
    samples = bound(tmp_path)
    for seed in range(5):
        long, short = (
            [answer_of(t) for t in answer.posterior.population.traces]
            for n in (4, 2)
            for answer in answers(samples, f"cot | draw({n}) | vote", shuffled=True, seed=seed)[:1]
        )
        assert long[:2] == short


def test_what_was_not_recorded_is_an_error_that_says_so(tmp_path: Path) -> None:
    samples = bound(tmp_path)
    more = answers(samples, "cot | draw(5) | vote", shuffled=False)
    assert all(isinstance(error, Exhausted) for error in more)
    other = answers(samples, "direct | draw(1) | vote", shuffled=False)
    assert "was not recorded" in str(other[0])
    parts = answers(samples, "steps | smc(2) | vote", shuffled=False)
    assert "recorded whole" in str(parts[0])


def test_a_truncated_reply_abstains(tmp_path: Path) -> None:
    rows = [row(q, 0, "2", finish="length") for q in ("q1", "q2")]
    (first, _) = answers(bound(tmp_path, rows), "cot | draw(1) | vote", shuffled=False)
    assert first.text is None
    assert first.price.generated == 3


def test_a_bank_keeps_recordings_once_and_says_what_they_are(tmp_path: Path) -> None:
    bank = Bank(tmp_path / "bank.sqlite")
    assert bank.recorded_model() is None
    assert recorded(bank) == []
    file = write(tmp_path / "x.cot.jsonl", ROWS)
    for _ in range(2):
        import_recordings(file, bank, "cot", "old", law="T 0.7")
    found = recorded(Bank(bank.path))
    assert [(r.question, r.index) for r in found] == [
        (f"q{q}", i) for q in (1, 2) for i in range(4)
    ]
    (line,) = described(found)
    assert "draws 0 to 3 of 2 questions (4 each)" in line
    assert "'T 0.7'" in line
    assert bank.recorded_model() == "old"
    import_recordings(file, bank, "cot", "new")
    with pytest.raises(PonderError, match="new, old; say which with --model"):
        bank.recorded_model()


def test_two_recipes_that_ask_the_same_are_told_apart(tmp_path: Path) -> None:
    bank = Bank(tmp_path / "bank.sqlite")
    file = write(tmp_path / "x.cot.jsonl", ROWS)
    import_recordings(file, bank, "cot", "old")
    import_recordings(file, bank, "steps", "old")
    with pytest.raises(PonderError, match="ask q1 the same"):
        Samples().bind(recorded(bank), QUESTIONS)


def test_a_recipe_that_begins_otherwise_cannot_be_bound(tmp_path: Path) -> None:
    bank = Bank(tmp_path / "bank.sqlite")
    import_recordings(write(tmp_path / "x.cot.jsonl", ROWS), bank, "thinksum", "old")
    with pytest.raises(PonderError):
        Samples().bind(recorded(bank), QUESTIONS)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"sample": "0"}, "'sample' is missing or of another type"),
        ({"sample": -1}, "out of its range"),
        ({"text": None}, "'text' is missing"),
        ({"finish": "eos"}, "write 'stop' or 'length'"),
        ({"token_logp": []}, "log-probabilities"),
        ({"token_logp": [0.5]}, "log-probabilities"),
        ({"token_logp": ["a"]}, "log-probabilities"),
        ({"logq": float("-inf")}, "out of its range"),
        ({"prompt_tokens": 0}, "out of its range"),
        ({"prompt_tokens": True}, "'prompt_tokens' is missing or of another type"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, changed: dict[str, Any], why: str) -> None:
    file = write(tmp_path / "x.cot.jsonl", [ROWS[0], {**row("q9", 0, "1"), **changed}])
    bank = Bank(tmp_path / "bank.sqlite")
    with pytest.raises(PonderError, match="line 2") as caught:
        import_recordings(file, bank, "cot", "old")
    assert why in str(caught.value)
    assert recorded(bank) == []  # all or none


def test_bad_files_are_one_line_errors(tmp_path: Path) -> None:
    twice = write(tmp_path / "twice.jsonl", [ROWS[0], ROWS[0]])
    empty = write(tmp_path / "empty.jsonl", [])
    words = tmp_path / "words.jsonl"
    words.write_text("hello\n")
    torn = tmp_path / "torn.jsonl.gz"
    torn.write_bytes(gzip.compress(b"x" * 10_000)[:-10])
    array = write(tmp_path / "array.jsonl", [[1]])
    for path in (twice, empty, words, torn, array, tmp_path / "none.jsonl"):
        with pytest.raises(PonderError) as caught:
            list(read_recordings(path, "cot"))
        assert "\n" not in str(caught.value)


def test_a_file_name_tells_the_recipe() -> None:
    names = {
        "gsm8k.dev.cot.jsonl.gz": "cot",
        "a.pot.jsonl": "pot",
        "cot.jsonl": None,
        "x.1.jsonl": None,
    }
    assert {name: recipe_of(Path(name)) for name in names} == names


def test_gzip_and_plain_are_read_alike(tmp_path: Path) -> None:
    plain = write(tmp_path / "x.cot.jsonl", ROWS)
    packed = tmp_path / "x.cot.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(read_recordings(plain, "cot")) == list(read_recordings(packed, "cot"))
