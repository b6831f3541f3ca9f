"""The machine: errors, deep trees, and samples that are never served."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ponder.binding import Binding, Potential
from ponder.blocks import draw, propose, smc, vote, weigh
from ponder.dist import (
    Bernoulli,
    Normal,
)
from ponder.effects import Effects, Factor, Program, each, nested, observe, program, sample
from ponder.errors import CutShort, PonderError
from ponder.interpret import evaluate, seed_key, simulate
from ponder.machine import Machine
from shuffled import Shuffled, evaluate_shuffled
from toys import chain, early


@program
def faulty(message: str) -> Effects[None]:
    yield from sample(Bernoulli(0.5), "first")
    raise ValueError(message)


@program
def long(log: list[str]) -> Effects[None]:
    try:
        for _ in range(5):
            yield from each([Program(chain(3).start, "leaf")])
        log.append("finished")
    finally:
        log.append("closed")


def test_an_error_reaches_the_parent_and_discards_the_siblings() -> None:
    log: list[str] = []

    @program
    def parent() -> Effects[tuple[str, bool]]:
        try:
            yield from each([long(log), faulty("boom"), long(log)])
        except ValueError as error:
            caught = str(error)
        return caught, (yield from sample(Bernoulli(1.0)))

    handler = Shuffled(0)
    machine = Machine(handler)
    root = machine.start(parent(), b"key")
    [bad] = [w for w in handler.waiting if w[1] == "first"]
    handler.waiting.remove(bad)
    late = [task for task, _, _ in handler.waiting]
    machine.resume(bad[0], True)
    assert log == ["closed", "closed"]
    assert len(handler.waiting) == 1, "samples of discarded siblings are abandoned"
    for task in late:
        machine.resume(task, True)  # an answer that was under way is ignored
    machine.resume(*handler.take())
    assert root.value == ("boom", True)
    assert machine.ended == [root]


def test_an_error_nobody_catches_fails_the_root() -> None:
    @program
    def inner() -> Effects[None]:
        yield from nested(faulty("deep down"))

    @program
    def outer() -> Effects[Any]:
        return (yield from each([inner(), inner()]))

    with pytest.raises(ValueError, match="deep down"):
        evaluate(outer())
    with pytest.raises(ValueError, match="deep down"):
        evaluate((faulty("deep down") | draw(4) | vote).bind(Binding()))


def deep(depth: int) -> Program[int]:
    @program
    def level() -> Effects[int]:
        if depth == 0:
            yield from sample(Bernoulli(0.5))
            return 0
        [below] = yield from each([deep(depth - 1)])
        return int(below) + 1

    return level()


def test_deep_and_wide_trees_do_not_exhaust_the_stack() -> None:
    assert evaluate(deep(10_000)) == 10_000
    assert simulate(deep(2_000)).value == 2_000

    @program
    def wide() -> Effects[list[Any]]:
        return (yield from each([chain(1)] * 10_000))

    assert len(evaluate(wide())) == 10_000

    both: list[Program[Any]] = [deep(5_000), faulty("boom")]

    @program
    def failing() -> Effects[str]:
        try:
            yield from each(both)
        except ValueError:
            return "discarded"
        return "went on"

    assert evaluate_shuffled(failing(), 0, 0)[0] == "discarded"


@pytest.mark.parametrize("block", [draw(6), smc(6, ess=1.0)])
def test_a_trace_cut_short_abstains(block: Any) -> None:
    @program
    def noisy() -> Effects[bool]:
        x = yield from sample(Bernoulli(0.5), "x")
        yield Factor(math.log(0.5 if x else 1.0))
        y = yield from sample(Bernoulli(0.5), "y")
        return x == y

    handler = Shuffled(1)
    machine = Machine(handler)
    root = machine.start((noisy() | block | vote).bind(Binding()), seed_key(1))
    served = 0
    while handler.waiting:
        task, value = handler.take()
        if served < 8:
            machine.resume(task, value)
        else:
            machine.throw(task, CutShort("no budget left"))
        served += 1
    posterior = root.value
    statuses = [t.status for t in posterior.population.traces]
    assert 0 < statuses.count("unfinished") == posterior.unparsed < 6
    assert sum(s.count for s in posterior.shares) == statuses.count("finished")
    assert math.fsum(s.share for s in posterior.shares) == pytest.approx(
        1 if posterior.shares else 0
    )
    assert posterior.law.kind == "heuristic"
    assert "cut short" in str(posterior.law)


def test_a_trace_whose_judge_is_cut_short_abstains() -> None:
    def asked(x: Any) -> Program[float]:
        @program
        def judge() -> Effects[float]:
            return -1.0 if (yield from sample(Bernoulli(0.5), "verdict")) else 0.0

        return judge()

    handler = Shuffled(2)
    machine = Machine(handler)
    strategy = early() | draw(5) | weigh(Potential("judge", asked)) | vote
    root = machine.start(strategy.bind(Binding()), seed_key(2))
    verdicts = 0
    while handler.waiting:
        address = handler.waiting[0][1]
        task, value = handler.take()
        verdicts += address == "verdict"
        if verdicts > 2:
            machine.throw(task, CutShort("no budget left"))
        else:
            machine.resume(task, value)
    posterior = root.value
    assert posterior.unparsed == 3
    assert sum(s.count for s in posterior.shares) == 2
    assert posterior.law.kind == "heuristic"


def test_what_cannot_be_enumerated_is_named() -> None:
    from ponder.interpret import enumerate_measure

    @program
    def continuous() -> Effects[float]:
        return (yield from sample(Normal(), "height"))

    with pytest.raises(PonderError, match=r"cannot enumerate: Normal.* at /height has no listed"):
        enumerate_measure(continuous())
    with pytest.raises(PonderError, match="more than 10 runs"):
        enumerate_measure(chain(5), limit=10)


def test_what_is_yielded_and_is_no_effect_is_refused() -> None:
    @program
    def coin() -> Effects[bool]:
        fair = yield from sample(Bernoulli(0.5), "fair")
        yield observe(Bernoulli(0.5 if fair else 0.99), False)  # type: ignore[misc]
        return fair

    @program
    def inner() -> Effects[bool]:
        return (yield coin())  # type: ignore[misc]

    @program
    def number() -> Effects[None]:
        yield 5  # type: ignore[misc]

    @program
    def nothing() -> Effects[None]:
        yield  # type: ignore[misc]

    cases = [
        (coin(), r"yields observe\(...\); write yield from observe\("),
        (inner(), r"yields coin\(...\); write yield from coin\("),
        (number(), "yields 5, which is no effect"),
        (nothing(), "yields None, which is no effect"),
    ]
    for bad, says in cases:
        ways = [bad | draw(2) | vote, bad | smc(2) | vote, coin() | propose(bad) | draw(2) | vote]
        for strategy in ways:
            with pytest.raises(PonderError, match=says):
                evaluate(strategy.bind(Binding()), seed=0)
        with pytest.raises(PonderError, match=says):
            simulate(bad, 0)


def test_a_program_that_yields_nothing_is_refused_or_returns_what_does() -> None:
    @program
    def constant() -> Effects[int]:
        return 3  # type: ignore[return-value]

    @program
    def other() -> Effects[bool]:
        return sample(Bernoulli(1.0))

    @program
    def another() -> Effects[bool]:
        return other()  # type: ignore[return-value]

    with pytest.raises(PonderError, match="constant is no program, it yields nothing"):
        simulate(constant(), 0)
    assert evaluate(other(), seed=0) is True
    assert evaluate(another(), seed=0) is True
