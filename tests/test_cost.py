"""Idealised runtime: planted coefficients are found, and a model is timed as asked."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import numpy as np
import pytest

from fake_decoder import BatchedLM
from ponder.errors import CutShort, PonderError
from ponder.lm.cost import Runtime, Timing, fit, measure
from ponder.lm.table import TableLM

GRID = list(product((1, 16, 128, 256, 512, 1024, 1920), (1, 4, 8, 16, 32, 64), (1, 8)))


def planted(prompt: int, output: int, width: int) -> float:
    reading = 0.08 + 0.0003 * max(prompt - 128, 0)
    return reading + (0.05 if width == 8 else 0.0) + (0.04 + 0.005 * width) * (output - 1)


def test_what_was_planted_is_found() -> None:
    found = fit([(*size, planted(*size)) for size in GRID])
    assert (found.flat, found.rate) == pytest.approx((128, 0.0003))
    assert [step for row in found.steps for step in row] == pytest.approx(
        [1, 0.08, 0.045, 8, 0.13, 0.08]
    )
    assert found.r2 == pytest.approx(1)
    assert found.worst < 1e-9
    for size in [(200, 50, 1), (3000, 1, 8), (1, 1, 1)]:
        assert found.seconds(*size) == pytest.approx(planted(*size))
    assert found.seconds(200, 50) == found.seconds(200, 50, 1)
    assert found.seconds(128, 11, 4.5) == pytest.approx(0.105 + 10 * 0.0625)


def test_delays_are_left_out_by_the_fastest_repeat() -> None:
    """Noise of a tenth or more on every call; one in five is held up for a second."""
    rng = np.random.default_rng(0)
    slow = [
        (*size, planted(*size) * (1 + rng.exponential(0.1)) + float(rng.random() < 0.2))
        for size in GRID
        for _ in range(20)
    ]
    found = fit(slow)
    assert [step for _, _, step in found.steps] == pytest.approx([0.045, 0.08], rel=0.02)
    assert found.r2 > 0.998
    assert 0 < found.worst < 0.1
    seconds = [found.seconds(prompt, 8) for prompt in range(1, 2000, 50)]
    assert seconds == sorted(seconds)


def test_the_fit_is_reported_where_it_is_bad() -> None:
    bent = [(p, o, 1, 0.1 + 1e-6 * p * p) for p, o in product((1, 1000, 2000), (1, 2))]
    found = fit(bent)
    errors = [abs(found.seconds(p, o) - s) for p, o, _, s in bent]
    assert found.worst == pytest.approx(max(errors))
    assert found.worst > 0.3
    assert found.r2 < 0.99
    assert fit([(p, o, 1, 0.1) for p, o in product((1, 9), (1, 2))]).r2 == 1


def test_it_goes_to_json_and_back() -> None:
    found = fit([(*size, planted(*size)) for size in GRID])
    assert Runtime.from_dict(json.loads(json.dumps(found.as_dict()))) == found
    for broken in ({}, {**found.as_dict(), "steps": [[1, 2]]}, {**found.as_dict(), "rate": "?"}):
        with pytest.raises(PonderError, match="measure and fit again"):
            Runtime.from_dict(broken)


def test_what_cannot_be_known_is_refused() -> None:
    ok = [(1, 1, 1, 0.1), (9, 2, 1, 0.2)]
    fit(ok)
    for timings in ([], ok[:1], [*ok, (1, 1, 4, 0.1)], [(1, 1, 1, 0.1), (1, 2, 1, 0.2)]):
        with pytest.raises(PonderError, match="time prompts of two lengths"):
            fit(timings)
    for bad in ((0, 1, 1, 0.1), (1, 1, 1, float("nan")), (1, 1, 1, -1.0)):
        with pytest.raises(PonderError, match="a timing needs"):
            fit([*ok, bad])
    for width in (0.5, 2):
        with pytest.raises(PonderError, match="measure that"):
            fit(ok).seconds(1, 1, width)


class Clock:
    """Time that passes by decoding: so much for a step, so much for each of its tokens."""

    def __init__(self, model: BatchedLM) -> None:
        self.now = 0.0
        decode = model.decoder.decode

        def timed(rows: Any) -> Any:
            self.now += 2.0 + 0.5 * sum(len(row.tokens) for row in rows)
            return decode(rows)

        model.decoder.decode = timed  # type: ignore[method-assign]

    def __call__(self) -> float:
        return self.now


def test_an_engine_is_timed_at_the_sizes_asked_for() -> None:
    """Texts of this model end after ten tokens or so, and its cache would know the prompts."""
    model = BatchedLM(cells=800, slots=16, width=8)
    sizes = {"prompts": (16, 32, 64), "outputs": (1, 5, 20), "widths": (1, 4)}
    timings = measure(model, **sizes, repeats=2, clock=Clock(model))  # type: ignore[arg-type]
    assert [t[:3] for t in timings] == 2 * list(product(*sizes.values()))
    for timing in timings:
        if timing.width == 1:  # one step reads the prompt and gives the first token
            decoding = 2.5 * (timing.output - 1)
            assert timing.seconds == pytest.approx(2 + 0.5 * timing.prompt + decoding)
    found = fit(timings)
    assert found.rate == pytest.approx(0.5)
    assert [step for _, _, step in found.steps] == pytest.approx([2.5, 4.0])
    assert found.r2 == pytest.approx(1)
    assert not model.engine.running
    model.decoder.check_all_free()


def test_without_an_engine_what_was_written_is_noted() -> None:
    model = TableLM(("a", "b", "<end>"), {(0,): [0.5, 0.3, 0.2], (1,): [0.2, 0.7, 0.1]})
    timings = measure(model, prompts=(1, 4), outputs=(1, 30), widths=(1,), repeats=5)
    assert {t.prompt for t in timings} == {1, 4}
    written = [t.output for t in timings[1::2]]
    assert len(timings) == 20
    assert min(written) < 30
    assert len(set(written)) > 2
    assert all(t.seconds >= 0 for t in timings)
    assert isinstance(timings[0], Timing)


def test_what_cannot_be_measured_is_refused() -> None:
    table = TableLM(("a", "<end>"), {(0,): [0.5, 0.5]})
    with pytest.raises(PonderError, match="no engine"):
        measure(table)
    with pytest.raises(PonderError, match="no token"):
        measure(table, widths=(1,), text="xyz")
    model = BatchedLM(cells=100, width=4)
    with pytest.raises(PonderError, match="do not fit"):
        measure(model, prompts=(60,), outputs=(20,), widths=(2,))
    with pytest.raises(PonderError, match="at most 4"):
        measure(model, prompts=(6,), outputs=(2,), widths=(8,))


def test_ctrl_c_ends_it() -> None:
    model = BatchedLM(cells=100, width=4)
    model.engine.abort()
    with pytest.raises(CutShort):
        measure(model, prompts=(6,), outputs=(2,), widths=(1,))
