"""What a server grants and what it does not; and clients that go away."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fake_decoder import BatchedLM, answers
from ponder.errors import PonderError
from ponder.serve.asking import Ceilings
from ponder.serve.keys import Keys, read_keys, refuse_open
from ponder.serve.limits import Places
from ponder.serve.refusals import Refusal
from scripted import Scripted
from serving import QUESTION, Running, events, serving, until


def endless(seconds: float = 0.01) -> BatchedLM:
    """A model that never ends a reply by itself, and takes its time."""
    return BatchedLM(ending=0.0, seconds=seconds, cells=100_000, name="m")


def begin(server: Running, **body: Any) -> socket.socket:
    """Ask by a bare socket, and wait until the request is at work or waits."""
    before = len(server.service.exchanges)
    said = json.dumps({"model": "m", "messages": QUESTION, **body}).encode()
    host, port = server.base.removeprefix("http://").split(":")
    asked = socket.create_connection((host, int(port)))
    asked.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(said) + said
    )
    until(lambda: len(server.service.exchanges) > before)
    return asked


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("strategy", [None, "cot(max_tokens=5000) | draw(4) | vote"])
def test_a_client_that_goes_away_frees_its_places_at_once(
    stream: bool, strategy: str | None
) -> None:
    model = endless()
    with serving(model) as server:
        asked = begin(server, stream=stream, max_tokens=5000, ponder={"strategy": strategy})
        until(lambda: model.engine.running)
        asked.close()
        until(lambda: not (model.engine.running or model.engine.waiting), 2)
        server.until_free()
        model.decoder.check_all_free()
        assert (
            'ponder_requests_total{outcome="client left"} 1.0' in server.client.get("/metrics").text
        )


def test_the_queue_is_first_come_first_served_and_then_full() -> None:
    with serving(endless(), most=1, queue=1) as server:
        first = begin(server, max_tokens=5000)
        second = begin(server, max_tokens=2)
        assert (server.service.places.taken, server.service.places.waiting) == (1, 1)
        refused = server.post()
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        first.close()  # so that the second has its turn
        assert b"200 OK" in second.recv(1 << 16)
        server.until_free()


def test_who_leaves_the_queue_leaves_it() -> None:
    with serving(endless(), most=1, queue=1) as server:
        first = begin(server, max_tokens=5000)
        begin(server).close()
        until(lambda: not server.service.places.waiting)
        first.close()
        server.until_free()


def test_waiting_has_an_end() -> None:
    with serving(endless(), most=1, queue=5) as server:
        first = begin(server, max_tokens=5000)
        refused = server.post(ponder={"max_seconds": 0.2})
        assert refused.status_code == 429
        first.close()
        server.until_free()


def test_a_place_given_to_one_who_just_left_is_handed_on() -> None:
    async def run() -> None:
        places = Places(1, 5)

        async def hold() -> None:
            async with places.place():
                await asyncio.sleep(0)

        async with places.place():
            leaver = asyncio.create_task(hold())
            await asyncio.sleep(0)
        leaver.cancel()  # in the same turn in which it got the place
        await asyncio.gather(leaver, return_exceptions=True)
        assert (places.taken, places.waiting) == (0, 0)

    asyncio.run(run())


def test_time_is_up() -> None:
    with serving(endless(), ceilings=Ceilings(max_seconds=0.5)) as server:
        for seconds in (0.3, 1000):  # a client may ask for less, not for more
            began = time.monotonic()
            found = server.post(max_tokens=5000, ponder={"max_seconds": seconds}).json()
            assert time.monotonic() - began < 5
            (choice,) = found["choices"]
            assert choice["finish_reason"] == "length"
            assert choice["message"]["content"]  # what there is
            assert found["ponder"]["cut_short"] == "max_seconds"
            assert found["usage"]["completion_tokens"] > 0
        chunks = events(server.post(max_tokens=5000, stream=True).text)
        assert chunks[-1]["choices"][0]["finish_reason"] == "length"


def test_a_strategy_concludes_with_what_it_has() -> None:
    with serving(BatchedLM(table=answers, seconds=0.01, width=2, name="m")) as server:
        how = {"strategy": "cot | draw(64) | vote", "max_seconds": 1.0}
        found = server.post(ponder=how).json()
    assert found["ponder"]["cut_short"] == "max_seconds"
    assert found["ponder"]["unfinished"] > 0
    assert found["ponder"]["answer"] in ("4", "5")
    assert found["choices"][0]["finish_reason"] == "stop"


def test_a_budget_of_tokens_has_a_ceiling() -> None:
    with serving(endless(0.0), ceilings=Ceilings(max_tokens=50)) as server:
        found = server.post(max_tokens=5000).json()
        assert found["ponder"]["cut_short"] == "max_tokens"
        assert found["usage"]["total_tokens"] <= 60


@pytest.fixture(scope="module")
def small() -> Iterator[Running]:
    with serving(Scripted(lambda prompt: "Yes", "m"), max_body=2000) as running:
        yield running


def test_large_bodies_are_refused(small: Running) -> None:
    assert small.post(user="x" * 3000).status_code == 413

    def drops() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 100

    headers = {"Content-Type": "application/json"}
    sent = small.client.post("/v1/chat/completions", content=drops(), headers=headers)
    assert sent.status_code == 413
    assert sent.json()["error"]["code"] == "body_too_large"


def test_other_sites_cannot_ask(small: Running) -> None:
    # Without this header a browser asks nobody before it sends another site's request.
    plain = small.client.post(
        "/v1/chat/completions", content=b"{}", headers={"Content-Type": "text/plain"}
    )
    assert plain.status_code == 415
    named = small.client.get("/v1/models", headers={"Host": "evil.example:8000"})
    assert named.status_code == 403
    for host in ("localhost:1", "127.0.0.1", "[::1]:8000"):
        assert small.client.get("/v1/models", headers={"Host": host}).status_code == 200
    asked = small.client.options("/v1/chat/completions", headers={"Origin": "http://evil.example"})
    assert asked.status_code == 405
    assert not [name for name in asked.headers if name.startswith("access-control")]


def test_keys() -> None:
    with serving(
        Scripted(lambda prompt: "Yes", "m"), keys=Keys(["secret-one", "secret-two"])
    ) as server:
        for wrong in (
            None,
            "Bearer",
            "Bearer secret-three",
            "Basic secret-one",
            "secret-one",
        ):
            headers = {} if wrong is None else {"Authorization": wrong}
            for path in ("/v1/models", "/metrics"):
                refused = server.client.get(path, headers=headers)
                assert refused.status_code == 401
                assert refused.headers["www-authenticate"] == "Bearer"
        for right in ("Bearer secret-one", "bearer secret-two"):
            assert (
                server.client.get("/v1/models", headers={"Authorization": right}).status_code == 200
            )
        assert server.client.get("/health").status_code == 200


def test_keys_are_read_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text("# mine\nlong-enough\n\n")
    monkeypatch.setenv("PONDER_API_KEYS", "another-one, a-third-one")
    assert len(read_keys(file)._hashes) == 3
    file.write_text("short\n")
    with pytest.raises(PonderError, match="at least 8"):
        read_keys(file)
    file.write_text("# none\n")
    with pytest.raises(PonderError, match="no key"):
        read_keys(file)
    with pytest.raises(PonderError, match="cannot read"):
        read_keys(tmp_path / "absent")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org", "10.0.0.1"])
def test_an_open_door_needs_a_key(host: str) -> None:
    with pytest.raises(PonderError, match="--api-key-file, or --insecure"):
        refuse_open(host, Keys(), False)
    refuse_open(host, Keys(["long-enough"]), False)
    refuse_open(host, Keys(), True)
    refuse_open("127.0.0.1", Keys(), False)


def test_draining_finishes_what_is_at_work_and_refuses_the_rest() -> None:
    with serving(endless()) as server, ThreadPoolExecutor() as pool:
        slow = pool.submit(server.post, max_tokens=5000)
        streamed = pool.submit(server.post, max_tokens=5000, stream=True)
        brief = pool.submit(server.post, max_tokens=20)
        until(lambda: len(server.service.exchanges) == 3)
        done = threading.Thread(target=lambda: asyncio.run(server.service.drain(1.0)))
        done.start()
        until(lambda: server.service.draining)
        refused = server.post()
        assert refused.status_code == 503
        assert "retry-after" in refused.headers
        health = server.client.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "draining")
        done.join(20)
        assert brief.result().json()["ponder"]["cut_short"] is None
        cut = slow.result().json()
        assert cut["ponder"]["cut_short"] == "shutdown"
        assert cut["choices"][0]["message"]["content"]
        assert events(streamed.result().text)[-1]["ponder"]["cut_short"] == "shutdown"


def test_a_bug_is_one_line_with_an_id_that_the_log_knows(caplog: pytest.LogCaptureFixture) -> None:
    def broken(prompt: str) -> str:
        raise ZeroDivisionError(prompt)

    secret = [{"role": "user", "content": "my SECRET"}]
    with caplog.at_level(logging.INFO), serving(Scripted(broken, "m")) as server:
        for stream in (False, True):
            found = server.post(stream=stream, messages=secret)
            assert found.status_code == 500
            message = found.json()["error"]["message"]
            assert "SECRET" not in found.text
            assert "Traceback" not in found.text
            reference = message.rsplit(" ", 1)[1]
            assert f"{reference}: a bug in ponder: ZeroDivisionError" in caplog.text
        assert server.client.get("/health").status_code == 200
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize("asked", [False, True])
def test_what_is_asked_stands_in_no_log_unless_asked(
    asked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    secret = [{"role": "user", "content": "my SECRET"}]
    with (
        caplog.at_level(logging.DEBUG),
        serving(Scripted(lambda prompt: "SECRET too", "m"), log_requests=asked) as server,
    ):
        server.post(messages=secret)
        server.post(messages=secret, stream=True, model="m@cot | draw(2) | vote")
        server.post(messages=secret, stop="SECRET", bogus="SECRET")
        server.post(model="m@SECRET")
    assert ("SECRET" in caplog.text) is asked
    assert "bare 200 answered" in caplog.text


def test_a_full_queue_is_told_in_the_form_of_errors() -> None:
    found = Refusal(429, "too many\nlines", retry_after=3).response()
    assert found.headers["retry-after"] == "3"
    assert json.loads(bytes(found.body))["error"]["message"] == "too many lines"
