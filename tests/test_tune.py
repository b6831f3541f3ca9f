"""Tuning: what is tried, what is chosen and why, difficulty classes, verifiers' errors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ponder.answering import Session, as_strategy
from ponder.bank import Bank
from ponder.blocks import draw, vote, weigh
from ponder.errors import PonderError
from ponder.evidence.candidates import DEFAULT, MOST, Candidate, candidates, expanded, keeps_all
from ponder.evidence.card import Card
from ponder.evidence.classes import CLASS, allotting, classes
from ponder.evidence.credit import Grader
from ponder.evidence.evaluate import Evaluation, Measured, Run
from ponder.evidence.recordings import import_recordings
from ponder.evidence.replaying import evaluation
from ponder.evidence.search import Tried, chosen, halving
from ponder.evidence.tasks import Tasks
from ponder.evidence.tune import LOOKS, Tuning, held_out
from ponder.evidence.verifiers import clustered, rates, verifier_of
from ponder.guarantee.allotment import allotted, class_of
from ponder.question import Question
from ponder.strategy import Pipeline
from scripted import Scripted

VOTE = "cot | draw(8) | vote"


def questions(n: int) -> list[Question]:
    return [Question(f"Question {i}?", "number", id=f"q{i}", answer="2") for i in range(n)]


def tasks(n: int) -> Tasks:
    return Tasks(questions(n), ["toy"] * n)


def recorded(tmp_path: Path, answers: Sequence[str], recipe: str = "cot") -> Bank:
    """A bank with a recorded reply of each answer of question i, all of 5 tokens after 10."""
    rows = [
        {
            "id": f"q{i}",
            "sample": n,
            "text": f"Answer: {answer}",
            "finish": "stop",
            "prompt_tokens": 10,
            "logq": -1.0,
            "token_logp": [-0.5] * 5,
        }
        for i, given in enumerate(answers)
        for n, answer in enumerate(given)
    ]
    file = tmp_path / f"toy.{recipe}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    opened = Bank(tmp_path / "bank.sqlite")
    import_recordings(file, opened, recipe, "recorded")
    return opened


def tuning(
    tmp_path: Path, answers: Sequence[str], *strategies: str, orders: int = 3, **options: Any
) -> Tuning:
    opened = recorded(tmp_path, answers)
    found = tasks(len(answers))
    ready, _ = evaluation(found, opened, None, {}, orders=orders)
    return Tuning(found, candidates(strategies), ready, {"ponder": "0"}, **options)


# What is tried.


@pytest.mark.parametrize(
    ("text", "stands_for"),
    [
        ("a | b", ["a | b"]),
        ("d({4,8}) | {v,w(f) | v}", ["d(4) | v", "d(4) | w(f) | v", "d(8) | v", "d(8) | w(f) | v"]),
        ("{a,b{c,d}}", ["a", "bc", "bd"]),
        ("x{,y}", ["x", "xy"]),
        ("{a}", ["{a}"]),
        ("{}", ["{}"]),
        ("{a,b", ["{a,b"]),
        ("a}{b,c}", ["a}b", "a}c"]),
        ("x{{a,b}}", ["x{a}", "x{b}"]),
        ("{draw(8),stratify(4, 8)}", ["draw(8)", "stratify(4, 8)"]),
        (
            """f('{"a": 1, "b": 2}'){c,d}""",
            ["""f('{"a": 1, "b": 2}')c""", """f('{"a": 1, "b": 2}')d"""],
        ),
        (r"""f("\" {a,b}"){c,d}""", [r"""f("\" {a,b}")c""", r"""f("\" {a,b}")d"""]),
    ],
)
def test_braces_outside_quotes_expand_as_in_a_shell(text: str, stands_for: list[str]) -> None:
    assert expanded(text) == stands_for


def test_every_nested_size_is_tried_once() -> None:
    found = candidates(["cot | draw({4,8}) | vote", "cot | draw(2) | vote"])
    assert [c.size for c in found] == [1, 2, 4, 8]
    assert {repr(c.whole) for c in found} == {VOTE}  # the largest of which they are parts
    assert {c.whole.source.name for c in candidates([])} == {"direct", "cot", "pot"}
    assert len(candidates([])) == 5 * sum(len(expanded(text)) for text in DEFAULT)


def test_too_many_alternatives_are_a_mistake() -> None:
    many = "{" + ",".join(map(str, range(30))) + "}"
    with pytest.raises(PonderError, match=f"more than {MOST}"):
        expanded(many * 2)
    with pytest.raises(PonderError, match="unknown name 'ct'"):
        candidates(["{ct,cot} | draw(2)"])


# What is chosen.


def tried(name: str, right: Sequence[float], tokens: float, size: int = 8) -> Tried:
    strategy = as_strategy(name)
    credit = np.array(right, dtype=float)
    spent = np.full(len(credit), tokens)
    measured = Measured(name, "", credit, np.ones_like(credit), spent, credit, {}, 1, ())
    return Tried(Candidate(strategy, size, strategy), measured)


def test_the_cheapest_within_a_standard_error_of_the_best_is_chosen() -> None:
    best = tried("cot | draw(8)", [1, 1, 1, 1, 1, 1, 1, 0], 800)
    near = tried("cot | draw(4)", [1, 1, 1, 1, 1, 1, 0, 0], 400)  # .125 +- .125 worse
    far = tried("cot | draw(2)", [1, 1, 1, 1, 0, 0, 0, 0], 200)  # .375 +- .18 worse
    assert chosen([best, near, far]) == 1
    assert chosen([best, far]) == 0
    assert chosen([best, near, far], 300) == 2
    twins = [tried("cot | draw(8)", [1, 0], 30), tried("pot | draw(8)", [1, 0], 20)]
    assert chosen(twins) == 1
    with pytest.raises(PonderError, match=r"the cheapest, cot \| draw\(2\) \| vote, costs 200"):
        chosen([best, near, far], 100)


def test_a_constant_difference_is_beyond_any_standard_error() -> None:
    better, worse = tried("cot | draw(8)", [0.9] * 9, 90), tried("cot | draw(4)", [0.8] * 9, 40)
    assert chosen([better, worse]) == 0


def test_halving_asks_the_better_half_twice_as_many_questions() -> None:
    field = [Candidate(as_strategy(f"cot | draw({n})"), n, as_strategy("cot")) for n in range(1, 9)]
    asked: list[tuple[int, int]] = []

    def trial(candidate: Candidate, some: Sequence[Question]) -> Measured:
        asked.append((candidate.size, len(some)))
        return tried("cot", [candidate.size / 10] * len(some), 10.0 * candidate.size).measured

    left = halving(field, questions(16), trial)
    by_round = {n: sorted(size for size, m in asked if m == n) for n in (4, 8, 16)}
    assert by_round == {4: [1, 2, 3, 4, 5, 6, 7, 8], 8: [5, 6, 7, 8], 16: [7, 8]}
    assert {t.candidate.size for t in left} == {7, 8}
    cheap = halving(field, questions(16), trial, max_tokens=45)
    assert max(t.candidate.size for t in cheap) == 4


# Difficulty classes.


def test_the_class_is_told_by_the_first_four_answers() -> None:
    told = {"abca": 0, "aabb": 0, "aaab": 1, "aaaa": 2, "aaaabbbb": 2, "aab": 1, "": 0, "ab": 0}
    assert {given: class_of(given) for given in told} == told
    rule = allotted(16, 8, 4)
    assert repr(rule) == "allotted(16, 8, 4)"
    assert next(n for n in range(17) if rule.stops(("aaab" * 4)[:n])) == 8
    assert not rule.stops("aaa")
    assert rule.stops("aaaa")
    assert not rule.stops("abca" * 3)
    with pytest.raises(PonderError, match="4 or more"):
        allotted(16, 8, 3)


def test_an_allotted_question_is_asked_as_often_as_its_class_says() -> None:
    policy = allotting(as_strategy("cot | draw(16) | vote"), (16, 8, 4))
    assert repr(policy) == "cot | draw(16, stop=allotted(16, 8, 4), every=4) | vote"
    same = Scripted(lambda prompt: "Answer: 2")
    list(Session(same, policy).answers(questions(1)))
    assert len(same.asked) == 4
    many = Scripted(lambda prompt: {f"Answer: {n}": 0.01 for n in range(100)})
    list(Session(many, policy).answers(questions(1)))
    assert len(many.asked) == 16
    layered = allotting(as_strategy("either(cot, direct) | stratify(4, 8) | vote"), (12, 12, 6))
    assert repr(layered).count("allotted(12, 12, 6)") == 1


SIZES = (4, 8, 16)


def family(credit: dict[tuple[int, int], float], of: Sequence[int]) -> list[Tried]:
    """The sizes of a strategy whose credit is known by (class, size), for questions of classes."""
    found = []
    for size in SIZES:
        strategy = as_strategy(f"cot | draw({size}) | vote")
        right = np.array([credit[c, size] for c in of])
        runs = tuple(Run(i, 0.5, float(right[i]), {CLASS: float(c)}) for i, c in enumerate(of))
        tokens = np.full(len(of), 10.0 * size)
        one = np.ones(len(of))
        measured = Measured(repr(strategy), "", right, one, tokens, one, {}, 1, runs)
        found.append(
            Tried(Candidate(strategy, size, as_strategy("cot | draw(16) | vote")), measured)
        )
    return found


def scorer(credit: dict[tuple[int, int], float], of: Sequence[int]) -> Any:
    """Measures a policy on questions of known classes; notes which were asked."""

    def measure(policy: Pipeline, some: Sequence[Question]) -> Measured:
        rule: Any = policy.blocks[0]
        places = [int(q.id[1:]) for q in some]
        sizes = [rule.stop.sizes[of[i]] for i in places]
        right = np.array([credit[of[i], s] for i, s in zip(places, sizes, strict=True)])
        measure.asked.append((rule.stop.sizes, places))  # type: ignore[attr-defined]
        one = np.ones(len(some))
        return Measured("", "", right, one, 10.0 * np.array(sizes), one, {}, 1, ())

    measure.asked = []  # type: ignore[attr-defined]
    return measure


def test_classes_are_used_where_they_help_where_they_were_not_chosen() -> None:
    of = [0, 2, 2] * 12
    credit = {(2, s): 1.0 for s in SIZES} | {(0, 4): 0.2, (0, 8): 0.4, (0, 16): 0.8}
    curve, measure = family(credit, of), scorer(credit, of)
    found = classes(curve[1], curve, questions(len(of)), measure)
    assert found.sizes is not None
    assert found.sizes[0] == 16
    assert found.sizes[2] == 4
    assert found.tokens == pytest.approx(80)
    assert found.two_fold == pytest.approx((0.8 + 1 + 1) / 3)
    assert found.plain == pytest.approx((0.4 + 1 + 1) / 3)
    halves = [set(places) for _, places in measure.asked]
    assert halves[0] | halves[1] == set(range(len(of)))  # every question scored once
    assert not halves[0] & halves[1]


def test_classes_without_use_are_said_to_be_so() -> None:
    of = [0, 1, 2] * 8
    credit = {(c, s): 0.1 * s / 4 for c in range(3) for s in SIZES}  # all the same to them
    curve = family(credit, of)
    found = classes(curve[1], curve, questions(len(of)), scorer(credit, of))
    assert found.sizes is None
    assert found.why.startswith("no help")
    only = classes(curve[1], curve[1:2], questions(len(of)), scorer(credit, of))
    assert only.why.startswith("not tried")
    stopped = as_strategy("cot | draw(16, stop=majority(0.8)) | vote")
    assert not keeps_all(stopped)
    ruled = replace(curve[1], candidate=Candidate(stopped, 16, stopped))
    assert "rule to stop" in classes(ruled, curve, questions(len(of)), scorer(credit, of)).why


def test_sizes_that_were_lucky_on_one_half_are_not_scored_there() -> None:
    """Credit that is noise: chosen and scored on the same questions, classes always look better."""
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(40):
        n = 40
        of = list(rng.integers(0, 3, n))
        table = {s: rng.random(n) < 0.5 for s in SIZES}
        curve = family({(c, s): 0.0 for c in range(3) for s in SIZES}, of)
        curve = [
            replace(
                t,
                measured=replace(
                    t.measured,
                    right=table[t.candidate.size].astype(float),
                    runs=tuple(
                        Run(i, 0.5, float(table[t.candidate.size][i]), {CLASS: float(of[i])})
                        for i in range(n)
                    ),
                ),
            )
            for t in curve
        ]

        def measure(
            policy: Pipeline, some: Sequence[Question], of: Any = of, t: Any = table
        ) -> Measured:
            rule: Any = policy.blocks[0]
            places = [int(q.id[1:]) for q in some]
            sizes = [rule.stop.sizes[of[i]] for i in places]
            right = np.array([float(t[s][i]) for i, s in zip(places, sizes, strict=True)])
            one = np.ones(len(some))
            return Measured("", "", right, one, 10.0 * np.array(sizes), one, {}, 1, ())

        found = classes(curve[2], curve, questions(n), measure)
        gains.append((found.two_fold or 0) - 0.5)
    error = float(np.std(gains)) / len(gains) ** 0.5
    assert abs(float(np.mean(gains))) < 4 * error


# Verifiers.


def test_rates_of_clusters() -> None:
    assert clustered([], []).value is None
    assert clustered([0, 0], [0, 0]).of == 0
    same = clustered([1, 0] * 10, [1] * 20)  # one trace a question: the binomial interval, about
    assert same.value == 0.5
    assert same.low == pytest.approx(0.272, abs=0.02)
    assert same.high == pytest.approx(0.728, abs=0.02)
    copies = clustered([10, 0] * 10, [10] * 20)  # ten copies of each say no more
    assert copies.low == pytest.approx(same.low, abs=1e-6)
    assert clustered([0] * 20, [50] * 20).high == pytest.approx(0.168, abs=0.001)  # of 20, not 1000
    means = clustered([0.0] * 40, [0.25] * 40)  # each answered in a quarter of the runs: ten
    assert means.high == clustered([0] * 10, [1] * 10).high


def test_the_interval_of_a_clustered_rate_covers() -> None:
    rng, hit, runs = np.random.default_rng(1), 0, 400
    for _ in range(runs):
        of = rng.integers(1, 9, 30)
        hits = rng.binomial(of, rng.beta(0.6, 1.4, 30))
        found = clustered(hits.tolist(), of.tolist())
        hit += found.low <= 0.3 <= found.high
    # Nominal .95; a true coverage of .93 would fail this once in some thousand.
    assert hit / runs > 0.93 - 4 * (0.93 * 0.07 / runs) ** 0.5


def asserted(reply: Any) -> float:
    """A verifier that takes 4 for right, and is sure of 2."""
    return log({"2": 0.9, "4": 0.6}.get(str(reply.answer), 0.1))


def test_rates_of_a_verifier_by_trace() -> None:
    texts = {f"Answer: {n}": p for n, p in ((2, 0.5), (3, 0.25), (4, 0.25))}
    strategy = as_strategy("cot").source | draw(8) | weigh(asserted) | vote
    assert verifier_of(strategy) == "asserted"
    assert verifier_of(as_strategy("cot | draw(8) | weigh(perplexity) | vote")) is None
    assert verifier_of(as_strategy("cot | draw(8) | vote")) is None
    asked = questions(12)
    session = Session(Scripted(lambda prompt: texts), strategy)
    answers = [answer for _, answer in session.answers(asked)]
    given: Any = answers
    all_given = [str(t.value.answer) for a in given for t in a.posterior.population.traces]
    found = rates("asserted", given, Grader({}))
    assert found["false_negative"]["rate"] == 0
    assert found["false_negative"]["traces"] == all_given.count("2")
    wrong = all_given.count("3") + all_given.count("4")
    assert found["false_positive"]["rate"] == pytest.approx(all_given.count("4") / wrong)
    low, high = found["false_positive"]["interval"]
    assert low < 0.5 < high
    assert found["most_draws"] == "unlimited" or found["most_draws"] >= 1
    assert 0.5 < found["ceiling"] < 1


# The whole.

MIXED = ["22222222", "22232223", "33343533", "23252223"] * 8


def test_a_card_from_a_replay(tmp_path: Path) -> None:
    card = tuning(tmp_path, MIXED, VOTE, max_tokens=40).run()
    on = card.tuned_on
    held = sum(map(held_out, questions(len(MIXED))))
    assert (on["chose"], on["held_out"]) == (len(MIXED) - held, held)
    assert 0 < held < on["chose"]
    assert card.recorded
    assert card.accuracy["tokens"] <= 40
    assert card.accuracy["shrunk"] <= card.accuracy["naive"]
    assert card.accuracy["held_out"]["looks_left"] <= LOOKS
    assert [c for c in map(str, (tmp_path, Path.home())) if c in json.dumps(card.as_dict())] == []
    assert len(card.points) == len(MIXED)
    assert card.calibrator.questions == len(MIXED)
    written = tmp_path / "card.json"
    card.write(written)
    again = Card.read(written)
    assert again.as_dict() == json.loads(json.dumps(card.as_dict()))
    assert again.fingerprint == card.fingerprint


def test_the_choice_does_not_look_at_what_is_held_out(tmp_path: Path) -> None:
    """Labels of the held-out third may change: the choice and its figures are the same."""
    changed = [
        given.replace("2", "7") if held_out(q) else given
        for q, given in zip(questions(len(MIXED)), MIXED, strict=True)
    ]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = tuning(tmp_path / "a", MIXED, VOTE).run()
    two = tuning(tmp_path / "b", changed, VOTE).run()
    assert one.strategy == two.strategy
    for name in ("naive", "shrunk", "interval"):
        assert one.accuracy[name] == two.accuracy[name]
    assert not one.accuracy["held_out"]["from_held_out"]
    assert two.accuracy["held_out"]["from_held_out"]  # which is all wrong there, and shows
    assert two.accuracy["held_out"]["value"] < 0.1
    assert two.accuracy["held_out"]["looks_left"] == LOOKS - 1


def test_tuning_again_goes_on_with_the_looks_that_are_left(tmp_path: Path) -> None:
    first = tuning(tmp_path, MIXED, VOTE).run()
    second = tuning(tmp_path, MIXED, VOTE, again=first).run()
    assert second.holdout["asked"] == first.holdout["asked"] + 1
    other = replace(first, tuned_on={**first.tuned_on, "fingerprint": "0"})
    with pytest.raises(PonderError, match="other questions"):
        tuning(tmp_path, MIXED, VOTE, again=other).run()
    spent = replace(first, holdout={**first.holdout, "asked": LOOKS, "tripped": LOOKS})
    with pytest.raises(PonderError, match=f"all {LOOKS} looks .* are spent"):
        tuning(tmp_path, MIXED, VOTE, again=spent).run()


def test_what_fails_everywhere_is_left_out(tmp_path: Path) -> None:
    made = tuning(tmp_path, MIXED, "{cot,direct} | draw(4) | vote")
    card = made.run()
    assert card.strategy.startswith("cot")
    assert list(made.left_out) == [f"direct | draw({n}) | vote" for n in (4, 2, 1)]
    with pytest.raises(PonderError, match="every candidate fails on every question; direct"):
        tuning(tmp_path, MIXED, "direct | draw(4) | vote").run()
    with pytest.raises(PonderError, match="no candidate costs at most 3 tokens"):
        tuning(tmp_path, MIXED, VOTE, max_tokens=3).run()
    with pytest.raises(PonderError, match="would choose"):
        tuning(tmp_path, MIXED[:1], VOTE).run()


def test_halving_samples_less(tmp_path: Path) -> None:
    def reply(prompt: str) -> str | dict[str, float]:
        return {"Answer: 2": 0.9, "Answer: 3": 0.1} if "step by step" in prompt else "Answer: 3"

    def drawn(search: Any) -> tuple[str, int]:
        model, found = Scripted(reply), tasks(30)
        bank = Bank(tmp_path / f"{search}.sqlite")
        live = Evaluation(found.questions, bank, {}, Grader({}), model=model, orders=2)
        strategies = candidates(["{cot,direct} | draw(8) | vote"])
        card = Tuning(found, strategies, live, {}, search=search).run()
        assert card.cost["r2"] <= 1  # a model was there to time
        return card.strategy[:3], sum("Question" in prompt for prompt in model.asked)

    best, few = drawn("halving")
    assert (best, few < drawn("exhaustive")[1]) == ("cot", True)
