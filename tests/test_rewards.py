"""Rewards from outside: what they may say, what they do to a target, and how they may fail."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Barrier, Event, Lock, Thread, active_count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from exact import assert_same, measure
from fake_decoder import BatchedLM
from ponder.bank import Bank
from ponder.binding import Binding, Potential, PotentialSource, evaluate_potential
from ponder.blocks import draw, smc, steer, temper, vote, weigh
from ponder.blocks.weigh_steps import WeighSteps, weigh_steps
from ponder.dist import NEG_INF, Bernoulli, Categorical, Stream
from ponder.effects import Effects, Factor, Program, each, nested, program, sample
from ponder.errands import Errand, Errands
from ponder.errors import CutShort, PonderError
from ponder.interpret import evaluate
from ponder.job import Outcome
from ponder.ledger import Budget
from ponder.lm.protocol import Completion
from ponder.lm.sampling_law import SamplingLaw
from ponder.lm.table import TableLM
from ponder.machine import Task
from ponder.meaning import atoms, by_value
from ponder.measure import Population
from ponder.notation import parse
from ponder.outside import Outside
from ponder.question import Question
from ponder.recipes import steps
from ponder.recipes.prompting import Reply
from ponder.runtime import Runtime
from ponder.strategy import Block
from ponder.verify.endpoint import Endpoint, endpoint
from ponder.verify.reward import log_odds, published, reward_from
from ponder.verify.scoring import candidate, log_combined, rewards_in, steps_of, text_so_far

QUESTION = Question("How many?", "number", id="q")
REPLY = Reply("First.\n\nThen.\n\nAnswer: 3", "3", "stop", ())


def reading(values: Any) -> Any:
    """A verifier that says ``values`` of anything."""

    def reader(question: str, steps: list[str]) -> Any:
        return values

    return reader


def scored(source: PotentialSource, value: Any = REPLY, question: Question = QUESTION) -> float:
    potential = source.build(Binding(question))
    return float(evaluate(evaluate_potential(potential, value)))


# What rewards mean.


def test_the_three_combinations_differ() -> None:
    said = [0.9, 0.2, 0.5]
    scores = {
        c: math.exp(scored(reward_from(reading(said), c))) for c in ("last", "min", "product")
    }
    assert scores == pytest.approx({"last": 0.5, "min": 0.2, "product": 0.09})
    with pytest.raises(PonderError, match="combined by"):
        reward_from(reading(said), "mean")


def test_last_is_right_for_a_value_and_product_for_steps() -> None:
    """A chain whose steps are right independently, with these chances; wrong steps stay wrong."""
    chances = [0.9, 0.5, 0.8]
    # P(all three are right | the first t are): by the end only the product of what is left.
    values = [math.prod(chances[t:]) for t in (1, 2, 3)]
    # Given only the text, a value model says P(right so far and to come); after the last step
    # that is P(all are right), which the product of the step rewards is by the chain rule.
    seen = [math.prod(chances[:t]) * values[t - 1] for t in (1, 2, 3)]
    truth = math.prod(chances)
    assert math.exp(log_combined(seen, "last")) == pytest.approx(truth)
    assert math.exp(log_combined(chances, "product")) == pytest.approx(truth)
    assert math.exp(log_combined(chances, "min")) > truth
    assert math.exp(log_combined(seen, "product")) < truth
    assert log_combined([0.5, 0.0], "product") == NEG_INF


def test_a_verifier_sees_the_question_and_the_steps() -> None:
    seen: list[Any] = []

    def watching(question: str, steps: list[str]) -> float:
        seen.append((question, list(steps)))
        steps.clear()  # what it does to its copy is its own business
        return 0.25

    asked = Question("Which?", "choice", options=("one", "two"))
    assert scored(reward_from(watching), question=asked) == pytest.approx(math.log(0.25))
    assert seen == [("Which?\nA) one\nB) two", ["First.", "Then.", "Answer: 3"])]
    assert steps_of("\n\n a\n\n\n\nb \n\n") == ["a", "b"]
    assert steps_of("  ") == [""]
    assert scored(reward_from(watching), "plain text") == pytest.approx(math.log(0.25))
    assert seen[-1][1] == ["plain text"]
    with pytest.raises(PonderError, match="watching scores texts, not the candidate '12'"):
        scored(reward_from(watching), 12)


@pytest.mark.parametrize(
    "said",
    [0.5, np.float32(0.5), [0.1, 0.2, 0.5], np.array([0.1, 0.2, 0.5], np.float32), np.array(0.5)],
)
def test_numbers_of_every_make(said: Any) -> None:
    assert scored(reward_from(reading(said))) == pytest.approx(math.log(0.5))
    assert scored(reward_from(reading(True))) == 0.0
    assert scored(reward_from(reading(False))) == NEG_INF


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (None, "gave None"),
        (math.nan, "gave nan"),
        (1.0000001, "gave 1.0000001"),
        (-0.1, r"gave -0\.1"),
        (math.inf, "gave inf"),
        ("0.5", "gave '0.5'"),
        ({"score": 0.5}, "gave {'score': 0.5}"),
        ([0.5, math.nan, 0.5], "gave nan"),
        ([0.5, 1.5, 0.5], "gave 1.5"),
        ([0.5, None, 0.5], "gave None"),
        ([0.5, 0.5], "gave 2 rewards for the 3 steps"),
        ([], "gave 0 rewards for the 3 steps"),
        ([[0.1, 0.2, 0.5]], r"gave \[0\.1, 0\.2, 0\.5\]"),
        ("x" * 200, r"gave 'x{59}\.\.\. for"),
    ],
)
def test_anything_else_is_an_error_that_names_the_candidate(said: Any, why: str) -> None:
    with pytest.raises(PonderError, match=why) as raised:
        scored(reward_from(reading(said)))
    message = str(raised.value)
    assert "the candidate 'First. Then. Answer: 3' (3)" in message
    assert message.startswith("reader ")
    assert "\n" not in message


def test_a_verifier_that_raises_is_an_error_that_names_the_candidate() -> None:
    def failing(question: str, steps: list[str]) -> float:
        raise KeyError("weights\nare missing")

    with pytest.raises(
        PonderError, match=r"failing raised KeyError: .*missing.*'First\. Then"
    ) as e:
        scored(reward_from(failing))
    assert "\n" not in str(e.value)
    with pytest.raises(PonderError, match="mine raised"):
        scored(reward_from(failing, name="mine"))
    with pytest.raises(PonderError, match="needs a function of"):
        reward_from(0.5)  # type: ignore[arg-type]


def test_a_candidate_is_named_by_its_beginning() -> None:
    long = Reply("word " * 40, "42", "stop", ())
    assert candidate(long) == f"the candidate '{('word ' * 12)}...' (42)"
    assert candidate(Reply("a\n\tb", None, "stop", ())) == "the candidate 'a b'"


# What rewards do to a target.

LINES = ("right.", "wrong.", "\n\n", "<end>")


def liner() -> TableLM:
    """One or two lines, each right or wrong."""

    def table(tokens: tuple[int, ...]) -> list[float]:
        if not tokens or tokens[-1] == 2:
            return [0.6, 0.4, 0, 0]
        return [0, 0, 0.7, 0.3] if len(tokens) < 2 else [0, 0, 0, 1]

    return TableLM(LINES, table, name="liner")


BINDING = Binding(QUESTION, liner())
PROGRAM = steps(max_tokens=8)
SHARES = {"right.": 0.8, "wrong.": 0.3}


def prm(question: str, steps: list[str]) -> list[float]:
    """Each step by itself, and a bonus for what came before."""
    return [
        SHARES[s] * (1.0 if t == 0 else 0.5 + 0.25 * (steps[t - 1] == "right."))
        for t, s in enumerate(steps)
    ]


def by_text(found: dict[Any, float]) -> dict[str, float]:
    return {value.text: mass for value, mass in found.items()}


def prefixes(text: str) -> list[list[str]]:
    lines = steps_of(text)
    return [lines[: t + 1] for t in range(len(lines))]


def stated(change: Any) -> dict[str, float]:
    """The law of the program times ``change`` of the texts of its prefixes."""
    plain = by_text(measure(PROGRAM | draw(1), BINDING))
    return {
        text: mass * change([prm("", p)[-1] for p in prefixes(text)])
        for text, mass in plain.items()
    }


TARGETS = {
    "weigh(prm)": lambda r: r[-1],
    "weigh(product)": math.prod,
    "weigh(lowest)": min,
    "weigh_steps(prm)": math.prod,
    "weigh_steps(published(prm))": lambda r: math.prod(x / (1 - x) for x in r),
    "weigh(published(prm))": lambda r: r[-1] / (1 - r[-1]),
}
POTENTIALS = {
    "prm": reward_from(prm),
    "product": reward_from(prm, "product", name="product"),
    "lowest": reward_from(prm, "min", name="lowest"),
}


def blocks_of(text: str) -> Any:
    block, _, inside = text.partition("(")
    name = inside.rstrip(")").rpartition("(")[2]
    potential = POTENTIALS[name]
    made = {"weigh": weigh, "weigh_steps": weigh_steps}[block]
    return made(published(potential) if "published" in inside else potential)


@pytest.mark.parametrize("text", TARGETS)
def test_each_form_has_the_target_that_it_states(text: str) -> None:
    block, target = blocks_of(text), stated(TARGETS[text])
    assert by_text(measure(PROGRAM | block | draw(1), BINDING)) == pytest.approx(target)
    assert_same(by_text(measure(PROGRAM | block | smc(2, ess=1), BINDING)), target)
    assert_same(by_text(measure(PROGRAM | block | steer(1, k=2), BINDING)), target)
    specified = block.meaning(atoms(PROGRAM.bind(BINDING)), BINDING)
    assert_same(by_text(by_value(specified)), target)
    assert (PROGRAM | block | draw(1)).law.kind == "weighted"


def test_the_three_forms_of_a_particle_filter_have_three_targets() -> None:
    """As in the published code, as written down, and with every score but the last divided out."""

    def normalised(text: str) -> dict[str, float]:
        masses = stated(TARGETS[text])
        return {value: mass / math.fsum(masses.values()) for value, mass in masses.items()}

    forms = [
        normalised(t) for t in ("weigh(prm)", "weigh_steps(prm)", "weigh_steps(published(prm))")
    ]
    for i, one in enumerate(forms):
        for other in forms[i + 1 :]:
            assert 0.5 * math.fsum(abs(one[v] - other[v]) for v in one) > 0.05


def test_a_target_says_which_form_it_is() -> None:
    strategy = PROGRAM | weigh_steps(published(POTENTIALS["prm"])) | smc(4)
    assert repr(strategy).endswith("weigh_steps(published(prm)) | smc(4)")
    assert "prod exp(published(prm) so far)" in str(strategy.law)
    known = {"prm": Potential("prm", lambda v: 0.0, lambda v: 0.0)}
    assert repr(parse("steps | weigh(prm) | smc(4)", known)) == "steps | weigh(prm) | smc(4)"


def test_a_reward_of_zero_on_the_way_keeps_the_target() -> None:
    def late(question: str, steps: list[str]) -> float:
        return 0.0 if len(steps) == 1 else 0.5

    found = measure(PROGRAM | weigh(reward_from(late)) | smc(2, ess=1), BINDING)
    target = measure(PROGRAM | draw(1) | weigh(reward_from(late)), BINDING)
    assert sum(target.values()) > 0.1
    assert_same(found, target, 1e-9)


@program
def coins() -> Effects[tuple[bool, ...]]:
    """Samples of its own, others in sub-programs, and factors."""
    first = yield from sample(Bernoulli(0.3), "first")
    pair = yield from each([toss(0.6), toss(0.2)])
    inner = yield from nested(toss(0.9), "inner")
    yield Factor(-0.4 * first)
    last = yield from sample(Bernoulli(0.5), "last")
    return (first, *pair, inner, last)


@program
def two() -> Effects[tuple[bool, ...]]:
    first = yield from sample(Bernoulli(0.3))
    yield Factor(-0.4 * first)
    return (first, (yield from sample(Bernoulli(0.5))))


@program
def toss(p: float) -> Effects[bool]:
    return (yield from sample(Bernoulli(p)))


@program
def moody(values: tuple[bool, ...]) -> Effects[float]:
    """A random score of a prefix, with a factor of its own."""
    mood = yield from sample(Bernoulli(0.4), "mood")
    yield Factor(math.log(1.5 if mood else 0.7))
    return -0.3 * sum(values) - 0.1 * mood


MOODY = Potential("moody", lambda v: 0.0, moody)


@pytest.mark.parametrize("after", [None, temper(0.5), weigh_steps(MOODY)], ids=repr)
def test_random_scores_of_prefixes_are_weights(after: Block | None) -> None:
    blocks: list[Block] = [weigh_steps(MOODY), *([after] if after else [])]
    pipeline, specified = two() | blocks[0], atoms(two())
    for block in blocks[1:]:
        pipeline = pipeline | block
    for block in blocks:
        specified = list(block.meaning(specified, Binding()))
    assert_same(measure(pipeline | draw(1)), by_value(specified))
    if not isinstance(after, WeighSteps):  # too many ways in which moods may come out
        assert_same(measure(pipeline | smc(2, ess=1)), by_value(specified))
    whole = weigh_steps(MOODY).meaning(atoms(coins()), Binding())
    assert_same(measure(coins() | weigh_steps(MOODY) | draw(1)), by_value(whole))


def test_only_the_programs_own_samples_are_steps() -> None:
    seen: set[tuple[bool, ...]] = set()

    def watching(values: tuple[bool, ...]) -> float:
        seen.add(values)
        return NEG_INF if values == (True, True) else 0.0

    found = measure(coins() | weigh_steps(Potential("p", lambda v: 0.0, watching)) | draw(1))
    assert {len(values) for values in seen} == {1, 2}
    assert not any(value[0] and value[-1] for value in found)


def test_a_potential_that_cannot_see_prefixes_is_refused() -> None:
    with pytest.raises(PonderError, match=r"late cannot; use weigh\(late\)"):
        measure(coins() | weigh_steps(Potential("late", lambda v: 0.0)) | draw(1))
    with pytest.raises(PonderError, match="weigh_steps needs something that scores"):
        weigh_steps("judge")  # type: ignore[arg-type]
    bare = published(Potential("late", lambda v: 0.0)).build(Binding())
    assert bare.prefix is None


def test_odds_are_clipped_and_need_a_probability() -> None:
    assert log_odds("r", math.log(0.75)) == pytest.approx(math.log(3))
    assert log_odds("r", NEG_INF) == pytest.approx(-math.log(1e7), abs=1e-6)
    assert log_odds("r", 0.0) == pytest.approx(math.log(1e7), abs=1e-6)
    with pytest.raises(PonderError, match=r"but score gave 0\.3"):
        log_odds("score", 0.3)


def test_the_text_so_far_is_the_one_under_way() -> None:
    model = liner()

    def written(prompt: tuple[int, ...], key: bytes) -> Any:
        law = Completion(model, prompt, max_tokens=3, stop=("\n\n",), segment=True)
        return model.draw(law, Stream(key))

    first = written((), b"1")
    second = written(first.tokens, b"2")
    other = written((3,), b"3")
    assert text_so_far(()) is None
    assert text_so_far((True, 0.5)) is None
    assert text_so_far((other, True, first, (0.1, 0.2), second)) == first.text + second.text
    assert text_so_far((first, other)) == other.text
    assert reward_from(prm).build(BINDING).prefix((True,)) == 0.0  # type: ignore[misc]


# Over HTTP.


class Server:
    """An endpoint on this machine that answers what ``said`` returns: a status and a body, and
    the length that it announces if that is not true.

    None closes the connection without a word. A connection is closed after ``linger``.
    """

    def __init__(self) -> None:
        self.said: Any = lambda request: (200, {"rewards": [0.5] * len(request["steps"])})
        self.linger: Event | None = None
        self.got: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.got.append(request)
                outer.headers.append(dict(self.headers))
                said: Any = outer.said(request)
                if said is None:
                    return
                status, body, *announced = said
                dripping = announced and isinstance(body, list)
                content = body if isinstance(body, bytes) or dripping else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(announced[0] if announced else len(content)))
                self.end_headers()
                with contextlib.suppress(OSError):  # who asked has heard enough
                    for piece in body if dripping else [content]:
                        self.wfile.write(piece)
                        time.sleep(0.01 if dripping else 0)
                if outer.linger is not None:
                    outer.linger.wait(20)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/score"
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        """Refuse all further connections."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("ponder.verify.endpoint.DELAYS", (0.001, 0.002))
    running = Server()
    yield running
    running.close()


def test_an_endpoint_is_sent_the_steps_and_gives_rewards(server: Server) -> None:
    server.said = lambda request: (200, {"rewards": [0.9, 0.2, 0.5]})
    asked = Endpoint(server.url, headers={"Authorization": "Bearer hush"})
    assert scored(reward_from(asked, "min")) == pytest.approx(math.log(0.2))
    (got,) = server.got
    assert got == {
        "question": "How many?",
        "text": REPLY.text,
        "steps": ["First.", "Then.", "Answer: 3"],
    }
    assert server.headers[0]["Authorization"] == "Bearer hush"
    assert "hush" not in asked.name + asked.fingerprint
    for body in ({"reward": 0.5}, 0.5, [0.1, 0.2, 0.5], {"rewards": [0.1, 0.2, 0.5], "model": "m"}):
        server.said = lambda request, body=body: (200, body)
        assert scored(endpoint(server.url)) == pytest.approx(math.log(0.5))


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (200, b"<html>hello", r"answered what is no JSON: '<html>hello'"),
        (200, b"", "answered what is no JSON"),
        (200, b"\xff\xfe", "answered what is no JSON"),
        (200, {"score": 0.5}, r"answered 'score', but no 'reward' or 'rewards'"),
        (200, {"reward": math.nan}, "gave nan for the candidate 'First. Then. Answer: 3'"),
        (200, {"reward": 2}, "gave 2 for the candidate"),
        (200, {"rewards": [0.5]}, "gave 1 rewards for the 3 steps of the candidate"),
        (200, {"reward": None}, "gave None for"),
        (404, {}, r"answered 404 Not Found; see that its address is right"),
        (401, {}, r"answered 401 Unauthorized"),
    ],
)
def test_wrong_answers_are_errors_at_once(server: Server, status: int, body: Any, why: str) -> None:
    server.said = lambda request: (status, body)
    with pytest.raises(PonderError, match=why) as raised:
        scored(endpoint(server.url))
    assert f"the endpoint {server.url}" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(server.got) == 1


@pytest.mark.parametrize("first", [(503, {}), (429, {}), None])
def test_what_may_pass_is_tried_again(server: Server, first: Any) -> None:
    said = iter([first, first, (200, {"reward": 0.5})])
    server.said = lambda request: next(said)
    assert scored(endpoint(server.url)) == pytest.approx(math.log(0.5))
    assert len(server.got) == 3


def test_trying_again_comes_to_an_end(server: Server) -> None:
    server.said = lambda request: (503, {})
    with pytest.raises(PonderError, match=r"answered 503 Service Unavailable, 3 times; see that"):
        scored(endpoint(server.url))
    assert len(server.got) == 3
    server.close()
    with pytest.raises(PonderError, match=r"failed \(.*refused.*\), 3 times; see that it is up"):
        scored(endpoint(server.url))


def test_an_answer_that_breaks_off_is_tried_again(server: Server) -> None:
    content = json.dumps({"reward": 0.5}).encode()
    missing = iter([3, 1, 0])
    server.said = lambda request: (200, content, len(content) + next(missing))
    assert scored(endpoint(server.url)) == pytest.approx(math.log(0.5))
    assert len(server.got) == 3


@pytest.mark.parametrize("pause", ["before", "within", "between"])
def test_an_endpoint_has_its_time(server: Server, pause: str) -> None:
    release = Event()

    def said(request: Any) -> Any:
        if pause == "within":
            return 200, b"[", 1000  # and nothing more
        if pause == "between":
            return 200, [b" "] * 500, 500  # a little at a time
        release.wait(20)
        return 200, {"reward": 0.5}

    server.said, server.linger = said, release
    began = time.monotonic()
    with pytest.raises(PonderError, match=r"gave no answer within 0\.1 s"):
        scored(endpoint(server.url, seconds=0.1))
    assert time.monotonic() - began < 5
    assert len(server.got) == 1
    release.set()


def test_an_endless_answer_is_not_read(server: Server) -> None:
    server.said = lambda request: (200, b"[" + b"0," * (1 << 20))
    with pytest.raises(PonderError, match="answered more than 1048576 bytes"):
        scored(endpoint(server.url))


def test_addresses_that_are_none(server: Server) -> None:
    for url in ("example.org/score", "file:///etc/passwd", "http://", "ftp://host/x"):
        with pytest.raises(PonderError, match="an endpoint has an address such as"):
            Endpoint(url)
    with pytest.raises(PonderError, match="more than 0 seconds"):
        Endpoint(server.url, seconds=0)
    assert "secret" not in Endpoint("http://host/score?key=secret").name
    prints = {Endpoint(u, version=v).fingerprint for u in ("http://a/", "http://b/") for v in "12"}
    assert len(prints) == 4


def test_an_endpoint_can_be_written_in_a_strategy() -> None:
    assert repr(weigh(endpoint("http://a/b"))) == "weigh(endpoint('http://a/b'))"
    other = endpoint("http://a/b", "min", seconds=5)
    assert repr(other) == "endpoint('http://a/b', combine='min', seconds=5)"


# In a run.


@program(normalised=True)
def lines(text: str) -> Effects[str]:
    yield from sample(Bernoulli(0.5))
    return text


def outcomes_of(
    source: PotentialSource, questions: dict[str, list[str]], **options: Any
) -> dict[str, Outcome]:
    """Each question has a program of fixed texts, weighed by the reward."""

    def strategy(texts: list[str]) -> Program[Any]:
        def run() -> Effects[Any]:
            values = []
            for text in texts:
                pipeline = lines(text) | weigh(source) | draw(2) | vote
                values.append((yield from pipeline.bind(Binding(QUESTION))).population.log_weights)
            return [v.tolist() for v in values]

        return Program(run, "questions")

    runtime = Runtime(**options)
    jobs = [(id, strategy(texts)) for id, texts in questions.items()]
    return {outcome.id: outcome for outcome in runtime.run(jobs)}


def test_an_endpoint_that_dies_in_the_middle_loses_only_what_it_had_not_scored(
    server: Server, tmp_path: Path
) -> None:
    def said(request: Any) -> Any:
        return (200, {"reward": 0.5}) if "dies" not in request["text"] else None

    server.said = said
    questions = {"a": ["x", "y"], "b": ["z", "it dies", "w"], "c": ["u"]}
    bank = Bank(tmp_path / "bank.sqlite")
    found = outcomes_of(endpoint(server.url), questions, bank=bank)
    assert found["a"].error is None
    assert found["c"].error is None
    assert str(found["b"].error).startswith(f"the endpoint {server.url} failed for b/")
    assert "3 times" in str(found["b"].error)
    # One of two that asked the same at once may have been answered by the bank.
    assert 1 <= found["a"].ledger.checks <= 4
    assert found["b"].ledger.checks >= 2  # what it spent before the end
    paid = len(bank)
    assert paid == 4
    # What was paid for is not asked again, and the rest is, once it is up again.
    server.said = lambda request: (200, {"reward": 0.5})
    server.got.clear()
    again = outcomes_of(endpoint(server.url), questions, bank=bank)
    assert [o.error for o in again.values()] == [None] * 3
    assert {request["text"] for request in server.got} == {"it dies", "w"}
    assert again["a"].value == found["a"].value
    assert again["a"].ledger.checks == 0
    server.close()
    replayed = outcomes_of(endpoint(server.url), questions, bank=bank, replay=True)
    assert {k: o.value for k, o in replayed.items()} == {k: o.value for k, o in again.items()}


def test_a_function_is_kept_in_the_bank_only_under_a_version(tmp_path: Path) -> None:
    calls: list[str] = []

    def counting(question: str, steps: list[str]) -> float:
        calls.append(steps[0])
        return 0.5

    bank = Bank(tmp_path / "bank.sqlite")
    for version, expected in (("", (2, 2)), ("1", (2, 0)), ("2", (2, 0))):
        for wanted in expected:
            calls.clear()
            source = reward_from(counting, version=version)
            found = outcomes_of(source, {"a": ["x"]}, bank=bank)
            assert found["a"].error is None
            assert len(calls) in ((wanted,) if wanted == 0 else (1, 2))
            assert found["a"].ledger.checks == len(calls)
    assert len(bank) == 2


def test_an_invalid_reward_ends_its_question_and_is_not_kept(tmp_path: Path) -> None:
    said = {"x": 0.5, "bad": 7.0}

    def wrong(question: str, steps: list[str]) -> float:
        return said[steps[0]]

    bank = Bank(tmp_path / "bank.sqlite")
    source = reward_from(wrong, version="1")
    found = outcomes_of(source, {"a": ["x"], "b": ["bad"]}, bank=bank)
    assert found["a"].error is None
    message = str(found["b"].error)
    assert message.startswith("wrong failed for b/")
    assert ": gave 7.0 for the candidate 'bad'; a reward is a number from 0 to 1" in message
    said["bad"] = 0.25
    again = outcomes_of(source, {"b": ["bad"]}, bank=bank)
    assert again["b"].error is None


def test_rewards_in_is_what_the_bank_will_give_back() -> None:
    for said in (0.5, [0.5, np.float32(0.25)], np.array([1, 0])):
        found = rewards_in(said, 2, "prm", "it")
        assert json.loads(json.dumps(found)) == found


# What services do to a run: errands.


class Fake:
    """A service that says what ``said`` says of a request; it counts who asks at once."""

    name = "fake"
    fingerprint = "fake 1"

    def __init__(self, said: Callable[[Mapping[str, Any]], Any], width: int = 1) -> None:
        self.width = width
        self.asked: list[Any] = []
        self.aborted = 0
        self.most = self._now = 0
        self._said = said
        self._lock = Lock()

    def answer(self, request: Mapping[str, Any]) -> Any:
        with self._lock:
            self.asked.append(request["n"])
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            return self._said(request)
        finally:
            with self._lock:
                self._now -= 1

    def abort(self) -> None:
        self.aborted += 1


@program(normalised=True)
def checks(service: Any, *numbers: Any) -> Effects[Any]:
    found = None
    for n in numbers:
        found = yield from sample(Outside.ask(service, n=n), "check")
    return found if found is None else found["n"]


def echo(request: Mapping[str, Any]) -> dict[str, Any]:
    return {"n": request["n"]}


def hanging(release: Event, *numbers: Any) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Says the number, but for these only after ``release``."""

    def said(request: Mapping[str, Any]) -> dict[str, Any]:
        if request["n"] in numbers:
            assert release.wait(20)
        return echo(request)

    return said


@pytest.fixture
def release() -> Iterator[Event]:
    event = Event()
    yield event
    event.set()


def ran(programs: Mapping[str, Program[Any]], **options: Any) -> dict[str, Outcome]:
    return {outcome.id: outcome for outcome in Runtime(**options).run(list(programs.items()))}


def population_of(outcome: Outcome) -> Population[Any]:
    assert outcome.error is None
    found: Population[Any] = outcome.value
    return found


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (ValueError("not\ntoday"), "ValueError: not today"),
        (PonderError("install it"), "install it"),
        (RuntimeError(), "RuntimeError"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (None, "TypeError: its answer is of type NoneType, not dict"),
        ([1], "TypeError: its answer is of type list, not dict"),
        ({"n": {1, 2}}, "TypeError: Object of type set is not JSON serializable"),
    ],
)
def test_a_service_that_fails_ends_only_the_question_that_asked(
    said: Any, why: str, tmp_path: Path
) -> None:
    def answer(request: Mapping[str, Any]) -> Any:
        if request["n"] != 13:
            return echo(request)
        if isinstance(said, BaseException):
            raise said
        return said

    service = Fake(answer)
    bank = Bank(tmp_path / "bank.sqlite")
    programs = {f"q{n}": (checks(service, n, n + 10) | draw(2)).bind(Binding()) for n in range(5)}
    found = ran(programs, bank=bank)
    for id, outcome in found.items():
        if id == "q3":
            assert isinstance(outcome.error, PonderError)
            assert str(outcome.error) in [f"fake failed for q3/{i}/check#1: {why}" for i in "01"]
            assert outcome.ledger.checks >= 2
        else:
            assert [t.value for t in population_of(outcome).traces] == [int(id[1:]) + 10] * 2
    assert len(bank) == 9


def test_a_fresh_answer_is_what_the_bank_gives_back(tmp_path: Path) -> None:
    service = Fake(lambda request: {"n": {"pair": (1, 2), 3: math.inf}})
    bank = Bank(tmp_path / "bank.sqlite")
    for replay, asked, banked in ((False, 1, 0), (False, 1, 1), (True, 1, 1)):
        (outcome,) = ran({"q": checks(service, 0)}, bank=bank, replay=replay).values()
        assert outcome.value == {"pair": [1, 2], "3": math.inf}
        assert len(service.asked) == asked
        assert outcome.ledger.banked == banked
        assert outcome.ledger.checks == 1 - banked
        assert outcome.ledger.tokens == outcome.ledger.calls == 0


def test_results_do_not_depend_on_who_answers_when(tmp_path: Path) -> None:
    def slowly(request: Mapping[str, Any]) -> dict[str, Any]:
        time.sleep(0.002 * (request["n"] * 3 % 5))
        return {"n": request["n"] * 7 % 5}

    @program
    def weighed(service: Fake, q: int) -> Effects[tuple[int, ...]]:
        values: tuple[int, ...] = ()
        for step in range(3):
            n = yield from sample(Categorical([0.2, 0.3, 0.5]))
            said = yield from sample(Outside.ask(service, n=10 * q + n + 5 * step))
            yield Factor(-0.3 * said["n"])
            values = (*values, n)
        return values

    runs = []
    for width in (1, 4):
        service = Fake(slowly, width)
        programs = {
            f"q{i}": (weighed(service, i) | smc(4) | vote).bind(Binding()) for i in range(4)
        }
        bank = Bank(tmp_path / f"{width}.sqlite")
        for options in ({}, {"bank": bank}, {"bank": bank, "replay": True}):
            found = ran(programs, seed=3, **options)
            runs.append({id: (o.value.answer, o.value.shares) for id, o in found.items()})
        assert service.most == width
    assert all(run == runs[0] for run in runs)


@pytest.mark.parametrize(
    "budget", [Budget(max_calls=1), Budget(max_tokens=35), Budget(max_tokens=35, max_seconds=60)]
)
def test_checks_go_on_when_tokens_are_spent(budget: Budget) -> None:
    model = BatchedLM(cells=2000, width=4, ending=0.0)
    pending: list[str | None] = []

    def patient(request: Mapping[str, Any]) -> dict[str, Any]:
        deadline = time.monotonic() + 10
        while request["n"] == 0 and runtime.cut is None and time.monotonic() < deadline:
            time.sleep(0.001)
        pending.append(runtime.cut)
        return echo(request)

    service = Fake(patient)

    @program(normalised=True)
    def reply_then_check() -> Effects[Any]:
        yield from sample(Completion(model, (0,) * 30, SamplingLaw(), 5))
        return (yield from checks(service, 0, 1, 2))

    @program(normalised=True)
    def longer() -> Effects[str]:
        return (yield from sample(Completion(model, (1,) * 30, SamplingLaw(), 50))).text

    runtime = Runtime(budget=budget)
    jobs = [("checked", (reply_then_check() | draw(1)).bind(Binding()))]
    jobs += [("longer", (longer() | draw(2)).bind(Binding()))]
    found = {o.id: o for o in runtime.run(jobs)}
    assert runtime.cut in ("max_calls", "max_tokens")
    assert pending == [runtime.cut] * 3
    (trace,) = population_of(found["checked"]).traces
    assert (trace.status, trace.value) == ("finished", 2)
    assert population_of(found["checked"]).law.kind == "exact"
    assert found["checked"].ledger.checks == 3
    if "longer" in found:
        assert {t.status for t in population_of(found["longer"]).traces} == {"unfinished"}
    model.decoder.check_all_free()


@pytest.mark.parametrize("how", ["max_seconds", "interrupt", "tokens, then max_seconds"])
def test_a_service_that_hangs_is_left_behind(how: str, release: Event) -> None:
    service = Fake(hanging(release, 1))
    numbers = iter([0, 1, 2])

    @program(normalised=True)
    def numbered() -> Effects[Any]:
        return (yield from checks(service, next(numbers)))

    def interrupt(reason: str) -> None:
        while service.asked != [0, 1] or len(runtime._jobs) < 2:
            time.sleep(0.001)
        runtime.interrupt(reason)

    limit = None if how == "interrupt" else 0.8
    runtime = Runtime(budget=Budget(max_seconds=limit))
    if how != "max_seconds":
        reason = "interrupt" if how == "interrupt" else "max_tokens"
        Thread(target=interrupt, args=[reason], daemon=True).start()
    began = time.monotonic()
    programs = [("q", (numbered() | draw(3)).bind(Binding())), ("r", checks(service, 3))]
    found = {outcome.id: outcome for outcome in runtime.run(programs)}
    assert time.monotonic() - began < 5
    population = population_of(found["q"])
    assert [t.status for t in population.traces] == ["finished", "unfinished", "unfinished"]
    assert population.traces[0].value == 0
    assert "cut short" in population.law.assumptions
    assert isinstance(found["r"].error, CutShort)
    assert runtime.cut == (how if "," not in how else "max_tokens")
    assert found["q"].ledger.checks == 1
    assert service.aborted >= 1
    release.set()
    time.sleep(0.02)
    assert service.asked == [0, 1]  # nobody asks what nobody waits for


def test_late_answers_are_of_no_use_to_anybody(release: Event) -> None:
    """The same task may ask again after it was told to stop waiting."""
    errands, task = Errands(), Task(checks(None).start(), b"", "q", None)
    slow, quick = Fake(hanging(release, 1)), Fake(echo)
    errands.send(Errand(task, Outside.ask(slow, n=1), "q/check"))
    while not slow.asked:
        time.sleep(0.001)
    assert errands.forget_all() == [task]
    assert errands.done(10) == []
    errands.send(Errand(task, Outside.ask(slow, n=2), "q/check"))
    release.set()
    while len(slow.asked) < 2:
        time.sleep(0.001)
    (done,) = errands.done(10)
    assert done.answer == {"n": 2}
    assert len(errands) == 0
    errands.send(Errand(task, Outside.ask(quick, n=3), "q/check"))
    errands.forget(task)
    assert len(errands) == 0


def test_time_that_runs_out_just_before_a_check_is_a_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("ponder.runtime.time", clock)

    class Slow(Bernoulli):
        def draw(self, stream: Stream) -> bool:
            clock.now += 10
            return True

    service = Fake(echo)

    @program(normalised=True)
    def late() -> Effects[Any]:
        yield from sample(Slow(0.5))
        return (yield from checks(service, 0))

    runtime = Runtime(budget=Budget(max_seconds=5))
    (outcome,) = runtime.run([("q", (late() | draw(1)).bind(Binding()))])
    assert population_of(outcome).traces[0].status == "unfinished"
    assert runtime.cut == "max_seconds"  # or the answer would not say that it was cut short
    assert service.asked == []


def test_one_service_does_not_wait_for_another(release: Event) -> None:
    slow, quick = Fake(hanging(release, 0)), Fake(echo)
    jobs = [("slow", checks(slow, 0)), ("quick", checks(quick, *range(20)))]
    outcomes = Runtime().run(jobs)
    first = next(outcomes)
    assert (first.id, first.value) == ("quick", 19)
    release.set()
    assert [outcome.value for outcome in outcomes] == [0]


@pytest.mark.parametrize("width", [1, 3])
def test_a_service_is_asked_as_many_things_at_once_as_it_takes(width: int) -> None:
    together = Barrier(width)

    def meeting(request: Mapping[str, Any]) -> dict[str, Any]:
        together.wait(10)
        return echo(request)

    service = Fake(meeting, width)
    found = ran({f"q{n}": checks(service, n) for n in range(12)})
    assert {id: outcome.value for id, outcome in found.items()} == {f"q{n}": n for n in range(12)}
    assert service.most == width


def test_no_thread_is_left_when_everything_is_answered() -> None:
    before = active_count()
    ran({f"q{n}": checks(Fake(echo, 2), n) for n in range(6)})
    deadline = time.monotonic() + 5
    while active_count() > before and time.monotonic() < deadline:
        time.sleep(0.001)
    assert active_count() <= before


def test_who_stops_listening_stops_the_services(release: Event) -> None:
    service = Fake(hanging(release, 1))
    outcomes = Runtime().run([("quick", checks(Fake(echo), 0)), ("slow", checks(service, 1, 2))])
    assert next(outcomes).id == "quick"
    while not service.asked:
        time.sleep(0.001)
    outcomes.close()  # type: ignore[attr-defined]
    assert service.aborted >= 1
    release.set()
    time.sleep(0.01)
    assert service.asked == [1]


def test_a_reward_that_hangs_leaves_what_is_done(release: Event) -> None:
    """End to end: the function hangs on one candidate, the others keep their weight."""

    def moody(question: str, steps: list[str]) -> float:
        if steps == ["hang"]:
            assert release.wait(20)
        return 0.5

    texts = iter(["a", "b", "hang"])

    @program(normalised=True)
    def said() -> Effects[str]:
        yield from sample(Bernoulli(0.5))
        return next(texts)

    pipeline = said() | draw(3) | weigh(reward_from(moody)) | vote
    runtime = Runtime(budget=Budget(max_seconds=0.8))
    (outcome,) = runtime.run([("q", pipeline.bind(Binding(QUESTION)))])
    posterior = outcome.value
    assert runtime.cut == "max_seconds"
    assert sorted(s.answer for s in posterior.shares) == ["a", "b"]
    assert posterior.unfinished == 1
    assert "cut short" in str(posterior.law)
    assert outcome.ledger.checks == 2
