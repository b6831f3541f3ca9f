"""The card in use: calibrated probabilities, abstention, resuming, and files that are no cards."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import Cli
from ponder import tune
from ponder.api import ask, method, run
from ponder.bank import Bank
from ponder.cli.ask_command import _exit
from ponder.cli.report import print_answer
from ponder.errors import PonderError
from ponder.evidence.abstaining import missing, selector_of
from ponder.evidence.card import VERSION, Card
from ponder.evidence.recordings import import_recordings
from ponder.guarantee.calibration import Calibrator
from ponder.guarantee.holdout import Thresholdout
from ponder.guarantee.risk import labels_needed
from scripted import Scripted

SURE = [(0.9, 1.0)] * 30 + [(0.3, 0.0)] * 30
BETA = Calibrator("beta", {"a": 1.0, "b": 1.0, "c": 0.0}, 60)


def card(**changes: Any) -> Card:
    made = Card(
        strategy="cot | draw(4) | vote",
        sizes=None,
        law="consistent for cot",
        model="scripted",
        recorded=False,
        made={"ponder": "0", "date": "2026-11-22"},
        tuned_on={"tasks": {"toy": 60}, "fingerprint": "f"},
        accuracy={"naive": 0.5, "interval": [0.4, 0.6]},
        classes={"why": "not tried"},
        calibrator=BETA,
        calibration={"ece": 0.1},
        points=SURE,
        risks=[],
        verifiers=None,
        cost={"why": "replayed"},
        holdout=Thresholdout(40, 20, 3).as_dict(),
        tried=[{"strategy": "cot | draw(4) | vote", "accuracy": 0.5, "tokens": 100.0}],
    )
    return replace(made, **changes)


def model(name: str = "scripted") -> Scripted:
    """Sure of the questions that say so, and else undecided."""

    def reply(prompt: str) -> str | dict[str, float]:
        if "sure" in prompt:
            return "Answer: 2"
        return {f"Answer: {n}": 0.01 for n in range(100)}

    return Scripted(reply, name)


# The file.


def test_a_card_is_the_same_after_it_was_written(tmp_path: Path) -> None:
    for one in (card(), card(sizes=(16, 8, 4), strategy="cot | draw(16) | vote")):
        one.write(tmp_path / "card.json")
        again = Card.read(tmp_path / "card.json")
        assert again.as_dict() == json.loads(json.dumps(one.as_dict()))
        assert repr(again.pipeline) == repr(one.pipeline)
        assert again.fingerprint == one.fingerprint
    assert "allotted(16, 8, 4)" in repr(again.pipeline)
    lines = (tmp_path / "card.json").read_text().splitlines()
    assert "    [0.9, 1.0]," in lines  # a labelled question a line
    assert [p.name for p in tmp_path.iterdir()] == ["card.json"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not a card; make one with ponder tune"),
        ("[1]", "is not a card"),
        ('{"version": 1}', "is not a card"),
        ("\udcff", "is not a card"),
        (f'{{"ponder card": {VERSION + 1}}}', "upgrade ponder, or tune again"),
        ('{"ponder card": 1}', "is a damaged card"),
    ],
)
def test_what_is_no_card_is_refused_in_a_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "card.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(PonderError, match=says) as told:
        Card.read(path)
    assert "\n" not in str(told.value)
    with pytest.raises(PonderError, match="cannot read"):
        Card.read(tmp_path / "absent.json")
    with pytest.raises(PonderError, match="choose another --out"):
        card().write(tmp_path / "no" / "card.json")


@pytest.mark.parametrize(
    "broken",
    [
        {"strategy": "ct | draw(4) | vote"},
        {"points": []},
        {"points": [[2]]},
        {"points": [[0.5, 7]]},
        {"sizes": {"agree": 4}},
        {"sizes": {"disagree": 1, "nearly agree": 1, "agree": 1}},
        {"calibration": {"calibrator": {}}},
        {"model": None},
    ],
)
def test_a_damaged_card_is_refused_when_it_is_read(broken: dict[str, Any]) -> None:
    with pytest.raises(PonderError, match=r"tune again|calibrate again|cannot be used"):
        Card.from_dict({**card().as_dict(), **broken})


def test_a_fingerprint_is_of_what_decides() -> None:
    one = card()
    assert one.fingerprint == card(accuracy={}).fingerprint
    assert one.fingerprint != card(points=SURE[1:]).fingerprint
    assert one.fingerprint != card(sizes=(8, 4, 4)).fingerprint
    marks = {one.worth(r, c).fingerprint for r, c in ((None, 0.95), (0.2, 0.95), (0.2, 0.9))}
    assert len(marks) == 3


# Probabilities and abstention.


def test_an_answer_is_calibrated(tmp_path: Path) -> None:
    sure = ask("sure? 2 + 0", kind="number", model=model(), card=card())
    assert sure.probability == pytest.approx(BETA({"share": 1.0}))
    assert sure.probability_of == "being right, calibrated on 60 questions"
    assert (sure.text, sure.abstained) == ("2", None)
    assert sure.as_dict()["probability_of"] == sure.probability_of
    raw = ask("sure? 2 + 0", kind="number", model=model(), strategy="cot | draw(4) | vote")
    assert raw.probability == 1.0
    assert raw.as_dict()["abstained"] is None


def test_a_risk_that_is_certified_answers_the_sure_alone() -> None:
    sure = ask("sure? 2 + 0", kind="number", model=model(), card=card(), risk=0.2)
    assert sure.text == "2"
    unsure = ask("2 + 0?", kind="number", model=model(), card=card(), risk=0.2)
    assert unsure.text is None
    assert unsure.posterior.answer is not None
    assert unsure.correct is None
    assert "at most 0.2 of its answers wrong, with confidence 0.95" in str(unsure.abstained)
    assert unsure.as_dict()["abstained"] == unsure.abstained
    assert unsure.probability is not None


def test_a_risk_that_is_not_certified_answers_nothing_and_says_what_is_missing() -> None:
    how = method(None, card(), 0.05)
    assert how.note.startswith("a risk of 0.05 is not certified, so that nothing is answered: ")
    assert "more labelled questions" in how.note
    assert "\n" not in how.note
    sure = ask("sure? 2 + 0", kind="number", model=model(), card=card(), risk=0.05)
    assert (sure.text, sure.abstained) == (None, "a risk of 0.05 is not certified")


def test_how_many_labels_are_missing() -> None:
    """59 answered without an error certify .05; of half of the questions answered, 118 in all."""
    said = missing(SURE, 0.05, 0.95)
    assert labels_needed(0.05) == 59
    number = int(said.split()[1])
    assert abs(number - (118 - 60)) <= 12  # to a tenth of the sixty, at either end
    assert missing([*SURE[::-1][::3], *SURE[1::3], *SURE[::-1][2::3]], 0.05, 0.95) == said
    tied = [(0.9, float(i % 4 > 0)) for i in range(60)]  # a quarter of equal answers is wrong
    assert "would not certify" in missing(tied, 0.2, 0.95)
    more = SURE * 2
    assert not selector_of(more, 0.05, 0.95).why
    assert "would not certify" in missing([(0.9, 0.0)] * 20 + [(0.1, 1.0)] * 20, 0.2, 0.95)
    none: list[tuple[float | None, float]] = [(None, 0.0)] * 20
    assert "would not certify" in missing(none, 0.2, 0.95)
    assert selector_of(none, 0.2, 0.95).threshold == math.inf


def test_no_answer_at_all_is_no_abstention() -> None:
    silent = Scripted(lambda prompt: "no idea")
    answer = ask("2 + 0?", kind="number", model=silent, card=card(), risk=0.2)
    assert (answer.text, answer.abstained, answer.probability) == (None, None, None)


def test_classes_are_honoured() -> None:
    one, two = model(), model()
    by_class = card(sizes=(16, 8, 4), strategy="cot | draw(16) | vote")
    ask("sure? 2 + 0", kind="number", model=one, card=by_class)
    ask("2 + 0?", kind="number", model=two, card=by_class)
    assert (len(one.asked), len(two.asked)) == (4, 16)


def test_what_does_not_go_together() -> None:
    with pytest.raises(PonderError, match="not both"):
        method("cot", card())
    with pytest.raises(PonderError, match="make a card with ponder tune"):
        method("cot", None, 0.2)
    with pytest.raises(PonderError, match="a number between 0 and 1"):
        method(None, card(), 1.5)
    with pytest.raises(PonderError, match="tuned on the model scripted, not other"):
        ask("2?", kind="number", model=model("other"), card=card())
    recorded = card(recorded=True, model="recorded")
    assert ask("sure? 2", kind="number", model=model("other"), card=recorded).text == "2"


# A file of questions.


def asked(tmp_path: Path) -> Path:
    rows = [
        {"id": f"q{i}", "question": f"{'sure? ' * (i % 2)}2 + 0 ({i})", "answer": "2"}
        for i in range(6)
    ]
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps({**row, "kind": "number"}) + "\n" for row in rows))
    return path


def test_a_run_counts_what_abstained_and_resumes_under_the_same_card(tmp_path: Path) -> None:
    file, out = asked(tmp_path), tmp_path / "out.jsonl"
    first = run(file, out, model=model(), card=card(), risk=0.2)
    assert (first.answered, first.abstained, first.silent) == (6, 3, 0)
    assert (first.known, first.correct) == (3, 3)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert {line["card"] for line in lines} == {card().worth(0.2).fingerprint}
    assert sum(line["abstained"] is not None for line in lines) == 3
    again = run(file, out, model=model(), card=card(), risk=0.2)
    assert (again.resumed, again.abstained, again.known) == (6, 3, 3)
    for risk, sure in ((0.3, 0.95), (None, 0.95), (0.2, 0.9)):
        with pytest.raises(PonderError, match=r"card .* risk 0\.2 confidence 0\.95; choose"):
            run(file, out, model=model(), card=card(), risk=risk, confidence=sure)
    with pytest.raises(PonderError, match=r"choose another --out"):
        run(file, out, model=model(), strategy="cot | draw(4) | vote")


def test_from_tuning_to_answers_in_python(tmp_path: Path) -> None:
    rows = [
        {"id": f"t{i}", "question": f"{'sure? ' * (i % 2)}2 + 0 ({i})", "answer": "2"}
        for i in range(24)
    ]
    file = tmp_path / "toy.jsonl"
    file.write_text("".join(json.dumps({**row, "kind": "number"}) + "\n" for row in rows))
    found = tune(file, ["cot | draw(4) | vote"], model=model(), orders=2)
    assert found.tuned_on["tasks"] == {"toy": 24}
    assert not found.recorded
    found.write(tmp_path / "card.json")
    answer = ask("sure? 2 + 0", kind="number", model=model(), card=tmp_path / "card.json")
    assert answer.text == "2"
    assert answer.probability_of == "being right, calibrated on 24 questions"


# The command line, on recorded replies.


def bank(tmp_path: Path) -> Path:
    rows = [
        {
            "id": f"q{i}",
            "sample": n,
            "text": f"Answer: {2 if i % 2 else n}",
            "finish": "stop",
            "prompt_tokens": 10,
            "logq": -1.0,
            "token_logp": [-0.5] * 5,
        }
        for i in range(6)
        for n in range(4)
    ]
    file = tmp_path / "toy.cot.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_recordings(file, Bank(tmp_path / "r.sqlite"), "cot", "recorded")
    return tmp_path / "r.sqlite"


def test_run_replays_recordings_and_says_so(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    card(recorded=True, model="recorded").write(path)
    replay = ("--replay", "--bank", str(bank(tmp_path)), "-o", str(tmp_path / "out.jsonl"))
    done = cli("run", str(asked(tmp_path)), "--card", str(path), "--risk", "0.2", *replay)
    assert done.returncode == 0, done.stderr
    assert "replaying cot: draws 0 to 3 of 6 questions (4 each)" in done.stdout
    assert "3 of these abstained" in done.stdout
    assert "3 of 3 right (1.000)" in done.stdout
    short = cli("run", str(asked(tmp_path)), "--card", str(path), "--risk", "0.05", *replay)
    assert short.returncode == 2  # results of another risk are not mixed
    assert "choose another --out" in short.stderr


def test_an_abstention_is_no_answer_to_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    unsure = ask("2 + 0?", kind="number", model=model(), card=card(), risk=0.2)
    print_answer(unsure)
    shown = capsys.readouterr().out
    assert shown.startswith("abstains: ")
    assert "(being right, calibrated on 60 questions)" in shown
    with pytest.raises(SystemExit) as status:
        _exit(unsure)
    assert status.value.code == 1


def test_mistakes_with_cards_are_one_line(cli: Cli, tmp_path: Path) -> None:
    both = cli("ask", "hi", "--card", "x.json", "-s", "cot")
    assert (both.returncode, both.stdout) == (2, "")
    assert "not both" in both.stderr
    alone = cli("ask", "hi", "--risk", "0.2")
    assert "ponder tune" in alone.stderr
    assert alone.stderr.count("\n") == 1
    wrong = cli("tune", str(asked(tmp_path)), "--again", "x.json")
    assert "cannot read x.json" in wrong.stderr


@pytest.mark.parametrize("name", ["law", "accuracy", "tried", "verifiers", "sizes", "points"])
def test_a_card_whose_entries_are_nonsense_is_refused(name: str) -> None:
    record = card().as_dict() | {name: "x" if name != "law" else 3}
    with pytest.raises(PonderError, match="damaged card"):
        Card.from_dict(record)
