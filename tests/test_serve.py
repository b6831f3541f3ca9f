"""What a client gets: OpenAI's objects, and beside them what the answer is worth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_decoder import BatchedLM, answers, hashed
from ponder.serve.schemas import ChatReply, ModelsReply, TextReply
from scripted import Scripted
from serving import QUESTION, Running, content, serving

REPLIES = {"Two. Answer: 4": 0.5, "Well. Answer: 5": 0.25, "It is four, so Answer: 4": 0.25}


def reply(prompt: str) -> Any:
    if "Think step by step" in prompt:
        return REPLIES
    return {"Hello, stop here": 0.5, "Hallo, stop here": 0.5}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving(Scripted(reply, "m"), aliases=("sc8=cot | draw(8) | vote",)) as running:
        yield running


def test_a_bare_model_says_what_it_says(server: Running) -> None:
    found = ChatReply.model_validate(server.post(seed=3).json())
    (choice,) = found.choices
    assert choice.message.content in ("Hello, stop here", "Hallo, stop here")
    assert choice.finish_reason == "stop"
    assert found.ponder.seed == 3
    assert found.ponder.answer == choice.message.content
    assert found.ponder.probability is None
    assert found.model == "m"
    assert found.id.startswith("chatcmpl-")
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens
    assert found.usage.completion_tokens == len(choice.message.content) + 1  # the end token


def test_messages_are_rendered_and_not_flattened() -> None:
    model = Scripted(lambda prompt: "yes", "m")
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": t} for t in ("One", "two")]},
        {"role": "assistant", "content": "Three", "refusal": None, "tool_calls": []},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "", "refusal": "abstains: too rare"},
        {"role": "user", "content": "Four"},
    ]  # fmt: skip
    with serving(model, aliases=("once=cot | draw(1) | vote",)) as server:
        server.post(messages=messages)
        server.post(messages=messages, model="m@once")
    chat = "system: Be brief.\nuser: One\ntwo\nassistant: Three"
    chat += "\nuser: And?\nassistant: abstains: too rare\nuser: Four"
    assert model.asked[0] == f"{chat}\nassistant:"
    assert model.asked[1].startswith(f"{chat}\n\nThink step by step")


def test_a_strategy_by_alias_by_notation_and_by_field(server: Running) -> None:
    by = [
        {"model": "m@sc8"},
        {"model": "m@cot | draw(8) | vote"},
        {"ponder": {"strategy": "sc8"}},
        {"ponder": {"strategy": "cot | draw(8) | vote"}},
    ]
    found = [server.post(seed=1, **body).json() for body in by]
    for one in found:
        said = ChatReply.model_validate(one)
        assert said.ponder.strategy == "cot | draw(8) | vote"
        assert said.ponder.posterior == ChatReply.model_validate(found[0]).ponder.posterior
        assert sum(share.count for share in said.ponder.posterior) == 8
        assert said.ponder.answer == "4"
        # The content is a whole trace of those that won.
        assert said.choices[0].message.content in ("Two. Answer: 4", "It is four, so Answer: 4")
        assert said.ponder.cost.now["calls"] == 8


def test_n_choices_are_drawn_apart_and_each_says_what_it_is_worth(server: Running) -> None:
    found = ChatReply.model_validate(server.post(n=12, seed=2).json())
    assert [choice.index for choice in found.choices] == list(range(12))
    assert len({choice.message.content for choice in found.choices}) == 2
    assert all(choice.ponder is not None for choice in found.choices)
    assert found.usage.completion_tokens == 12 * 17


def test_a_seed_repeats_and_no_seed_does_not(server: Running) -> None:
    same = {server.post(n=12, seed=7).json()["choices"][i]["message"]["content"] for i in [0, 0]}
    assert len(same) == 1
    texts = [
        tuple(c["message"]["content"] for c in server.post(n=12, seed=7).json()["choices"])
        for _ in range(3)
    ]
    assert len(set(texts)) == 1
    seeds = {server.post().json()["ponder"]["seed"] for _ in range(5)}
    assert len(seeds) == 5


def test_the_operators_seed_is_for_those_without(tmp_path: Path) -> None:
    with serving(Scripted(reply, "m"), seed=11, bank=tmp_path / "bank.sqlite") as server:
        first, again, own = (server.post(**b).json() for b in ({}, {}, {"seed": 12}))
    assert [x["ponder"]["seed"] for x in (first, again, own)] == [11, 11, 12]
    assert first["choices"] == again["choices"]
    assert first["ponder"]["cost"]["now"]["generated"] > 0
    # Replayed from the bank: nothing is paid, and the price is the same.
    assert again["ponder"]["cost"]["now"]["generated"] == 0
    assert again["usage"] == first["usage"]


def test_stop_strings_end_a_reply(server: Running) -> None:
    for stop in (", stop", [", stop", "zzz"]):
        found = server.post(stop=stop).json()["choices"][0]
        assert found["message"]["content"] in ("Hello", "Hallo")
        assert found["finish_reason"] == "stop"
    cut = server.post(model="m@sc8", stop=["Answer"], seed=1).json()
    assert "Answer" not in cut["choices"][0]["message"]["content"]
    assert cut["ponder"]["answer"] == "4"


def test_settings_reach_the_sources_of_a_strategy(server: Running) -> None:
    settings = {"temperature": 0.3, "top_p": 0.9, "max_tokens": 5}
    shown = "(max_tokens=5, temperature=0.3, top_p=0.9)"
    assert server.post(**settings).json()["ponder"]["strategy"] == f"chat{shown} | draw(1) | vote"
    mixed = {"strategy": "either(cot, pot(max_tokens=9)) | stratify(1, 1) | vote"}
    found = server.post(ponder=mixed, temperature=0.2, max_tokens=7).json()
    inside = "(max_tokens=7, temperature=0.2)"
    assert found["ponder"]["strategy"].startswith(f"either(cot{inside}, pot{inside}) |")
    refused = server.post(ponder={"strategy": "thinksum | draw(2) | vote"}, temperature=0.2)
    assert refused.status_code == 400
    assert "no setting 'temperature'" in refused.json()["error"]["message"]


def test_a_reply_that_is_too_long_ends_by_length(server: Running) -> None:
    (choice,) = server.post(max_tokens=4).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) in (
        ("Hell", "length"),
        ("Hall", "length"),
    )
    newer = server.post(max_completion_tokens=4).json()["choices"][0]
    assert newer["finish_reason"] == "length"


def test_log_probabilities_are_of_the_winning_trace(server: Running) -> None:
    for model in ("m", "m@sc8"):
        (choice,) = server.post(model=model, logprobs=True, top_logprobs=0).json()["choices"]
        rows = choice["logprobs"]["content"]
        assert "".join(row["token"] for row in rows) == choice["message"]["content"]
        assert (
            b"".join(bytes(row["bytes"]) for row in rows).decode() == choice["message"]["content"]
        )
        assert rows[0]["logprob"] < 0
    cut = server.post(logprobs=True, stop=",").json()["choices"][0]
    assert "".join(row["token"] for row in cut["logprobs"]["content"]) == cut["message"]["content"]


def test_genealogy_and_traces_come_if_they_are_asked_for(server: Running) -> None:
    plain = server.post(model="m@sc8").json()["ponder"]
    assert "genealogy" not in plain
    assert "traces" not in plain
    full = server.post(model="m@sc8", ponder={"genealogy": True, "traces": True}).json()["ponder"]
    assert len(full["traces"]) == 8
    assert len(full["genealogy"]["traces"]) == 8


def test_completions_go_on_from_a_raw_prompt() -> None:
    model = Scripted(lambda prompt: " there", "m")
    with serving(model) as server:
        found = server.post("/v1/completions", model="m", prompt=["Hi", "Ho"], n=2, logprobs=0)
        said = TextReply.model_validate(found.json())
        assert server.post("/v1/completions", model="m@cot", prompt="Hi").status_code == 400
        assert server.post("/v1/completions", model="m", prompt=["x"] * 99, n=2).status_code == 400
    assert model.asked == ["Hi", "Hi", "Ho", "Ho"]
    assert [choice.text for choice in said.choices] == [" there"] * 4
    assert said.choices[0].logprobs is not None
    assert "".join(said.choices[0].logprobs.tokens) == " there"
    assert said.choices[0].logprobs.text_offset == list(range(6))


def test_models_health_metrics_and_the_page(server: Running) -> None:
    models = ModelsReply.model_validate(server.client.get("/v1/models").json())
    assert [model.id for model in models.data] == ["m", "m@sc8"]
    assert (
        server.client.get("/v1/models/m@sc8").json()["ponder"]["strategy"] == "cot | draw(8) | vote"
    )
    assert server.client.get("/v1/models/m@zz").status_code == 404
    health = server.client.get("/health")
    assert health.json() == {"status": "ok", "model": "m", "running": 0, "waiting": 0}
    server.post(model="m@sc8")
    text = server.client.get("/metrics").text
    assert 'ponder_requests_total{outcome="answered"}' in text
    assert 'ponder_request_seconds_count{method="sc8"}' in text
    page = server.client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "unsafe-eval" not in page.headers["content-security-policy"]


# Streams.


def test_a_bare_model_is_streamed_word_by_word() -> None:
    with serving(BatchedLM(table=answers, name="m")) as server:
        whole = server.post(seed=4).json()
        chunks = server.chunks(seed=4, stream_options={"include_usage": True})
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert content(chunks) == whole["choices"][0]["message"]["content"]
    assert sum(bool(c["choices"] and c["choices"][0]["delta"].get("content")) for c in chunks) >= 2
    *_, last, counts = chunks
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["ponder"]["answer"] == whole["ponder"]["answer"]
    assert counts["choices"] == []
    assert counts["usage"] == whole["usage"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_choices_are_streamed_side_by_side_and_stops_never_show() -> None:
    with serving(BatchedLM(table=answers, name="m")) as server:
        whole = server.post(seed=4, n=3, stop=["Answer"]).json()
        chunks = server.chunks(seed=4, n=3, stop=["Answer"])
    for index, choice in enumerate(whole["choices"]):
        assert content(chunks, index) == choice["message"]["content"]
        assert "Answer" not in content(chunks, index)
    ends = [c for chunk in chunks for c in chunk["choices"] if c["finish_reason"]]
    assert sorted(c["index"] for c in ends) == [0, 1, 2]


def test_a_strategy_says_how_far_it_is_and_then_its_answer() -> None:
    model = BatchedLM(table=answers, name="m", seconds=0.06)
    with serving(model, aliases=("sc4=cot(max_tokens=40) | draw(4) | vote",)) as server:
        quiet = server.chunks(model="m@sc4", seed=1)
        open_ = server.chunks(model="m@sc4", seed=2, ponder={"progress": True, "genealogy": True})
    assert any("traces" in chunk.get("comment", "") for chunk in quiet)
    spoken = [chunk for chunk in quiet if "comment" not in chunk]
    assert content(spoken)
    assert spoken[-1]["ponder"]["answer"]
    said = [chunk["ponder"]["progress"] for chunk in open_ if "progress" in chunk.get("ponder", {})]
    assert said
    assert {"tokens", "expected_tokens", "seconds", "posterior", "traces"} <= set(said[0])
    assert all("comment" not in chunk for chunk in open_)
    assert len(open_[-1]["ponder"]["genealogy"]["traces"]) == 4


def test_an_error_in_a_stream_has_its_status_where_it_can(server: Running) -> None:
    messages = [{"role": "user", "content": "x"}]
    found = server.post(stream=True, messages=messages, ponder={"strategy": "hypotheses | draw(2)"})
    assert found.status_code == 400
    assert "hypotheses needs" in found.json()["error"]["message"]
    assert QUESTION[0]["role"] == "user"


def test_a_method_that_does_not_answer_gives_no_text() -> None:
    with serving(Scripted(reply, "m")) as server:
        body = {"seed": 1, "ponder": {"strategy": "cot | draw(2) | certify(0.05)"}}
        choice = server.post(**body).json()["choices"][0]
    assert choice["message"]["content"] == ""
    assert choice["message"]["refusal"].startswith("no answer: none that was found is settled")


def test_answers_are_whole() -> None:
    text = "Once upon a time there lived a dog, and this is all there is to say of it.\nThe end."
    with serving(Scripted(lambda prompt: text, "m")) as server:
        found = server.post(ponder={"strategy": "chat | draw(2) | vote"}).json()["ponder"]
    assert "end" in found["answer"]
    assert found["posterior"][0]["answer"] == found["answer"]


def test_what_is_cut_short_is_counted() -> None:
    model = BatchedLM(table=hashed(0.0), cells=4000, name="m")
    with serving(model) as server:
        found = server.post(
            messages=[{"role": "user", "content": "abcdefgh"}],
            ponder={"max_tokens": 60},
            logprobs=True,
        ).json()
    assert found["ponder"]["cut_short"] == "max_tokens"
    assert found["choices"][0]["logprobs"] == {"content": [], "refusal": None}
    assert found["usage"]["prompt_tokens"] == 8
    assert 40 < found["usage"]["completion_tokens"] <= 60
