"""Caps hold, what was paid for counts, and nothing that goes wrong disturbs anything else."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fake_decoder import BatchedLM, answers
from ponder.admission import Forecast
from ponder.answering import Answer, Session, as_strategy
from ponder.bank import Bank
from ponder.binding import Binding
from ponder.blocks import draw, vote
from ponder.dist import Stream, derive
from ponder.effects import Effects, Program, Sample, each, program
from ponder.errors import CutShort, PonderError
from ponder.interpret import seed_key
from ponder.job import Outcome
from ponder.ledger import Budget, Ledger
from ponder.lm.decoder import UBATCH
from ponder.lm.protocol import Completion, Tokens
from ponder.lm.sampling_law import SamplingLaw
from ponder.measure import Posterior
from ponder.question import make_question
from ponder.running import answer_file
from ponder.runtime import Runtime
from ponder.strategy import Pipeline
from toys import whole, writer


@program(normalised=True)
def reply(model: BatchedLM, prompt: Tokens, longest: int = 40) -> Effects[str]:
    drawn = yield Sample(Completion(model, prompt, SamplingLaw(), longest), "reply")
    return str(drawn.text)


def votes(model: BatchedLM, prompt: Tokens, n: int = 8, longest: int = 40) -> Program[Any]:
    pipeline: Pipeline = reply(model, prompt, longest) | draw(n) | vote
    return pipeline.bind(Binding())


def prompt_of(index: int, length: int = 30) -> Tokens:
    rng = random.Random(index)
    return tuple(rng.randrange(8) for _ in range(length))


class Watched:
    """A runtime that remembers what had been spent after every step."""

    def __init__(self, budget: Budget | None = None, **options: Any) -> None:
        self.spent: list[Ledger] = []
        self.act: Callable[[Runtime], None] | None = None
        self.runtime = Runtime(budget=budget, watch=self.watch, **options)

    def watch(self, runtime: Runtime) -> None:
        self.spent.append(runtime.spent)
        if self.act is not None:
            self.act(runtime)

    def run(self, *programs: Program[Any]) -> list[Outcome]:
        return list(self.runtime.run([(f"q{i}", p) for i, p in enumerate(programs)]))


def finished(posterior: Posterior) -> int:
    return sum(t.status == "finished" for t in posterior.population.traces)


def check_free(model: BatchedLM) -> None:
    assert not model.engine.running
    assert not model.engine.waiting
    model.decoder.check_all_free()


@pytest.mark.parametrize("cap", [1, 60, 100, 150, 250, 400, 10**6])
@pytest.mark.parametrize("shared", [True, False])
def test_a_token_cap_is_passed_by_at_most_one_step(cap: int, shared: bool) -> None:
    model = BatchedLM(cells=2000, width=8, ending=0.05)
    watched = Watched(Budget(max_tokens=cap))
    programs = [votes(model, prompt_of(0 if shared else i), n=4) for i in range(6)]
    outcomes = watched.run(*programs)
    spent = [ledger.tokens for ledger in watched.spent]
    assert all(before < cap for before in spent[:-1])  # nothing begins once the cap is reached
    assert watched.runtime.spent.tokens < cap + 2 * UBATCH
    total = Ledger()
    for outcome in outcomes:
        total.add(outcome.ledger)
        assert outcome.error is None
    assert total.tokens == watched.runtime.spent.tokens
    if cap == 10**6:
        assert watched.runtime.cut is None
        assert [finished(o.value) for o in outcomes] == [4] * 6
    else:
        assert watched.runtime.cut == "max_tokens"
    check_free(model)


@pytest.mark.parametrize("ending", [0.0, 0.03])
def test_a_cap_that_is_enough_for_one_trace_gives_an_answer(ending: float) -> None:
    for cap in (70, 71, 80, 110, 139):
        model = BatchedLM(cells=2000, width=8, ending=ending)
        watched = Watched(Budget(max_tokens=cap))
        (outcome,) = watched.run(votes(model, prompt_of(1)))  # a trace: 30 + at most 40 tokens
        posterior = outcome.value
        assert finished(posterior) >= 1
        assert posterior.answer is not None
        assert watched.runtime.spent.tokens <= cap + 1
        if finished(posterior) < 8:
            assert posterior.law.kind == "heuristic"
            assert "cut short" in str(posterior.law)


def test_what_is_admitted_is_finished() -> None:
    """Lengths are certain here, so every token that is paid for is part of a finished trace."""
    for cap in (100, 200, 300, 333):
        model = BatchedLM(cells=2000, width=8, ending=0.0)
        watched = Watched(Budget(max_tokens=cap))
        (outcome,) = watched.run(votes(model, prompt_of(1)))
        done = finished(outcome.value)
        assert done == 1 + (cap - 70) // 41  # a further trace: the prompt's last token and 40
        assert outcome.ledger.wasted == 0
        assert outcome.ledger.generated == 40 * done
        assert watched.runtime.cut == "max_tokens"


def test_unfinished_traces_abstain_and_the_law_says_so() -> None:
    model = BatchedLM(cells=2000, width=8, ending=0.02)
    model.engine.width = 8
    watched = Watched()
    watched.act = lambda r: r.interrupt("max_tokens") if len(watched.spent) == 25 else None
    (outcome,) = watched.run(votes(model, prompt_of(2)))
    posterior = outcome.value
    done = finished(posterior)
    assert 0 < done < 8
    assert sum(s.count for s in posterior.shares) == done
    assert posterior.unparsed == 8 - done
    statuses = {t.status for t in posterior.population.traces}
    assert statuses == {"finished", "unfinished"}
    assert posterior.law.kind == "heuristic"
    assert outcome.ledger.wasted > 0
    assert outcome.ledger.calls == done
    check_free(model)


@pytest.mark.parametrize("cap", [1, 2, 5, 9])
def test_calls_are_capped_exactly(cap: int) -> None:
    model = BatchedLM(cells=2000, width=8)
    watched = Watched(Budget(max_calls=cap))
    outcomes = watched.run(votes(model, prompt_of(3)), votes(model, prompt_of(4)))
    assert watched.runtime.spent.calls == cap
    assert watched.runtime.spent.wasted == 0
    assert sum(finished(o.value) for o in outcomes) == cap
    assert watched.runtime.cut == "max_calls"


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("ponder.runtime.time", self)
        monkeypatch.setattr("fake_decoder.time", self)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(("cap", "least"), [(0.001, 0), (0.2, 1), (0.33, 1), (0.5, 3), (2.0, 60)])
def test_seconds_are_capped(cap: float, least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    model = BatchedLM(cells=2000, width=4, ending=0.0, seconds=0.005)
    watched = Watched(Budget(max_seconds=cap))
    (outcome,) = watched.run(votes(model, prompt_of(5), n=200, longest=20))
    assert watched.runtime.cut == "max_seconds"
    assert all(ledger.seconds < cap for ledger in watched.spent[:-1])
    assert outcome.ledger.seconds == clock.now - 100 < cap + 0.006
    assert finished(outcome.value) >= least  # of one trace in 0.1 seconds, or four
    if least:
        assert outcome.ledger.wasted == 0  # what could not be finished in time was not begun


def test_the_forecast_learns_what_a_step_costs() -> None:
    lone = Forecast()
    for _ in range(100):
        lone.stepped(1, 0.005)
    assert 0.005 <= lone.step_seconds(1) < 0.008
    affine = Forecast()
    for b in (1, 4, 8, 16) * 10:
        affine.stepped(b, 0.01 + 0.002 * b)
    for b in (1, 2, 12, 32):
        assert affine.step_seconds(b) == pytest.approx(0.01 + 0.002 * b, rel=0.05)
    assert affine.length(512) == 512
    affine.finished(100)
    affine.finished(300)
    assert (affine.length(512), affine.length(150)) == (200, 150)


def test_a_cap_on_a_model_without_engine() -> None:
    model = writer()
    for cap in (1, 3, 10):
        runtime = Runtime(budget=Budget(max_calls=cap))
        pipeline = whole(model) | draw(5) | vote
        (outcome,) = runtime.run([("q", pipeline.bind(Binding()))])
        assert runtime.spent.calls == min(cap, 5)
        assert finished(outcome.value) == min(cap, 5)
        assert (outcome.value.law.kind == "heuristic") == (cap < 5)
    runtime = Runtime(budget=Budget(max_tokens=6))
    (outcome,) = runtime.run([("q", (whole(model) | draw(50) | vote).bind(Binding()))])
    assert 6 <= runtime.spent.tokens < 6 + 4  # one call at most is too many
    assert runtime.cut == "max_tokens"
    assert outcome.ledger.generated == runtime.spent.tokens


def test_a_budget_of_nothing_is_refused() -> None:
    for name in ("max_tokens", "max_seconds", "max_calls"):
        for value in (0, -1, float("inf"), float("nan")):
            with pytest.raises(PonderError, match=r"--max-.* must be more than 0"):
                Budget(**{name: value})  # type: ignore[arg-type]


def test_interrupting_concludes_with_what_there_is() -> None:
    model = BatchedLM(cells=2000, width=4, ending=0.05)
    watched = Watched()
    watched.act = lambda r: r.interrupt() if r.spent.calls >= 3 else None
    programs = [votes(model, prompt_of(i), n=6) for i in range(5)]
    outcomes = watched.run(*programs)
    assert watched.runtime.cut == "interrupt"
    done = sum(finished(o.value) for o in outcomes)
    assert done == watched.runtime.spent.calls
    assert 3 <= done < 10
    assert all(o.error is None for o in outcomes)
    assert outcomes[0].value.answer is not None or done > finished(outcomes[0].value)
    check_free(model)
    # The model serves the next run.
    (again,) = Watched().run(votes(model, prompt_of(0), n=6))
    assert finished(again.value) == 6


def test_interrupting_from_another_thread_in_the_middle_of_a_step() -> None:
    model = BatchedLM(cells=2000, width=4, ending=0.0, seconds=0.01)
    watched = Watched()
    timer = threading.Timer(0.1, watched.runtime.interrupt)
    timer.start()
    began = time.monotonic()
    (outcome,) = watched.run(votes(model, prompt_of(6, 500), n=4, longest=200))
    timer.join()
    assert time.monotonic() - began < 1.0
    assert finished(outcome.value) == 0
    assert outcome.value.answer is None
    assert outcome.ledger.prompt_computed > 0
    check_free(model)
    model.decoder.seconds = 0.0
    (again,) = Watched().run(votes(model, prompt_of(6), n=2))
    assert finished(again.value) == 2


def test_an_interrupt_after_the_last_step_leaves_the_model_usable() -> None:
    model = BatchedLM(cells=2000, width=4)
    watched = Watched()
    runtime = watched.runtime

    @program
    def late() -> Effects[str]:
        text = yield from reply(model, prompt_of(7))
        runtime.interrupt()
        return text

    (outcome,) = watched.run(late())
    assert outcome.error is None
    again = next(Runtime().run([("q", votes(model, prompt_of(7), n=2))]))
    assert finished(again.value) == 2


def test_stopping_to_listen_leaves_the_model_usable() -> None:
    """The caller breaks off, or an error of its own ends the run: another run may follow."""
    model = BatchedLM(cells=2000, width=8, ending=0.05)
    programs = [(f"q{i}", votes(model, prompt_of(i), n=2, longest=5 + 30 * i)) for i in range(4)]
    running = Runtime().run(programs)
    next(running)
    assert model.engine.running
    running.close()  # type: ignore[attr-defined]
    check_free(model)
    again = next(Runtime().run([("q", votes(model, prompt_of(9), n=2))]))
    assert finished(again.value) == 2


@program
def failing(model: BatchedLM, prompt: Tokens, after: int) -> Effects[str]:
    """Asks for one reply, then fails."""
    yield from reply(model, prompt, after)
    raise PonderError("this one fails; that was to be expected")


def test_a_failing_question_does_not_disturb_the_others() -> None:
    def run(with_failures: bool) -> tuple[dict[str, Outcome], Watched, BatchedLM]:
        model = BatchedLM(cells=700, width=4, ending=0.05)
        watched = Watched()
        jobs: list[tuple[str, Program[Any]]] = [
            (f"q{i}", votes(model, prompt_of(i), n=3)) for i in range(4)
        ]
        if with_failures:
            both = (failing(model, prompt_of(11), 6) | draw(3) | vote).bind(Binding())
            jobs[1:1] = [("fails", both), ("long", votes(model, (1,) * 800))]
            jobs.insert(0, ("longer", votes(model, (1,) * 900)))
        outcomes = {o.id: o for o in watched.runtime.run(jobs)}
        return outcomes, watched, model

    alone, _, _ = run(False)
    together, watched, model = run(True)
    assert set(together) == {*alone, "fails", "long", "longer"}
    assert "this one fails" in str(together["fails"].error)
    assert "800 tokens but the context holds 700" in str(together["long"].error)
    for id, outcome in alone.items():
        assert together[id].value.shares == outcome.value.shares
        assert together[id].value.answer == outcome.value.answer
        assert together[id].ledger.generated == outcome.ledger.generated
    assert watched.runtime.cut is None
    check_free(model)


def test_questions_that_are_all_too_long_do_not_end_the_run() -> None:
    model = BatchedLM(cells=100, width=4)
    long = [(f"long{i}", votes(model, (1,) * 200)) for i in range(5)]
    runtime = Runtime()
    outcomes = list(runtime.run([*long, ("short", votes(model, prompt_of(1), n=2))]))
    assert [o.id for o in outcomes if o.error is None] == ["short"]
    assert len(outcomes) == 6
    assert runtime.cut is None


def test_a_failure_cancels_only_what_was_asked_beside_it() -> None:
    model = BatchedLM(cells=2000, width=4, ending=0.0)

    @program
    def doomed() -> Effects[Any]:
        return (yield from each([failing(model, (1, 2), 5), reply(model, (3, 4), 100)]))

    alone = Completion(model, (5, 6), max_tokens=60).draw(
        Stream(derive(seed_key(0, "other"), "reply"))
    )
    first, second = Runtime().run([("doomed", doomed()), ("other", reply(model, (5, 6), 60))])
    assert (first.id, str(first.error)[:8]) == ("doomed", "this one")
    assert 0 < first.ledger.wasted < 20
    assert first.ledger.generated == 5 + first.ledger.wasted
    assert second.value == alone.text
    check_free(model)


@pytest.mark.parametrize("line", ['{"id": "\\ud800", "question": "a"}', '{"question": "\\ud800"}'])
def test_half_a_character_does_not_end_a_run(tmp_path: Path, line: str) -> None:
    """A lone surrogate is valid JSON but cannot be written anywhere."""
    questions = tmp_path / "q.jsonl"
    questions.write_text(line + '\n{"id": "good", "question": "a bad cab", "kind": "number"}\n')

    def session(pipeline: Pipeline, _: object) -> Session:
        return Session(BatchedLM(table=answers), pipeline, bank=Bank(tmp_path / "bank"))

    summary = answer_file(questions, tmp_path / "out", session=session, strategy="cot | draw(2)")
    assert summary.answered == 1
    assert [what for what, _ in summary.failed] == ["line 1"]


def test_a_program_may_go_on_after_an_error_or_a_cut() -> None:
    model = BatchedLM(cells=100, width=4, ending=0.0)

    @program
    def persistent() -> Effects[str]:
        try:
            return (yield from reply(model, (1,) * 200))
        except PonderError:
            return (yield from reply(model, (1,) * 20, 5))

    @program
    def stubborn() -> Effects[int]:
        for count in range(5):
            try:
                yield from reply(model, (2,) * 20, 50)
            except CutShort:
                continue
            return count
        return -1

    (first,) = Runtime().run([("a", persistent())])
    assert len(first.value) >= 5
    (second,) = Runtime(budget=Budget(max_tokens=60)).run([("b", stubborn())])
    assert second.value == -1
    check_free(model)


def test_results_do_not_depend_on_what_else_runs() -> None:
    def run(ids: Sequence[int], width: int, cells: int) -> dict[str, Any]:
        model = BatchedLM(cells=cells, width=width, ending=0.05)
        jobs = [(f"q{i}", votes(model, prompt_of(i), n=3)) for i in ids]
        return {o.id: o.value.shares for o in Runtime(seed=5).run(jobs)}

    together = run(range(5), 8, 2000)
    assert run([3, 1, 4, 0, 2], 2, 160) == together
    assert run([2], 1, 2000) == {"q2": together["q2"]}
    assert len({s[0].answer for s in together.values()}) == 5


def test_a_session_reports_answers_costs_and_caps() -> None:
    model = BatchedLM(cells=2000, width=8, table=answers)
    questions = [make_question(t, kind="number", id=t) for t in ("a bad cab", "a deaf bee", "hag")]
    full = Session(model, as_strategy("cot(max_tokens=100) | draw(6) | vote"))
    for question, answer in full.answers(questions):
        assert isinstance(answer, Answer)
        assert answer.text in ("4", "5")
        assert answer.cut_short is None
        assert answer.law.kind == "consistent"
        assert answer.ledger.calls == 6
        assert answer.ledger.generated >= 6
        assert answer.ledger.prompt_computed > 6
        assert answer.ledger.seconds > 0
        assert question == answer.question
    cut = Session(
        model, as_strategy("cot(max_tokens=100) | draw(6) | vote"), budget=Budget(max_calls=4)
    )
    found = [a for _, a in cut.answers(questions) if isinstance(a, Answer)]
    assert [a.question for a in found] == questions[:2]  # the third was never begun
    assert sum(a.ledger.calls for a in found) == 4
    for answer in found:
        assert answer.cut_short == "max_calls"
        assert str(answer.law).startswith("heuristic")
        assert answer.posterior.unparsed == 6 - answer.ledger.calls
        assert answer.as_dict()["ledger"]["calls"] == answer.ledger.calls
    assert found[0].text in ("4", "5")


def test_a_judge_counts_against_the_budget() -> None:
    model = BatchedLM(cells=2000, width=8, table=answers)
    session = Session(model, as_strategy("cot | draw(2) | weigh(judge) | vote"))
    ((_, answer),) = session.answers([make_question("a bad cab", kind="number", id="q")])
    assert isinstance(answer, Answer)
    assert answer.ledger.judge > 0
    assert answer.ledger.calls == 2 + 2 * 2  # each reply is judged in two orders
    assert answer.ledger.tokens == session.runtime.spent.tokens
