"""Votes by odds that are learnt from labels: the potential, the learning, and the card."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ponder
from ponder.answering import Answer, Session, as_strategy
from ponder.bank import Bank
from ponder.binding import Binding
from ponder.errors import PonderError
from ponder.evidence.candidates import candidates
from ponder.evidence.card import Card
from ponder.evidence.classes import halves
from ponder.evidence.evaluate import Measured, Run
from ponder.evidence.learning import Learning, Logistic, has_odds, is_open, joined
from ponder.evidence.recordings import import_recordings
from ponder.evidence.replaying import evaluation
from ponder.evidence.tasks import Tasks
from ponder.evidence.tune import Tuning, held_out
from ponder.ledger import Budget
from ponder.notation import parse
from ponder.question import Question
from ponder.recipes.odds import Odds, odds, told
from ponder.recipes.prompting import Reply
from ponder.spending import Policy, Seen, seen
from ponder.strategy import Pipeline
from scripted import Scripted

VOTE, OPEN = "cot | draw(8) | vote", "cot | draw(8) | weigh(odds) | vote"
Said = tuple[str, float]  # an answer, and the log-probability of each of the reply's five tokens
Say = Callable[[int], Sequence[Said]]


def reply(answer: Any, log_prob: float = -6.0, length: int = 3) -> Reply:
    return Reply("", answer, "stop", (), log_prob, length)


def log_weight(potential: Odds, value: Any) -> Any:
    return Binding().potential(potential).complete(value)


# The potential, and how it is written.


def test_the_log_weight_by_hand() -> None:
    learnt = odds(words=3.0, whole=1.25, negative=-0.5)
    assert log_weight(learnt, reply(Fraction(7))) == pytest.approx(3 * -2.0 + 1.25)
    assert log_weight(learnt, reply(Fraction(-7, 2))) == pytest.approx(3 * -2.0 - 0.5)
    assert log_weight(learnt, reply(Fraction(-7))) == pytest.approx(3 * -2.0 + 1.25 - 0.5)
    assert log_weight(learnt, reply(Fraction(7, 2))) == pytest.approx(3 * -2.0)
    for no_number in ("B", "x + 1", True, None):
        assert log_weight(learnt, reply(no_number)) == pytest.approx(-6.0)
    assert told(reply("-4")) == (-2.0, 1.0, 1.0)  # a formula that is a number
    assert told(reply("-1/2")) == (-2.0, 0.0, 1.0)


def test_log_probabilities_are_asked_only_where_they_count() -> None:
    unknown = reply(Fraction(-3), math.nan)
    assert log_weight(odds(whole=1.0, negative=-2.0), unknown) == -1.0
    assert log_weight(odds(whole=1.0), 2.5) == 0.0  # of a program of one's own
    assert log_weight(odds(whole=1.0), math.inf) == 0.0
    with pytest.raises(PonderError, match="did not tell the log-probability"):
        log_weight(odds(words=1.0), unknown)


@pytest.mark.parametrize(
    "text", ["odds", "odds(words=3.1, whole=1.2, negative=-0.7)", "odds(words=1e-05)"]
)
def test_notation_parses_back(text: str) -> None:
    strategy = f"cot | draw(4) | weigh({text}) | vote"
    found = parse(strategy)
    assert repr(found) == strategy
    assert parse(repr(found)) == found
    assert has_odds(found)
    assert is_open(found) == (text == "odds")
    assert parse(strategy.replace(text, "odds(whole=2)")) != found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("odds()", "learn them by ponder tune"),
        ("odds(words='high')", "finite number for words, got 'high'"),
        ("odds(whole=1e999)", "finite number for whole, got inf"),
        ("odds(word=1.0)", "word"),
    ],
)
def test_what_makes_no_odds_is_refused(text: str, said: str) -> None:
    with pytest.raises(PonderError, match=said):
        parse(f"cot | draw(4) | weigh({text}) | vote")


def test_every_decision_weighs_by_them() -> None:
    texts = {"Answer: 2": 0.5, "Answer: 2.5": 0.25, "Answer: -3": 0.25}
    model, question = Scripted(lambda prompt: texts), Question("q?", "number", answer="2")

    def decided(decision: str) -> Any:
        weighs = "weigh(odds(whole=0.5, negative=2.0))"
        strategy = as_strategy(f"cot | draw(64) | {weighs} | {decision}")
        [(_, answer)] = Session(model, strategy).answers([question])
        assert not isinstance(answer, BaseException), answer
        return answer

    voted = decided("vote").posterior
    counts = {s.answer: s.count for s in voted.shares}
    votes = {a: n * math.exp(0.5 * (a != 2.5) + 2.0 * (a < 0)) for a, n in counts.items()}
    total = sum(votes.values())
    shares = {s.answer: s.share for s in voted.shares}
    assert shares == pytest.approx({a: v / total for a, v in votes.items()})
    assert decided("best(odds(negative=1.0))").text == "-3"
    assert decided("best").text == "-3"
    assert decided("product").text == "-3"
    assert decided("certify(0.2)").posterior.shares


def test_bare_odds_outside_tune_are_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    model = Scripted(lambda prompt: "Answer: 2")
    asked = tmp_path / "q.jsonl"
    asked.write_text(json.dumps({"id": "a", "question": "1 + 1?", "answer": "2"}) + "\n")
    for how in (OPEN, "cot | weigh(odds) | draw(4) | vote", "cot | draw(4) | best(odds)"):
        with pytest.raises(PonderError, match="learn them by ponder tune"):
            ponder.ask("1 + 1?", strategy=how, model=model)
        with pytest.raises(PonderError, match="learn them by ponder tune"):
            ponder.run(asked, tmp_path / "out.jsonl", strategy=how, model=model)
    with pytest.raises(PonderError, match="learn them by ponder tune"):
        ponder.bench(asked, [OPEN], model=model)
    with pytest.raises(PonderError, match="learn them by ponder tune"):
        parse(OPEN).bind(Binding())
    assert model.asked == []


# The regression.


def test_the_slopes_are_those_that_made_the_labels() -> None:
    rng = np.random.default_rng(0)
    signals = np.column_stack([rng.normal(-0.3, 0.1, 20_000), rng.random(20_000) < 0.8])
    z = 2 + signals @ np.array([9.0, 1.5])
    right = (rng.random(20_000) < 1 / (1 + np.exp(-z))).astype(float)
    found = Logistic.fitted(np.column_stack([signals, np.ones(20_000)]), right)
    assert found.slopes[:2] == pytest.approx([9.0, 1.5], abs=0.6)
    assert found.slopes[2] == 0  # it never varies
    assert found.constant == pytest.approx(2.0, abs=0.25)
    assert found.log_odds(np.array([[-0.3, 1.0, 1.0]])) == pytest.approx([0.8], abs=0.15)
    few = Logistic.fitted(signals[:4, :1], np.array([1.0, 0.0, 1.0, 1.0]))
    assert abs(few.slopes[0] * signals[:4, 0].std()) < 0.3  # four replies say little


# Tuning.


def questions(n: int) -> list[Question]:
    return [Question(f"Question {i}?", "number", id=f"q{i}", answer="2") for i in range(n)]


def bank_of(folder: Path, n: int, say: Say) -> Bank:
    """A bank with what question i is answered, five tokens a reply after ten of prompt."""
    rows = [
        {
            "id": f"q{i}",
            "sample": j,
            "text": f"Answer: {answer}",
            "finish": "stop",
            "prompt_tokens": 10,
            "logq": -1.0,
            "token_logp": [log_prob] * 5,
        }
        for i in range(n)
        for j, (answer, log_prob) in enumerate(say(i))
    ]
    folder.mkdir(exist_ok=True)
    file = folder / "toy.cot.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    opened = Bank(folder / "bank.sqlite")
    import_recordings(file, opened, "cot", "recorded")
    return opened


def tuning(folder: Path, n: int, say: Say, *strategies: str, orders: int = 2) -> Tuning:
    found = Tasks(questions(n), ["toy"] * n)
    ready, _ = evaluation(found, bank_of(folder, n, say), None, {}, orders=orders)
    return Tuning(found, candidates(strategies), ready, {"ponder": "0"})


def accuracies(card: Card) -> dict[str, float]:
    return {row["strategy"]: row["accuracy"] for row in card.tried}


def telling(i: int) -> list[Said]:
    """Three of eight replies are right, and surer; the others are all the same, or no good form."""
    rng = np.random.default_rng(i)
    wrong = [("7", "7.5", "-7")[i % 3]] * 5
    surer = np.repeat([-0.25, -0.6], [3, 5]) + rng.normal(0, 0.12, 8)
    said = list(zip(["2"] * 3 + wrong, map(float, np.minimum(surer, -0.01)), strict=True))
    return [said[j] for j in rng.permutation(8)]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Card]:
    """A card on 45 questions of which plain votes answer hardly any."""
    folder = tmp_path_factory.mktemp("odds")
    return folder, tuning(folder, 45, telling, VOTE, OPEN).run()


def test_learnt_odds_beat_plain_votes_and_are_in_the_card(tuned: tuple[Path, Card]) -> None:
    folder, card = tuned
    found = accuracies(card)
    assert found[OPEN] > found.get(VOTE, 0.0) + 0.4
    learnt: Any = card.pipeline.blocks[1].potential  # type: ignore[attr-defined]
    assert isinstance(learnt, Odds)
    assert not is_open(card.pipeline)
    numbers = {k: float(v) for k, v in (p.split("=") for p in repr(learnt)[5:-1].split(", "))}
    assert numbers["words"] > 0
    assert numbers["whole"] > 0
    assert numbers["negative"] < 0
    assert repr(learnt) in card.law  # of the strategy with these numbers
    assert card.accuracy["naive"] > 0.8
    assert len(card.points) == 45
    assert card.verifiers is None  # odds are none
    card.write(folder / "card.json")
    again = Card.read(folder / "card.json")
    assert repr(again.pipeline) == repr(card.pipeline)


def test_a_card_with_odds_answers_like_any_strategy(tuned: tuple[Path, Card]) -> None:
    folder, card = tuned
    bank = Bank(folder / "bank.sqlite")
    given = ponder.ask(questions(1)[0], card=card, bank=bank, replay=True)
    assert given.text == "2"
    assert given.strategy == repr(card.pipeline)


def test_one_budget_is_spent_on_such_votes(tuned: tuple[Path, Card]) -> None:
    """``ponder run --card --max-tokens`` by replay: the cap holds, and weights decide."""
    folder, card = tuned
    asked = folder / "asked.jsonl"
    rows = [{"id": q.id, "question": q.text, "kind": q.kind, "answer": "2"} for q in questions(45)]
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows))
    learnt = repr(card.pipeline.blocks[1])
    whole = f"cot | draw(8) | {learnt} | vote"

    def run(strategy: str, cap: int) -> tuple[float, int]:
        out = folder / f"{len(list(folder.iterdir()))}.jsonl"
        bank = Bank(folder / "bank.sqlite")
        budget = Budget(max_tokens=cap)
        summary = ponder.run(asked, out, strategy=strategy, bank=bank, replay=True, budget=budget)
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        assert all(row["law"].startswith("heuristic") for row in lines)
        assert 0.8 * cap < summary.ledger.tokens <= 1.02 * cap
        return sum(row["answer"] == "2" for row in lines) / 45, summary.ledger.tokens

    cap = 45 * (10 + 5 * 5)  # of the 10 + 5 * 8 tokens that all would cost
    weighed, _ = run(whole, cap)
    plain, _ = run(VOTE, cap)
    assert weighed > plain + 0.3


def test_no_question_is_scored_by_what_was_learnt_from_it(tmp_path: Path) -> None:
    """What is true of one half is false of the other: by the other's numbers all is wrong."""
    asked = [q for q in questions(40) if not held_out(q)]
    first = {asked[i].id for i in halves(asked)[0]}

    def say(i: int) -> list[Said]:
        right, wrong = (-0.2, -0.8) if f"q{i}" in first else (-0.8, -0.2)
        return [("2", right), ("7", wrong)]

    both = ("cot | draw(2) | vote", "cot | draw(2) | weigh(odds) | vote")
    found = accuracies(tuning(tmp_path, 40, say, *both).run())
    assert found[both[0]] == 0.5  # a tie
    assert found[both[1]] == 0.0


def test_noise_is_not_taken_for_a_signal(tmp_path: Path) -> None:
    """Learnt and scored on the same questions, odds look better than votes by a tenth here."""
    strategy = as_strategy("cot | draw(2) | weigh(odds) | vote")
    gains = []
    for seed in range(40):
        noise = np.random.default_rng(seed).uniform(-1, -0.1, (16, 2))

        def say(i: int, noise: Any = noise) -> list[Said]:
            return [("2", noise[i][0]), ("7", noise[i][1])]

        bank = bank_of(tmp_path / str(seed), 16, say)
        ready, _ = evaluation(Tasks(questions(16), ["toy"] * 16), bank, None, {})
        answers = ready.sample(as_strategy("cot | draw(2) | vote"))
        given = [answer for answer in answers if isinstance(answer, Answer)]
        learning = Learning(questions(16), [strategy], partial(_given, given), ready.grader)
        right = np.zeros(16)
        for learnt, places in learning.parts(strategy, questions(16)):
            source: Any = learnt.blocks[1].potential  # type: ignore[attr-defined]
            scores = [[log_weight(source, reply(a, 5 * p, 5)) for a, p in say(i)] for i in places]
            right[places] = [(a > b) + (a == b) / 2 for a, b in scores]
        gains.append(float(right.mean()) - 0.5)
    error = float(np.std(gains, ddof=1)) / len(gains) ** 0.5
    assert float(np.mean(gains)) < 2 * error
    assert error < 0.03  # a tenth would have been seen


def _given(answers: list[Answer], strategy: Pipeline, asked: Sequence[Question]) -> list[Answer]:
    assert repr(strategy) == "cot | draw(2) | vote"
    return answers


def test_what_cannot_be_learnt_is_left_out_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def left_out(name: str, say: Say) -> dict[str, str]:
        made = tuning(tmp_path / name, 15, say, VOTE, OPEN)
        assert not has_odds(made.run().pipeline)
        return made.left_out

    same = left_out("right", lambda i: [("2", -0.1 * j - 0.1) for j in range(8)])
    assert list(same) == [f"cot | draw({n}) | weigh(odds) | vote" for n in (8, 4, 2, 1)]
    assert "replies, and of a half of" in same[OPEN]
    assert "are worth the same: give more questions" in same[OPEN]
    one = {i for i in range(15) if not held_out(questions(15)[i])}
    some = left_out("none", lambda i: [("" if i in one else "2", -0.1)] * 8)
    assert "there are none" in some[OPEN]
    untold = Reply("", "2", "stop", (), math.nan, 5)
    monkeypatch.setattr("ponder.evidence.learning.told", lambda _: told(untold))
    assert "did not tell the log-probability" in left_out("untold", telling)[OPEN]
    monkeypatch.undo()
    with pytest.raises(PonderError, match=r"every candidate fails .* give more questions"):
        tuning(tmp_path / "alone", 15, lambda i: [("2", -0.5)] * 8, OPEN).run()


def test_parts_are_joined_in_the_order_of_the_questions() -> None:
    def measured(values: Sequence[float], orders: int) -> Measured:
        row = np.array(values)
        runs = tuple(
            Run(i, None, v + 0.5 * o, {}) for o in range(orders) for i, v in enumerate(row)
        )
        spent = {"calls": float(row.mean())}
        return Measured("part", f"law {orders}", row, row, row, row, spent, orders, runs)

    odd, even = np.array([3, 1]), np.array([2, 0])
    parts = [(measured([0.3, 0.1], 2), odd), (measured([0.2, 0.0], 1), even)]
    found = joined(parts, "all")
    assert found.right.tolist() == found.tokens.tolist() == [0.0, 0.1, 0.2, 0.3]
    assert [(run.question, run.credit) for run in found.runs] == [
        (0, 0.0),
        (1, 0.1),
        (2, 0.2),
        (3, 0.3),
    ]
    assert (found.strategy, found.law, found.orders) == ("all", "law 1", 1)
    assert found.spent == {"calls": pytest.approx(0.15)}
    twice = joined([parts[0], (measured([0.2, 0.0], 2), even)], "all")
    assert [run.question for run in twice.runs] == [0, 1, 2, 3] * 2
    assert twice.runs[4 + 3].credit == 0.8


# Spending.


def test_unequal_votes_are_not_settled_by_counting() -> None:
    often = Seen(("a",) * 12 + ("b",), (1.0,) * 13, 10.0)
    assert not often.contested
    assert Policy(cap=32).rates({"q": often}) == {}  # settled
    dear = Seen(often.answers, (0.01,) * 12 + (1.0,), 10.0)
    assert dear.contested
    assert Policy(cap=32).rates({"q": dear, "r": often})["q"][0] > 0
    tie = Seen(("a", "b"), (1.0, 2.0), 10.0)
    assert not tie.contested
    assert not Seen().contested


def test_votes_of_tiny_and_huge_weights_are_votes() -> None:
    texts = {"Answer: 2": 0.5, "Answer: -3": 0.5}
    for scale in (900.0, -900.0):
        strategy = as_strategy(f"cot | draw(8) | weigh(odds(whole={scale}, negative=1.0)) | vote")
        [(_, answer)] = Session(Scripted(lambda prompt: texts), strategy).answers(questions(1))
        assert not isinstance(answer, BaseException)
        found = seen(answer.posterior, answer.price, 80.0)
        assert found.abstaining == 0
        assert all(0 < vote < math.inf for vote in found.votes)
