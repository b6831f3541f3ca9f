"""The ``openai`` client, unchanged, against ``ponder serve``: sync, async, streaming.

The other clients are tried by hand: examples/clients/try_all.sh.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

openai = pytest.importorskip("openai", reason="the extra test has the openai client")
for needed in ("starlette", "uvicorn", "pydantic", "prometheus_client"):
    pytest.importorskip(needed, reason="the extra serve is not installed")

pytestmark = pytest.mark.smollm2

NAME = "smollm2-135m"
ALIASES = ("sc4=cot | draw(4) | vote", "two=cot(max_tokens=24) | draw(2) | vote")
EXAMPLE = Path(__file__).parent.parent / "examples" / "clients" / "openai_client.py"
ASKED: Any = [{"role": "user", "content": "What is 3 + 4?"}]


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server, which ends by itself when it is told to."""
    folder = tmp_path_factory.mktemp("clients")
    environment = {**os.environ, "PONDER_BANK": str(folder / "bank.sqlite"), "NO_COLOR": "1"}
    environment.pop("PONDER_API_KEYS", None)
    aliases = [word for alias in ALIASES for word in ("--alias", alias)]
    command = ["serve", "--model", NAME, "--port", "0", "--context", "4096", *aliases]
    with (folder / "log.txt").open("w+") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "ponder", *command],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        )
        assert server.stdout is not None
        said = server.stdout.readline()  # or nothing, if it has ended
        found = re.search(r"http://\S+", said)
        if found is None:
            server.kill()
            log.seek(0)
            raise AssertionError(f"no address: {said!r}; {log.read()}")
        yield found.group()
        server.send_signal(signal.SIGTERM)
        try:
            status = server.wait(60)
        finally:
            server.kill()
        log.seek(0)
        text = log.read()
    assert status == 0, text
    assert "Traceback" not in text
    assert ASKED[0]["content"] not in text, "what is asked belongs into no log"


@pytest.fixture
def client(base_url: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0) as found:
        yield found


def chat(client: Any, model: str, **fields: Any) -> Any:
    """A reply, or an iterator of chunks, or an awaitable of either."""
    return client.chat.completions.create(model=model, messages=ASKED, **fields)


def gathered(chunks: Any) -> tuple[list[str], Any, Any]:
    """The texts of a stream as they came, its last ``ponder`` object, its usage."""
    texts, ponder, usage = [], None, None
    for chunk in chunks:
        texts += [choice.delta.content for choice in chunk.choices if choice.delta.content]
        ponder = (chunk.model_extra or {}).get("ponder", ponder)
        usage = chunk.usage or usage
    return texts, ponder, usage


def test_the_models_are_listed_with_their_strategies(client: Any) -> None:
    names = [listed.id for listed in client.models.list()]
    assert names == [NAME, f"{NAME}@sc4", f"{NAME}@two"]


def test_a_reply_says_what_it_is_worth(client: Any) -> None:
    reply = chat(client, f"{NAME}@two", seed=1)
    ponder = reply.model_extra["ponder"]
    assert ponder["strategy"] == "cot(max_tokens=24) | draw(2) | vote"
    assert sum(row["count"] for row in ponder["posterior"]) + ponder["unparsed"] <= 2
    assert ponder["law"].startswith("consistent")
    assert reply.choices[0].message.content
    assert reply.choices[0].finish_reason in ("stop", "length")
    assert 0 < reply.usage.completion_tokens == ponder["cost"]["alone"]["generated"] <= 48
    assert reply.usage.prompt_tokens_details.cached_tokens < reply.usage.prompt_tokens


def test_a_seed_is_replayed_from_the_bank(client: Any) -> None:
    first, second = (chat(client, f"{NAME}@two", seed=2) for _ in range(2))
    assert second.choices == first.choices
    assert second.model_extra["ponder"]["cost"]["now"]["generated"] == 0
    assert second.usage == first.usage
    assert chat(client, f"{NAME}@two").model_extra["ponder"]["seed"] != 2


def test_the_bare_model_streams_word_by_word(client: Any) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    texts, ponder, usage = gathered(chat(client, NAME, seed=3, max_tokens=12, **options))
    whole = chat(client, NAME, seed=3, max_tokens=12)
    assert len(texts) > 1
    assert "".join(texts) == whole.choices[0].message.content
    assert usage == whole.usage
    assert ponder["strategy"] == whole.model_extra["ponder"]["strategy"]


def test_a_strategy_streams_its_reply_at_the_end(client: Any) -> None:
    shown: list[Any] = []
    last: Any = None
    longer = f"{NAME}@cot(max_tokens=96) | draw(2) | vote"  # so that there is time for progress
    progress = {"ponder": {"progress": True}}
    for chunk in chat(client, longer, seed=4, stream=True, extra_body=progress):
        last = chunk
        said = (chunk.model_extra or {}).get("ponder", {})
        if "progress" in said:
            assert chunk.choices[0].delta.content is None
            shown.append(said["progress"])
    assert shown, "no progress came"
    assert {"tokens", "posterior", "traces"} <= set(shown[-1])
    assert last.choices[0].finish_reason in ("stop", "length")
    assert last.model_extra["ponder"]["strategy"] == "cot(max_tokens=96) | draw(2) | vote"
    texts, ponder, usage = gathered(chat(client, longer, seed=4, stream=True))
    assert len(texts) == 1
    assert ponder["answer"] == last.model_extra["ponder"]["answer"]
    assert usage is None


def test_asynchronous_requests_do_not_mix(base_url: str) -> None:
    """Each has its own seed, by which it is then replayed from the bank."""

    async def ask(client: Any, seed: int) -> Any:
        return await chat(client, f"{NAME}@two", seed=seed)

    async def streamed(client: Any, seed: int) -> str:
        said = ""
        async for chunk in await chat(client, f"{NAME}@two", seed=seed, stream=True):
            said += "".join(choice.delta.content or "" for choice in chunk.choices)
        return said

    async def all_of_them() -> tuple[list[Any], list[str]]:
        async with openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key="none") as client:
            seeds = range(10, 14)
            replies = await asyncio.gather(*(ask(client, seed) for seed in seeds))
            return replies, await asyncio.gather(*(streamed(client, seed) for seed in seeds))

    replies, texts = asyncio.run(all_of_them())
    assert [reply.model_extra["ponder"]["seed"] for reply in replies] == [10, 11, 12, 13]
    assert texts == [reply.choices[0].message.content for reply in replies]
    assert len(set(texts)) > 1


def test_a_conversation_goes_on_with_the_reply_of_before(client: Any) -> None:
    """As OpenAI's documentation has it: the message that came is appended, empty fields and all."""
    reply = chat(client, NAME, max_tokens=8).choices[0].message
    turns = [*ASKED, reply.model_dump(), {"role": "user", "content": "And plus 1?"}]
    longer = client.chat.completions.create(model=NAME, messages=turns, max_tokens=8)
    alone = client.chat.completions.create(model=NAME, messages=turns[-1:], max_tokens=8)
    assert longer.usage.prompt_tokens > alone.usage.prompt_tokens


def test_what_cannot_be_done_is_an_error_of_the_right_class(client: Any) -> None:
    with pytest.raises(openai.NotFoundError, match=f"{NAME}@sc4"):
        chat(client, f"{NAME}@nonesuch")
    with pytest.raises(openai.BadRequestError, match="tools") as caught:
        chat(client, NAME, tools=[{"type": "function", "function": {"name": "f"}}])
    assert caught.value.param == "tools"
    with pytest.raises(openai.BadRequestError, match="colour"):
        chat(client, NAME, extra_body={"colour": "red"})


def test_the_example_runs(base_url: str) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), f"{base_url}/v1", NAME],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "law: consistent for cot" in done.stdout
