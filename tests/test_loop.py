"""The loop: many requests share one batch, and none of them notices the others."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_decoder import BatchedLM, answers
from ponder.answering import Answer, Session, as_strategy
from ponder.errors import PonderError
from ponder.ledger import Budget
from ponder.question import Question
from ponder.serve.live import certain
from ponder.serve.loop import Loop
from ponder.serve.work import Ended, Event, Late, Progress, Work, Wrote

STRATEGY = "cot(max_tokens=60) | draw(4) | vote"
SMC = "steps(max_tokens=60) | smc(3) | vote"


def asked(i: int) -> Question:
    return Question("abcdefgh"[i % 8] * (1 + i // 8) + " What is 2 + 2?", "number", id=f"q{i}")


class Hearer:
    """Keeps what is said of one request."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.ended: queue.Queue[Ended] = queue.Queue()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Ended):
            self.ended.put(event)

    def answer(self) -> Any:
        """What became of it, within reason."""
        return self.ended.get(timeout=60).answer


def until(loop: Loop, what: str, least: float) -> None:
    """Wait until the loop has done so much."""
    deadline = time.monotonic() + 30
    while loop.state().get(what, 0) < least:
        assert time.monotonic() < deadline, f"{what}: {loop.state()}"
        time.sleep(0.01)


def started(model: BatchedLM, bank: Path | None = None) -> Loop:
    loop = Loop(lambda: model, bank=bank)
    loop.start()
    return loop


@pytest.fixture
def model() -> BatchedLM:
    return BatchedLM(cells=3000, slots=64, width=16, table=answers)


@pytest.fixture
def loop(model: BatchedLM) -> Iterator[Loop]:
    made = started(model)
    yield made
    made.close()
    model.decoder.check_all_free()


def work(text: str, *questions: Question, **more: Any) -> Work:
    return Work(as_strategy(text), questions, **more)


def alone(text: str, question: Question, seed: int) -> Answer:
    """The same request with a model of its own."""
    model = BatchedLM(cells=3000, slots=64, width=16, table=answers)
    ((_, answer),) = Session(model, as_strategy(text), seed=seed).answers([question])
    assert isinstance(answer, Answer)
    return answer


def test_requests_share_the_batch_and_get_what_they_would_alone(
    loop: Loop, model: BatchedLM
) -> None:
    texts = [STRATEGY, "chat(max_tokens=60) | draw(1) | vote", SMC]
    wanted = [(texts[i % 3], asked(i), i) for i in range(12)]
    hearers = [Hearer() for _ in wanted]
    for (text, question, seed), hearer in zip(wanted, hearers, strict=True):
        loop.submit(work(text, question, seed=seed), hearer)
    for (text, question, seed), hearer in zip(wanted, hearers, strict=True):
        answer, expected = hearer.answer(), alone(text, question, seed)
        assert [t.value for t in answer.posterior.population.traces] == [
            t.value for t in expected.posterior.population.traces
        ]
        assert answer.price == expected.price
    assert max(model.decoder.sizes) > 8  # sequences of several requests in one step


def test_words_come_as_they_are_written_and_add_up(loop: Loop) -> None:
    hearer = Hearer()
    questions = asked(0), asked(1)
    loop.submit(work("chat(max_tokens=60) | draw(1) | vote", *questions, words=True), hearer)
    answers = [hearer.ended.get(timeout=60) for _ in questions]
    for end in answers:
        assert isinstance(end.answer, Answer)
        said = [e.text for e in hearer.events if isinstance(e, Wrote) and e.index == end.index]
        (trace,) = end.answer.posterior.population.traces
        assert "".join(said) == trace.value.text
    assert sum(isinstance(e, Wrote) for e in hearer.events) > 4


def test_stop_strings_are_never_said() -> None:
    assert certain("so Ans", ("Answer", "x")) == "so "
    assert certain("so A. ", ("Answer",)) == "so A. "
    assert certain("caf\ufffd", ()) == "caf"


def test_progress_says_how_far_it_has_come() -> None:
    model = BatchedLM(cells=3000, slots=64, width=16, ending=0.02, seconds=0.02)
    loop, hearer = started(model), Hearer()
    loop.submit(work(STRATEGY, asked(3), progress=True, genealogy=True), hearer)
    end = hearer.ended.get(timeout=60)
    loop.close()
    said = [e.said for e in hearer.events if isinstance(e, Progress)]
    assert [s["tokens"] for s in said] == sorted(s["tokens"] for s in said)
    assert any(trace["text"] and trace["status"] == "running" for trace in said[0]["traces"])
    assert all(len(s["traces"]) == 4 for s in said)
    assert end.genealogy is not None
    assert len(end.genealogy["traces"]) == 4


def test_a_cancelled_request_frees_its_places_and_is_heard_of_no_more() -> None:
    model = BatchedLM(cells=3000, slots=64, width=4, ending=0.0, seconds=0.01)
    loop, gone, other = started(model), Hearer(), Hearer()
    ticket = loop.submit(work("cot(max_tokens=5000) | draw(8) | vote", asked(0)), gone)
    loop.submit(work("cot(max_tokens=20) | draw(2) | vote", asked(1)), other)
    until(loop, "running", 4)
    loop.cancel(ticket)
    assert isinstance(other.answer(), Answer)
    loop.close()
    assert gone.events == []
    assert loop.state()["running"] == loop.state()["requests"] == 0
    assert loop.state()["wasted"] > 0
    model.decoder.check_all_free()


def test_concluding_answers_with_what_there_is() -> None:
    model = BatchedLM(cells=6000, slots=64, width=16, ending=0.02, seconds=0.01)
    loop, hearer = started(model), Hearer()
    ticket = loop.submit(work("chat(max_tokens=900) | draw(64) | vote", asked(1)), hearer)
    until(loop, "calls", 3)
    loop.conclude(ticket, "max_seconds")
    answer = hearer.answer()
    loop.close()
    assert answer.cut_short == "max_seconds"
    finished = sum(t.status == "finished" for t in answer.posterior.population.traces)
    assert 3 <= finished < 64


def test_budgets_are_of_one_request(loop: Loop) -> None:
    poor, rich = Hearer(), Hearer()
    budget = Budget(max_tokens=40)
    loop.submit(work("cot(max_tokens=60) | draw(8) | vote", asked(0), budget=budget), poor)
    loop.submit(work("cot(max_tokens=60) | draw(8) | vote", asked(1)), rich)
    cut, whole = poor.answer(), rich.answer()
    assert cut.cut_short == "max_tokens"
    assert cut.ledger.tokens <= 40 + 8
    assert whole.cut_short is None
    assert sum(s.count for s in whole.posterior.shares) == 8


def test_what_fails_ends_one_request(loop: Loop) -> None:
    bad, good = Hearer(), Hearer()
    loop.submit(work("constrained(regex='a') | draw(2) | vote", Question("a", "text", id="x")), bad)
    loop.submit(work(STRATEGY, asked(1)), good)
    refused = Hearer()
    loop.submit(work("spec_reason(draft='other') | draw(1) | vote", asked(2)), refused)
    assert isinstance(refused.answer(), PonderError)
    assert isinstance(good.answer(), Answer)
    bad.answer()


def test_an_engine_that_breaks_ends_those_that_use_it_and_serves_the_next() -> None:
    model = BatchedLM(cells=3000, slots=64, width=16, table=answers, seconds=0.01)
    loop, hearer, after = started(model), Hearer(), Hearer()
    decode = model.decoder.decode

    def broken(rows: Any) -> Any:
        model.decoder.decode = decode  # type: ignore[method-assign]
        raise RuntimeError("llama.cpp could not decode")

    loop.submit(work("cot(max_tokens=60) | draw(16) | vote", asked(0)), hearer)
    model.decoder.decode = broken  # type: ignore[method-assign]
    assert isinstance(hearer.answer(), RuntimeError)
    loop.submit(work(STRATEGY, asked(1)), after)
    assert isinstance(after.answer(), Answer)
    loop.close()


def test_a_hearer_that_is_gone_disturbs_no_other(loop: Loop) -> None:
    def gone(event: Event) -> None:
        raise RuntimeError("Event loop is closed")

    other = Hearer()
    loop.submit(work("chat(max_tokens=60) | draw(1) | vote", asked(0), words=True), gone)
    loop.submit(work(STRATEGY, asked(1)), other)
    assert isinstance(other.answer(), Answer)
    loop.submit(work(STRATEGY, asked(2)), other)
    assert isinstance(other.answer(), Answer)


def test_the_bank_pays_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "bank.sqlite"
    costs = []
    for _ in range(2):
        loop, hearer = started(BatchedLM(cells=3000, width=8, table=answers), path), Hearer()
        loop.submit(work(STRATEGY, asked(5), seed=3), hearer)
        answer = hearer.answer()
        loop.close()
        costs.append((answer.ledger.generated, answer.ledger.banked, answer.price.generated))
    (first, none, alone_then), (again, banked, alone_now) = costs
    assert (none, again) == (0, 0)
    assert first == banked == alone_then == alone_now > 0


def test_choices_that_are_not_begun_in_time_say_so() -> None:
    model = BatchedLM(cells=3000, slots=64, width=4, ending=0.0, seconds=0.02)
    loop, hearer = started(model), Hearer()
    questions = [asked(i) for i in range(12)]
    slow = work("chat(max_tokens=900) | draw(1) | vote", *questions, budget=Budget(max_seconds=0.5))
    loop.submit(slow, hearer)
    ends = [hearer.ended.get(timeout=60) for _ in questions]
    loop.close()
    late = [end for end in ends if isinstance(end.answer, Late)]
    assert {end.index for end in ends} == set(range(12))
    assert 0 < len(late) < 12
    assert all(e.answer.cut_short == "max_seconds" for e in ends if e not in late)


def test_closing_concludes_and_then_refuses(model: BatchedLM) -> None:
    model.decoder.seconds = 0.02
    loop, hearer = started(model), Hearer()
    loop.submit(work("cot(max_tokens=60) | draw(32) | vote", asked(0)), hearer)
    until(loop, "running", 1)
    loop.close()
    assert hearer.answer().cut_short == "shutdown"
    with pytest.raises(PonderError, match="shutting down"):
        loop.submit(work(STRATEGY, asked(0)), hearer)


def test_a_model_that_does_not_load_says_why() -> None:
    def missing() -> Any:
        raise PonderError("no such model")

    with pytest.raises(PonderError, match="no such model"):
        Loop(missing).start()
    assert threading.active_count() < 50


def test_a_small_request_is_not_kept_waiting_by_a_large_one() -> None:
    model = BatchedLM(cells=6000, slots=64, width=8, table=answers, seconds=0.002)
    loop, large, small = started(model), Hearer(), Hearer()
    loop.submit(work("cot(max_tokens=60) | draw(128) | vote", asked(0)), large)
    time.sleep(0.05)
    loop.submit(work("cot(max_tokens=60) | draw(2) | vote", asked(1)), small)
    assert isinstance(small.answer(), Answer)
    assert large.ended.empty()
    assert isinstance(large.answer(), Answer)
    loop.close()
