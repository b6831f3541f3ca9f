"""The model as judge of its own replies: what it reads, what it costs, what may not go wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import ponder.recipes  # noqa: F401 - registers the names
from exact import assert_same, measure, population_of
from fake_decoder import FakeDecoder
from ponder.binding import Binding, PotentialSource, evaluate_potential
from ponder.blocks import draw, smc, weigh
from ponder.blocks.stops import above, accepted
from ponder.dist import NEG_INF, Bernoulli, Categorical, Stream
from ponder.effects import Effects, Factor, Program, program, sample
from ponder.errors import PonderError
from ponder.interpret import enumerate_runs, evaluate
from ponder.law import Law
from ponder.ledger import Budget
from ponder.lm.engine import Engine
from ponder.lm.protocol import Completion, Draw, Message, Tokens
from ponder.lm.table import TableLM
from ponder.lm.writing import Vocabulary
from ponder.measure import Population, Posterior
from ponder.notation import parse
from ponder.question import Question
from ponder.recipes import steps
from ponder.recipes.prompting import Reply
from ponder.runtime import Runtime
from ponder.verify.judge import judge, log_share, spellings
from ponder.verify.pairwise import mean_win, tournament
from ponder.verify.scoring import transcript_so_far
from ponder.verify.selfeval import best_threshold, selfeval

QUESTION = Question("?", "text")
# The first five are written and answered; the others are what a prompt is recognised by.
VOCABULARY = ("x", "z", "\n\n", "yes", "no", " Yes", "A", "B")
VOCABULARY += (" Yes or No", "No or Yes", "final", "far", "started", "another", "<end>")
Opinion = Callable[[str], Mapping[str, float]]
LETTERS = {"x": 0.4, "z": 0.3, "<end>": 0.3}


class Opinionated(TableLM):
    """Writes up to four tokens, then answers a question by a function of the prompt's words."""

    def __init__(self, opinion: Opinion, letters: Mapping[str, float] = LETTERS) -> None:
        self._opinion = opinion
        self._letters = letters
        super().__init__(VOCABULARY, self._next, name="opinionated")

    def chat(self, messages: Sequence[Message]) -> Tokens:
        return self.tokenize("final")

    def follow_up(self, messages: Sequence[Message]) -> Tokens:
        return self.tokenize(messages[-1]["content"])

    def _next(self, tokens: Tokens) -> list[float]:
        text = self.detokenize(tokens)
        asked = any(word in text for word in ("Yes", "A"))
        said = self._opinion(text) if asked else self._letters if len(tokens) < 5 else {}
        row = [said.get(word, 0.0) for word in VOCABULARY]
        row[-1] += max(0.0, 1 - sum(row))
        return row


class Served(Opinionated):
    """The same behind an engine."""

    def __init__(self, opinion: Opinion) -> None:
        super().__init__(opinion)
        self.decoder = FakeDecoder(self.next_log_probs, cells=2000, slots=32)
        spelling = Vocabulary(len(VOCABULARY), self.end_tokens, lambda t: VOCABULARY[t].encode())
        self.engine = Engine(self.decoder, spelling, context=400, width=16)


def by_letters(text: str) -> dict[str, float]:
    """Yes by the share of x; a fifth of the time it says something else."""
    share = (1 + text.count("x")) / (2 + text.count("x") + text.count("z"))
    return {"yes": 0.8 * share, "no": 0.8 * (1 - share), "x": 0.2}


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def reply(text: str, answer: str | None = None) -> Reply:
    model = Opinionated(by_letters)
    return Reply(text, answer or text, "stop", model.tokenize("final") + model.tokenize(text))


def score_of(source: PotentialSource, model: TableLM, value: Any) -> float:
    potential = source.build(Binding(QUESTION, model))
    return float(evaluate(evaluate_potential(potential, value)))


def test_shares() -> None:
    assert log_share(math.log(0.3), math.log(0.1)) == pytest.approx(math.log(0.75))
    assert log_share(NEG_INF, math.log(0.1)) == NEG_INF
    assert log_share(NEG_INF, NEG_INF) == math.log(0.5)
    assert log_share(-2000.0, -2000.0) == pytest.approx(math.log(0.5))


def test_spellings_are_single_tokens() -> None:
    model = Opinionated(by_letters)
    assert spellings(model, "yes") == (3, 5)
    assert spellings(model, "no") == (4,)
    assert spellings(model, "A") == (6,)


def test_the_score_is_the_share_of_yes_after_the_live_trace() -> None:
    found = measure(
        parse("cot(max_tokens=4) | draw(1)"), Binding(QUESTION, Opinionated(by_letters))
    )
    (finished,) = (value for value in found if value.text == "xx")
    assert score_of(judge, Opinionated(by_letters), finished) == pytest.approx(math.log(3 / 4))


def test_spellings_of_an_option_are_summed() -> None:
    model = Opinionated(lambda text: {"yes": 0.1, " Yes": 0.2, "no": 0.1})
    assert score_of(judge, model, reply("x")) == pytest.approx(math.log(0.75))


def test_a_liking_for_the_first_word_cancels_in_the_log_odds() -> None:
    def biased(text: str) -> dict[str, float]:
        p = sigmoid(1.5 + (2.0 if " Yes or No" in text else -2.0))
        return {"yes": 0.5 * p, "no": 0.5 * (1 - p)}

    score = score_of(judge, Opinionated(biased), reply("x"))
    assert score == pytest.approx(math.log(sigmoid(1.5)))
    of_probabilities = (sigmoid(3.5) + sigmoid(-0.5)) / 2
    assert abs(math.exp(score) - of_probabilities) > 0.1


def test_certain_of_opposite_things_is_even() -> None:
    model = Opinionated(lambda text: {"yes": 1.0} if " Yes or No" in text else {"no": 1.0})
    assert score_of(judge, model, reply("x")) == pytest.approx(math.log(0.5))
    assert score_of(judge, Opinionated(lambda text: {"no": 1.0}), reply("x")) == NEG_INF


def test_no_number_is_an_error_that_names_the_candidate() -> None:
    silent = Opinionated(lambda text: {"yes": 4e-4, "no": 5e-4})
    with pytest.raises(PonderError, match=r"judge gives no number for the candidate 'xz' \(42\)"):
        score_of(judge, silent, reply("xz", "42"))
    with pytest.raises(PonderError, match=r"selfeval gives no number .* probability 0\.0009 only"):
        score_of(selfeval, silent, reply("xz", "42"))
    assert score_of(judge, Opinionated(lambda t: {"yes": 6e-4, "no": 5e-4}), reply("x")) < 0


def test_a_model_without_the_words_cannot_judge() -> None:
    mute = TableLM(["yes", "."], lambda tokens: [0.5, 0.5], name="mute")
    with pytest.raises(PonderError, match=r"mute has no token for yes or none for no"):
        judge.build(Binding(QUESTION, mute))


def test_only_replies_are_judged() -> None:
    with pytest.raises(PonderError, match=r"judge scores replies of a model, not .*12"):
        score_of(judge, Opinionated(by_letters), 12)


@pytest.mark.parametrize("ess", [0, 1])
@pytest.mark.parametrize("score", ["judge", "selfeval"])
@pytest.mark.parametrize("twice", [False, True])
def test_steering_by_the_judge_keeps_its_target(score: str, twice: bool, ess: float) -> None:
    binding = Binding(QUESTION, Opinionated(by_letters))
    source = PotentialSource("known", (judge if score == "judge" else selfeval).build)
    blocks = [weigh(source)] * (2 if twice else 1)
    program = steps(max_tokens=2, separator="x")
    target, steered = program | draw(1), program
    for block in blocks:
        target, steered = target | block, steered | block
    assert_same(measure(steered | smc(2, ess=ess), binding), measure(target, binding))


@pytest.mark.parametrize("source", [judge, selfeval], ids=repr)
def test_steering_by_what_is_certain_too_early_keeps_its_target(source: PotentialSource) -> None:
    bad = "no" if source is judge else "yes"

    def rash(text: str) -> dict[str, float]:
        so_far = "far" in text or ("started" in text and text.count("x") < 2)
        return {bad: 1.0} if so_far else by_letters(text)

    binding = Binding(QUESTION, Opinionated(rash))
    program = steps(max_tokens=3, separator="x")
    target = measure(program | draw(1) | weigh(source), binding)
    assert sum(target.values()) > 0.05
    # Weights of 1e-7 and back cost some digits.
    assert_same(measure(program | weigh(source) | smc(2, ess=1), binding), target, 1e-9)


def test_before_anything_is_written_there_is_nothing_to_judge() -> None:
    model = Opinionated(by_letters)

    @program
    def flipped() -> Effects[Reply]:
        yield from sample(Bernoulli(0.5), "which")
        drawn = yield from sample(Completion(model, model.tokenize("final"), max_tokens=1))
        yield from sample(Bernoulli(0.5), "after")
        return reply(drawn.text)

    binding = Binding(QUESTION, model)
    for source in (judge, selfeval):
        prefix = source.build(binding).prefix
        assert prefix is not None
        assert prefix((True,)) == 0.0
        target = measure(flipped() | draw(1) | weigh(source), binding)
        assert_same(measure(flipped() | weigh(source) | smc(2, ess=1), binding), target)


def test_what_is_judged_so_far_is_what_this_model_wrote_last() -> None:
    model = Opinionated(by_letters)
    prompts: list[str] = []
    watched = Opinionated(lambda text: prompts.append(text) or by_letters(text))
    own = model.draw(
        Completion(model, model.tokenize("final"), max_tokens=1, segment=True), Stream(b"")
    )
    foreign = replace(own, model="another", tokens=(1, 1, 1))
    prefix = judge.build(Binding(QUESTION, watched)).prefix
    assert prefix is not None
    score = prefix((own, (0.1, 0.2), foreign))
    assert isinstance(score, Program)
    evaluate(score)
    assert len(prompts) == 2
    assert all(text.startswith(f"final{own.text}far") for text in prompts)
    ended = Draw((0, model.end), "x", "stop", (0, 0), (0, 0), prompt=(10,), model=own.model)
    assert transcript_so_far(ended, model) == (10, 0)


def test_no_is_good_news_for_a_self_evaluation() -> None:
    def content(text: str) -> dict[str, float]:
        assert "started" in text
        return {"yes": 0.1, "no": 0.3} if "x" in text else {"yes": 0.3, "no": 0.1}

    model = Opinionated(content)
    assert score_of(selfeval, model, reply("x")) == pytest.approx(math.log(0.75))
    assert score_of(selfeval, model, reply("z")) == pytest.approx(math.log(0.25))
    drawn = model.draw(Completion(model, (), max_tokens=1, segment=True), Stream(b"1"))
    prefix = selfeval.build(Binding(QUESTION, model)).prefix
    assert prefix is not None
    score = prefix((drawn,))
    assert isinstance(score, Program)
    assert evaluate(score) == pytest.approx(math.log(0.75 if "x" in drawn.text else 0.25))


def test_two_short_requests_a_reply_are_all_that_judging_costs() -> None:
    spent = {}
    for n in (1, 3):
        model = Served(by_letters)
        pipeline = parse(f"cot(max_tokens=4) | draw({n}) | weigh(judge) | vote")
        runtime = Runtime()
        (outcome,) = runtime.run([("q", pipeline.bind(Binding(QUESTION, model)))])
        assert outcome.error is None
        spent[n] = outcome.ledger
        assert outcome.ledger.calls == 3 * n
        # "final", "Yes or No" and "final", "No or Yes", with the last token of the trace.
        assert outcome.ledger.judge <= 5 * n
        assert outcome.ledger.tokens == runtime.spent.tokens
        model.decoder.check_all_free()
    assert spent[1].judge >= 3


@program
def graded(levels: int = 10) -> Effects[int]:
    """A reply whose quality is uniform and known."""
    quality = yield from sample(Categorical([1.0] * levels))
    yield Factor(math.log((quality + 1) / levels))
    return int(quality)


@pytest.mark.parametrize("cost", [0.005, 0.02, 0.125])
def test_how_many_are_drawn_by_a_perfect_self_evaluation(cost: float) -> None:
    gamma, most = best_threshold(cost), 3
    size = best = 0.0
    for population, log_prob in enumerate_runs(
        (graded() | draw(most, stop=above(gamma))).bind(Binding())
    ):
        # Runs are weighed by what they cost, not by their factors.
        size += math.exp(log_prob) * len(population)
        best += math.exp(log_prob) * max(t.value + 1 for t in population.traces) / 10
    p = sum((u + 1) / 10 >= gamma for u in range(10)) / 10
    assert size == pytest.approx((1 - (1 - p) ** most) / p)
    assert best > (1 + gamma) / 2 * (1 - (1 - p) ** most)


def test_thresholds() -> None:
    assert best_threshold(0.005) == pytest.approx(0.9)
    assert best_threshold(0.0) == 1.0
    assert best_threshold(0.5) == best_threshold(3) == 0.0
    for cost in (-0.1, math.nan, True, "0.1"):
        with pytest.raises(PonderError, match="best_threshold needs a cost"):
            best_threshold(cost)  # type: ignore[arg-type]


def test_rules_on_scores() -> None:
    assert not above(0.9).stops([])
    assert not above(0.9).stops([math.log(0.89), NEG_INF])
    assert above(0.9).stops([NEG_INF, math.log(0.9)])
    assert above(0.0).stops([NEG_INF])
    assert not accepted.stops([NEG_INF, NEG_INF])
    assert accepted.stops([NEG_INF, -1e9])
    assert repr(draw(16, stop=above(0.925))) == "draw(16, stop=above(0.925))"
    assert repr(draw(16, stop=accepted)) == "draw(16, stop=accepted)"
    for level in (-0.1, math.nan, math.inf, "0.9"):
        with pytest.raises(PonderError, match="above needs a score"):
            above(level)  # type: ignore[arg-type]


# Two by two.

TEXTS = ["x", "xx", "xxx", "z"]


def preferring(text: str) -> dict[str, float]:
    """Prefers the reply with more x, and A whichever it is."""
    first, second = text.split("another")
    d = math.log((1 + first.count("x")) / (1 + second.count("x"))) + 0.8
    return {"A": 0.6 * sigmoid(d), "B": 0.6 * (1 - sigmoid(d))}


def decided(model: TableLM, texts: Sequence[str], most: int = 4) -> dict[Any, float]:
    replies = [reply(text) for text in texts]
    none: Population[Any] = Population((), np.zeros(0), Law("weighted", "toy"))
    population = population_of(replies) if replies else none
    found: dict[Any, float] = {}
    block = tournament(most)
    for posterior, log_prob in enumerate_runs(block.decide(population, Binding(QUESTION, model))):
        found[posterior.answer] = found.get(posterior.answer, 0.0) + math.exp(log_prob)
    return found


def test_a_comparison_is_free_of_places_and_letters() -> None:
    assert decided(Opinionated(preferring), TEXTS) == {"xxx": pytest.approx(1.0)}
    wins = {(0, 1): 0.9, (1, 2): 0.2}
    means = [mean_win(i, range(3), wins) for i in range(3)]
    assert means == pytest.approx([1.9 / 3, 0.8 / 3, 1.8 / 3])
    assert [mean_win(i, [1], wins) for i in range(3)] == pytest.approx([0.9, 0.5, 0.8])


@pytest.mark.parametrize("most", [1, 4])
@pytest.mark.parametrize("sure", [0.7, 1.0])
def test_who_always_says_a_ties_all(most: int, sure: float) -> None:
    model = Opinionated(lambda text: {"A": sure, "B": 1 - sure})
    found = decided(model, TEXTS, most)
    assert found == pytest.approx(dict.fromkeys(TEXTS, 0.25))


def test_more_than_most_meet_one_reply_of_the_leading_answer() -> None:
    asked: list[str] = []

    def watching(text: str) -> dict[str, float]:
        asked.append(text)
        return preferring(text)

    texts = ["z", "x", "xx", "xx", "xxx", "zz"]
    assert decided(Opinionated(watching), texts, most=5) == {"xxx": pytest.approx(1.0)}
    # Rows are remembered: each prompt once. The twin of the leader is not asked about.
    assert len(asked) == 2 * 4
    assert all("xx" in text for text in asked)
    asked.clear()
    assert decided(Opinionated(watching), texts[:4], most=4) == {"xx": pytest.approx(1.0)}
    assert len(asked) == 2 * 3


def test_tournaments_without_a_choice_ask_nothing() -> None:
    def never(text: str) -> dict[str, float]:
        raise AssertionError(text)

    assert decided(Opinionated(never), []) == {None: pytest.approx(1.0)}
    assert decided(Opinionated(never), ["x"]) == {"x": pytest.approx(1.0)}
    assert decided(Opinionated(never), ["x", "x"]) == {"x": pytest.approx(1.0)}
    population = population_of(
        [reply("x"), reply("z"), replace(reply("xx"), answer=None)], [1, 0, 1]
    )
    decision = tournament().decide(population, Binding(QUESTION, Opinionated(never)))
    assert evaluate(decision).answer == "x"


def test_a_tournament_is_heuristic_and_keeps_the_shares() -> None:
    population = population_of([reply("x"), reply("xx"), reply("x")])
    posterior: Posterior = evaluate(
        tournament().decide(population, Binding(QUESTION, Opinionated(preferring)))
    )
    assert posterior.answer == "xx"
    assert posterior.shares[0].answer == "x"
    assert posterior.probability == pytest.approx(1 / 3)
    assert posterior.law.kind == "heuristic"
    assert "cut short" not in posterior.law.assumptions


def test_a_model_that_names_neither_reply_is_an_error() -> None:
    with pytest.raises(PonderError, match="tournament gives no number for the candidate 'x' "):
        decided(Opinionated(lambda text: {"x": 1.0}), ["x", "z"])
    mute = TableLM(["yes", "."], lambda tokens: [0.5, 0.5], name="mute")
    with pytest.raises(PonderError, match="mute has no token for A or none for B"):
        decided(mute, ["x", "z"])


@program(normalised=True)
def written(model: TableLM) -> Effects[Reply]:
    prompt = model.tokenize("final")
    drawn = yield from sample(Completion(model, prompt, max_tokens=4), "reply")
    return reply(drawn.text, f"of {drawn.text}")


@pytest.mark.parametrize("cap", [3, 4, 6, 9])
def test_a_tournament_that_is_cut_short_answers_by_what_was_compared(cap: int) -> None:
    model = Served(preferring)
    pipeline = written(model) | draw(3) | tournament()
    runtime = Runtime(budget=Budget(max_calls=cap), seed=2)
    (outcome,) = runtime.run([("q", pipeline.bind(Binding(QUESTION, model)))])
    assert outcome.error is None
    assert len({t.value.text for t in outcome.value.population.traces}) == 3
    assert outcome.ledger.calls == cap
    assert outcome.value.answer is not None
    assert ("cut short" in outcome.value.law.assumptions) == (cap < 9)
    model.decoder.check_all_free()
