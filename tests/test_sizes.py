"""Smaller sizes of strategies: nested, in proportion, and what cannot be made smaller."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ponder.recipes  # noqa: F401 - registers the names
from ponder.blocks.sizes import ladder, resized
from ponder.errors import PonderError
from ponder.notation import parse


def sizes(text: str) -> list[tuple[int, str]]:
    return [(n, repr(pipeline)) for n, pipeline in ladder(parse(text))]


def test_draw_has_the_powers_of_two_and_itself() -> None:
    found = sizes("cot | draw(12) | vote")
    assert found == [(n, f"cot | draw({n}) | vote") for n in (1, 2, 4, 8, 12)]
    assert [n for n, _ in sizes("cot | draw(16) | vote")] == [1, 2, 4, 8, 16]
    assert sizes("cot | draw(1) | vote") == [(1, "cot | draw(1) | vote")]


def test_stratify_keeps_its_proportions() -> None:
    found = sizes("either(cot, pot) | stratify(8, 16) | product")
    counts = [(1, 2), (2, 4), (4, 8), (8, 16)]
    assert found == [(a + b, f"either(cot, pot) | stratify({a}, {b}) | product") for a, b in counts]
    rounded = [
        text.split(" | ")[1] for _, text in sizes("either(cot, pot) | stratify(5, 7) | vote")
    ]
    assert rounded == ["stratify(1, 1)", "stratify(2, 2)", "stratify(4, 5)", "stratify(5, 7)"]


def test_a_stop_rule_and_later_blocks_stay() -> None:
    stopped = sizes("cot | draw(4, stop=agreement(0.95)) | vote")
    assert stopped[0] == (1, "cot | draw(1, stop=agreement(0.95)) | vote")
    ranked = sizes("cot | draw(8) | rank(5) | top(1) | vote")
    assert ranked[1] == (2, "cot | draw(2) | rank(5) | top(1) | vote")


def test_the_last_inference_block_counts() -> None:
    nested = sizes("cot | draw(4) | collapse | draw(2) | vote")
    assert [text for _, text in nested] == [
        "cot | draw(4) | collapse | draw(1) | vote",
        "cot | draw(4) | collapse | draw(2) | vote",
    ]


def test_what_shares_no_samples_has_one_size() -> None:
    assert sizes("steps | smc(16) | vote") == [(16, "steps | smc(16) | vote")]
    assert sizes("cot | draw(4) | collapse | smc(3) | vote")[0][0] == 3
    with pytest.raises(PonderError, match="no fixed number of draws"):
        resized(parse("steps | smc(16) | vote"), 4)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(0, 60))
def test_a_larger_size_takes_no_trace_away(counts: list[int], more: int) -> None:
    whole = parse(f"cot | stratify({', '.join(map(str, counts))}) | vote")
    n = len(counts) + more
    parts, next_parts = (resized(whole, m).blocks[0].counts for m in (n, n + 1))  # type: ignore[attr-defined]
    assert sum(parts) == n
    assert min(parts) >= 1
    assert all(a <= b for a, b in zip(parts, next_parts, strict=True))
    total = sum(counts)
    assert resized(whole, total) == whole
    # Never a whole trace or more ahead of its proportion.
    assert all(
        part < n * c / total + 1 + len(counts) for part, c in zip(parts, counts, strict=True)
    )
    with pytest.raises(PonderError, match="give at least"):
        resized(whole, len(counts) - 1)
