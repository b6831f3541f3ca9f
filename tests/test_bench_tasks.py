"""Questions for a bench: files, generated tasks, scorers, and what is said of bad ones."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from ponder.errors import PonderError
from ponder.evidence import gym
from ponder.evidence.scorers import checked, load_scorer
from ponder.evidence.tasks import read_tasks
from ponder.question import Question

installed = pytest.mark.skipif(find_spec("reasoning_gym") is None, reason="needs the extra gym")
QUESTION = Question("How many?", "number", id="q7", answer="1")


def wrote(path: Path, *rows: Any) -> str:
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
    return str(path)


def row(text: str, **more: Any) -> dict[str, Any]:
    return {"question": text, "answer": "1", **more}


def test_files_in_order_with_their_tasks(tmp_path: Path) -> None:
    a = wrote(tmp_path / "a.dev.jsonl", *(row(f"How many {i}?", id=f"a{i}") for i in range(3)))
    b = wrote(tmp_path / "b.jsonl", row("Two?", id="b0"), "{", row("Three?", id="b1"))
    tasks = read_tasks([a, b])
    assert [q.id for q in tasks.questions] == ["a0", "a1", "a2", "b0", "b1"]
    assert tasks.names == ["a.dev"] * 3 + ["b"] * 2
    assert len(tasks.bad) == 1
    assert "b.jsonl line 2" in tasks.bad[0]
    assert [q.id for q in read_tasks([a, b], limit=2).questions] == ["a0", "a1", "b0", "b1"]


def test_an_id_that_is_taken_gets_its_task(tmp_path: Path) -> None:
    a = wrote(tmp_path / "a.jsonl", row("One?"), row("Two?"))
    b = wrote(tmp_path / "b.jsonl", row("Three?"), row("Four?", id="own"))
    tasks = read_tasks([a, b])
    assert [q.id for q in tasks.questions] == ["line-1", "line-2", "b:line-1", "own"]
    with pytest.raises(PonderError, match="line-1 comes twice"):
        read_tasks([a, a])


def test_what_cannot_be_graded_is_left_out(tmp_path: Path) -> None:
    rows = [
        {"id": "open", "question": "Why?"},
        {
            "id": "code",
            "question": "Write f.",
            "kind": "code",
            "meta": {"test_list": ["assert f()"]},
        },
        row("How many?", id="known"),
    ]
    path = wrote(tmp_path / "mixed.jsonl", *rows)
    tasks = read_tasks([path])
    assert [q.id for q in tasks.questions] == ["code", "known"]
    assert 'open has no right "answer"' in tasks.bad[0]
    scored = read_tasks([path], scorer=lambda answer, question: 0.5)
    assert set(scored.scorers) == {"open", "code", "known"}
    assert scored.bad == []
    assert tasks.scorers == {}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has no questions that can be used; add some"),
        (["{"], "line 1: not JSON"),
        ([{"question": "Why?"}], 'no right "answer"'),
    ],
)
def test_a_source_without_questions_says_why(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(PonderError, match=message):
        read_tasks([wrote(tmp_path / "bad.jsonl", *rows)])


@pytest.mark.parametrize(
    ("sources", "limit", "message"),
    [
        ([], None, "no questions given"),
        (["absent.jsonl"], None, r"cannot read absent\.jsonl"),
        (["absent.jsonl"], 0, "limit of at least 1"),
        (["gym:"], None, "write it like gym:chain_sum:50"),
        (["gym:chain_sum:many"], None, "write it like gym:chain_sum:50"),
        (["gym:chain_sum:1:2:3"], None, "write it like gym:chain_sum:50"),
        (["gym:chain_sum:0"], None, "at least 1"),
    ],
)
def test_bad_sources(sources: list[str], limit: int | None, message: str) -> None:
    with pytest.raises(PonderError, match=message):
        read_tasks(sources, limit)


def test_scorers_by_name(tmp_path: Path) -> None:
    path = tmp_path / "marks.py"
    path.write_text("def half(answer, question):\n    return 0.5 if answer else True\nother = 3\n")
    scorer = load_scorer(f"{path}:half")
    assert scorer("x", QUESTION) == 0.5
    assert scorer(None, QUESTION) == 1.0
    for name, message in (
        (f"{path}:most", "has no 'most'; it has half"),
        (f"{path}:other", "is not a function"),
        (f"{tmp_path / 'absent.py'}:f", "no file"),
        ("no_such_module:f", "cannot import no_such_module"),
        ("half", "write it as path/to/file.py:name"),
    ):
        with pytest.raises(PonderError, match=message):
            load_scorer(name)
    assert callable(load_scorer("math:hypot"))


@pytest.mark.parametrize("value", [1.5, -0.1, float("nan"), None, "much", [1]])
def test_credit_is_a_number_from_0_to_1(value: Any) -> None:
    with pytest.raises(PonderError, match=r"'q7' returned .*; return a number from 0 to 1"):
        checked(lambda answer, question: value)("x", QUESTION)


def test_a_scorer_that_raises_names_the_question() -> None:
    def broken(answer: str | None, question: Question) -> float:
        raise KeyError("a\nb")

    with pytest.raises(PonderError, match=r"broken on the question 'q7' fails: KeyError") as raised:
        checked(broken)("x", QUESTION)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "harmless"),
    [
        ("94*4 - (61 - 6)", True),
        ("2*x*(x + 1) + sin (x)/3 + C", True),
        ("['14', '-48.9']", True),
        ("3 (4)", True),
        ("exec('x')", False),
        ("open (1)", False),
        ("().__class__", False),
        ("x.diff", False),
        ("(lambda: 1)()", False),
        ("['a'][0]('b')", False),
        ("exec\\\n('x')", False),
        ("(exec #\n('x'))", False),
        ("sqrt('e%cc' % 40)", False),
    ],
)
def test_what_may_be_evaluated(text: str, harmless: bool) -> None:
    assert gym.harmless(text) is harmless


@installed
def test_generated_tasks(tmp_path: Path) -> None:
    mine = wrote(tmp_path / "mine.jsonl", row("One?"))
    tasks = read_tasks(["gym:chain_sum:3:5", mine], limit=2)
    assert [q.id for q in tasks.questions] == [
        "gym/chain_sum-5-0000",
        "gym/chain_sum-5-0001",
        "line-1",
    ]
    assert tasks.names == ["gym:chain_sum"] * 2 + ["mine"]
    assert set(tasks.scorers) == {q.id for q in tasks.questions[:2]}
    assert {q.kind for q in tasks.questions[:2]} == {"number"}
    again = read_tasks(["gym:chain_sum:3:5"])
    assert again.questions[:2] == tasks.questions[:2]
    assert len({q.text for q in again.questions}) == 3


@installed
def test_the_library_scores_what_has_many_right_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gym, "SCORING", 3.0)
    gym._process.cache_clear()
    touched = tmp_path / "touched"
    tasks = read_tasks(["gym:countdown:1:1"])
    (question,) = tasks.questions
    score = tasks.scorers[question.id]
    assert question.kind == "text"
    assert question.answer is not None
    assert score(question.answer, question) == 1.0
    # The same by another order of terms, which the form alone does not tell.
    assert not question.correct("-6 + 94*4 - 61")
    assert score("-6 + 94*4 - 61", question) == 1.0
    assert score("94 + 4", question) < 0.1
    assert score(f"open('{touched}', 'w') or 309", question) == 0.0
    assert score("9**9**9**9", question) < 0.1
    assert not touched.exists()


@installed
def test_a_verdict_is_graded_by_its_form() -> None:
    # The library's own scorer gives 1 to any text where the answer is False.
    tasks = read_tasks(["gym:game_of_life_halting:3:1"])
    question = next(q for q in tasks.questions if q.answer == "False")
    assert question.kind == "bool"
    assert tasks.scorers[question.id]("yes", question) == 0.0
    assert tasks.scorers[question.id]("no", question) == 1.0


@installed
def test_tasks_that_cannot_be_had() -> None:
    with pytest.raises(PonderError, match="no task 'chain_sun'; did you mean chain_sum"):
        read_tasks(["gym:chain_sun"])
    with pytest.raises(PonderError, match="cannot be generated by its name alone"):
        gym.serve({"make": True, "name": "composite", "n": 1, "seed": 0})


def test_answers_of_several_lines_are_refused() -> None:
    def kind(*answers: str | None) -> str:
        return gym.kind_of("grid", [{"question": "How many?", "answer": a} for a in answers])

    with pytest.raises(PonderError, match="gym:grid take several lines"):
        kind("1 2\n3 4", "1")
    assert kind("-3", "1,200.5") == "number"
    assert kind("00:34", "7") == "text"
    assert kind("Yes", "No") == kind("False", "False") == "bool"
    assert kind("[[1,\n2]]", '{"a": 1}') == "json"
    assert kind(None) == "number"  # as a user's question would be read
