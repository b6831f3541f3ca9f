"""Models behind servers: their names, their tokens, and both directions of the wire."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_server import entry, reply
from ponder.errors import PonderError
from ponder.ledger import Ledger
from ponder.lm.endpoint.address import known_name, parse_spec, with_endpoints
from ponder.lm.endpoint.asking import GO_ON, body_of, check
from ponder.lm.endpoint.reading import draw_of, options_of, written_in
from ponder.lm.endpoint.request import Request
from ponder.lm.endpoint.servers import KINDS
from ponder.lm.endpoint.spelling import (
    END,
    bytes_of,
    chat_tokens,
    cut,
    follow_up_tokens,
    messages_in,
    text_of,
    token_of,
    tokens_of,
)
from ponder.lm.further import further
from ponder.lm.protocol import Completion, Draw, NextToken, OptionLogProbs
from ponder.lm.sampling_law import SamplingLaw

TEXTS = st.text(max_size=40) | st.sampled_from(["<|im_end|>", "\n\n", "", "-4", "‍🧑", "\ud800"])
ROLE = st.sampled_from(["system", "user"])


class Model:
    """As much of an endpoint as laws ask for."""

    name, fingerprint, context, end_tokens = "openai:m", "f", 100, frozenset({END})
    tokenize = staticmethod(tokens_of)
    chat = staticmethod(chat_tokens)
    follow_up = staticmethod(follow_up_tokens)


MODEL: Any = Model()
ASK = chat_tokens([{"role": "user", "content": "How many?"}])


def _drawn(kind: str, body: Any, **law: Any) -> Draw:
    dist = Completion(MODEL, law.pop("prompt", ASK), **law)
    _, begun = messages_in(dist.prompt)
    return draw_of(dist, written_in(body, dist, KINDS[kind], begun), KINDS[kind])


@given(st.lists(st.tuples(ROLE, TEXTS), min_size=1, max_size=4), st.binary(max_size=9), TEXTS)
def test_chats_are_read_off_their_tokens(
    said: list[tuple[str, str]], wrote: bytes, then: str
) -> None:
    def clean(text: str) -> str:
        return text.encode(errors="replace").decode()

    messages = [{"role": role, "content": text} for role, text in said]
    prompt = chat_tokens(messages)
    sent = [{"role": role, "content": clean(text)} for role, text in said]
    assert messages_in(prompt) == (sent, "")
    # A server's own tokens may hold parts of characters, and as many bytes as they like.
    transcript = prompt + tuple(token_of(bytes([b])) for b in wrote) + (token_of(wrote),)
    whole = (wrote * 2).decode(errors="replace")
    assert messages_in(transcript) == (sent, (wrote * 2).decode(errors="ignore"))
    again, begun = messages_in(further(MODEL, transcript, then))
    assert again[:-2] == sent
    assert again[-2:] == [
        {"role": "assistant", "content": whole},
        {"role": "user", "content": clean(then)},
    ]
    assert begun == ""


@given(TEXTS, st.integers(1, 60))
def test_texts_are_spelled_by_their_tokens(text: str, count: int) -> None:
    clean = text.encode(errors="replace").decode()
    assert text_of(tokens_of(text)) == clean
    assert all(token > 0 for token in tokens_of(text))
    assert len(cut(text, count)) == count
    assert b"".join(cut(text, count)).decode() == clean


def test_words_that_options_are_named_by_are_single_tokens() -> None:
    for word in (" Yes", " No", "YES", "no", " A", "B", " 9"):
        assert len(tokens_of(word)) == 1


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([], "no message"),
        ([{"role": "tool", "content": "x"}], "not of 'tool'"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "own"),
    ],
)
def test_chats_that_no_server_takes(messages: Any, why: str) -> None:
    with pytest.raises(PonderError, match=why):
        chat_tokens(messages)


def test_names() -> None:
    spec = parse_spec("openai:http://a:1/v1,https://b/api/?width=64&continue=vllm&timeout=5#x/y-7b")
    assert spec.urls == ("http://a:1/v1", "https://b/api")
    assert (spec.model, spec.width, spec.continuation, spec.seconds) == ("x/y-7b", 64, "vllm", 5.0)
    assert parse_spec(spec.text) == spec
    assert parse_spec("openai:http://a:1").urls == ("http://a:1/v1",)
    assert known_name("openai:http://a:1/v1#m") == known_name("openai:http://b/v1#m") == "openai:m"
    assert known_name("openai:m") == "openai:m"
    assert known_name("openai:http://a:1/v1") is None
    assert with_endpoints(None, None) is None
    assert with_endpoints("m", ["http://a", "http://b"]) == "openai:http://a/v1,http://b/v1#m"
    assert with_endpoints("openai:http://a#m", ["http://a", "http://b"]) == (
        "openai:http://a/v1,http://b/v1#m"
    )
    assert parse_spec(with_endpoints(None, ["http://a"]) or "").model is None
    assert with_endpoints("openai:m", ["http://a"]) == "openai:http://a/v1#m"  # as cards have it


@pytest.mark.parametrize(
    "name",
    [
        "openai:",
        "openai:host:8000#m",
        "openai:ftp://a#m",
        "openai:http://a?width=0#m",
        "openai:http://a?continue=maybe#m",
        "openai:http://a?api_key=sk-1#m",
        "openai:http://user:sk-1@a#m",
        "openai:http://a:port/v1#m",
    ],
)
def test_names_that_are_none_say_what_to_write(name: str) -> None:
    with pytest.raises(PonderError) as raised:
        parse_spec(name)
    assert "\n" not in str(raised.value)


def test_a_key_in_an_address_is_not_repeated() -> None:
    with pytest.raises(PonderError, match="PONDER_API_KEY") as raised:
        parse_spec("openai:http://user:sk-secret@host/v1#m")
    assert "sk-secret" not in str(raised.value)


@pytest.mark.parametrize("end", [b"", "<|im_end|>"])
def test_a_reply_in_the_tokens_of_its_server(end: Any) -> None:
    listed = [("Hi", -0.5), (" there", -0.25), (end, -1.0)]
    draw = _drawn("vllm", reply("Hi there", tokens=listed))
    assert draw.tokens == (token_of(b"Hi"), token_of(b" there"), END)
    assert draw.text == "Hi there"
    assert draw.finish == "stop"
    assert draw.logp == draw.logq == (-0.5, -0.25, -1.0)
    assert Completion(MODEL, ASK).log_prob(draw) == -1.75


def test_an_end_that_is_not_listed_is_not_known() -> None:
    listed = [("Hi", -0.5), (" there", -0.25)]
    draw = _drawn("none", reply("Hi there", tokens=listed))
    assert draw.tokens[-1] == END
    assert len(draw.tokens) == 3
    assert math.isnan(draw.logp[-1])
    with pytest.raises(PonderError, match="did not tell"):
        Completion(MODEL, ASK).log_prob(draw)
    cut_off = _drawn("none", reply("Hi there", tokens=listed, finish="length"))
    assert len(cut_off.tokens) == 2
    assert sum(cut_off.logp) == -0.75


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_without_log_probabilities_the_count_is_exact(count: int) -> None:
    draw = _drawn("none", reply("Hi there", count=count, finish="length"))
    assert len(draw.tokens) == count
    assert bytes_of(draw.tokens) == b"Hi there"
    assert all(map(math.isnan, draw.logp))
    ended = _drawn("none", reply("Hi there", count=count))
    assert len(ended.tokens) == max(count, 2)
    assert ended.tokens[-1] == END
    assert bytes_of(ended.tokens) == b"Hi there"


def test_without_usage_there_are_tokens_all_the_same() -> None:
    assert _drawn("none", reply("Hi there", prompt=None)).tokens == (*tokens_of("Hi there"), END)
    assert _drawn("none", reply("", prompt=None)).tokens == (END,)


def test_characters_that_a_server_splits_keep_count_and_sum() -> None:
    listed = [("�", -0.5), ("�", -0.25), ("!", -1.0), ("<|im_end|>", -2.0)]
    draw = _drawn("vllm", reply("🧑!", tokens=listed))
    assert len(draw.tokens) == 4
    assert bytes_of(draw.tokens).decode() == draw.text == "🧑!"
    assert math.fsum(draw.logp) == -3.75


def test_what_log_probabilities_are_of() -> None:
    body = reply("Hi", tokens=[("Hi", -0.5), ("<|im_end|>", -1.0)])
    cold, top = SamplingLaw(0.5), SamplingLaw(0.5, top_p=0.9)
    raw = _drawn("vllm", body, law=cold)
    assert raw.logp == (-0.5, -1.0)
    assert all(map(math.isnan, raw.logq))
    with pytest.raises(PonderError, match="did not tell"):
        Completion(MODEL, ASK, cold).log_prob(raw)
    assert Completion(MODEL, ASK).log_prob(raw) == -1.5
    tempered = _drawn("sglang", body, law=cold)
    assert tempered.logq == (-0.5, -1.0)
    assert all(map(math.isnan, tempered.logp))
    assert all(map(math.isnan, _drawn("sglang", body, law=top).logq))


def test_segments_know_what_ended_them() -> None:
    dist = {"stop": ("\n\n", "Wait"), "segment": True}
    listed = [("One", -0.1), (".\n\nTwo", -0.2)]
    stop = _drawn("vllm", reply("One.\n\n", tokens=listed, stop_reason="\n\n"), **dist)
    assert stop.text == "One.\n\nTwo"  # the token that holds the string goes on
    assert stop.tokens == (token_of(b"One"), token_of(b".\n\nTwo"))
    over = _drawn(
        "vllm", reply("One", tokens=[("One", -0.1), ("", -0.2)], stop_reason=None), **dist
    )
    assert over.tokens == (token_of(b"One"), END)
    assert _drawn("sglang", reply("One", matched_stop=151645), **dist).tokens[-1] == END
    assert _drawn("sglang", reply("One\n\n", matched_stop="\n\n"), **dist).tokens[-1] != END


def test_what_llama_repeats_is_not_read_twice() -> None:
    prompt = ASK + tokens_of("One, ")
    listed = [("two", -0.1), (b"", -0.2)]
    for tokens in (listed, None):
        draw = _drawn("llama", reply("One, two", tokens=tokens), prompt=prompt)
        assert draw.text == "two"
        assert bytes_of(draw.tokens) == b"two"
    # One that does not repeat it may still write the same words again.
    assert _drawn("vllm", reply("One, two"), prompt=prompt).text == "One, two"


def test_options_are_summed_over_their_spellings() -> None:
    groups = tuple(tuple(tokens_of(f)[0] for f in forms) for forms in (("yes", " Yes"), ("no",)))
    top = [("yes", math.log(0.3)), (" Yes", math.log(0.2)), (" Yes", math.log(0.1))]
    body = reply("x")
    body["choices"][0]["logprobs"] = {"content": [entry("hm", math.log(0.4), top)]}
    yes, no = options_of(OptionLogProbs(MODEL, ASK, groups), body)
    assert yes == pytest.approx(math.log(0.6))
    assert no == -math.inf
    with pytest.raises(PonderError, match="none of 'no'"):
        options_of(OptionLogProbs(MODEL, ASK, groups[1:]), body)
    with pytest.raises(PonderError, match="offers no log-probabilities, which judge"):
        options_of(OptionLogProbs(MODEL, ASK, groups), reply("x"))


def _body(kind: str, **law: Any) -> dict[str, Any]:
    dist = Completion(MODEL, law.pop("prompt", ASK), **law)
    return body_of(Request(dist, b"k" * 32, Ledger()), "m", KINDS[kind], logprobs=True)


def test_what_is_asked_states_the_whole_law() -> None:
    law = SamplingLaw(0.7, top_k=5, top_p=0.9, min_p=0.1)
    for kind in ("vllm", "sglang", "llama"):
        stated = _body(kind, law=law, max_tokens=9)
        found = [stated[k] for k in ("temperature", "top_k", "top_p", "min_p", "max_tokens")]
        assert found == [0.7, 5, 0.9, 0.1, 9]
        # What a law leaves alone is stated too: servers have other defaults.
        plain = _body(kind)
        assert [plain[k] for k in ("temperature", "top_k", "top_p", "min_p")] == [1.0, -1, 1.0, 0.0]
    assert _body("llama", law=law)["samplers"][0] == "temperature"
    assert "top_k" not in _body("none", law=SamplingLaw(0.7, top_p=0.9))
    with pytest.raises(PonderError, match="continue="):
        _body("none", law=law)
    assert 0 <= _body("vllm")["seed"] < 2**31


def test_how_a_reply_is_gone_on_with() -> None:
    prompt = ASK + tokens_of("One, ")
    asked, begun = {"role": "user", "content": "How many?"}, "One, "
    own = {"role": "assistant", "content": begun}
    vllm = _body("vllm", prompt=prompt)
    assert vllm["messages"] == [asked, own]
    assert (vllm["add_generation_prompt"], vllm["continue_final_message"]) == (False, True)
    assert _body("llama", prompt=prompt)["messages"] == [asked, own]
    turn = {"role": "user", "content": GO_ON}
    assert _body("none", prompt=prompt)["messages"] == [asked, own, turn]
    assert _body("vllm")["messages"] == [asked]


def test_stop_strings_are_sent_where_the_server_says_which_it_was() -> None:
    segment: dict[str, Any] = {"stop": ("\n\n",), "segment": True}
    vllm = _body("vllm", **segment)
    assert vllm["stop"] == ["\n\n"]
    assert vllm["include_stop_str_in_output"]
    for kind in ("llama", "none"):
        cut_here = _body(kind, **segment)
        assert "stop" not in cut_here
        assert cut_here["stream"]
        assert _body(kind, stop=("\n\n",))["stop"] == ["\n\n"]


def test_what_needs_every_token_is_refused() -> None:
    with pytest.raises(PonderError, match="embedded model"):
        check(NextToken(MODEL, ASK), "openai:m")
    grammar: Any = object()
    with pytest.raises(PonderError, match="embedded model"):
        check(Completion(MODEL, ASK, grammar=grammar), "openai:m")
    with pytest.raises(PonderError, match="raw text"):
        check(Completion(MODEL, tokens_of("Once upon")), "openai:m")
