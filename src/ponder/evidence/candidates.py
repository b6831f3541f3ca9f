"""What ``tune`` chooses among: strategies as they are written, with braces, at every nested size.

Braces outside quotes stand for one of the parts between their commas, as in a shell:
``cot | draw({4,8}) | {vote,weigh(perplexity) | vote}`` are four strategies. They nest; braces
without a comma of their own stand for themselves. Unlike a shell's, a part may hold commas within
brackets: ``{draw(8),stratify(4, 8)}`` are two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ponder.answering import as_strategy
from ponder.blocks.equate import Equate
from ponder.blocks.sizes import draws_all, ladder
from ponder.blocks.weigh import Weigh
from ponder.errors import PonderError
from ponder.strategy import Infer, Pipeline, Source

DEFAULT = (
    "{direct,cot,pot} | draw(16) | vote",
    "cot | draw(16) | weigh(perplexity) | vote",
)
MOST = 500
"""The most candidates: what is beyond that is a mistake in the braces."""


@dataclass(frozen=True)
class Candidate:
    """A strategy of ``size`` traces; ``whole`` is the largest that it is a nested part of."""

    strategy: Pipeline
    size: int
    whole: Pipeline

    def __repr__(self) -> str:
        return repr(self.strategy)


def candidates(strategies: Sequence[str | Pipeline | Source]) -> list[Candidate]:
    """Every strategy at each of its nested sizes, each of them once; of none, the default ones.

    Raises PonderError for a text that is no strategy, naming it without its braces.
    """
    wholes: dict[str, Pipeline] = {}
    for given in strategies or DEFAULT:
        for one in expanded(given) if isinstance(given, str) else [given]:
            whole = as_strategy(one)
            wholes.setdefault(repr(whole), whole)
            _check(len(wholes))
    found: dict[str, Candidate] = {}
    for whole in sorted(wholes.values(), key=lambda whole: -ladder(whole)[-1][0]):
        for size, smaller in ladder(whole):
            found.setdefault(repr(smaller), Candidate(smaller, size, whole))
    return list(found.values())


def keeps_all(strategy: Pipeline) -> bool:
    """Whether its posterior holds independent traces, as many as it says, in the order drawn."""
    if not draws_all(strategy):
        return False
    first, *others = strategy.blocks[:-1]
    return isinstance(first, Infer) and all(isinstance(b, Weigh | Equate) for b in others)


def expanded(text: str) -> list[str]:
    """The texts that ``text`` with braces stands for, in order."""
    found = _expanded(text)
    _check(len(found))
    return found


def _expanded(text: str) -> list[str]:
    place = 0
    while (opened := _next_brace(text, place)) is not None:
        ends = _ends(text, opened)
        if ends is None or len(ends) == 1:  # without a partner or a comma: itself
            place = opened + 1
            continue
        after = _expanded(text[ends[-1] + 1 :])
        starts = [opened, *ends[:-1]]
        parts = [text[a + 1 : b] for a, b in zip(starts, ends, strict=True)]
        inside = [one for part in parts for one in _expanded(part)]
        _check(len(inside) * len(after))
        return [text[:opened] + one + rest for one in inside for rest in after]
    return [text]


def _next_brace(text: str, place: int) -> int | None:
    """Where the next opening brace outside quotes stands, from ``place`` on."""
    return next((i for i in _outside_quotes(text) if i >= place and text[i] == "{"), None)


def _ends(text: str, opened: int) -> list[int] | None:
    """Where the parts of the brace opened there end, the closing brace last; None if it does not.

    Commas within brackets part nothing; a bracket that the brace did not open does not count.
    """
    depth, ends = 0, list[int]()
    for i in _outside_quotes(text):
        if i <= opened:
            continue
        if text[i] in "{([":
            depth += 1
        elif text[i] == "}" and depth == 0:
            return [*ends, i]
        elif text[i] in "})]":
            depth -= 1
        elif text[i] == "," and depth == 0:
            ends.append(i)
    return None


def _outside_quotes(text: str) -> list[int]:
    """The places of the characters that stand in no quotes."""
    places, quote, i = [], "", 0
    while i < len(text):
        if quote:
            if text[i] == "\\":
                i += 1
            elif text[i] == quote:
                quote = ""
        elif text[i] in "'\"":
            quote = text[i]
        else:
            places.append(i)
        i += 1
    return places


def _check(number: int) -> None:
    if number > MOST:
        raise PonderError(
            f"the braces stand for more than {MOST} strategies; leave some alternatives out"
        )
