"""Replies in steps through servers: what continues them, what cuts them, what is said."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

import ponder
from fake_server import Body, FakeServer, Said, entry, piece, reply
from ponder.answering import as_strategy
from ponder.lm.endpoint.asking import GO_ON
from ponder.lm.endpoint.model import EndpointLM, load_endpoint
from ponder.serve.loop import Loop
from ponder.serve.work import Ended, Work, Wrote

pytest.importorskip("httpx")
STEPS = "steps | draw(1) | vote"
WRITTEN = "One.\n\nTwo.\n\nAnswer: 7"


def _so_far(body: Body) -> str:
    said = [m["content"] for m in body["messages"] if m["role"] == "assistant"]
    return said[-1] if said else ""


def _streamed(body: Body, n: int) -> Any:
    """The rest of the reply in pieces of three characters, and endless talk after a step."""
    rest = WRITTEN[len(_so_far(body)) :]
    if not body.get("stream"):
        return reply(rest)
    events = [piece(rest[i : i + 3]) for i in range(0, len(rest), 3)]
    last = [piece("", finish="stop"), {"choices": [], "usage": _usage(len(events) + 1)}]
    return Said(events=[*events, *last], pause=0.02)


def _usage(count: int) -> Body:
    details = {"cached_tokens": 5}
    return {"prompt_tokens": 20, "completion_tokens": count, "prompt_tokens_details": details}


def _named(body: Body, n: int) -> Body:
    """As vLLM does it: up to the stop string, which it names."""
    rest = WRITTEN[len(_so_far(body)) :]
    step, found, _ = rest.partition("\n\n")
    if found:
        return reply(step + found, tokens=[(step, -1.0), (found, -0.5)], stop_reason=found)
    return reply(step, tokens=[(step, -1.0), ("<|im_end|>", -0.25)], stop_reason=None)


def _value(answer: ponder.Answer) -> Any:
    (trace,) = answer.posterior.population.traces
    return trace.value


@pytest.fixture
def loaded(request: pytest.FixtureRequest) -> Iterator[tuple[FakeServer, EndpointLM, list[str]]]:
    """A server of a kind, its model, and what was warned."""
    owner, answer = request.param
    said: list[str] = []
    with FakeServer(answer, owner=owner) as server:
        model = load_endpoint(server.name, warn=said.append)
        yield server, model, said
        model.close()


@pytest.mark.parametrize("loaded", [("vllm", _named)], indirect=True)
def test_a_server_that_names_its_stop_string(loaded: Any) -> None:
    server, model, said = loaded
    answer = ponder.ask("3 + 4?", strategy=STEPS, model=model, kind="number")
    assert answer.text == "7"
    value = _value(answer)
    assert value.text == WRITTEN
    assert value.log_prob == pytest.approx(-4.25)
    assert [_so_far(body) for body in server.asked] == ["", "One.\n\n", "One.\n\nTwo.\n\n"]
    assert all(body["continue_final_message"] for body in server.asked[1:])
    assert said == []


@pytest.mark.parametrize("loaded", [("llamacpp", _streamed)], indirect=True)
def test_a_server_that_does_not_is_cut_off_here(loaded: Any) -> None:
    server, model, said = loaded
    answer = ponder.ask("3 + 4?", strategy=STEPS, model=model, kind="number")
    assert answer.text == "7"
    value = _value(answer)
    # What is left of the token that ends a step is part of the reply.
    assert value.text == WRITTEN
    assert [_so_far(body) for body in server.asked] == ["", "One.\n\n", "One.\n\nTwo.\n\n"]
    assert answer.ledger.generated == 2 + 2 + 4
    assert said == []


@pytest.mark.parametrize("loaded", [("somebody", _streamed)], indirect=True)
def test_a_server_that_cannot_go_on_is_asked_to(loaded: Any) -> None:
    server, model, said = loaded
    answer = ponder.ask("3 + 4?", strategy="steps | draw(2) | vote", model=model, kind="number")
    assert answer.text == "7"
    assert {body["messages"][-1]["content"] for body in server.asked[2:]} == {GO_ON}
    assert answer.law.kind == "heuristic"
    assert "in another turn" in str(answer.law)
    whole = ponder.ask("3 + 4?", strategy="cot | draw(2) | vote", model=model, kind="number")
    assert whole.law.kind == "consistent"
    assert len(said) == 1  # once
    assert "the law is not" in said[0]


def test_the_address_may_say_what_it_can() -> None:
    with FakeServer(_named, owner="somebody") as server:
        model = load_endpoint(f"openai:{server.url}?continue=vllm#m")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            ponder.ask("3 + 4?", strategy=STEPS, model=model, kind="number")
        model.close()
        assert server.asked[-1]["continue_final_message"]


def _judged(body: Body, n: int) -> Body:
    """Steps as above; two thirds yes to whoever asks."""
    if body.get("top_logprobs") != 20:
        return _named(body, n)
    found = reply("Yes")
    top = [(" Yes", -0.5), ("no", -1.5)]
    found["choices"][0]["logprobs"] = {"content": [entry("Yes", -3.0, top)]}
    return found


@pytest.mark.parametrize("loaded", [("vllm", _judged)], indirect=True)
def test_a_judge_reads_on(loaded: Any) -> None:
    server, model, _ = loaded
    strategy = "steps | weigh(judge) | smc(2) | vote"
    answer = ponder.ask("3 + 4?", strategy=strategy, model=model, kind="number")
    assert answer.text == "7"
    judged = [body for body in server.asked if body.get("top_logprobs") == 20]
    last = max(judged, key=lambda body: len(str(body)))["messages"]
    assert [m["role"] for m in last] == ["user", "assistant", "user"]
    assert last[1]["content"] == WRITTEN
    assert answer.ledger.judge > 0


def test_a_stream_that_breaks_is_begun_again() -> None:
    def answer(body: Body, n: int) -> Any:
        if n == 0:
            return Said(events=[piece("On"), piece("e.")])  # no reason why it ended
        return _streamed(body, n)

    with FakeServer(answer, owner="llamacpp") as server:
        model = load_endpoint(server.name)
        asked = ponder.ask("3 + 4?", strategy=STEPS, model=model, kind="number")
        model.close()
        assert asked.text == "7"
        assert _value(asked).text == WRITTEN


def test_what_somebody_listens_to_is_read_as_it_is_written() -> None:
    """The bare model of ``ponder serve``, before servers."""
    heard: list[Any] = []
    ended = threading.Event()

    def hear(event: Any) -> None:
        heard.append(event)
        if isinstance(event, Ended):
            ended.set()

    with FakeServer(_streamed) as server:
        loop = Loop(lambda: load_endpoint(server.name))
        loop.start()
        pipeline = as_strategy("chat(stop=('never',)) | draw(1) | vote")
        loop.submit(Work(pipeline, (ponder.Question("3 + 4?", "text"),), words=True), hear)
        assert ended.wait(60)
        loop.close()
    words = [event.text for event in heard if isinstance(event, Wrote)]
    assert "".join(words) == WRITTEN
    assert len(words) > 2
    asked = server.asked[-1]
    assert (asked["stream"], asked["stop"]) == (True, ["never"])
    answer = heard[-1].answer
    assert _value(answer).finish == "stop"
    assert answer.ledger.prompt_computed + answer.ledger.prompt_reused == 20
