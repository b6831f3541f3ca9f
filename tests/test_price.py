"""The price of a question's samples: what they cost by themselves."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ponder.lm.protocol import Completion, NextToken, OptionLogProbs, drawn
from ponder.price import Price


class _Model:
    fingerprint = "m"


MODEL = _Model()


def completion(prompt: tuple[int, ...]) -> Completion:
    return Completion(MODEL, prompt)  # type: ignore[arg-type]


def reply(prompt: tuple[int, ...], tokens: tuple[int, ...]) -> object:
    return drawn(completion(prompt), tokens, "", "stop", (0.0,) * len(tokens), (0.0,) * len(tokens))


def test_a_prompt_is_read_once_and_every_token_generated_is_paid() -> None:
    price = Price()
    for tokens in ((5, 6), (7,)):
        price.charge(completion((1, 2, 3)), reply((1, 2, 3), tokens))
    found = price.ledger
    assert (found.prompt_computed, found.prompt_reused, found.generated) == (3, 3, 3)
    assert (found.calls, found.judge, found.banked) == (2, 0, 0)


def test_what_follows_a_reply_is_read_from_there() -> None:
    price = Price()
    price.charge(completion((1, 2, 3)), reply((1, 2, 3), (5, 6)))
    judged = OptionLogProbs(MODEL, (1, 2, 3, 5, 6, 9, 9), ((1,),))  # type: ignore[arg-type]
    price.charge(judged, (0.0,))
    price.charge(judged, (0.0,))
    price.charge(NextToken(MODEL, (1, 2, 4)), 8)  # type: ignore[arg-type]
    found = price.ledger
    assert found.judge == 2  # the second time it is known
    assert found.prompt_computed == 3 + 1
    assert found.generated == 3


sequences = st.lists(st.lists(st.integers(0, 2), max_size=5).map(tuple), min_size=1, max_size=8)


@given(sequences)
def test_the_longest_known_beginning_is_found(prompts: list[tuple[int, ...]]) -> None:
    price = Price()
    known: list[tuple[int, ...]] = []
    paid = 0
    for prompt in prompts:
        shared = [
            sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(prompt, old)))  # noqa: B905
            for old in known
        ]
        paid += len(prompt) - max(shared, default=0)
        price.charge(completion(prompt), reply(prompt, ()))
        known.append(prompt)
    assert price.ledger.prompt_computed == paid


def test_a_trace_drawn_token_by_token_is_kept_once() -> None:
    price = Price()
    for n in range(100):
        price.charge(NextToken(MODEL, (1, *[2] * n)), 2)  # type: ignore[arg-type]
    assert price.ledger.prompt_computed == 1
    assert price.ledger.generated == 100
    assert len(price._read) == 1
