"""A bench: methods run on samples that they share, their figures, and the files written."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ponder.answering import as_strategy
from ponder.bank import Bank
from ponder.errors import PonderError
from ponder.evidence.bench import Benching, made
from ponder.evidence.credit import Grader
from ponder.evidence.evaluate import Evaluation
from ponder.evidence.recordings import import_recordings, recorded
from ponder.evidence.rerun import Samples
from ponder.evidence.results import write_results
from ponder.evidence.tasks import Tasks, read_tasks
from ponder.ledger import Budget
from ponder.measure import answer_of
from ponder.question import Question
from scripted import Scripted

ANSWERS = {"q0": "2222", "q1": "2223", "q2": "2255", "q3": "5557"}  # of four samples; 2 is right


def tasks() -> Tasks:
    questions = [Question(f"Question {id}?", "number", id=id, answer="2") for id in ANSWERS]
    return Tasks(questions, ["toy"] * len(questions))


def bank(tmp_path: Path) -> Bank:
    rows = [
        {
            "id": id,
            "sample": i,
            "text": f"Answer: {answer}",
            "finish": "stop",
            "prompt_tokens": 10,
            "logq": -1.0,
            "token_logp": [-0.5] * 5,
        }
        for id, answers in ANSWERS.items()
        for i, answer in enumerate(answers)
    ]
    file = tmp_path / "toy.cot.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    opened = Bank(tmp_path / "bank.sqlite")
    import_recordings(file, opened, "cot", "old")
    return opened


def replayed(tmp_path: Path, orders: int = 400) -> Evaluation:
    opened, asked = bank(tmp_path), tasks().questions
    samples = Samples()
    samples.bind(recorded(opened), asked)
    return Evaluation(asked, opened, {}, Grader({}), name="old", samples=samples, orders=orders)


def live(tmp_path: Path, **options: Any) -> Evaluation:
    replies = {f"Answer: {n}": p for n, p in ((2, 0.6), (3, 0.4))}
    model = Scripted(lambda prompt: replies)
    opened = Bank(tmp_path / "live.sqlite")
    return Evaluation(
        tasks().questions, opened, {}, Grader({}), model=model, name="scripted", **options
    )


def benched(evaluation: Evaluation, *strategies: str) -> dict[str, Any]:
    pipelines = [as_strategy(text) for text in strategies]
    return Benching(tasks(), pipelines, evaluation, made("old", True, 0, "ponder bench")).run()


def test_a_single_sample_is_right_as_often_as_the_samples_are(tmp_path: Path) -> None:
    evaluation = replayed(tmp_path)
    strategy = as_strategy("cot | draw(1) | vote")
    measured = evaluation.measure(strategy, evaluation.sample(strategy))
    assert measured.orders == 400
    # 400 orders: a standard error of .022 for q1, .025 for q2; five of them and a false alarm.
    assert np.allclose(measured.right, [1, 0.75, 0.5, 0], atol=0.125)
    assert list(measured.tokens) == [15, 15, 15, 15]
    assert measured.spent == {"prompt": 10, "generated": 5, "judge": 0, "calls": 1, "checks": 0}


def test_ties_share_and_all_samples_are_the_same_in_any_order(tmp_path: Path) -> None:
    evaluation = replayed(tmp_path, orders=10)
    strategy = as_strategy("cot | draw(4) | vote")
    measured = evaluation.measure(strategy, evaluation.sample(strategy))
    assert list(measured.right) == [1, 1, 0.5, 0]
    assert list(measured.covered) == [1, 1, 1, 0]
    assert list(measured.tokens) == [30] * 4  # the prompt is read once
    assert {run.credit for run in measured.runs if run.question == 2} == {0.5}


def test_results_hold_every_size_baselines_and_comparisons(tmp_path: Path) -> None:
    found = benched(
        replayed(tmp_path, 30), "cot | draw(4) | vote", "cot | draw(4) | best(likelihood)"
    )
    curve = found["methods"][0]["curve"]
    assert [point["size"] for point in curve] == [1, 2, 4]
    assert curve[-1]["accuracy"] == pytest.approx(0.625)
    low, high = curve[-1]["interval"]
    assert low < 0.625 < high
    names = {row["name"]: row for row in found["baselines"]}
    assert names["coverage ceiling"]["accuracy"] == 0.75
    assert names["a random sample"]["tokens"] == 15
    assert {row["a"] for row in found["comparisons"]} == {
        "cot | draw(4) | vote",
        "cot | draw(4) | best(likelihood)",
    }
    assert found["methods"][0]["calibration"]["auroc"] == pytest.approx(0.7)
    assert found["forecast"]["pilot"] == 1
    assert found["genealogy"]["question"] == "q2"  # where it is least decided
    json.dumps(found, allow_nan=False)


def test_live_samples_are_drawn_once_and_shared(tmp_path: Path) -> None:
    evaluation = live(tmp_path, orders=5)
    found = benched(evaluation, "cot | draw(8) | vote", "cot | draw(4) | weigh(perplexity) | vote")
    model: Any = evaluation.model
    assert len(model.asked) == 8 * len(ANSWERS)
    assert found["methods"][0]["orders"] == 5
    again = live(tmp_path, orders=5)
    assert benched(again, "cot | draw(8) | vote")["methods"][0] == found["methods"][0]
    asked: Any = again.model
    assert asked.asked == []  # all of it was in the bank


def test_only_independent_samples_are_taken_in_other_orders(tmp_path: Path) -> None:
    def orders(evaluation: Evaluation, *strategies: str) -> list[int]:
        return [method["orders"] for method in benched(evaluation, *strategies)["methods"]]

    assert orders(live(tmp_path / "a", orders=5), "cot | weigh(perplexity) | smc(4) | vote") == [1]
    stopped, whole = "cot | draw(8, stop=majority(0.6)) | vote", "cot | draw(8) | vote"
    alone = live(tmp_path / "b", orders=5)
    assert orders(alone, stopped) == [1]  # what was drawn depends on what was drawn
    assert orders(alone, stopped, whole) == [5, 5]
    assert "run once" in benched(live(tmp_path / "c", orders=5), stopped)["notes"][0]


def test_a_cap_ends_it_and_the_next_start_goes_on(tmp_path: Path) -> None:
    capped = live(tmp_path, orders=3, budget=Budget(max_tokens=150))
    with pytest.raises(PonderError, match="cut short by max_tokens"):
        benched(capped, "cot | draw(8) | vote")
    first: Any = capped.model
    whole = live(tmp_path, orders=3)
    benched(whole, "cot | draw(8) | vote")
    second: Any = whole.model
    assert 0 < len(first.asked) < 8 * len(ANSWERS)
    assert len(first.asked) + len(second.asked) == 8 * len(ANSWERS)


def test_a_question_that_fails_is_named_and_counts_as_wrong(tmp_path: Path) -> None:
    evaluation = replayed(tmp_path, 5)
    del evaluation.samples.prompts[next(iter(evaluation.samples.prompts))]
    found = benched(evaluation, "cot | draw(4) | vote")
    (failure,) = found["methods"][0]["failures"]
    assert failure["id"] == "q0"
    assert found["methods"][0]["curve"][-1]["by_question"]["right"][0] == 0


def test_a_question_that_fails_does_not_keep_others_from_other_orders(tmp_path: Path) -> None:
    evaluation = replayed(tmp_path, 5)
    del evaluation.samples.prompts[next(iter(evaluation.samples.prompts))]
    strategy = as_strategy("cot | draw(1) | vote")
    measured = evaluation.measure(strategy, evaluation.sample(strategy))
    assert measured.orders == 5
    assert len(measured.failures) == 1
    assert [run.credit for run in measured.runs if run.question == 0] == [0] * 5


def test_a_part_is_what_its_questions_alone_would_give(tmp_path: Path) -> None:
    strategy = as_strategy("cot | draw(2) | vote")
    whole = replayed(tmp_path, 6)
    found = whole.measure(strategy, whole.sample(strategy))
    alone = replace(whole, questions=[whole.questions[i] for i in (2, 0)])
    own = alone.measure(strategy, alone.sample(strategy))
    part = found.part({"q2": 2, "q0": 0})
    assert (part.runs, list(part.right), list(part.tokens)) == (
        own.runs,
        list(own.right),
        list(own.tokens),
    )
    assert found.part({"q2": 2, "q0": 0}, 4).runs == own.runs[8:] + own.runs[:8]
    failing = replace(found, failures=(("q1", "why"), ("q2", "why")))
    assert failing.part({"q2": 2, "q0": 0}).failures == (("q2", "why"),)


def test_a_method_that_fails_on_every_question_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PonderError, match="fails on every question"):
        benched(replayed(tmp_path, 5), "cot | draw(5) | vote")


def test_a_method_that_cannot_be_run_costs_the_others_nothing(tmp_path: Path) -> None:
    evaluation = replayed(tmp_path, 5)
    pipelines = [as_strategy(f"cot | draw({n}) | vote") for n in (4, 5)]
    benching = Benching(tasks(), pipelines, evaluation, made("old", True, 0, "ponder bench"))
    found = benching.run()
    assert [method["strategy"] for method in found["methods"]] == ["cot | draw(4) | vote"]
    assert "all 4 samples" in benching.left_out["cot | draw(5) | vote"]
    assert any("left out" in note for note in found["notes"])


def test_each_method_is_given_the_recorded_replies_from_the_first(tmp_path: Path) -> None:
    evaluation = replayed(tmp_path)
    for n in (2, 4, 3):
        for answer in evaluation.sample(as_strategy(f"cot | draw({n}) | vote")):
            assert not isinstance(answer, PonderError)
            given = "".join(str(answer_of(t)) for t in answer.posterior.population.traces)
            assert given == ANSWERS[answer.question.id][:n]


def test_the_same_bench_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one, two = (
        write_results(benched(replayed(tmp_path / n, 20), "cot | draw(4) | vote"), tmp_path / n)
        for n in ("a", "b")
    )
    assert one.read_bytes() == two.read_bytes()


def test_the_command_writes_the_report(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    from ponder.cli.main import main

    opened = bank(tmp_path)
    questions = tmp_path / "toy.jsonl"
    questions.write_text(
        "".join(
            json.dumps({"id": q.id, "question": q.text, "kind": q.kind, "answer": q.answer}) + "\n"
            for q in tasks().questions
        )
    )
    out = tmp_path / "out"
    command = f"ponder bench {questions} --replay --bank {opened.path} --orders 5 --out {out} -s"
    monkeypatch.setattr("sys.argv", [*command.split(), "cot | draw(4) | vote"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    shown = capsys.readouterr().out
    assert "replaying cot: draws 0 to 3 of 4 questions (4 each)" in shown
    assert re.search(r"cot \| draw\(4\) \| vote\s+0\.625", shown)
    page = (out / "report.html").read_text()
    assert "<svg" in page
    assert json.loads((out / "results.json").read_text())["methods"]


def test_tasks_are_named_after_their_files(tmp_path: Path) -> None:
    file = tmp_path / "some.dev.jsonl"
    file.write_text('{"id": "a", "question": "1+1?", "answer": "2"}\n')
    assert read_tasks([str(file)]).names == ["some.dev"]
