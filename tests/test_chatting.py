"""``chat`` and ``continuation``: what is asked, and what counts as the answer."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

import ponder
from ponder import Question
from ponder.errors import PonderError
from ponder.notation import parse
from scripted import Scripted

HISTORY = (("user", "Who are you?"), ("assistant", "A pirate."))


def said(model: Scripted, question: Question, strategy: str = "chat") -> Any:
    answer = ponder.ask(question, strategy=f"{strategy} | draw(1) | vote", model=model)
    (trace,) = answer.posterior.population.traces
    return answer, trace.value


def test_chat_asks_the_conversation_and_nothing_else() -> None:
    model = Scripted(lambda prompt: "Aye. Answer: 4")
    question = Question("2 + 2?", "text", system="Be brief.", history=HISTORY)
    answer, reply = said(model, question)
    asked = "system: Be brief.\nuser: Who are you?\nassistant: A pirate.\nuser: 2 + 2?\nassistant:"
    assert model.asked == [asked]
    assert reply.text == "Aye. Answer: 4"
    assert answer.text == "aye. answer: 4"
    assert answer.probability == 1.0


def test_methods_put_what_was_said_before_the_question() -> None:
    model = Scripted(lambda prompt: "Answer: 4")
    said(model, Question("2 + 2?", "number", history=HISTORY), "cot")
    assert model.asked[0].startswith("user: Who are you?\nassistant: A pirate.\nuser: 2 + 2?\n")


def test_a_continuation_is_asked_without_a_chat() -> None:
    model = Scripted(lambda prompt: " upon a time")
    answer, reply = said(model, Question("Once", "text"), "continuation")
    assert model.asked == ["Once"]
    assert reply.text == " upon a time"
    assert answer.text


def test_another_kind_of_answer_is_read_from_the_reply() -> None:
    answer, _ = said(Scripted(lambda prompt: "Answer: 4."), Question("2 + 2?", "number"))
    assert answer.text == "4"


def test_a_reply_that_is_cut_off_is_one() -> None:
    model = Scripted(lambda prompt: "one two three")
    answer, reply = said(model, Question("Count.", "text"), "chat(max_tokens=7)")
    if reply.finish == "length":
        assert reply.text == "one two"
    assert answer.text is not None


def test_an_empty_reply_has_no_answer() -> None:
    answer, _ = said(Scripted(lambda prompt: " "), Question("Say nothing.", "text"))
    assert answer.text is None


@pytest.mark.parametrize("stop", ["'x'", "('',)", "(1,)"])
def test_bad_stop_strings_are_refused(stop: str) -> None:
    with pytest.raises(PonderError, match="stop is a tuple of texts"):
        ponder.ask(
            "hello", strategy=f"chat(stop={stop}) | draw(1)", model=Scripted(lambda prompt: "x")
        )


def test_settings_parse_back() -> None:
    text = "chat(stop=('a', 'b'), temperature=0.5) | draw(2) | vote"
    assert repr(parse(text)) == text


def test_questions_with_a_history_differ() -> None:
    question = Question("2 + 2?", "number")
    assert dataclasses.replace(question, history=HISTORY) != question
    assert hash(dataclasses.replace(question, history=HISTORY)) is not None
