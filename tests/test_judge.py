"""The model as judge: what it reads, what it costs, and that steering keeps the target."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

import ponder.recipes  # noqa: F401 - registers the names
from exact import assert_same, measure
from ponder.binding import Binding
from ponder.lm.protocol import Message, Tokens
from ponder.lm.table import TableLM
from ponder.notation import parse
from ponder.question import Question
from ponder.verify.judge import judge, log_odds_share, spellings

YES, NO = 2, 3


class Opinionated(TableLM):
    """Writes a few a and b, then answers the judge's question by how many a there are."""

    def __init__(self) -> None:
        super().__init__(["a", "b", "yes", "no", "?", "."], self._next, name="opinionated")

    def chat(self, messages: Sequence[Message]) -> Tokens:
        return (4,)

    def follow_up(self, messages: Sequence[Message]) -> Tokens:
        return (4, 4)

    def _next(self, tokens: Tokens) -> list[float]:
        if tokens[-2:] == (4, 4):
            share = (1 + tokens.count(0)) / (2 + len(tokens) - 3)
            return [0.1, 0.1, 0.6 * share, 0.6 * (1 - share), 0.1, 0.1]
        return [0.4, 0.3, 0, 0, 0, 0.3] if len(tokens) < 4 else [0, 0, 0, 0, 0, 1]


BINDING = Binding(question=Question("?", "text"), model=Opinionated())


def test_shares_of_yes() -> None:
    assert log_odds_share(math.log(0.3), math.log(0.1)) == pytest.approx(math.log(0.75))
    assert log_odds_share(-math.inf, math.log(0.1)) == -math.inf
    assert log_odds_share(-math.inf, -math.inf) == math.log(0.5)
    assert log_odds_share(-2000.0, -2000.0) == pytest.approx(math.log(0.5))


def test_spellings_are_single_tokens() -> None:
    assert spellings(BINDING.model, "yes") == (YES,)
    assert spellings(BINDING.model, "no") == (NO,)


def test_the_score_is_the_share_of_yes_after_the_live_trace() -> None:
    (finished,) = {
        value
        for value, _ in measure(parse("cot(max_tokens=4) | draw(1)"), BINDING).items()
        if value.text == "aa"
    }
    potential = judge.build(BINDING)
    from ponder.binding import evaluate_potential
    from ponder.interpret import evaluate

    # prompt ?, aa, then the question: two of the two letters are a.
    assert evaluate(evaluate_potential(potential, finished)) == pytest.approx(math.log(3 / 4))


@pytest.mark.parametrize("ess", [0, 1])
@pytest.mark.parametrize("weigh", ["weigh(judge)", "weigh(judge) | weigh(judge)"])
def test_steering_by_the_judge_keeps_its_target(weigh: str, ess: float) -> None:
    program = "steps(max_tokens=4, separator='a')"
    target = measure(parse(f"{program} | draw(1) | {weigh}"), BINDING)
    assert_same(measure(parse(f"{program} | {weigh} | smc(2, ess={ess})"), BINDING), target)
