"""What is not honoured is refused, in one line that names it; never ignored."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest

from ponder.errors import PonderError, Unavailable
from ponder.serve.aliases import loading, read_aliases
from ponder.serve.bodies import ChatBody, CompletionBody
from ponder.serve.keys import Keys, refuse_open
from ponder.serve.naming import Naming, served_name
from ponder.serve.refusals import Refusal, refused
from ponder.serve.schemas import ChatReply, ErrorReply
from ponder.serve.work import Late
from scripted import Scripted
from serving import QUESTION, Running, content, serving
from test_card import card

SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    model = Scripted(lambda prompt: {"Answer: 4": 0.5, "So. Answer: 4": 0.5}, "m")
    with serving(model, aliases=("sc2=cot | draw(2) | vote",)) as running:
        yield running


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"bogus": 1}, "bogus"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"functions": [{}]}, "functions"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"logprobs": True, "top_logprobs": 3}, "top_logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"presence_penalty": -0.5}, "presence_penalty"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"prediction": {}}, "prediction"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"store": True}, "store"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"seed": 2**64}, "seed"),
        ({"stop": [""]}, "stop.0"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"ponder": {"strateg": "cot"}}, "ponder.strateg"),
        ({"ponder": {"kind": "novel"}}, "ponder.kind"),
        ({"ponder": {"max_tokens": 0}}, "ponder.max_tokens"),
        ({"ponder": {"risk": 0.1}}, "ponder.risk"),
        ({"model": "m@sc2", "ponder": {"strategy": "sc2"}}, "ponder.strategy"),
        ({"model": "m@sc2", "response_format": SCHEMA}, "response_format"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": "x", "name": "Bo"}]}, "messages.0.name"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "   "}]}, "messages.0"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages.0.content.0.type",
        ),
    ],
)
def test_a_field_that_is_not_honoured(server: Running, body: dict[str, Any], param: str) -> None:
    found = server.post(**body)
    error = ErrorReply.model_validate(found.json()).error
    assert (found.status_code, error.param) == (400, param)
    assert error.message
    assert "\n" not in error.message


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [], "tool_choice": "none", "functions": None, "logit_bias": {}, "stop": []},
        {"frequency_penalty": 0, "presence_penalty": 0.0, "top_logprobs": 0, "n": None},
        {"user": "x", "metadata": {"a": "b"}, "store": False, "parallel_tool_calls": True},
        {"service_tier": "auto", "modalities": ["text"], "response_format": {"type": "text"}},
        {"stream": False, "seed": None, "temperature": None, "max_tokens": None, "ponder": None},
        {"messages": [{"role": "developer", "content": "Hm."}, *QUESTION]},
    ],
)
def test_off_means_off(server: Running, body: dict[str, Any]) -> None:
    assert server.post(**body).status_code == 200


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("x", 404, "there are m, m@sc2"),
        ("m@zz", 404, "there are m, m@sc2"),
        ("m@", 404, "there are m, m@sc2"),
        ("m@card", 404, "there are m, m@sc2"),
        ("m@cot | drow(2)", 400, "did you mean draw?"),
        ("m@cot | draw(2", 400, "cannot read the strategy"),
        ("m@cot | draw(100000)", 400, "at most 4096"),
        ("m@cot | draw(1000) | pool(1000) | vote", 400, "at most 4096"),
        ('m@cot | draw(2) | weigh(endpoint("http://127.0.0.1:1/")) | vote', 400, "operator"),
        ('m@cot | speculate("/etc/passwd") | draw(2)', 400, "has only one"),
        ("m@continuation | draw(2)", 400, "never flattened"),
        ("m@" + "(" * 3000, 400, "cannot read the strategy"),
    ],
)
def test_a_name_that_means_nothing_here(server: Running, name: str, status: int, said: str) -> None:
    found = server.post(model=name)
    assert found.status_code == status
    assert said in found.json()["error"]["message"]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"model": "m"}',
        b'"\xff"',
        b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "m", "temperature": NaN, "messages": [{"role": "user", "content": "x"}]}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
    ],
)
def test_malformed_bodies(server: Running, raw: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    for path in ("/v1/chat/completions", "/v1/completions"):
        found = server.client.post(path, content=raw, headers=headers)
        assert found.status_code == 400
        assert "\n" not in ErrorReply.model_validate(found.json()).error.message


def test_completions_refuse_what_they_do_not_do(server: Running) -> None:
    for body, param in (
        ({"echo": True}, "echo"),
        ({"echo": 0}, "echo"),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"logprobs": 5}, "logprobs"),
        ({"prompt": [1, 2]}, "prompt.0"),
        ({"messages": QUESTION}, "messages"),
    ):
        found = server.post("/v1/completions", **{"model": "m", "prompt": "x", **body})
        assert (found.status_code, found.json()["error"]["param"]) == (400, param)


def test_paths_and_methods(server: Running) -> None:
    for method, path, status in (
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/health", 405),
        ("POST", "/", 405),
    ):
        found = server.client.request(method, path)
        assert found.status_code == status
        ErrorReply.model_validate(found.json())
        assert ("allow" in found.headers) is (status == 405)


# Aliases, cards.


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sc", "write it like"),
        ("=cot", "write it like"),
        ("a b=cot", "write it like"),
        ("sc=cot | drow(2)", "--alias sc: unknown name 'drow'"),
        ("cot=cot | draw(2)", "is taken"),
        ("card=cot | draw(2)", "is taken"),
    ],
)
def test_a_typo_in_an_alias_stops_the_start(text: str, said: str) -> None:
    with pytest.raises(PonderError, match=said.replace("|", r"\|")):
        read_aliases([text])
    with pytest.raises(PonderError, match="twice"):
        read_aliases(["a=cot", "a=pot"])


def test_only_models_that_the_operator_names_are_loaded() -> None:
    asked: list[str] = []

    def load(name: str) -> Any:
        asked.append(name)

    aliases = read_aliases(['fast=cot | speculate("small", 2) | draw(2) | vote'])
    permitted = loading(load, aliases.values())
    permitted("small")
    with pytest.raises(PonderError, match="--alias"):
        permitted("/etc/passwd")
    assert asked == ["small"]


def test_a_card_is_a_name_and_certifies_risks() -> None:
    model = Scripted(lambda prompt: {"Answer: 4": 0.9, "Answer: 5": 0.1}, "scripted")
    with serving(model, card=card()) as server:
        plain = server.post(model="scripted@card", seed=1).json()
        assert plain["ponder"]["probability_of"].startswith("being right, calibrated on")
        strict = server.post(model="scripted@card", seed=1, ponder={"risk": 0.001}).json()
        assert strict["ponder"]["abstained"]
        message = strict["choices"][0]["message"]
        assert message["content"] == ""
        assert message["refusal"].startswith("abstains: a risk of 0.001 is not certified")
        ChatReply.model_validate(strict)
        assert content(server.chunks(model="scripted@card", ponder={"risk": 0.001})) == ""
        # What was tuned holds for its own settings; and only a card knows of risks.
        assert server.post(model="scripted@card", temperature=0.1).status_code == 400
        assert server.post(ponder={"risk": 0.1}).status_code == 400
        assert server.post(model="scripted@card", ponder={"confidence": 0.9}).status_code == 400


def test_a_card_of_another_model_stops_the_start() -> None:
    with pytest.raises(PonderError, match="tuned on the model scripted"):
        Naming("other", card=card())


def test_what_the_description_says_is_what_is_checked(server: Running) -> None:
    said = server.client.get("/openapi.json").json()
    assert said["openapi"].startswith("3.1")
    parts = said["components"]["schemas"]
    assert parts["ChatBody"]["properties"]["model"]["enum"] == ["m", "m@sc2"]
    for body, name in ((ChatBody, "ChatBody"), (CompletionBody, "CompletionBody")):
        assert set(parts[name]["properties"]) == set(body.model_fields)
        assert parts[name]["additionalProperties"] is False
    text = json.dumps(said)
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(parts)
    for path in said["paths"]:
        if "{" not in path:
            assert server.client.get(path).status_code in (200, 405)
    assert "securitySchemes" not in said["components"]


def test_names_are_of_one_model() -> None:
    naming = Naming("a/b", read_aliases(["s=cot | draw(2) | vote"]))
    assert naming.choose("a/b").pipeline is None
    assert repr(naming.choose("a/b@s").pipeline) == "cot | draw(2) | vote"
    assert repr(naming.choose("a/b", "cot").pipeline) == "cot | draw(8) | vote"
    with pytest.raises(Refusal):
        naming.choose("a")
    assert dataclasses.is_dataclass(naming)


def test_what_the_server_lacks_is_not_the_clients_fault() -> None:
    told = refused(Unavailable("cannot write to the bank /home/me/bank.sqlite"), "chatcmpl-1")
    assert (told.status, told.retry_after) == (503, 30)
    assert "/home" not in told.message
    assert "chatcmpl-1" in told.message
    assert refused(PonderError("write it so"), "x").status == 400
    assert refused(Late("choice 3 was not begun within max_seconds"), "x").status == 503


@pytest.mark.parametrize(
    ("wanted", "strategy", "why"),
    [
        ({"options": ["stone", "apple"]}, None, "asked for as it is"),
        ({"options": ["stone", "apple"], "kind": "number"}, "cot", "of the kind choice"),
        ({"options": ["x", "x"]}, "cot", "are the same"),
    ],
)
def test_options_that_would_not_be_offered(
    server: Running, wanted: dict[str, Any], strategy: str | None, why: str
) -> None:
    found = server.post(ponder={**wanted, "strategy": strategy}).json()
    assert why in found["error"]["message"]
    assert found["error"]["param"] == "ponder.options"


def test_addresses_behind_the_server_are_not_told() -> None:
    said = "the server http://10.0.0.7:8763 refuses the request (400): too long"
    told = refused(PonderError(said), "x").message
    assert told == "the engine refuses the request (400): too long"


def test_a_model_behind_a_server_keeps_its_name() -> None:
    assert served_name("openai:Qwen/Qwen2.5-7B") == "Qwen/Qwen2.5-7B"
    assert served_name("openai:/models/a.gguf") == "a.gguf"
    with pytest.raises(PonderError, match="--name"):
        Naming("a@b")


def test_insecure_with_keys_is_a_mistake() -> None:
    with pytest.raises(PonderError, match="--insecure"):
        refuse_open("127.0.0.1", Keys(["a-long-key"]), insecure=True)
