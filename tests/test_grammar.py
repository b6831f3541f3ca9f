"""Grammars: constrained writing has the law of the model on accepted texts, exactly."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exact import assert_same, measure
from fake_decoder import WORDS, BatchedLM
from ponder.api import load
from ponder.bank import Bank, sample_key
from ponder.binding import Binding
from ponder.blocks import draw, mh, propose, regenerate, smc, speculate
from ponder.checking.toy_models import answering, rambling
from ponder.dist import NEG_INF, Dist, Stream, derive
from ponder.effects import Program
from ponder.errors import PonderError
from ponder.interpret import enumerate_measure, evaluate
from ponder.ledger import Ledger
from ponder.lm.grammar import FormalGrammar, Grammar, PredicateGrammar
from ponder.lm.llama import LlamaLM
from ponder.lm.protocol import Completion
from ponder.lm.sampling import Sampler
from ponder.lm.sampling_law import SamplingLaw, log_law, restricted
from ponder.lm.table import TableLM
from ponder.question import Question
from ponder.recipes.constrained import conditioned, constrained
from ponder.recipes.prompting import Reply
from ponder.runtime import Runtime

QUESTION = Question("1 or 2?", "number")
PLAIN = SamplingLaw()
LAWS = [PLAIN, SamplingLaw(0.6), SamplingLaw(1.5, top_k=2), SamplingLaw(top_p=0.7)]
BLIND = PredicateGrammar("blind", lambda text: True, lambda text: text.endswith("1"))
NOT_TWO = PredicateGrammar(
    "not two", lambda text: "2" not in text, lambda text: text.endswith("1") and "2" not in text
)


def accepted(model: TableLM, law: SamplingLaw, grammar: PredicateGrammar) -> dict[str, float]:
    """The law of what the model writes, on the texts that the grammar accepts. Unnormalised."""
    listed = Completion(model, (), law, max_tokens=20).support() or ()
    found: dict[str, float] = {}
    for written, log_prob in listed:
        assert written.finish == "stop"
        if grammar.accepts(written.text):
            found[written.text] = found.get(written.text, 0.0) + math.exp(log_prob)
    return found


def texts(masses: Mapping[Reply | None, float]) -> dict[str, float]:
    found: dict[str, float] = {}
    for reply, mass in masses.items():
        if reply is not None and reply.finish != "dead":
            found[reply.text] = found.get(reply.text, 0.0) + mass
    return found


def program_of(
    model: TableLM, grammar: Grammar, law: SamplingLaw = PLAIN, every: int = 1
) -> Program[Reply]:
    return conditioned(Binding(QUESTION, model), grammar, "", law, 20, every)


@pytest.mark.parametrize("every", [0, 1, 2])
@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("grammar", [BLIND, NOT_TWO], ids=repr)
@pytest.mark.parametrize("model", [answering(4), rambling(4)], ids=lambda m: m.name)
def test_constrained_has_the_law_of_accepted_texts(
    model: TableLM, grammar: PredicateGrammar, law: SamplingLaw, every: int
) -> None:
    target = accepted(model, law, grammar)
    found = enumerate_measure(program_of(model, grammar, law, every))
    assert_same(texts(found), target, 1e-12)
    assert math.fsum(target.values()) < 0.999


@pytest.mark.parametrize("every", [0, 1])
def test_seeing_dead_ends_sooner_does_not_change_the_law(every: int) -> None:
    blind = replace(NOT_TWO, begins=lambda text: True)
    found = enumerate_measure(program_of(answering(4), blind, PLAIN, every))
    assert_same(texts(found), texts(enumerate_measure(program_of(answering(4), NOT_TWO))), 1e-12)


def planted() -> TableLM:
    """Half of the texts begin with "one", which is followed by "yes" once in ten, else nine."""
    words = ("one", "two", " yes", " no", "<end>")
    rows = {
        (): [0.5, 0.5, 0.0, 0.0, 0.0],
        (0,): [0.0, 0.0, 0.1, 0.9, 0.0],
        (1,): [0.0, 0.0, 0.9, 0.1, 0.0],
        (2,): [0.0, 0.0, 0.0, 0.0, 1.0],
        (3,): [0.0, 0.0, 0.0, 0.0, 1.0],
    }
    return TableLM(words, rows, name="planted")


YES = PredicateGrammar("yes", lambda text: " no" not in text, lambda text: text.endswith(" yes"))


def test_masking_alone_is_another_law() -> None:
    masked = {
        d.text: math.exp(lp)
        for d, lp in Completion(planted(), (), max_tokens=5, grammar=YES).support() or ()
    }
    right = texts(enumerate_measure(program_of(planted(), YES)))
    assert_same(right, {"one yes": 0.05, "two yes": 0.45})
    assert_same(masked, {"one yes": 0.5, "two yes": 0.5})
    total = math.fsum(right.values())
    variation = math.fsum(abs(masked[t] - right[t] / total) for t in masked) / 2
    assert variation == pytest.approx(0.4, abs=1e-12)


@pytest.mark.parametrize("every", [0, 1])
def test_populations_have_the_law_of_accepted_texts(every: int) -> None:
    target = texts(enumerate_measure(program_of(planted(), YES, every=every)))
    assert_same(texts(measure(program_of(planted(), YES, every=every) | draw(2))), target)
    found = measure(program_of(planted(), YES, every=every) | smc(2, ess=1.0))
    assert_same(texts(found), target)
    found = measure(program_of(answering(3), NOT_TWO, every=every) | smc(2, ess=1.0))
    assert_same(texts(found), accepted(answering(3), PLAIN, NOT_TWO))


def test_moves_keep_the_law_of_accepted_texts() -> None:
    """Later segments are kept under earlier ones that are not those they were drawn after."""
    target = accepted(answering(3), PLAIN, BLIND)
    for kernel in (mh(1), regenerate(1)):
        found = measure(program_of(answering(3), BLIND) | draw(1) | kernel)
        assert_same(texts(found), target)


def test_a_proposal_of_another_law_is_weighed_by_its_own_evidence() -> None:
    """The factor must be of the program's law, not of the one that the draw remembers."""

    def warmer(name: str | None, dist: Dist[Any]) -> Dist[Any]:
        assert isinstance(dist, Completion)
        return replace(dist, law=SamplingLaw(2.0))

    def free(name: str | None, dist: Dist[Any]) -> Dist[Any]:
        assert isinstance(dist, Completion)
        return replace(dist, grammar=None)

    target = accepted(answering(3), PLAIN, NOT_TWO)
    for q in (warmer, free):
        found = measure(program_of(answering(3), NOT_TWO) | propose(q) | draw(1))
        assert_same(texts(found), target)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_log_prob_agrees_with_support(law: SamplingLaw) -> None:
    dist = Completion(answering(4), (), law, max_tokens=3, grammar=NOT_TWO)
    listed = dist.support() or ()
    assert {d.finish for d, _ in listed} >= {"stop"}
    assert math.fsum(math.exp(lp) for _, lp in listed) == pytest.approx(1, abs=1e-12)
    free = replace(dist, grammar=None)
    for written, log_prob in listed:
        forgetful = replace(written, model="")
        assert log_prob == pytest.approx(math.fsum(written.logq), abs=1e-12)
        assert dist.log_prob(written) == pytest.approx(log_prob, abs=1e-12)
        assert dist.log_prob(forgetful) == pytest.approx(log_prob, abs=1e-12)
        evidence = dist.log_evidence(forgetful)
        if written.finish == "dead":
            assert evidence == dist.log_evidence(written) == free.log_prob(written) == NEG_INF
            continue
        assert evidence == pytest.approx(dist.log_evidence(written), abs=1e-12)
        assert free.log_prob(written) == pytest.approx(log_prob + evidence, abs=1e-12)
        assert free.log_prob(forgetful) == pytest.approx(log_prob + evidence, abs=1e-12)
    two = next(d for d, _ in free.support() or () if "2" in d.text)
    assert dist.log_prob(two) == NEG_INF


def test_dead_draws_are_dead_under_their_law_only() -> None:
    model = planted()
    dist = Completion(model, (0,), SamplingLaw(0.0), max_tokens=3, grammar=YES)
    ((written, log_prob),) = dist.support() or ()
    assert (written.finish, written.tokens, written.log_evidence) == ("dead", (), NEG_INF)
    assert log_prob == 0.0
    assert dist.draw(Stream(b"any")) == written
    alive = replace(dist, law=PLAIN)
    assert alive.log_prob(replace(written, model="")) == NEG_INF
    assert replace(alive, grammar=None).log_prob(written) == NEG_INF


def test_what_dies_has_no_weight_and_is_not_tried_again() -> None:
    strategy = program_of(planted(), YES, SamplingLaw(0.0)) | draw(3)
    runtime = Runtime()
    (outcome,) = runtime.run([("q", strategy.bind(Binding(QUESTION, planted())))])
    assert {t.status for t in outcome.value.traces} == {"dead"}
    assert outcome.value.log_evidence == NEG_INF
    assert outcome.ledger.calls == 6  # "one", and then nothing


def test_what_is_cut_off_abstains() -> None:
    program = conditioned(Binding(QUESTION, answering(4)), BLIND, "", PLAIN, max_tokens=1, every=8)
    replies = {reply.finish: reply.answer for reply in enumerate_measure(program) if reply}
    assert replies == {"length": None}


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_draws_are_those_of_the_support(law: SamplingLaw) -> None:
    dist = Completion(rambling(4), (), law, max_tokens=5, grammar=NOT_TWO)
    listed = {(d.tokens, d.finish): d for d, _ in dist.support() or ()}
    for i in range(200):
        drawn = dist.draw(Stream(derive(b"draws", str(i))))
        same = listed[drawn.tokens, drawn.finish]
        assert drawn.logq == pytest.approx(same.logq, abs=1e-12)
        assert drawn.log_evidence == pytest.approx(same.log_evidence, abs=1e-12)


# The engine.

SAMPLING = [*LAWS, SamplingLaw(0.0), SamplingLaw(0.8, 40, 0.95, 0.05), SamplingLaw(min_p=0.3)]


@pytest.mark.parametrize("law", SAMPLING, ids=str)
def test_the_sampler_draws_from_the_restricted_law(law: SamplingLaw) -> None:
    rng = np.random.default_rng(3)
    for size, share in itertools.product((7, 700, 20_000), (0.01, 0.5, 0.999)):
        logits = (3 * rng.standard_normal(size)).astype(np.float32)
        allowed = rng.random(size) < share
        allowed[0] = True
        logp = log_law(logits.astype(np.float64), PLAIN)
        logq, log_mass = restricted(log_law(logits.astype(np.float64), law), allowed)
        upper = np.cumsum(np.exp(logq))
        sampler = Sampler(size)
        for u in (0.0, 0.2, 0.7, 1 - 2.0**-53):
            token, p, q, mass = sampler.draw_allowed(logits, law, u, allowed)
            assert mass == pytest.approx(log_mass, abs=1e-4)
            if log_mass == NEG_INF:
                assert token == -1
                continue
            assert allowed[token]
            assert p == pytest.approx(logp[token], abs=1e-4)
            assert q == pytest.approx(logq[token], abs=1e-4)
            assert upper[token] - np.exp(logq[token]) - 2e-6 <= u <= upper[token] + 2e-6


def test_a_mass_too_small_for_float32_is_not_zero() -> None:
    logits = np.array([0.0, -30.0, -31.0], dtype=np.float32)
    allowed = np.array([False, True, True])
    token, _, q, mass = Sampler(3).draw_allowed(logits, SamplingLaw(0.1), 0.5, allowed)
    assert token == 1
    assert q == pytest.approx(-math.log1p(math.exp(-10)), abs=1e-6)
    assert mass == pytest.approx(-300 + math.log1p(math.exp(-10)), abs=1e-4)


NO_B = PredicateGrammar(
    "no b",
    lambda text: "b" not in text and "aa" not in text,
    lambda text: text != "" and "A" in text,
)


def test_the_engine_writes_what_a_single_draw_does() -> None:
    """Together, with too few cells for all, so that some are preempted and take up again."""
    model = BatchedLM(cells=60, width=6)
    dists = [
        Completion(model, (i, 1), law, max_tokens=12, grammar=NO_B)
        for i, law in enumerate([PLAIN, PLAIN, SamplingLaw(0.7), SamplingLaw(top_p=0.5)] * 2)
    ]
    keys = [derive(b"engine", str(i)) for i in range(len(dists))]
    requests = [model.engine.request(d, k, Ledger()) for d, k in zip(dists, keys, strict=True)]
    values: dict[int, Any] = {}
    for request in requests:
        model.engine.submit(request)
    while len(values) < len(requests):
        values.update((requests.index(r), v) for r, v in model.engine.step())
    finishes = set()
    for i, (dist, key) in enumerate(zip(dists, keys, strict=True)):
        alone = TableLM.draw(model, dist, Stream(key))
        assert values[i] == alone
        assert values[i].logq == pytest.approx(alone.logq, abs=1e-4)
        assert values[i].log_evidence == pytest.approx(alone.log_evidence, abs=1e-4)
        finishes.add(alone.finish)
    assert "dead" in finishes
    assert len(finishes) > 1
    model.decoder.check_all_free()


def test_other_blocks_do_not_draw_as_if_there_were_no_grammar() -> None:
    strategy = program_of(planted(), YES) | speculate(planted()) | draw(1)
    with pytest.raises(PonderError, match="speculate"):
        evaluate(strategy.bind(Binding(QUESTION, planted())))


def test_a_stop_string_would_end_before_the_grammar() -> None:
    with pytest.raises(PonderError, match="segment=True"):
        Completion(planted(), (), stop=("x",), grammar=YES)


# The bank.


def test_the_bank_tells_grammars_apart_and_old_keys_stay(tmp_path: Path) -> None:
    model = answering(4)
    plain = Completion(model, (), max_tokens=3)
    parts = [model.fingerprint, [], "completion", [1.0, 0, 1.0, 0.0], 3, [], False]
    assert sample_key(plain, b"key") == sha256(json.dumps(parts).encode() + b"key").digest()
    dists = [
        plain,
        replace(plain, grammar=BLIND),
        replace(plain, grammar=NOT_TWO),
        replace(plain, grammar=NOT_TWO.after((2,))),
        replace(plain, grammar=FormalGrammar("regex", "1")),
        replace(plain, grammar=FormalGrammar("lark", "1")),
    ]
    assert len({sample_key(d, b"key") for d in dists}) == len(dists)
    bank = Bank(tmp_path / "bank.sqlite")
    for i, dist in enumerate(dists[:3]):
        written = dist.draw(Stream(b"bank"))
        bank.put([(bytes([i]), "m", "q", "a", written)])
        read = bank.get(bytes([i]), dist)
        assert read == written
        assert (read.grammar, read.log_evidence) == (dist.grammar, written.log_evidence)
        assert dist.log_evidence(read) == written.log_evidence
    dead = Completion(planted(), (), SamplingLaw(0.0), grammar=YES)
    bank.put([(b"dead", "m", "q", "a", dead.draw(Stream(b"bank")))])
    read = bank.get(b"dead", dead)
    assert read is not None
    assert read.log_evidence == NEG_INF
    bank.close()


# llguidance.


@pytest.fixture
def guidance() -> Any:
    return pytest.importorskip("llguidance")


FORMAL: list[tuple[FormalGrammar, Callable[[str], object]]] = [
    (FormalGrammar("regex", "(a|b)*ca"), re.compile("(a|b)*ca").fullmatch),
    (FormalGrammar("regex", "ab+( Answer: [45])?"), re.compile("ab+( Answer: [45])?").fullmatch),
    (FormalGrammar("lark", 'start: "a" start "b" | "ab"'), re.compile("ab|aabb|aaabbb").fullmatch),
]


def few(tokens: tuple[int, ...]) -> list[float]:
    """a, b, c, the pairs that spell the same text, and the end after four tokens."""
    p = [0.0] * len(WORDS)
    if len(tokens) < 4:
        for word, weight in {"a": 3, "b": 2, "c": 1, "ab": 1.5, "ca": 1, "bb": 1}.items():
            p[WORDS.index(word)] = weight
        for word in (" ", "Answer: 4", "Answer: 5"):
            p[WORDS.index(word)] = 0.3
    p[-1] = 1.0
    return p


@pytest.mark.parametrize(("grammar", "accepts"), FORMAL, ids=[g.text for g, _ in FORMAL])
@pytest.mark.parametrize("every", [0, 1])
def test_formal_grammars_restrict_texts_and_not_their_spelling(
    guidance: Any, grammar: FormalGrammar, accepts: Callable[[str], object], every: int
) -> None:
    model = TableLM(WORDS, few, name="few")
    same = PredicateGrammar("same", lambda text: True, lambda text: bool(accepts(text)))
    target = accepted(model, PLAIN, same)
    assert_same(texts(enumerate_measure(program_of(model, grammar, PLAIN, every))), target)


def test_every_spelling_is_allowed_and_ends_only_where_accepted(guidance: Any) -> None:
    model = TableLM(WORDS, few, name="few")

    def allowed(grammar: FormalGrammar, *words: str) -> set[str]:
        tokens = tuple(WORDS.index(w) for w in words)
        matcher = grammar.after(tokens).compile(model)
        stepped = grammar.compile(model).copy()
        for token in tokens:
            stepped.advance(token)
        assert (stepped.allowed() == matcher.allowed()).all()
        assert matcher.allowed()[-1] == matcher.accepts
        return {WORDS[t] for t in np.flatnonzero(matcher.allowed())}

    fixed = FormalGrammar("lark", 'start: "abb"')
    assert allowed(fixed) == {"a", "ab"}
    assert allowed(fixed, "a") == {"b", "bb"}
    assert allowed(fixed, "ab", "b") == {"<end>"}
    trap = FormalGrammar("lark", 'start: "a" | "b" nothing\nnothing: /[^\\s\\S]/')
    assert allowed(trap) == {"a", "b"}
    assert allowed(trap, "b") == set()  # a dead end is none of the ends of the text


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("regex", "a(b", "unclosed group, at character 2 of"),
        ("regex", "a$b", "lookarounds not supported"),
        ("lark", 'start: "a"\nfoo bar', "line 2, column"),
        ("json", '{"type": "object",\n "a": }', "line 2 column 7"),
        (
            "json",
            '{"properties": {"a": {"type": "strin"}}}',
            "Invalid type: strin, at /properties/a",
        ),
        ("json", '{"anyOf": [{"type": "string", "pattern": "("}]}', "unclosed group, at /anyOf/0"),
        ("json", '{"not": {"type": "null"}}', 'Unimplemented keys: ["not"], at its top'),
        ("json", "false", "schema is false"),
        ("json", "[1]", "is an object"),
        ("lark", "start: /[^\\s\\S]/", "nothing satisfies"),
        ("regex", "é", "nothing satisfies"),
    ],
)
def test_a_grammar_that_cannot_be_used_is_said_in_one_line(
    guidance: Any, kind: Any, text: str, said: str
) -> None:
    with pytest.raises(PonderError) as caught:
        FormalGrammar(kind, text).compile(TableLM(WORDS, few, name="few"))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_models_and_prefixes_without_a_grammar_are_refused(guidance: Any) -> None:
    grammar = FormalGrammar("regex", "ab")
    with pytest.raises(PonderError, match="does not begin"):
        grammar.after((2,)).compile(TableLM(WORDS, few, name="few"))

    class Bare:
        name = "bare"

    bare: Any = Bare()
    for each in (grammar, YES):
        with pytest.raises(PonderError, match="model bare does not say"):
            each.compile(bare)


def test_without_llguidance_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "llguidance", None)
    with pytest.raises(PonderError, match=r"ponder\[grammar\]"):
        FormalGrammar("regex", "a").compile(TableLM(WORDS, few, name="few"))


# The source.


def test_the_source_takes_its_grammar_from_settings_or_the_question(guidance: Any) -> None:
    model = TableLM(WORDS, few, name="few")
    target = texts(enumerate_measure(program_of(model, FormalGrammar("regex", "(a|b)+"))))
    given = constrained(regex="(a|b)+", temperature=1.0).bind(Binding(QUESTION, model))
    assert_same(texts(enumerate_measure(given)), target)
    asks = replace(QUESTION, meta={"regex": "(a|b)+"})
    found = constrained(temperature=1.0).bind(Binding(asks, model))
    assert_same(texts(enumerate_measure(found)), target)
    schema = replace(QUESTION, kind="json", meta={"schema": {"enum": [4]}})
    four = TableLM(("4", "5", "<end>"), {(): [0.5, 0.5, 0], (0,): [0, 0, 1]}, name="four")
    ((reply, mass),) = enumerate_measure(constrained(every=0).bind(Binding(schema, four))).items()
    assert reply.answer == "4"
    assert mass == pytest.approx(0.5)
    with pytest.raises(PonderError, match=r'meta\["schema"\]'):
        constrained.bind(Binding(QUESTION, model))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"regex": "a", "lark": "b"}, "one of schema, regex and lark"),
        ({"regex": 3}, "regex as a text"),
        ({"schema": "{"}, "line 1 column 2"),
        ({"every": -1}, "every must be"),
        ({"every": True}, "every must be"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"grammar": "x"}, "no setting 'grammar'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(PonderError, match=said):
        constrained(**settings)


def test_the_law_of_the_source_is_weighted() -> None:
    strategy = constrained(regex="a") | draw(4)
    assert str(strategy.law) == "weighted for constrained(regex='a')"


# SmolLM2.

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
)


@pytest.fixture(scope="module")
def smollm2() -> Iterator[LlamaLM]:
    found = load("smollm2-135m", cells=2048)
    assert isinstance(found, LlamaLM)
    yield found
    found.close()


@pytest.mark.smollm2
def test_smollm2_writes_what_the_schema_accepts(guidance: Any, smollm2: LlamaLM) -> None:
    model = smollm2
    prompt = model.chat([{"role": "user", "content": "Who was Ada Lovelace? Reply in JSON."}])
    dist = Completion(
        model, prompt, SamplingLaw(0.7), max_tokens=60, grammar=FormalGrammar("json", SCHEMA)
    )
    finished = 0
    for i in range(3):
        drawn = dist.draw(Stream(derive(b"schema", str(i))))
        finished += drawn.finish == "stop"
        if drawn.finish == "stop":
            assert drawn.tokens[-1] in model.end_tokens
            value = json.loads(drawn.text)
            assert sorted(value) == ["age", "name"]
            assert type(value["age"]) is int
    assert finished
    assert len(model.end_tokens) > 1
    matcher = FormalGrammar("regex", "4").after(model.tokenize("4")).compile(model)
    assert set(np.flatnonzero(matcher.allowed())) == model.end_tokens
    short = replace(dist, max_tokens=4)
    drawn = short.draw(Stream(b"short"))
    forgetful = replace(drawn, model="")
    assert short.log_evidence(forgetful) == pytest.approx(drawn.log_evidence, abs=0.5)
    assert short.log_prob(forgetful) == pytest.approx(short.log_prob(drawn), abs=0.5)


@pytest.mark.smollm2
def test_smollm2_segments_go_through_the_runtime(
    guidance: Any, smollm2: LlamaLM, tmp_path: Path
) -> None:
    question = replace(QUESTION, text="Is 7 prime?", kind="bool", meta={"regex": "(Yes|No)\\."})
    binding = Binding(question, smollm2)
    strategy = constrained(every=1, max_tokens=8) | smc(4)
    bank = Bank(tmp_path / "bank.sqlite")
    (outcome,) = Runtime(bank=bank).run([("q", strategy.bind(binding))])
    assert outcome.error is None
    replies = [t.value for t in outcome.value.traces if t.status == "finished"]
    assert {r.text for r in replies} <= {"Yes.", "No."}
    assert {r.answer for r in replies} <= {True, False}
    assert -20 < outcome.value.log_evidence < 0
    (again,) = Runtime(bank=bank, replay=True).run([("q", strategy.bind(binding))])
    assert again.error is None
    assert again.value.log_evidence == outcome.value.log_evidence
    bank.close()


def test_draws_with_and_without_a_grammar_may_be_equal() -> None:
    model = planted()
    free = Completion(model, (), max_tokens=5)
    held = replace(free, grammar=YES)
    both = [d for d, _ in held.support() or ()] + [d for d, _ in free.support() or ()]
    assert len(set(both)) == 4
