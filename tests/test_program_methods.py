"""Methods whose replies are programs, hypotheses or both: each against what it is by hand."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import pytest

from exact import assert_same, measure, population_of
from ponder.binding import Binding
from ponder.blocks import draw, vote, weigh
from ponder.blocks.product import SMOOTHING, corroborated, log_pool, product
from ponder.blocks.stratify import WHICH, Given, stratify, waves
from ponder.checking.check import check
from ponder.dist import Bernoulli, Categorical, Stream
from ponder.effects import Effects, Factor, Program, program, sample
from ponder.errors import CutShort, PonderError
from ponder.interpret import Simulation, enumerate_runs, evaluate, seed_key
from ponder.lm.protocol import Completion, NextToken
from ponder.lm.sampling_law import SamplingLaw
from ponder.lm.table import TableLM
from ponder.machine import Machine, Task
from ponder.meaning import atoms
from ponder.measure import ABSTAIN, Population, answer_of
from ponder.notation import NAMES, parse
from ponder.question import Question
from ponder.recipes import Reply, cot, direct, pot
from ponder.recipes.agreeing import DOUBT, agrees, odds_ratio
from ponder.recipes.compiling import compiled
from ponder.recipes.contrast import Contrasted, contrasted, weakened
from ponder.recipes.hypotheses import form_of, hypotheses
from ponder.recipes.mixture import either
from ponder.verify.sandbox.inside.plain import encode
from scripted import Said, Scripted

NUMBER = Question("How many?", "number")


class Python:
    """Evaluates calls of what the tests wrote themselves."""

    name = "python"
    fingerprint = "in process"

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        names: dict[str, Any] = {}
        try:
            exec(request["program"], names)
            value = eval(request["call"], names)
        except Exception as error:
            return {"status": "failed", "value": None, "detail": f"{type(error).__name__}: {error}"}
        return {"status": "ok", "value": encode(value), "detail": ""}


def bound(model: Any, question: Question = NUMBER) -> Binding:
    return Binding(question=question, model=model, services={"python": Python()})


def answers(binding: Binding, source: Any) -> dict[Any, float]:
    """The unnormalised measure of a source on its answers."""
    terms: dict[Any, list[float]] = defaultdict(list)
    for atom in atoms(source.bind(binding)):
        answer = answer_of(atom.trace)
        terms[None if answer is ABSTAIN else answer].append(atom.mass)
    return {answer: math.fsum(parts) for answer, parts in terms.items()}


# Mixtures and strata


@program(normalised=True)
def letters() -> Effects[str]:
    return (yield from sample(Categorical([0.6, 0.3, 0.1], "abc"), "x"))


@program(normalised=True)
def other() -> Effects[str]:
    return "b" if (yield from sample(Bernoulli(0.3), "x")) else "c"


@program
def heavy() -> Effects[str]:
    x = yield from sample(Bernoulli(0.4))
    yield Factor(math.log(1.3 if x else 0.2))
    return "a" if x else "d"


MIXED = {"a": 0.3 * 0.6 + 0.7 * 0.4 * 1.3, "b": 0.09, "c": 0.03, "d": 0.7 * 0.6 * 0.2}


def test_a_mixture_is_the_sum_of_its_programs() -> None:
    mixture = either(letters(), heavy(), share=0.3)
    assert_same(measure(mixture | draw(1)), MIXED)
    assert (mixture | draw(1)).law.kind == "weighted"
    assert (either(letters(), other()) | draw(1)).law.kind == "exact"
    shares = [c.dist.weights for c in _chosen(either(letters(), other(), heavy(), share=0.5))]
    assert set(shares) == {(0.5, 0.25, 0.25)}
    assert set(c.dist.weights for c in _chosen(either(letters(), other()))) == {(0.5, 0.5)}


def _chosen(source: Any) -> list[Any]:
    choices = [atom.trace.choices[0] for atom in atoms(source.bind(Binding()))]
    assert all(choice.address == WHICH == "which" for choice in choices)
    return choices


@pytest.mark.parametrize("counts", [(1, 2), (2, 1), (3, 1)])
def test_strata_are_unbiased_whatever_their_sizes(counts: tuple[int, int]) -> None:
    """With weights 1/n, or n_i in place of p_i, it would be another mixture."""
    pipeline = either(letters(), heavy(), share=0.3) | stratify(*counts)
    assert_same(measure(pipeline), MIXED)
    for population, _ in enumerate_runs(pipeline.bind(Binding())):
        assert Counter(t["which"] for t in population.traces) == dict(enumerate(counts))
        assert all(t.program is population.traces[0].program for t in population.traces)


def test_strata_after_a_potential_and_in_a_mixture_of_mixtures() -> None:
    weighed = either(letters(), other()) | weigh(lambda v: -1.0 if v == "b" else 0.0)
    assert_same(measure(weighed | stratify(1, 2)), measure(weighed | draw(1)))
    nested = either(either(letters(), other()), heavy(), share=0.8)
    assert_same(measure(nested | stratify(2, 1)), measure(nested | draw(1)))


@program
def sometimes() -> Effects[Any]:
    """Chooses a branch in some of its traces only, after another choice."""
    x = yield from sample(Bernoulli(0.4), "x")
    if not x:
        return "none"
    which = yield from sample(Bernoulli(0.2), "which")
    again = yield from sample(Bernoulli(0.5), "which")
    yield Factor(math.log(0.5 if which else 1.5))
    return which, again


@pytest.mark.parametrize("counts", [(1, 2), (2, 1)])
def test_a_branch_may_be_chosen_late_or_never(counts: tuple[int, int]) -> None:
    assert_same(measure(sometimes() | stratify(*counts)), measure(sometimes() | draw(1)))


def test_a_program_without_branches_is_drawn_from_as_by_draw() -> None:
    assert_same(measure(heavy() | stratify(1, 2)), measure(heavy() | draw(1)))
    (population, _), *_ = enumerate_runs((letters() | stratify(1, 2)).bind(Binding()))
    assert population.weights == pytest.approx([1 / 3] * 3)


def test_larger_strata_begin_as_smaller_ones() -> None:
    for seed in range(10):
        few, many = (
            evaluate((either(letters(), other()) | stratify(*n)).bind(Binding()), seed)
            for n in ((2, 3), (4, 9))
        )
        for branch, n in enumerate((2, 3)):
            values = [t.value for t in many.traces if t["which"] == branch]
            assert [t.value for t in few.traces if t["which"] == branch] == values[:n]


@dataclasses.dataclass(frozen=True)
class After:
    """Stops after so many; keeps what it has seen."""

    n: int
    seen: list[Sequence[Any]] = dataclasses.field(default_factory=list)
    sees: ClassVar[str] = "branches"

    def stops(self, seen: Sequence[Any]) -> bool:
        self.seen.append(seen)
        return len(seen) >= self.n


def test_a_stop_rule_sees_waves_in_proportion() -> None:
    rule = After(1000)
    population = evaluate((either(letters(), other()) | stratify(3, 6, stop=rule)).bind(Binding()))
    assert [[g.branch for g in seen] for seen in rule.seen] == [[0, 1, 1] * n for n in (1, 2, 3)]
    assert rule.seen[-1] == [Given(t["which"], t.value) for t in population.traces]
    stopped = evaluate((either(letters(), other()) | stratify(3, 6, stop=After(4))).bind(Binding()))
    assert len(stopped) == 6
    assert np.exp(stopped.log_weights) == pytest.approx([1 / 4, 1 / 8, 1 / 8] * 2)


def test_waves_are_as_even_as_they_can_be() -> None:
    for counts in ((8, 16), (4, 9), (5, 3, 7), (1, 5)):
        many = min(counts)
        parts = waves(counts, many)
        assert len(parts) == many
        for i, n in enumerate(counts):
            numbers = [number for wave in parts for branch, number in wave if branch == i]
            assert numbers == list(range(n))
            sizes = {sum(branch == i for branch, _ in wave) for wave in parts}
            assert sizes <= {n // many, -(-n // many)}


def test_what_stratify_claims() -> None:
    exact, weighted = either(letters(), other()), either(letters(), heavy())
    for source in (exact, weighted):
        assert (source | stratify(4, 8)).law.kind == "weighted"
        assert not (source | stratify(4, 8)).law.ordered
    law = (exact | stratify(4, 8, stop=corroborated)).law
    assert (law.kind, law.ordered) == ("heuristic", False)
    assert "stopped by corroborated" in str(law)


def test_the_check_refutes_strata_that_forget_the_share() -> None:
    @dataclasses.dataclass(frozen=True, repr=False)
    class Equal(type(stratify(1))):  # type: ignore[misc]
        def infer(self, program: Program[Any], law: Any) -> Program[Any]:
            inner = super().infer(program, law)

            def run() -> Effects[Population[Any]]:
                found = yield from inner
                log_weights = [t.log_potential - math.log(len(found)) for t in found.traces]
                return dataclasses.replace(found, log_weights=np.array(log_weights))

            return Program(run, "equal")

    mixture = either(letters(), heavy(), share=0.3)
    assert check(mixture | stratify(1, 2), seconds=1).verdict == "valid"
    assert check(mixture | Equal((1, 2)), seconds=1).verdict == "refuted"


class _Cutting(Simulation):
    """Serves so many requests of the model, and cuts the others short."""

    def __init__(self, served: int) -> None:
        self.served = served

    def sample(self, task: Task, address: str, dist: Any) -> Any:
        if isinstance(dist, Completion):
            self.served -= 1
            if self.served < 0:
                raise CutShort
        return super().sample(task, address, dist)


def test_strata_that_are_cut_short_claim_nothing_and_keep_what_was_paid() -> None:
    model = Scripted(lambda prompt: "Answer: 3")
    for served in range(4):
        pipeline = either(cot, direct) | stratify(1, 2) | vote
        task = Machine(_Cutting(served)).start(pipeline.bind(bound(model)), seed_key(0))
        posterior = task.value
        assert len(posterior.population) == 3
        assert posterior.unfinished == 3 - served
        assert (posterior.law.kind == "heuristic") == (served < 3)


# Products


def _branched(*branches: str, weights: Sequence[float] | None = None) -> Population[Any]:
    """Traces that answer with these letters, "-" being none, by branch."""
    values = [None if a == "-" else a for branch in branches for a in branch]
    which = [i for i, branch in enumerate(branches) for _ in branch]
    population = population_of(values, weights)  # type: ignore[arg-type]
    traces = []
    for trace, i in zip(population.traces, which, strict=True):
        (made, *_) = [c for c in _chosen(either(*[letters()] * len(branches))) if c.value == i]
        traces.append(dataclasses.replace(trace, last=made))
    return dataclasses.replace(population, traces=tuple(traces))


def _decided(population: Population[Any], smoothing: float = SMOOTHING) -> Any:
    found = list(enumerate_runs(product(smoothing).decide(population, Binding())))
    assert len(found) == 1
    return found[0][0]


def test_a_product_is_neither_a_vote_nor_a_sum_of_shares() -> None:
    """c has most votes, a the largest sum of shares, b is what both branches know."""
    population = _branched("aaab", "bbccccc-")
    posterior = _decided(population)
    scores = {
        "a": math.log(3.2) + math.log(0.2),
        "b": math.log(1.2) + math.log(2.2),
        "c": math.log(0.2) + math.log(5.2),
    }
    total = sum(map(math.exp, scores.values()))
    shares = {s.answer: s.share for s in posterior.shares}
    assert shares == pytest.approx({a: math.exp(x) / total for a, x in scores.items()})
    assert posterior.answer == "b" == posterior.shares[0].answer
    assert [s.error for s in posterior.shares] == [None] * 3
    assert {s.answer: s.count for s in posterior.shares} == {"a": 3, "b": 3, "c": 5}
    assert posterior.unparsed == 1
    assert evaluate(vote.decide(population, Binding())).answer == "c"
    assert _decided(population, 1e6).answer == "c"


def test_branches_count_by_their_traces_and_not_by_their_weight() -> None:
    heavy_first = _branched("ab", "bbbc", weights=[30, 10, 0.1, 0.1, 0.1, 0.1])
    scores = log_pool([{"a": 1.5, "b": 0.5}, {"b": 3.0, "c": 1.0}], SMOOTHING)
    shares = {s.answer: s.share for s in _decided(heavy_first).shares}
    total = sum(math.exp(x) for x in scores.values())
    assert shares == pytest.approx({a: math.exp(x) / total for a, x in scores.items()})


def test_ties_of_a_product_are_broken_by_chance() -> None:
    found = list(enumerate_runs(product().decide(_branched("abb", "aab"), Binding())))
    assert {p.answer: math.exp(log_p) for p, log_p in found} == pytest.approx({"a": 0.5, "b": 0.5})
    (nothing, _), *_ = enumerate_runs(product().decide(_branched("-", "--"), Binding()))
    assert (nothing.answer, nothing.shares) == (None, ())


def test_without_branches_the_leader_is_that_of_a_vote() -> None:
    population = population_of("abbaa", [0.1, 0.4, 0.3, 0.1, 0.1])
    assert _decided(population).answer == "b"
    assert (letters() | draw(3) | product()).law.kind == "heuristic"
    assert "pools programs by product" in str((letters() | draw(3) | product()).law)


def _seen(*branches: str) -> list[Given]:
    return [
        Given(i, ABSTAIN if a == "-" else a) for i, branch in enumerate(branches) for a in branch
    ]


@pytest.mark.parametrize(
    ("branches", "stops"),
    [
        (("a", "a"), True),
        (("a", "-"), False),  # a branch that has said nothing corroborates nothing
        (("-", "--"), False),
        (("a", "bb"), False),
        (("ab", "bbcc"), True),
        (("ab", "ab"), False),  # two leaders are none
        (("ab", "bccccc"), True),
        (("aaaaaaaaab", "cb"), False),  # what both give does not lead
    ],
)
def test_when_a_leader_is_corroborated(branches: tuple[str, ...], stops: bool) -> None:
    assert corroborated.stops(_seen(*branches)) is stops


def test_how_often_it_must_be_given() -> None:
    seen = _seen("aab", "abb-")
    assert not corroborated.stops(seen)
    assert corroborated(2).stops(_seen("aab", "aacc"))
    assert not corroborated(2).stops(_seen("aab", "acc"))
    with pytest.raises(PonderError, match="use it as stratify"):
        corroborated.stops(["a", "b"])  # type: ignore[list-item]


def test_it_stops_as_soon_as_the_leader_is_corroborated() -> None:
    pipeline = either(letters(), other()) | stratify(2, 4, stop=corroborated) | product()
    sizes = set()
    for posterior, _ in enumerate_runs(pipeline.bind(Binding())):
        traces = posterior.population.traces
        first = [Given(t["which"], t.value) for t in traces[:3]]
        assert (len(traces) == 3) == corroborated.stops(first)
        sizes.add(len(traces))
    assert sizes == {3, 6}


def test_notation(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, thing in {
        "either": either,
        "stratify": stratify,
        "product": product,
        "corroborated": corroborated,
        "agrees": agrees,
    }.items():
        monkeypatch.setitem(NAMES, name, thing)
    for text in (
        "either(cot, pot(temperature=0.5), share=0.3) | stratify(4, 8) | vote",
        "either(cot, pot) | stratify(8, 16, stop=corroborated) | product",
        "either(cot, pot, direct) | stratify(1, 2, 3, stop=corroborated(2)) | product(0.5)",
        "either(either(cot, pot), direct) | draw(12) | vote",
        "cot | draw(8) | weigh(agrees) | vote",
        "cot | draw(8) | weigh(agrees(0.2)) | vote",
    ):
        assert repr(parse(text)) == text


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: either(cot),
        lambda: either(cot, vote),
        lambda: either(cot, pot, share=1),
        lambda: stratify(),
        lambda: stratify(0, 3),
        lambda: stratify(2, 2, stop=3),  # type: ignore[arg-type]
        lambda: product(0),
        lambda: corroborated(0),
        lambda: agrees(2),
        lambda: hypotheses(refine=-1),
        lambda: hypotheses(soft="x"),
        lambda: contrasted(eta=-1),
        lambda: evaluate((either(letters(), other()) | stratify(1, 1, 1)).bind(Binding())),
        lambda: evaluate((either(letters(), other()) | stratify(3)).bind(Binding())),
    ],
)
def test_what_makes_no_sense_is_said_in_one_line(wrong: Any) -> None:
    with pytest.raises(PonderError) as told:
        wrong()
    assert "\n" not in str(told.value)


# Collaborative verification

SAYS = {"Answer: 1": 0.5, "Answer: 2": 0.3, "hm": 0.2}
CODES = {
    "1": {"def solution():\n    return 1.0": 0.7, "def solution():\n    return 2": 0.3},
    "2": {"def solution():\n    return 2": 0.1, "def solution():\n    return 1 / 0": 0.9},
}


def _collaborator(prompt: str) -> Said:
    if "solution()" not in prompt:
        return SAYS
    return CODES[prompt.split("Answer: ")[-1][0]]


def test_a_reply_weighs_by_whether_its_program_agrees() -> None:
    binding = bound(Scripted(_collaborator))
    target: dict[Any, float] = defaultdict(float)
    found = cot | draw(2) | weigh(agrees)
    for population, log_p in enumerate_runs(found.bind(binding)):
        for trace, log_weight in zip(population.traces, population.log_weights, strict=True):
            target[trace.value.answer] += math.exp(log_p + log_weight)
    wanted = {
        Fraction(1): 0.5 * (0.7 + 0.3 * DOUBT),
        Fraction(2): 0.3 * (0.1 + 0.9 * DOUBT),
        None: 0.2 * DOUBT,
    }
    assert dict(target) == pytest.approx(wanted, abs=1e-12)
    assert found.law.kind == "weighted"
    assert found.blocks[1].potential.reads_trace  # type: ignore[attr-defined]


def test_the_translation_goes_on_from_the_reply_and_is_not_asked_for_none() -> None:
    model = Scripted(_collaborator)
    evaluate((cot | draw(6) | weigh(agrees(0.5))).bind(bound(model)))
    asked = [p for p in model.asked if "solution()" in p]
    assert asked
    assert all("assistant:Answer: " in p and "hm" not in p for p in asked)


def test_the_default_doubt_is_that_of_the_noisy_and() -> None:
    """By enumeration of who is right: reply, program, and whether two errors coincide."""
    a, b, e = 0.37, 0.5, 0.1
    agree = {True: a * b, False: (1 - a) * (1 - b) * e}
    apart = {True: a * (1 - b), False: (1 - a) * (b + (1 - b) * (1 - e))}
    odds = [p[True] / p[False] for p in (apart, agree)]
    assert odds_ratio(b, e) == pytest.approx(odds[0] / odds[1])
    assert pytest.approx(odds_ratio(b, e), abs=0.005) == DOUBT


# Hypotheses

RULES = {"double it": 0.5, "add two": 0.3, "unclear": 0.2}
DOUBLE = "def transform(value):\n    return value * 2"
ADD = "def transform(value):\n    return (value + 2)"
TUPLE = "def transform(value):\n    return [1, 2][5]"
PROGRAMS = {
    "double it": {DOUBLE: 0.6, "no code here at all": 0.4},
    "add two": {ADD: 0.5, DOUBLE: 0.5},
    "unclear": {TUPLE: 1.0},
    "mend it": {DOUBLE: 1.0},
}


def _inducer(prompt: str) -> Said:
    turns = [part.split("\n")[0] for part in prompt.split("assistant:")]
    if prompt.endswith("in one or two sentences.\nassistant:"):
        return {"mend it": 0.25, "unclear": 0.75} if "Expected:" in prompt else RULES
    return PROGRAMS[turns[-2].strip()]


def _puzzle(*train: tuple[int, int], tests: Sequence[int] = (5,)) -> Question:
    pairs = [{"input": x, "output": y} for x, y in train]
    meta = {"train": pairs, "test": [{"input": x} for x in tests]}
    return Question("Find the rule.", "json", meta=meta)


def test_hypotheses_are_the_prior_restricted_to_what_fits() -> None:
    both = _puzzle((2, 4))
    one = _puzzle((2, 4), (3, 6), tests=(5, 6))
    double, add = 0.5 * 0.6 + 0.3 * 0.5, 0.3 * 0.5
    assert answers(bound(Scripted(_inducer), both), hypotheses) == pytest.approx(
        {"10": double, "7": add}
    )
    assert answers(bound(Scripted(_inducer), one), hypotheses) == pytest.approx({"[10,12]": double})
    assert (hypotheses | draw(4)).law.kind == "weighted"
    posterior = evaluate((hypotheses | draw(40) | vote).bind(bound(Scripted(_inducer), one)))
    assert [s.answer for s in posterior.shares] == ["[10,12]"]


def test_a_soft_fit_costs_by_the_pair() -> None:
    """Per pair that fails, not per program: ADD fails one of two, what cannot run both."""
    question = _puzzle((2, 4), (3, 6))
    found = answers(bound(Scripted(_inducer), question), hypotheses(soft=1.5))
    fails = math.exp(-1.5)
    wanted = {"10": 0.45, "7": 0.15 * fails, None: (0.2 + 0.2) * fails**2}
    assert found == pytest.approx(wanted)


def test_refinement_shows_what_failed_and_nothing_of_earlier_rounds() -> None:
    question = _puzzle((2, 4), (3, 6))
    found = answers(bound(Scripted(_inducer), question), hypotheses(refine=2))
    failed = 1 - 0.45
    assert found == pytest.approx({"10": 0.45 + failed * (0.25 + 0.75 * 0.25)})
    prompts: list[str] = []
    for atom in atoms(hypotheses(refine=2, soft=0).bind(bound(Scripted(_inducer), question))):
        for choice in atom.trace.choices:
            if choice.address.startswith("hypothesis#"):
                prompts.append("".join(map(chr, choice.dist.prompt)))  # type: ignore[union-attr]
    assert any("Input: 3\nExpected: 6\nGot: 5" in p and "Input: 2\n" not in p for p in prompts)
    assert any("IndexError" in p for p in prompts)
    assert all(p.count("Expected:") in (1, 2) and p.count("Find the rule.") == 1 for p in prompts)


def test_outputs_are_compared_as_json_data() -> None:
    def form(value: Any) -> str | None:
        return form_of({"status": "ok", "value": encode(value)})

    assert form([(1, 2.0), {"b": 1, "a": None}]) == '[[1,2],{"a":null,"b":1}]'
    assert form(True) == "true" != form(1) == form(1.0)
    assert form("Answer: 3") != form("well, Answer: 3")
    assert form({1, 2}) is form(b"x") is form(float("nan")) is None
    assert form_of({"status": "failed", "value": None}) is None


def test_hypotheses_need_examples() -> None:
    with pytest.raises(PonderError, match=r"meta\.train"):
        hypotheses.bind(bound(Scripted(_inducer)))


# Think-and-Execute


def _machine(prompt: str) -> Said:
    if prompt.endswith("Only the pseudocode.\nassistant:"):
        return {"```python\ndef one():\n    print(1)\n```": 0.25, "def two()": 0.75}
    return "1\nAnswer: 1" if "def one():\n    print(1)" in prompt else "2\nAnswer: 2"


def test_pseudocode_is_of_the_task_and_its_execution_of_the_question() -> None:
    meta = {"task": "sorting", "examples": ["sort b a", "sort d c"]}
    thought, executed = set(), set()
    for text in ("sort z y", "sort q p"):
        question = Question(text, "number", meta=meta)
        program = compiled.bind(bound(Scripted(_machine), question))
        for atom in atoms(program):
            first, second = atom.trace.choices
            assert (first.address, second.address) == ("think", "reply")
            assert atom.log_prob == pytest.approx(math.log({1: 0.25, 2: 0.75}[atom.value.answer]))
            thought.add("".join(map(chr, first.dist.prompt)))  # type: ignore[union-attr]
            executed.add("".join(map(chr, second.dist.prompt)))  # type: ignore[union-attr]
    (only,) = thought
    assert "sorting" in only
    assert all(example in only for example in meta["examples"])
    assert "sort z y" not in only
    assert len(executed) == 4
    assert sum("sort z y" in p for p in executed) == 2
    assert not any("sort b a" in p or "print() of each" in p for p in executed)


def test_without_examples_the_question_is_the_example() -> None:
    model = Scripted(_machine)
    evaluate(compiled.bind(bound(model)))
    assert "Example: How many?" in model.asked[0]
    assert (compiled | draw(2)).law.kind == "exact"


# Contrastive decoding

VOCABULARY = ("a", "b", "c", "?", "!", "<end>")


def _row(tokens: tuple[int, ...]) -> list[float]:
    if 3 in tokens and tokens[-1] == 3:  # after the full prompt: unsure
        return [0.4, 0.35, 0.01, 0.0, 0.0, 0.24]
    if tokens and tokens[-1] == 4:  # after the weak one
        return [0.5, 0.1, 0.3, 0.0, 0.0, 0.1]
    return [0.01, 0.01, 0.01, 0.0, 0.0, 0.97]


UNSURE = TableLM(VOCABULARY, _row, name="unsure")
FULL, WEAK = (3,), (4,)


def _token_law(dist: Contrasted) -> dict[int, float]:
    return {d.tokens[0]: math.exp(p) for d, p in dist.support()}


@pytest.mark.parametrize("law", [SamplingLaw(), SamplingLaw(temperature=0.5, top_p=0.8)])
def test_without_eta_it_is_the_next_token(law: SamplingLaw) -> None:
    plain = {t: math.exp(p) for t, p in NextToken(UNSURE, FULL, law).support() or ()}
    for same in (
        Contrasted(UNSURE, FULL, WEAK, law, 0.0, 0.5),
        Contrasted(UNSURE, FULL, WEAK, law, 0.7, 1.2),  # more sure than that
        Contrasted(UNSURE, FULL, FULL, law, 0.7, 0.5),
    ):
        assert _token_law(same) == plain  # to the last bit
        drawn = [same.draw(Stream(bytes([i]))) for i in range(50)]
        token = NextToken(UNSURE, FULL, law)
        assert [d.tokens[0] for d in drawn] == [token.draw(Stream(bytes([i]))) for i in range(50)]


def test_where_unsure_it_is_contrasted_on_the_head() -> None:
    """Against the weak prompt, not towards it; c is too improbable to gain."""
    for eta in (0.3, 1.0, 50.0):
        law = _token_law(Contrasted(UNSURE, FULL, WEAK, SamplingLaw(), eta, 0.5))
        mass = {
            0: 0.4 * (0.4 / 0.5) ** eta,
            1: 0.35 * (0.35 / 0.1) ** eta,
            5: 0.24 * (0.24 / 0.1) ** eta,
        }
        total = sum(mass.values())
        assert law == pytest.approx({t: m / total for t, m in mass.items() if m / total > 1e-300})


def test_draws_follow_the_law() -> None:
    dist = Contrasted(UNSURE, FULL, WEAK, SamplingLaw(), 1.0, 0.5)
    drawn = Counter(dist.draw(Stream(str(i).encode())).tokens[0] for i in range(4000))
    for token, p in _token_law(dist).items():
        assert drawn[token] / 4000 == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 4000))
    one = dist.draw(Stream(b"x"))
    assert dist.log_prob(one) == one.logq[0]
    assert one.logp[0] == pytest.approx(math.log(_row((3,))[one.tokens[0]]))


class Asked(TableLM):
    """A table whose prompt is ? for a question with an example, ! without."""

    def chat(self, messages: Any) -> tuple[int, ...]:
        return FULL if ">>>" in messages[-1]["content"] else WEAK


CODE = Question(
    'def f(x):\n    """Double.\n    >>> f(2)\n    4\n    """\n',
    "code",
    meta={"tests_style": "check(candidate)", "entry_point": "f"},
)


def _texts(source: Any) -> dict[Any, float]:
    found: dict[Any, float] = defaultdict(float)
    for atom in atoms(source.bind(bound(Asked(VOCABULARY, _row), CODE))):
        reply = atom.value
        assert isinstance(reply, Reply)
        key = reply.text, reply.finish, reply.length, reply.transcript, round(reply.log_prob, 9)
        found[key] += atom.mass
    return dict(found)


def test_a_contrasted_reply_without_eta_is_direct() -> None:
    plain = _texts(direct(max_tokens=3))
    assert _texts(contrasted(eta=0, max_tokens=3)) == pytest.approx(plain)
    assert _texts(contrasted(eta=0.5, max_tokens=3)) != pytest.approx(plain, abs=1e-3)


def test_both_prompts_go_on_with_what_was_written() -> None:
    for atom in atoms(contrasted(max_tokens=3).bind(bound(Asked(VOCABULARY, _row), CODE))):
        written: tuple[int, ...] = ()
        for choice in atom.trace.choices:
            assert isinstance(choice.dist, Contrasted)
            assert (choice.dist.prompt, choice.dist.weak) == (FULL + written, WEAK + written)
            written += choice.value.tokens


def test_what_is_dropped_from_the_weak_prompt() -> None:
    assert ">>>" not in weakened(CODE).text
    assert "Double." in weakened(CODE).text
    listed = Question("Double.", "code", meta={"test_list": ["assert f(2) == 4"]})
    assert weakened(listed).meta == {}
    assert weakened(NUMBER) == NUMBER
