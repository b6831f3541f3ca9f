"""One budget over many questions: the law of answers, the worth of samples, and the waves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, product

import numpy as np
import pytest

from ponder.answering import Session, as_strategy
from ponder.bank import Bank
from ponder.blocks.sizes import resized
from ponder.errors import PonderError
from ponder.lm.table import TableLM
from ponder.measure import ABSTAIN
from ponder.question import make_question
from ponder.spending import AnswerLaw, Policy, Pooled, Seen, Truth, expected_gains, seen, spend
from ponder.spending.answers import grid, log_partition


def plain(answers: str, each: float = 10.0) -> Seen:
    """A letter a sample; "." abstains."""
    said = tuple(ABSTAIN if a == "." else a for a in answers)
    votes = tuple(0.0 if a == "." else 1.0 for a in answers)
    return Seen(said, votes, each, 0.0, each * len(answers))


def pooled(discount: float, concentration: float, *, silent: float = 0.0) -> Pooled:
    """As if the law of answers were known."""
    d, t = grid()
    law = AnswerLaw(((d == discount) & (t == concentration)).astype(float))
    return Pooled(law, 1.0, np.array([1.0]), silent)


def sequences(
    counts: tuple[int, ...], steps: int, d: float, t: float
) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every way in which answers may go on, with its probability: the urn, written out."""
    if steps == 0:
        yield counts, 1.0
        return
    n, k = sum(counts), len(counts)
    for i in range(k + 1):
        chance = (counts[i] - d) / (n + t) if i < k else (t + d * k) / (n + t)
        after = (*counts[:i], counts[i] + 1, *counts[i + 1 :]) if i < k else (*counts, 1)
        for end, rest in sequences(after, steps - 1, d, t):
            yield end, chance * rest


def exact_gain(counts: tuple[int, ...], steps: int, d: float, t: float) -> float:
    """E[P(right) of the leader then - P(right) of today's leaders then], plain votes."""
    leads = [i for i, m in enumerate(counts) if m == max(counts)]
    total = 0.0
    for end, chance in sequences(counts, steps, d, t):
        whole = sum(end) + 1.0
        total += chance * (max(end) - sum(end[i] for i in leads) / len(leads)) / whole
    return total


def partitions(n: int) -> Iterator[list[int]]:
    """The block sizes of every partition of n samples."""
    for labels in product(range(n), repeat=n):
        if all(x <= max(labels[:i], default=-1) + 1 for i, x in enumerate(labels)):
            yield [labels.count(x) for x in dict.fromkeys(labels)]


def test_partition_probabilities_are_the_urn_in_every_order() -> None:
    discounts, concentrations = grid()
    listed = list(partitions(4))
    assert len(listed) == 15
    logs = np.array([log_partition(tuple(sorted(sizes))) for sizes in listed])
    assert np.exp(logs).sum(axis=0) == pytest.approx(np.ones(len(discounts)))
    for g, (d, t) in enumerate(zip(discounts, concentrations, strict=True)):
        urn: dict[tuple[int, ...], float] = {}
        for sizes, chance in sequences((1,), 3, d, t):
            urn[sizes] = urn.get(sizes, 0.0) + chance
        for sizes in urn:
            alike = [i for i, other in enumerate(listed) if tuple(other) == sizes]
            assert np.exp(logs[alike, g]).sum() == pytest.approx(urn[sizes])


def test_the_law_is_learnt_from_all_questions() -> None:
    d, t = grid()
    agreeing = AnswerLaw.fitted([[8]] * 40)
    scattered = AnswerLaw.fitted([[1] * 8] * 40)
    assert agreeing.weights @ t < 0.5 < 5 < scattered.weights @ t
    belief = AnswerLaw.fitted([[8]] * 20 + [[1] * 8] * 20).belief([[8], [1] * 8, []])
    assert belief.sum(axis=1) == pytest.approx(np.ones(3))
    assert belief[0] @ t < belief[2] @ t < belief[1] @ t
    assert AnswerLaw.fitted([]).weights == pytest.approx(np.full(len(d), 1 / len(d)))


@pytest.mark.parametrize("counts", [(1,), (1, 1), (2, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize(("d", "t"), [(0.0, 1.0), (0.3, 3.0), (0.6, 0.3)])
def test_gains_are_those_of_the_enumerated_urn(counts: tuple[int, ...], d: float, t: float) -> None:
    said = "".join("abc"[i] * m for i, m in enumerate(counts))
    found = expected_gains([plain(said)], pooled(d, t), [1, 2, 4], runs=20_000)[0]
    wanted = [exact_gain(counts, steps, d, t) for steps in (1, 2, 4)]
    assert found == pytest.approx(wanted, abs=0.006)


def test_one_more_sample_is_blind_and_several_are_not() -> None:
    gains = expected_gains([plain("a"), plain("aab")], pooled(0.0, 1.0), [1, 2, 4])
    assert gains[:, 0] == pytest.approx([0, 0])
    assert (gains[:, 2] > 0.005).all()


def test_a_contested_question_is_worth_more_than_a_settled_one_or_a_hopeless_one() -> None:
    run = [plain("aaabbb"), plain("aaaaaa"), plain("aaaaab"), plain("abcdef")]
    both, agreed, nearly, scattered = expected_gains(run, Pooled.of(run), [2])[:, 0]
    assert both > scattered > nearly >= agreed
    assert agreed < 1e-3


def test_a_question_that_said_nothing_is_worth_asking_and_abstentions_are_counted() -> None:
    silent = expected_gains([plain("."), plain("...")], pooled(0.0, 1.0, silent=0.5), [1])[:, 0]
    # An answer would be right with probability 1/2; P(one comes) is 1/3 and 1/5.
    assert silent == pytest.approx([0.5 * (1 - 2 / 3), 0.5 * (1 - 4 / 5)], abs=0.06)


def test_votes_have_no_unit() -> None:
    def scaled(c: float) -> Seen:
        return Seen(("a", "b", "a", "c"), (0.2 * c, 0.9 * c, 0.4 * c, 0.1 * c), 10.0)

    small, large = [scaled(1.0), plain("")], [scaled(1e-6), plain("")]
    found = [expected_gains(run, Pooled.of(run), [1, 4]) for run in (small, large)]
    assert found[0] == pytest.approx(found[1])
    # b leads, though a has more samples: one more a may win.
    assert found[0][0, 0] > 0


def test_new_answers_count_what_new_answers_did() -> None:
    def gain(*others: float) -> float:
        run = [Seen((i,), (vote,), 10.0) for i, vote in enumerate([2.0, *others])]
        return float(expected_gains(run[:1], Pooled.of(run), [1])[0, 0])

    # The mean vote is below 2 in both; only where some weigh more may one of them take the lead.
    assert gain(*[1.5] * 10) == 0
    assert gain(*[0.3] * 5, *[3.0] * 5) > 0.02


def test_truth_is_fitted_to_what_is_right() -> None:
    votes = [[3.0, 1.0]] * 30
    sure = Truth.fitted(votes, [0] * 30)
    hopeless = Truth.fitted(votes, [None] * 30)
    assert sure(np.array([3.0, 1.0]))[0] > 0.9 > 0.75 > Truth()(np.array([3.0, 1.0]))[0]
    assert hopeless(np.array([3.0, 1.0])).sum() < 0.4
    assert Truth()(np.array([3.0, 1.0, 0.0])) == pytest.approx([0.6, 0.2, 0.0])


class World:
    """Questions with known laws of answers: number 0 is right; the last stands for anything new."""

    def __init__(self, laws: Mapping[str, Sequence[float]], seed: int, cost: float = 10.0) -> None:
        rng = np.random.default_rng(seed)
        self.said: dict[str, list[object]] = {}
        for id, law in laws.items():
            drawn = rng.choice(len(law), size=64, p=law).tolist()
            new = len(law) - 1
            self.said[id] = [("new", i) if x == new else x for i, x in enumerate(drawn)]
        self.cost = cost
        self.asks: list[dict[str, int]] = []

    def __call__(self, wanted: Mapping[str, int]) -> dict[str, Seen]:
        self.asks.append(dict(wanted))
        return {id: self.first(id, n) for id, n in wanted.items()}

    def first(self, id: str, n: int) -> Seen:
        return Seen(tuple(self.said[id][:n]), (1.0,) * n, self.cost, 0.0, self.cost * n)

    def right(self, id: str, n: int) -> float:
        counts, _ = self.first(id, n).tally()
        names = list(dict.fromkeys(self.said[id][:n]))
        tied = [name for name, m in zip(names, counts, strict=True) if m == max(counts)]
        return float(0 in tied) / len(tied)


EASY, CONTESTED = [0.9, 0.05, 0.05], [0.5, 0.2, 0.15, 0.15]


def mixed(many: int) -> dict[str, list[float]]:
    """Two easy questions for each contested one."""
    kinds = {"easy": EASY, "also easy": EASY, "contested": CONTESTED}
    return {f"{kind} {i}": law for kind, law in kinds.items() for i in range(many)}


def test_the_budget_goes_to_the_contested_and_beats_even_spending() -> None:
    even, spent, drawn = [], [], {True: 0, False: 0}
    for seed in range(8):
        world = World(mixed(8), seed)
        budget = world.cost * 24 * 4
        found = spend(world, list(world.said), budget, Policy(runs=48))
        assert 0.9 * budget < sum(s.paid for s in found.values()) <= budget
        for id, s in found.items():
            drawn["contested" in id] += len(s.answers)
            even.append(world.right(id, 4))
            spent.append(world.right(id, len(s.answers)))
    assert drawn[True] / 8 > 1.5 * drawn[False] / 16
    assert np.mean(spent) > np.mean(even) + 0.03


def test_waves_only_grow_and_all_are_asked_before_any_is_asked_twice() -> None:
    world = World(mixed(4), 1)
    found = spend(world, list(world.said), 1e9, Policy(cap=6, runs=16))
    seen_so_far: dict[str, int] = {}
    for wanted in world.asks:
        for id, n in wanted.items():
            assert n > seen_so_far.get(id, 0)
            if seen_so_far.get(id):
                assert len(seen_so_far) == 12
            seen_so_far[id] = n
    assert max(seen_so_far.values()) <= 6
    assert {id: len(s.answers) for id, s in found.items()} == seen_so_far
    # The same again: nothing is random but the samples.
    again = World(mixed(4), 1)
    spend(again, list(again.said), 1e9, Policy(cap=6, runs=16))
    assert again.asks == world.asks


def test_what_is_certified_is_asked_no_more() -> None:
    torn = {"a": plain("abab"), "b": plain("abab"), "c": plain("...")}
    assert set(Policy().rates(torn)) == {"a", "b", "c"}
    assert set(Policy(certified=Enough()).rates(torn)) == {"c"}  # it has no answer yet
    world = World({"torn": [0.5, 0.5, 0.0], "too": [0.5, 0.5, 0.0]}, 0)
    found = spend(world, ["torn", "too"], 1e9, Policy(certified=Enough()))
    assert all(4 <= len(s.answers) < 8 for s in found.values())


class Enough:
    """Four answers are, whatever they say."""

    def stops(self, answers: Sequence[object]) -> bool:
        return len(answers) >= 4


def test_it_ends_when_an_ask_brings_nothing_new_or_little_money_is_there() -> None:
    world = World(mixed(2), 0)
    stuck = world.first("easy 0", 1)
    assert spend(lambda wanted: {"easy 0": stuck}, ["easy 0"], 1e9) == {"easy 0": stuck}
    assert spend(lambda wanted: {}, ["easy 0"], 1e9) == {}
    few = spend(world, list(world.said), 35.0, Policy(wave=1))
    assert sum(s.paid for s in few.values()) == 30.0
    assert spend(world, [], 100.0) == {}


def test_where_asking_again_is_dear_several_are_asked_at_once() -> None:
    cheap = {str(i): plain("ab") for i in range(8)}
    dear = {id: Seen(s.answers, s.votes, s.each, 100.0, s.paid) for id, s in cheap.items()}
    policy = Policy(wave=8)
    assert set(policy.next(cheap, [], 1e9).values()) == {1}
    assert min(policy.next(dear, [], 1e9).values()) >= 4
    assert policy.next(dear, [], 105.0) == {}
    assert sum(policy.next(cheap, [], 35.0).values()) == 3


def test_arguments_are_checked() -> None:
    with pytest.raises(PonderError, match="first <= cap"):
        Policy(cap=2, first=3)
    with pytest.raises(PonderError, match="vote"):
        Seen(("a",), (-1.0,))


def test_a_session_pays_each_sample_once() -> None:
    rows: dict[tuple[int, ...], list[float]] = {(): [0.5, 0.5, 0], (0,): [0, 0, 1], (1,): [0, 0, 1]}
    model = TableLM(("Answer: 7", "Answer: 8", "<end>"), rows, name="two")
    strategy = as_strategy("direct | draw(16) | vote")
    session = Session(model, strategy, bank=Bank(":memory:"))
    asked = make_question("How many?", kind="number", id="q")
    paid = 0.0
    drawn: list[Seen] = []

    def ask(wanted: Mapping[str, int]) -> dict[str, Seen]:
        nonlocal paid
        session.strategy = resized(strategy, wanted["q"])
        for _, answer in session.answers([asked]):
            assert not isinstance(answer, BaseException)
            paid += answer.ledger.generated
            drawn.append(seen(answer.posterior, answer.price, paid))
        return {"q": drawn[-1]}

    found = spend(ask, ["q"], 1e9, Policy(cap=12, certified=None))["q"]
    assert len(drawn) > 1
    assert all(a.answers == b.answers[: len(a.answers)] for a, b in pairwise(drawn))
    assert (found.each, found.paid) == (2, 2 * len(found.answers))
    assert set(found.votes) == {1.0}
