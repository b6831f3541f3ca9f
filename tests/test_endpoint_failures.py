"""Servers that are slow, full, wrong, broken, or gone; and what becomes of a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import ponder
from fake_server import SEVEN, Body, FakeServer, Said, reply
from ponder.answering import Answer, Session, as_strategy
from ponder.bank import Bank
from ponder.dist import Stream
from ponder.errors import PonderError
from ponder.ledger import Ledger
from ponder.lm.endpoint import failures
from ponder.lm.endpoint.failures import Again
from ponder.lm.endpoint.model import EndpointLM, load_endpoint
from ponder.lm.endpoint.pool import Address, Pool
from ponder.lm.protocol import Completion, Draw
from ponder.question import make_question

pytest.importorskip("httpx")
EIGHT = "cot | draw(8) | vote"
RIGHT = reply("Answer: 7", tokens=SEVEN)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are waited for less, and there is no key."""
    monkeypatch.setattr(failures, "FIRST", 0.02)
    monkeypatch.setattr(failures, "MOST", 0.1)
    for name in (failures.KEY, failures.OPENAI_KEY):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def served() -> Iterator[Callable[..., tuple[FakeServer, EndpointLM]]]:
    """Start a server that answers like this, and load its model."""
    with ExitStack() as stack:

        def start(answer: Any = None, **how: Any) -> tuple[FakeServer, EndpointLM]:
            patience = how.pop("patience", 2.0)
            server = stack.enter_context(FakeServer(answer, **how))
            model = load_endpoint(server.name, patience=patience)
            stack.callback(model.close)
            return server, model

        yield start


def _draw(model: Any) -> Draw:
    prompt = model.chat([{"role": "user", "content": "3 + 4?"}])
    drawn: Draw = model.draw(Completion(model, prompt, max_tokens=20), Stream(b"s" * 32))
    return drawn


def test_a_question_travels_through(served: Any) -> None:
    server, model = served(lambda body, n: reply("Answer: 7", tokens=SEVEN, cached=n and 8))
    answer = ponder.ask("3 + 4?", strategy=EIGHT, model=model, kind="number")
    assert (answer.text, answer.model) == ("7", "openai:m")
    assert answer.ledger.generated == 8 * 4
    assert answer.ledger.prompt_computed + answer.ledger.prompt_reused == 8 * 10
    assert answer.ledger.prompt_reused == 7 * 8
    assert len({body["seed"] for body in server.asked}) == 8
    assert model.context == 4096


def test_no_more_are_under_way_than_the_width(served: Any) -> None:
    with FakeServer(lambda body, n: Said(RIGHT, late=0.05)) as server:
        model = load_endpoint(f"openai:{server.url}?width=3#m")
        ponder.ask("3 + 4?", strategy="cot | draw(12) | vote", model=model)
        model.close()
        assert server.most == 3


def test_what_is_in_the_bank_needs_no_server(served: Any, tmp_path: Path) -> None:
    server, model = served()
    bank = tmp_path / "bank.sqlite"
    first = ponder.ask("3 + 4?", strategy=EIGHT, model=model, bank=bank)
    server.die()
    name = f"openai:{server.url}#m"
    for given in (name, "openai:http://elsewhere/v1#m", "openai:m"):
        again = ponder.ask("3 + 4?", strategy=EIGHT, model=given, bank=bank, replay=True)
        assert again.shares() == first.shares()
        assert again.ledger.banked == 8 * 4
    assert again.ledger.calls == 0


@pytest.mark.parametrize(
    "first",
    [
        Said({"error": {"message": "oops"}}, 500),
        Said({"error": {"message": "loading"}}, 503),
        Said(b"<html>", 502),
        Said(RIGHT, cut=True),
        Said(b'{"choices": ['),
        Said({"choices": []}),
        Said(reply("half", finish="abort")),
        Said(RIGHT, hang_up=True),
        Said({"error": "slow down"}, 429),
    ],
    ids=lambda said: f"{said.status} {str(said.body)[:12]} {said.cut or said.hang_up}",
)
def test_what_may_go_better_is_tried_again(served: Any, first: Said) -> None:
    server, model = served(lambda body, n: first if n < 2 else RIGHT)
    assert _draw(model).text == "Answer: 7"
    assert len(server.asked) == 3
    assert len({body["seed"] for body in server.asked}) == 1  # the same sample


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_kept(served: Any, form: str) -> None:
    asked: list[float] = []

    def answer(body: Body, n: int) -> Said:
        asked.append(time.time())
        if n:
            return Said(RIGHT)
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 2))
        return Said({}, 429, {"Retry-After": "0.6" if form == "seconds" else date})

    _, model = served(answer)
    assert _draw(model).text == "Answer: 7"
    assert asked[1] - asked[0] >= (0.6 if form == "seconds" else 0.9)


def test_what_fails_together_is_one_failure() -> None:
    address, full = Address("http://a/v1", None), Again("is full", busy=True)
    for _ in range(20):
        address.failed(full)
    assert address.failures == 1
    Pool([address]).answered(address)
    address.failed(Again("is full", wait=5.0))
    assert 4.5 < address.until - time.monotonic() <= 5.0
    Pool([address]).answered(address)  # another request, sent before
    assert Pool([address]).free() is None  # what it asked for holds


def test_what_always_fails_ends_with_the_reason(served: Any) -> None:
    server, model = served(lambda body, n: Said({"error": {"message": "out\nof memory"}}, 500))
    with pytest.raises(PonderError, match=r"500 \(out of memory\), 6 times") as raised:
        _draw(model)
    assert len(server.asked) == 6
    assert "\n" not in str(raised.value)


def test_a_refusal_ends_one_question_alone(served: Any) -> None:
    def answer(body: Body, n: int) -> Said:
        if "forbidden" in body["messages"][-1]["content"]:
            return Said({"error": {"message": "the prompt is too long"}}, 400)
        return Said(RIGHT)

    server, model = served(answer)
    session = Session(model, as_strategy("cot | draw(2) | vote"))
    texts = ("3 + 4?", "the forbidden one?", "4 + 3?")
    found = {q.text: a for q, a in session.answers([make_question(t, id=t) for t in texts])}
    refused = found["the forbidden one?"]
    assert isinstance(refused, PonderError)
    assert "the prompt is too long" in str(refused)
    assert all(isinstance(found[text], Answer) for text in ("3 + 4?", "4 + 3?"))
    assert sum("forbidden" in str(body) for body in server.asked) <= 2  # it is not tried again


def test_a_wrong_key_is_said_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeServer(key="sk-right") as server:
        with pytest.raises(PonderError, match=r"wants a key .*PONDER_API_KEY"):
            load_endpoint(server.name)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-right")  # which is not for this host
        with pytest.raises(PonderError, match="wants a key"):
            load_endpoint(server.name)
        monkeypatch.setenv("PONDER_API_KEY", "sk-wrong")
        with pytest.raises(PonderError, match="refuses its key") as raised:
            load_endpoint(server.name)
        assert "sk-" not in str(raised.value)
        monkeypatch.setenv("PONDER_API_KEY", "sk-right")
        model = load_endpoint(server.name)
        assert "sk-" not in model.name + model.fingerprint
        server.answer = lambda body, n: Said({"error": {"message": "sk-right is no"}}, 400)
        with pytest.raises(PonderError, match=r"\*\*\* is no"):
            _draw(model)
        model.close()


def test_an_unknown_model_is_told_the_known_ones() -> None:
    with FakeServer(models=("large", "small")) as server:
        with pytest.raises(PonderError, match="no model 'huge'; it has large, small"):
            load_endpoint(f"openai:{server.url}#huge")
        with pytest.raises(PonderError, match=r"which model .*large, small; write #MODEL"):
            load_endpoint(f"openai:{server.url}")
    with FakeServer() as server:
        model = load_endpoint(f"openai:{server.url}")  # there is only one
        assert model.name == "openai:m"
        model.close()


def test_a_server_that_is_not_there_is_said_so() -> None:
    with FakeServer() as server:
        pass
    with pytest.raises(PonderError, match=r"no server answers: .*cannot be reached") as raised:
        load_endpoint(server.name)
    assert "\n" not in str(raised.value)


def test_one_killed_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    def slowly(body: Body, n: int) -> Said:
        return Said(RIGHT, late=0.1)

    def dying(body: Body, n: int) -> Said:
        if n == 6:
            threading.Thread(target=one.die).start()
        return Said(RIGHT, late=0.1)

    with FakeServer(dying) as one, FakeServer(slowly) as other:
        model = load_endpoint(f"openai:{one.url},{other.url}?width=8#m", patience=30)
        bank = Bank(tmp_path / "bank.sqlite")
        answer = ponder.ask("3 + 4?", strategy="cot | draw(32) | vote", model=model, bank=bank)
        model.close()
        assert answer.posterior.shares[0].count == 32
        assert answer.posterior.unfinished == 0
        assert len(bank) == 32
        assert 7 <= len(one.asked) < 14
        assert len(other.asked) > 16


def test_the_least_loaded_is_asked() -> None:
    with (
        FakeServer(lambda body, n: Said(RIGHT, late=0.02)) as fast,
        FakeServer(lambda body, n: Said(RIGHT, late=0.4)) as slow,
    ):
        model = load_endpoint(f"openai:{fast.url},{slow.url}?width=8#m")
        ponder.ask("3 + 4?", strategy="cot | draw(40) | vote", model=model)
        model.close()
        assert len(fast.asked) > 2 * len(slow.asked) > 0


def test_one_that_is_down_at_first_is_asked_later() -> None:
    with FakeServer() as gone:
        pass
    with FakeServer() as there:
        model = load_endpoint(f"openai:{gone.url},{there.url}#m")
        answer = ponder.ask("3 + 4?", strategy=EIGHT, model=model)
        model.close()
        assert answer.posterior.shares[0].count == 8


def test_all_down_is_one_error_after_a_while(served: Any) -> None:
    server, model = served(patience=0.4)
    server.die()
    began = time.monotonic()
    with pytest.raises(PonderError, match=r"no server has answered .*see that one is up") as raised:
        ponder.ask("3 + 4?", strategy="cot | draw(3) | vote", model=model)
    assert 0.4 <= time.monotonic() - began < 10
    assert server.url in str(raised.value)


def _until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 5
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def test_what_is_cancelled_hangs_up(served: Any) -> None:
    server, model = served(lambda body, n: Said(RIGHT, late=30))
    engine = model.engine
    prompt = model.chat([{"role": "user", "content": "3 + 4?"}])
    requests = [
        engine.request(Completion(model, prompt), bytes([i]) * 32, Ledger()) for i in (0, 1)
    ]
    for request in requests:
        engine.submit(request)
    assert _until(lambda: len(server.asked) == 2)
    engine.cancel(requests[0])
    assert _until(lambda: server.gone == 1)
    engine.abort()
    assert engine.step() == []
    engine.recover()
    assert _until(lambda: server.gone == 2)
    assert not engine.running
    server.answer = lambda body, n: RIGHT
    assert _draw(model).text == "Answer: 7"  # it can be used again


def test_a_cap_on_seconds_concludes(served: Any) -> None:
    server, model = served(lambda body, n: Said(RIGHT, late=0.0 if n < 3 else 30))
    budget = ponder.Budget(max_seconds=1.0)
    answer = ponder.ask("3 + 4?", strategy="cot(max_tokens=4) | draw(6) | vote", model=model,
                        budget=budget)  # fmt: skip
    assert answer.cut_short == "max_seconds"
    assert answer.posterior.shares[0].count == 3
    assert answer.ledger.seconds < 5
    assert _until(lambda: server.gone == len(server.asked) - 3)


def test_a_server_without_log_probabilities(served: Any) -> None:
    server, model = served(lambda body, n: reply("Answer: 7", count=4), logprobs=False)
    answer = ponder.ask("3 + 4?", strategy=EIGHT, model=model)
    assert (answer.text, answer.ledger.generated) == ("7", 32)
    assert not any("logprobs" in body for body in server.asked)
    with pytest.raises(PonderError, match="did not tell the log-probability"):
        ponder.ask("3 + 4?", strategy="cot | draw(2) | weigh(perplexity) | vote", model=model)
    with pytest.raises(PonderError, match="offers no log-probabilities, which judge"):
        ponder.ask("3 + 4?", strategy="cot | draw(2) | weigh(judge) | vote", model=model)


def test_what_cannot_be_read_ends_its_question(served: Any) -> None:
    _, model = served(lambda body, n: {"choices": [{"message": 3, "finish_reason": "stop"}]})
    with pytest.raises(PonderError, match="cannot be read"):
        ponder.ask("3 + 4?", strategy="cot | draw(1) | vote", model=model)
