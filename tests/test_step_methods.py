"""Methods that stop, check and exchange steps: detected, syzygy, spec_reason, arbitrage."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from exact import assert_same, measure
from ponder.binding import Binding, Potential
from ponder.blocks import draw
from ponder.errors import PonderError
from ponder.interpret import evaluate
from ponder.lm.protocol import Tokens
from ponder.question import Question
from ponder.recipes import cot, steps
from ponder.recipes.arbitrage import arbitrage
from ponder.recipes.detecting import detected
from ponder.recipes.diversity import diverse_once
from ponder.recipes.prompting import Reply
from ponder.recipes.rechecking import verdict_in
from ponder.recipes.single_tokens import single_tokens
from ponder.recipes.speculating import spec_reason
from ponder.recipes.syzygy import FIELDS, SCHEMA, final_answer, syzygy
from ponder.strategy import Source
from scripted import END, Said, Scripted

NUMBER = Question("How many?", "number", id="q1")


class Speaking(Scripted):
    """Says Yes and No with one token each."""

    def tokenize(self, text: str, *, special: bool = False) -> Tokens:
        return super().tokenize({"Yes": "Y", "No": "N"}.get(text, text), special=special)


class Shifted(Scripted):
    """Has tokens of its own: a model that is given another's reads something else."""

    def tokenize(self, text: str, *, special: bool = False) -> Tokens:
        return tuple(ord(c) + 7 for c in text)

    def detokenize(self, tokens: Sequence[int]) -> str:
        return "".join(chr(t - 7) for t in tokens if t != END)


def answers(source: Source, binding: Binding) -> dict[Any, float]:
    """The exact law of a source's answers, None for those that abstain."""
    found: dict[Any, float] = defaultdict(float)
    for value, mass in measure(source | draw(1), binding).items():
        found[value.answer] += mass
    return dict(found)


def last_request(prompt: str) -> str:
    """The last user message of a chat and what follows it."""
    return prompt[prompt.rindex("user: ") :]


# Solve, detect, verify.

GOES_ON = ", maybe 5. Answer: 5"


def hesitant(complete: float, first: str = "So. Answer: 4\n") -> Callable[[str], Said]:
    def reply(prompt: str) -> Said:
        request = last_request(prompt)
        if "already complete" in request:
            return {"Y": complete, "N": 1 - complete}
        if "Is your solution right" in request:
            return "[Correct]"
        return GOES_ON if prompt.endswith("Wait") else f"{first}Wait{GOES_ON}"

    return reply


@pytest.mark.parametrize(("complete", "answer"), [(0.9, 4), (0.1, 5), (0.0, 5)])
def test_a_solution_ends_at_a_hesitation_if_it_is_complete(complete: float, answer: int) -> None:
    model = Speaking(hesitant(complete))
    assert_same(answers(detected, Binding(NUMBER, model)), {answer: 1.0})
    assert_same(answers(cot, Binding(NUMBER, model)), {5: 1.0})


def test_nothing_is_asked_where_no_answer_has_been_announced() -> None:
    model = Speaking(hesitant(1.0, first="Well, 4 is even. "))
    assert_same(answers(detected, Binding(NUMBER, model)), {5: 1.0})
    evaluate(detected.bind(Binding(NUMBER, model)))
    assert not any("already complete" in prompt for prompt in model.asked)


def test_what_comes_after_a_complete_solution_is_not_written() -> None:
    model = Speaking(hesitant(1.0))
    reply = evaluate(detected(fast=3).bind(Binding(NUMBER, model)))
    assert reply.text == "So. Answer: 4\n"
    assert sum(prompt.endswith("Wait") for prompt in model.asked) == 0
    assert len(model.asked) == 1 + 2 + 3, "the solution, two orders of yes and no, verdicts"


def test_a_solution_that_is_cut_off_abstains_unverified() -> None:
    model = Speaking(hesitant(0.0))
    assert_same(answers(detected(max_tokens=20), Binding(NUMBER, model)), {None: 1.0})
    assert_same(answers(detected(max_tokens=18), Binding(NUMBER, model)), {None: 1.0})
    model.asked.clear()
    evaluate(detected(max_tokens=20).bind(Binding(NUMBER, model)))
    assert not any("Is your solution right" in prompt for prompt in model.asked)


def doubtful(prompt: str) -> Said:
    request = last_request(prompt)
    if "Is your solution right" in request:
        return {"[Correct]": 0.5, "[Error] step 2": 0.5}
    if "Check your solution step by step" in request:
        return {"Fine. [Correct]": 0.25, "[Correct]? No, 2 + 2 is 4. [Error]": 0.75}
    if "A check of your solution found this:\n" in request:
        return "Answer: 5" if "step 2" in request or "No, 2 + 2" in request else "Answer: 6"
    return "Answer: 4"


@pytest.mark.parametrize(
    ("settings", "refined"),
    [
        # Unanimous with probability 1/4 each way; else one slow verdict decides.
        ({"fast": 2, "agree": 1.0, "slow": 1}, 0.25 + 0.5 * 0.75),
        # Of three, two always agree on 2/3 and more: never slow.
        ({"fast": 3, "agree": 0.66, "slow": 1}, 0.5),
        # Two slow verdicts: an error only if more find one than not.
        ({"fast": 2, "agree": 0.75, "slow": 2}, 0.25 + 0.5 * 0.75**2),
    ],
)
def test_verdicts_decide_by_agreement_and_one_refinement_follows(
    settings: dict[str, Any], refined: float
) -> None:
    found = answers(detected(**settings), Binding(NUMBER, Speaking(doubtful)))
    assert_same(found, {4: 1 - refined, 5: refined})


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("[Correct]", "correct"),
        ("[ERROR ] x", "error"),
        ("[Correct]? no: [Error]", "error"),
        ("", ""),
    ],
)
def test_verdicts(text: str, verdict: str) -> None:
    assert verdict_in(text) == verdict


# One reply in JSON.

GOOD = {
    "module": "add",
    "betti": 2,
    "free_conditions": ["a > 0", "b > 0"],
    "mapping": [f"so. Answer: {n}" for n in (7, 7, 7, 4, 5)],
    "minimality": "the fourth",
    "final_answer": 4,
}
TEXT = json.dumps(GOOD)
FIELD = "final_answer"


def test_syzygy_takes_the_final_answer_in_one_request_and_never_asks_again() -> None:
    broken = TEXT[:-1] + ", Answer: 4"
    lacking = json.dumps({k: v for k, v in GOOD.items() if k != "betti"})
    said = {f"```json\n{TEXT}\n```": 0.5, broken: 0.3, lacking: 0.2}
    model = Scripted(lambda _: said)
    assert_same(answers(syzygy, Binding(NUMBER, model)), {4: 0.5, None: 0.5})
    for seed in range(4):
        evaluate(syzygy.bind(Binding(NUMBER, model)), seed)
    assert len(model.asked) == 4
    ways = "\n".join(f"Way {i}: {way}" for i, way in enumerate(GOOD["mapping"]))  # type: ignore[arg-type,var-annotated]
    once = Scripted(lambda _: ways)
    assert_same(answers(diverse_once, Binding(NUMBER, once)), {7: 1.0})


@pytest.mark.parametrize("name", FIELDS)
def test_an_object_that_lacks_a_field_abstains(name: str) -> None:
    assert final_answer(TEXT, NUMBER) == 4
    assert final_answer(json.dumps({**GOOD, name: None}), NUMBER) is None
    assert final_answer(json.dumps({k: v for k, v in GOOD.items() if k != name}), NUMBER) is None


@pytest.mark.parametrize("text", ["4", "Answer: 4", "[4]", json.dumps({**GOOD, FIELD: [4]})])
def test_what_is_no_such_object_abstains(text: str) -> None:
    assert final_answer(text, NUMBER) is None


def test_syzygy_abstains_when_cut_off_and_its_schema_names_what_is_asked_for() -> None:
    model = Scripted(lambda _: TEXT)
    assert_same(answers(syzygy(max_tokens=50), Binding(NUMBER, model)), {None: 1.0})
    talks = Scripted(lambda _: TEXT + " and so on")
    assert_same(answers(syzygy, Binding(NUMBER, talks)), {4: 1.0})
    assert_same(answers(syzygy(max_tokens=len(TEXT) + 4), Binding(NUMBER, talks)), {None: 1.0})
    evaluate(syzygy.bind(Binding(NUMBER, model)))
    assert all(f'"{name}"' in model.asked[0] for name in SCHEMA["required"])
    assert list(FIELDS) == list(GOOD)
    for answer in ("The answer is 4", "4", 4.0):
        assert final_answer(json.dumps({**GOOD, "final_answer": answer}), NUMBER) == 4


# Two models, one reply.

DRAFTED = ("Two and two.\n\n", "That is 5.\n\n", "Answer: 5")
OWN = ("We add.\n\n", "That is 4.\n\n", "Answer: 4")


def writing(said: Sequence[str]) -> Callable[[str], Said]:
    """Writes these steps in order, whoever wrote the steps before; answers what it last read."""

    def reply(prompt: str) -> Said:
        written = prompt[prompt.index("assistant:") + len("assistant:") :].count("\n\n")
        step = said[min(written, len(said) - 1)]
        if step.startswith("Answer"):
            return "Answer: 4" if "That is 4" in prompt else "Answer: 5"
        return step

    return reply


def pair(ratings: Callable[[str], Said], drafted: Sequence[str] = DRAFTED) -> tuple[Any, Any]:
    """The base model, which rates what its chat ends with, and the draft model."""
    own = writing(OWN)

    def base(prompt: str) -> Said:
        if "Rate the last step" not in prompt:
            return own(prompt)
        return ratings(prompt[: prompt.rindex("\nuser: ")])

    return Scripted(base, "base"), Shifted(writing(drafted), "small")


def both(base: Any, small: Any, **potentials: Potential) -> Binding:
    return Binding(NUMBER, base, potentials, drafts={"smollm2-135m": small})


def low_for_five(text: str) -> Said:
    return {"2": 1.0} if text.endswith("That is 5.\n\n") else {"6": 0.5, "9": 0.5}


def test_spec_reason_takes_the_draft_s_steps_but_those_rated_low() -> None:
    base, small = pair(low_for_five)
    reply = evaluate(spec_reason.bind(both(base, small)))
    assert reply.text == DRAFTED[0] + OWN[1] + "Answer: 4"
    assert reply.answer == 4
    # Each model has read the steps of the other in its own tokens.
    assert small.asked[-1].endswith(f"assistant:{DRAFTED[0]}{OWN[1]}")
    assert reply.transcript == base.tokenize(small.asked[-1] + "Answer: 4")
    # Three drafts, one of them in vain, and one own step besides the ratings.
    ratings = [prompt for prompt in base.asked if prompt.endswith("assistant:Rating: ")]
    assert (len(small.asked), len(base.asked), len(ratings)) == (3, 4, 3)
    assert_same(answers(steps, Binding(NUMBER, small)), {5: 1.0})
    assert_same(answers(steps, Binding(NUMBER, base)), {4: 1.0})


@pytest.mark.parametrize(
    ("ratings", "threshold", "answer"),
    [
        ({"6": 0.6, "9": 0.4}, 7, 5),  # 7.2 expected, though the likeliest is 6
        ({"8": 0.6, "1": 0.4}, 7, 4),  # 5.2, though the likeliest is 8
        ({"8": 0.3, "x": 0.7}, 7, 5),  # what is no digit does not count
        ({"x": 1.0}, 7, 4),
        ({"x": 1.0}, 0, 5),
        ({"9": 1.0}, 9, 5),
    ],
)
def test_the_rating_is_the_expectation_over_digits(
    ratings: dict[str, float], threshold: float, answer: int
) -> None:
    base, small = pair(lambda _: ratings)
    assert_same(answers(spec_reason(threshold=threshold), both(base, small)), {answer: 1.0})


def test_the_law_of_spec_reason_by_enumeration() -> None:
    """The draft is right with probability 1/4; what is rated low is written by the base model."""

    def small(prompt: str) -> Said:
        return {"Answer: 4": 0.25, "Answer: 5": 0.5, "Answer: 6": 0.25}

    def base(prompt: str) -> Said:
        if "Rate" not in prompt:
            return {"Answer: 4": 0.8, "Answer: 5": 0.2}
        return "8" if "assistant:Answer: 4" in prompt or "assistant:Answer: 6" in prompt else "1"

    binding = both(Scripted(base, "base"), Shifted(small, "small"))
    expected = {4: 0.25 + 0.5 * 0.8, 5: 0.5 * 0.2, 6: 0.25}
    assert_same(answers(spec_reason, binding), expected)
    assert (spec_reason | draw(4)).law.target == "spec_reason"


def test_steps_end_at_an_answer_a_repetition_or_the_budget() -> None:
    def reply_of(drafted: Sequence[str], **settings: Any) -> Reply:
        base, small = pair(lambda _: "9", drafted)
        reply: Reply = evaluate(spec_reason(**settings).bind(both(base, small)))
        return reply

    on = reply_of(["One.\n\n", "The answer is 4.\n\n", "But no.\n\n"])
    assert (on.text, on.answer, on.finish) == ("One.\n\nThe answer is 4.\n\n", 4, "stop")
    again = reply_of(["One.\n\n", "Two.\n\n", " One.\n\n", "Three.\n\n"])
    assert (again.text, again.answer, again.finish) == ("One.\n\nTwo.\n\n One.\n\n", None, "length")
    short = reply_of(["One.\n\n", "Two.\n\n", "Answer: 4"], max_tokens=9)
    assert (short.text, short.answer, short.length) == ("One.\n\nTwo", None, 9)
    exact = reply_of(["One.\n\n", "Two.\n\n", "Answer: 4"], max_tokens=12)
    assert (exact.text, exact.finish) == ("One.\n\nTwo.\n\n", "length")


def judged(**scores: float) -> Potential:
    """Scores steps by their first word; also a judge of finished replies, which is not asked."""

    def prefix(values: tuple[Any, ...]) -> float:
        read = values[-1]
        assert "".join(map(chr, read.tokens)) == read.text, "not in the judge's own tokens"
        last = read.text.rstrip().split("\n\n")[-1]
        return math.log(scores.get(last.split()[0].strip(":."), 0.5))

    return Potential("judge", lambda reply: 0.0, prefix)


@pytest.mark.parametrize(
    ("settings", "scores", "text"),
    [
        # Ties go to the draft.
        ({}, {}, "Two and two.\n\nThat is 5.\n\nAnswer: 5"),
        ({}, {"We": 0.6}, "We add.\n\nThat is 5.\n\nAnswer: 5"),
        ({"tau": 0.2}, {"We": 0.6}, "Two and two.\n\nThat is 5.\n\nAnswer: 5"),
        ({"tau": -0.1}, {}, "We add.\n\nThat is 4.\n\nAnswer: 4"),
        # The draft is good enough, though the other step would be better.
        ({"rule": "rsd"}, {"Two": 0.7, "We": 0.9, "That": 0.69, "Answer": 0.8}, None),
    ],
)
def test_arbitrage_takes_a_step_by_its_rule(
    settings: dict[str, Any], scores: dict[str, float], text: str | None
) -> None:
    base, small = pair(lambda _: "0")
    reply = evaluate(arbitrage(**settings).bind(both(base, small, judge=judged(**scores))))
    assert reply.text == (text or "Two and two.\n\nThat is 4.\n\nAnswer: 4")
    assert len(small.asked) == 3
    assert len(base.asked) == (1 if settings.get("rule") == "rsd" else 3)


def test_arbitrage_asks_the_judge_of_the_bound_model() -> None:
    own = writing(OWN)

    def base(prompt: str) -> Said:
        if "Yes" not in last_request(prompt):
            return own(prompt)
        said = prompt[: prompt.rindex("\nuser: ")]
        right = 0.1 if said.endswith("That is 5.\n\n") else 0.9
        return {"Y": right, "N": 1 - right}

    for rule in ("oracle", "rsd"):
        model = Speaking(base, "base")
        reply = evaluate(arbitrage(rule=rule).bind(both(model, Shifted(writing(DRAFTED), "small"))))
        assert reply.text == "Two and two.\n\nThat is 4.\n\nAnswer: 4"


@pytest.mark.parametrize(
    ("source", "settings", "said"),
    [
        (spec_reason, {"threshold": 10}, "from 0 to 9"),
        (spec_reason, {"max_tokens": 0}, "max_tokens"),
        (arbitrage, {"rule": "best"}, "oracle and rsd"),
        (arbitrage, {"tau": 2}, "tau"),
        (detected, {"agree": 0.5}, "above 0.5"),
        (detected, {"fast": 0}, "at least 1"),
    ],
)
def test_settings_that_make_no_sense(source: Source, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(PonderError, match=said):
        source(**settings)


def test_what_is_not_there_is_named() -> None:
    base, _ = pair(lambda _: "9")
    with pytest.raises(PonderError, match="no draft model 'tiny'"):
        measure(spec_reason(draft="tiny") | draw(1), both(base, base))
    with pytest.raises(PonderError, match="no prefix"):
        evaluate(arbitrage.bind(both(base, base, judge=Potential("judge", lambda reply: 0.0))))
    with pytest.raises(PonderError, match="no single token for 'ab'"):
        single_tokens(base, "ab")
