"""Stop rules: their numbers, and their error rates, exactly, over every sequence of answers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from functools import lru_cache
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from ponder.errors import PonderError
from ponder.guarantee.mode import ModeEvidence, certified, log_e_values, log_wealth
from ponder.guarantee.operating import operating
from ponder.guarantee.stopping import (
    StopRule,
    agreement,
    dirichlet,
    entropy,
    majority,
    probability_ahead,
    probability_leading,
    settled,
)

Floats = NDArray[np.float64]

RULES: list[StopRule] = [agreement(), dirichlet(), majority(), entropy(), settled(0.2)]

LAWS = {
    2: [(0.5, 0.5), (0.501, 0.499), (0.6, 0.4), (0.9, 0.1)],
    3: [(1 / 3, 1 / 3, 1 / 3), (0.34, 0.33, 0.33), (0.45, 0.45, 0.1), (0.48, 0.47, 0.05)],
    4: [(0.25, 0.25, 0.25, 0.25), (0.28, 0.24, 0.24, 0.24), (0.4, 0.35, 0.15, 0.1)],
}
"""Laws of two to four answers: ties, small leads, large ones."""


class Hindsight(ModeEvidence):
    """Broken: the leader is chosen after seeing the draw."""

    def observe(self, answer: Hashable) -> None:
        self.counts[answer] += 1
        if self.counts[answer] > self.counts[self.leader]:
            self.leader = answer
        if answer == self.leader:
            self._plus += 1
            self._void[answer] += 1
        else:
            self._best[answer] = self.log_e_value(answer)
            self._minus[answer] += 1


class Recounted(ModeEvidence):
    """Broken: the leader of today against b, with all counts of both, as the Beta rule does."""

    def bets(self, answer: Hashable) -> tuple[int, int]:
        return self.counts[self.leader] if self.counts else 0, self.counts[answer]


class Late(ModeEvidence):
    """Broken: a bet against an answer that appears late takes credit for its own first draw."""

    def bets(self, answer: Hashable) -> tuple[int, int]:
        plus, minus = super().bets(answer)
        return plus, max(minus - 1, 0)


def memory(evidence: ModeEvidence, answers: int, alpha: float | None) -> Hashable:
    """What decides all that follows; at level alpha, a refuted answer's bets no longer matter."""

    def record(b: int) -> Hashable:
        if alpha is not None and evidence.log_e_value(b) >= -math.log(alpha):
            return "refuted"
        return evidence.bets(b) if alpha is not None else (evidence.bets(b), evidence._void[b])

    counts = tuple(evidence.counts[b] for b in range(answers))
    unseen = evidence._plus if alpha is None or evidence.log_e_unseen < -math.log(alpha) else -1
    return counts, evidence.leader, unseen, tuple(record(b) for b in range(answers))


def levels(
    kind: type[ModeEvidence], laws: Sequence[Sequence[float]], horizon: int, alpha: float | None
) -> Iterator[list[tuple[ModeEvidence, Floats]]]:
    """After each draw, every state that matters and its probability under each law."""
    p = np.array(laws)
    now: dict[Hashable, tuple[tuple[int, ...], Floats]] = {(): ((), np.ones(len(p)))}
    for _ in range(horizon):
        after: dict[Hashable, tuple[tuple[int, ...], Floats]] = {}
        for run, mass in now.values():
            for answer in range(p.shape[1]):
                longer = (*run, answer)
                key = memory(kind(longer), p.shape[1], alpha)
                known = after[key][1] if key in after else 0.0
                after[key] = longer, known + mass * p[:, answer]
        now = after
        yield [(kind(run), mass) for run, mass in now.values()]


def misdeclares(
    kind: type[ModeEvidence], laws: Sequence[Sequence[float]], horizon: int, alpha: float
) -> Floats:
    """P(an answer that is no mode is settled on at any time, whatever was settled before)."""
    p = np.array(laws)
    mode = p > p.max(axis=1, keepdims=True) - 1e-12
    wrong = np.zeros(len(p))
    now: dict[Hashable, tuple[tuple[int, ...], Floats]] = {(): ((), np.ones(len(p)))}
    for _ in range(horizon):
        after: dict[Hashable, tuple[tuple[int, ...], Floats]] = {}
        for run, mass in now.values():
            for answer in range(p.shape[1]):
                longer, weight = (*run, answer), mass * p[:, answer]
                evidence = kind(longer)
                found = evidence.settled(alpha)
                if isinstance(found, int):  # once wrong, always counted
                    wrong += np.where(mode[:, found], 0.0, weight)
                    weight = np.where(mode[:, found], weight, 0.0)
                key = memory(evidence, p.shape[1], alpha)
                known = after[key][1] if key in after else 0.0
                after[key] = longer, known + weight
        now = after
    return wrong


# The rules' numbers.


def test_beta_rule_values() -> None:
    table = {(1, 0): 0.75, (3, 0): 0.9375, (4, 0): 0.9688, (5, 0): 0.9844}
    table |= {(5, 1): 0.9375, (6, 1): 0.9648, (7, 2): 0.9453}
    for (first, second), value in table.items():
        assert probability_ahead(first, second) == pytest.approx(value, abs=5e-5)
        n = first + second + 1  # exactly: the chance of at most `second` heads in n tosses
        heads = sum(math.comb(n, k) for k in range(second + 1))
        assert probability_ahead(first, second) == pytest.approx(1 - heads / 2**n, abs=1e-14)
        assert agreement().stops(["a"] * first + ["b"] * second) == (value >= 0.95)


def test_beta_rule_ignores_the_rest_and_the_order() -> None:
    assert agreement().stops(["x", "b", "a", "a", "a", "a", "a", "a", "y", "z"])
    assert not agreement().stops(["a", "b"] * 10)


def test_dirichlet_of_two_is_the_beta_rule() -> None:
    for first, second in [(1, 1), (4, 1), (9, 3), (30, 29), (400, 370), (5000, 4800)]:
        exact = probability_ahead(first, second)
        assert probability_leading([first, second]) == pytest.approx(exact, abs=1e-10)
    assert probability_leading([4]) == probability_ahead(4, 0)


@pytest.mark.parametrize("counts", [(3, 2, 1), (5, 1, 1, 1), (8, 7, 7, 1, 1), (40, 30, 25)])
def test_dirichlet_against_gammas(counts: tuple[int, ...]) -> None:
    gammas = np.random.default_rng(1).gamma(np.array(counts) + 1, size=(200_000, len(counts)))
    share = float((gammas.argmax(axis=1) == 0).mean())
    assert probability_leading(counts) == pytest.approx(share, abs=0.005)


def test_dirichlet_sums_to_one() -> None:
    for counts in [(3, 2, 1), (9, 4, 4, 2, 1), (200, 150, 3), (1,) * 30]:
        turns = [(counts[i], *counts[:i], *counts[i + 1 :]) for i in range(len(counts))]
        assert math.fsum(map(probability_leading, turns)) == pytest.approx(1, abs=1e-10)


def test_majority_and_entropy() -> None:
    assert [majority().stops(["a"] * n) for n in range(5)] == [False] * 3 + [True] * 2
    assert majority().stops("aaaab")
    assert not majority().stops("aaabb")
    assert [entropy().stops(["a"] * n) for n in range(6)] == [False] * 4 + [True] * 2
    assert entropy().stops("aaaab")  # 0.722 of a bit
    assert not entropy().stops("aaab")  # 0.811


def test_rules_are_values_that_print_what_they_are() -> None:
    shown = ["agreement(0.95)", "dirichlet(0.95)", "majority(0.8, least=3)", "entropy(0.75)"]
    assert [repr(rule) for rule in RULES] == [*shown, "settled(0.2)"]
    assert {agreement(0.9)} == {agreement(0.9)}
    assert not any(rule.stops([]) for rule in RULES)


@pytest.mark.parametrize("rule", [agreement, dirichlet, majority, entropy, settled])
@pytest.mark.parametrize("value", [0, -1, 1.5, "0.9", True, math.nan])
def test_arguments_that_make_no_sense(rule: object, value: object) -> None:
    assert callable(rule)
    with pytest.raises(PonderError, match="between 0 and 1"):
        rule(value)


def test_levels_that_make_no_sense() -> None:
    with pytest.raises(PonderError, match="least >= 1"):
        majority(0.8, least=0)
    with pytest.raises(PonderError, match="error probability"):
        certified("aaaaaa", 0.0)


# The wealth.


def test_wealth_is_fair_to_the_last_digit() -> None:
    """For p+ = p-, the next wealth is this one on average: M(n+ + 1, n-) + M(n+, n- + 1) = 2M."""
    numbers = [0, 1, 2, 3, 4, 5, 8, 50, 700, 5000]
    for plus, minus in product(numbers, numbers):
        log_next = np.logaddexp(log_wealth(plus + 1, minus), log_wealth(plus, minus + 1))
        assert log_next == pytest.approx(log_wealth(plus, minus) + math.log(2), abs=1e-9)
    assert log_wealth(0, 0) == pytest.approx(0, abs=1e-14)


def test_wealth_is_the_mixture() -> None:
    t = (np.arange(400_000) + 0.5) / 400_000  # theta = 1 - u^2 / 2, which flattens the density
    theta, density = 1 - t**2 / 2, t * (1 - t**2 / 2) ** 3 * (t**2 / 2) ** -0.5
    for plus, minus in [(5, 0), (3, 3), (0, 6), (20, 11)]:
        worth = (2 * theta) ** plus * (2 * (1 - theta)) ** minus
        mean = float((worth * density).sum() / density.sum())
        assert log_wealth(plus, minus) == pytest.approx(math.log(mean), abs=1e-8)


def test_wealth_grows_with_plus_and_falls_with_minus() -> None:
    for plus, minus in product(range(30), range(30)):
        assert log_wealth(plus + 1, minus) > log_wealth(plus, minus) > log_wealth(plus, minus + 1)


@pytest.mark.parametrize(("alpha", "samples"), [(0.1, 5), (0.05, 6), (0.01, 9), (0.001, 12)])
def test_unanimous_answers(alpha: float, samples: int) -> None:
    found = next(n for n in range(1, 99) if settled(alpha).stops(["a"] * n))
    assert found == samples
    assert 2 ** (samples - 2) < 4 / alpha  # at most one more than any bet of this kind can do


def test_bets_are_counted_as_defined() -> None:
    evidence = ModeEvidence("abbacb")
    # a leads at first; b takes over at its second; a's second ties and does not lead.
    # draw:     a     b     b     a     c     b
    # leader:   -     a     a     b     b     b
    assert evidence.leader == "b"
    assert evidence.bets("a") == (1, 1)  # "+" by the last b; "-" by the second a
    assert evidence.bets("b") == (0, 2)  # both "-" before it led; its own "+" is void
    assert evidence.bets("c") == (1, 1)
    assert evidence.bets("never seen") == (1, 0)
    assert ModeEvidence("abaa").bets("b") == (2, 1)  # b has drawn level, and does not lead


def test_an_answer_that_comes_late_has_been_bet_against_from_the_start() -> None:
    evidence = ModeEvidence("aaaaa")
    before = evidence.log_e_unseen
    evidence.observe("b")
    assert evidence.bets("b") == (4, 1)
    assert evidence.log_e_value("b") == before  # the largest so far stays
    assert evidence.log_e_unseen == before
    evidence.observe("a")
    assert evidence.settled(0.05) is None  # five "+" and one "-": b is not refuted
    assert evidence.log_e_unseen > math.log(20)
    assert ModeEvidence("aaaaaab").settled(0.05) == "a"  # but once refuted, for ever


def test_incremental_and_at_once() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        answers = rng.choice(4, size=30, p=[0.5, 0.3, 0.15, 0.05]).tolist()
        evidence, best = ModeEvidence(), dict.fromkeys(range(4), 0.0)
        for answer in answers:
            evidence.observe(answer)
            best = {b: max(e, log_wealth(*evidence.bets(b))) for b, e in best.items()}
        seen = {b: e for b, e in best.items() if b in answers}
        assert log_e_values(answers) == seen  # sup over time, from the values at each time
        assert evidence.settled(0.1) == certified(answers, 0.1)


def test_thousands_of_samples() -> None:
    rng = np.random.default_rng(4)
    answers = rng.choice(50, size=20_000, p=[0.1, *[0.9 / 49] * 49]).tolist()
    evidence = ModeEvidence(answers)
    assert evidence.settled(1e-6) == 0
    assert all(math.isfinite(e) and e >= 0 for e in log_e_values(answers).values())
    assert math.isfinite(log_wealth(10, 100_000))


# Error rates, exactly.


@pytest.mark.parametrize("answers", [2, 3, 4])
def test_wealth_against_a_mode_never_grows_on_average(answers: int) -> None:
    horizon = {2: 10, 3: 8, 4: 6}[answers]
    laws = np.array(LAWS[answers])
    before = np.ones(laws.shape)
    for level in levels(ModeEvidence, LAWS[answers], horizon, None):
        wealth = [[math.exp(log_wealth(*e.bets(b))) for b in range(answers)] for e, _ in level]
        mean = np.array([mass for _, mass in level]).T @ np.array(wealth)  # (laws, answers)
        modes = laws > laws.max(axis=1, keepdims=True) - 1e-12
        assert np.all(mean[modes] <= before[modes] + 1e-12)
        assert mean[0] == pytest.approx(1, abs=1e-12)  # all equal: every bet is fair
        before = mean
    unlikely = laws < laws.max(axis=1, keepdims=True) - 0.1
    assert np.all(before[unlikely] > 1.05)  # and against what is no mode it earns


@pytest.mark.parametrize("broken", [Hindsight, Recounted, Late])
def test_what_breaks_the_wealth_is_seen(broken: type[ModeEvidence]) -> None:
    for level in levels(broken, LAWS[3], 4, None):
        mean = sum(mass[0] * math.exp(log_wealth(*e.bets(0))) for e, mass in level)
    assert mean > 1.02


@pytest.mark.parametrize(("answers", "horizon"), [(2, 14), (3, 12), (4, 10)])
@pytest.mark.parametrize("alpha", [0.5, 0.2, 0.05])
def test_what_is_no_mode_is_settled_on_with_probability_below_alpha(
    answers: int, horizon: int, alpha: float
) -> None:
    wrong = misdeclares(ModeEvidence, LAWS[answers], horizon, alpha)
    assert np.all(wrong <= alpha)
    assert wrong[1] > alpha / 100  # a small lead: the test is about something that happens


@pytest.mark.parametrize("broken", [Hindsight, Late])
@pytest.mark.parametrize("alpha", [0.2, 0.05])
def test_what_breaks_the_guarantee_is_seen(broken: type[ModeEvidence], alpha: float) -> None:
    assert misdeclares(broken, LAWS[2], 14, alpha)[1] > alpha


def test_merging_states_loses_nothing() -> None:
    laws = np.array(LAWS[3])
    wrong = np.zeros(len(laws))
    for run in product(range(3), repeat=8):
        found = [ModeEvidence(run[:n]).settled(0.5) for n in range(1, 9)]
        for i, law in enumerate(laws):
            misled = any(isinstance(a, int) and law[a] < law.max() - 1e-12 for a in found)
            wrong[i] += misled * math.prod(law[a] for a in run)
    assert misdeclares(ModeEvidence, LAWS[3], 8, 0.5) == pytest.approx(wrong, abs=1e-12)


def test_equally_probable_answers_are_settled_with_probability_below_two_alpha() -> None:
    for alpha in (0.05, 0.2):
        stops = operating(settled(alpha), [0.5], horizon=28).stops[0]
        assert alpha < stops <= 2 * alpha  # each is a mode; "the only one" would be wrong


def test_the_beta_rule_is_no_error_rate() -> None:
    """One minus its confidence is 5%; measured elsewhere by simulation: .48, .23, .085, .016."""
    found = operating(agreement(0.95), [0.5, 0.55, 0.6, 0.7], horizon=40)
    assert found.wrong / found.stops == pytest.approx([0.5, 0.23, 0.085, 0.016], abs=0.006)
    assert found.stops[0] == pytest.approx(0.42, abs=0.005)
    safe = operating(settled(0.05), [0.51, 0.55, 0.6, 0.7], horizon=24)
    assert np.all(safe.wrong <= 0.05)


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("others", [1, 2])
def test_operating_against_every_sequence(rule: StopRule, others: int) -> None:
    shares, horizon = [0.4, 0.7], 8
    stops = lru_cache(maxsize=None)(rule.stops)
    expected = np.zeros((3, 2))
    for i, share in enumerate(shares):
        law = [share, *[(1 - share) / others] * others]
        for run in product(range(others + 1), repeat=horizon):
            chance = math.prod(law[a] for a in run)
            end = next((n for n in range(1, horizon + 1) if stops(run[:n])), None)
            expected[2, i] += chance * (end or horizon)
            if end is not None:
                counts = Counter(run[:end])
                tied = [a for a, c in counts.items() if c == max(counts.values())]
                expected[0, i] += chance
                expected[1, i] += chance * sum(a != 0 for a in tied) / len(tied)
    found = operating(rule, shares, others, horizon)
    assert np.array(found) == pytest.approx(expected, abs=1e-12)


def test_operating_needs_laws() -> None:
    with pytest.raises(PonderError, match="shares"):
        operating(agreement(), [0.0])
