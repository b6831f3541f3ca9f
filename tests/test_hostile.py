"""Hostile text is refused before anything of it could run."""

from __future__ import annotations

import os
from typing import Any

import pytest

from ponder import notation
from ponder.binding import Potential
from ponder.errors import PonderError
from ponder.notation import parse
from ponder.strategy import Source
from toys import coins


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source("toss", lambda binding, **settings: coins(2), allowed=("style",))
    monkeypatch.setitem(notation.NAMES, "toss", source)


HOSTILE = [
    "",
    " ",
    "toss |",
    "toss || vote",
    "toss; import os",
    "toss\nimport os",
    '__import__("os").system("false")',
    'toss | __import__("os")',
    "toss.build",
    "toss.__class__.__mro__ | vote",
    "toss | draw(8).law",
    "toss | (lambda: vote)()",
    "toss | draw(lambda: 8)",
    "toss | [vote for x in (1,)][0]",
    "toss | draw((n := 8))",
    "toss | draw(2 ** 31)",
    "toss | draw(2 + 2)",
    "toss | draw(f'{8}')",
    "toss | draw(b'8')",
    "toss | draw(8j)",
    "toss | draw(...)",
    "toss | draw([8])",
    "toss | draw({8})",
    "toss | (vote if 1 else vote)",
    "toss | draw(8) | (weigh(judge) | vote)",
    "toss and vote",
    "not toss",
    "-toss",
    "toss & vote",
    "await toss",
    "toss(style=judge.name)",
    "vote",
    "1",
    "\x00",
    "\ud800",
    "toss | draw(" + "9" * 100 + ")",
    "toss | draw(" + "9" * 5000 + ")",
    "toss | draw(0x" + "f" * 5000 + ")",
    "toss | temper(1" + "0" * 400 + ")",
    "toss | draw(-" + "9" * 30 + ")",
    "toss | smc(4, ess=0x" + "f" * 5000 + ")",
    "toss" + " | vote" * 10_000,
    "toss" + " | draw(8)" * 10_000,
    "(" * 10_000 + "toss" + ")" * 10_000,
    "toss" + ".x" * 900,
    "toss" + ".x" * 50_000,
    "toss | draw(" + "-" * 500 + "1)",
    "toss | draw(" + "-" * 50_000 + "1)",
    "toss | draw(" + "draw(" * 150 + "1" + ")" * 151,
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:30]))
def test_hostile_text_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def ran(*args: Any) -> int:
        raise AssertionError("the text was evaluated")

    monkeypatch.setattr(os, "system", ran)
    with pytest.raises(PonderError) as info:
        parse(text, {"judge": Potential("judge", sum)})
    assert "\n" not in str(info.value)
