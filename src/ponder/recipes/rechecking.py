"""Fast verdicts on a reply where they agree, slow ones where they do not (FlexiVe)."""

from __future__ import annotations

import re
from functools import partial

from ponder.binding import Binding
from ponder.effects import Effects, Program, each
from ponder.recipes.layers.asking import gone_on
from ponder.recipes.prompting import Reply
from ponder.recipes.replies import sampling_law

_FAST = (
    "Is your solution right? If it is, reply only [Correct]. Otherwise reply [Error] and name the "
    "first wrong step in a few words."
)
_SLOW = (
    "Check your solution step by step. Then end with [Correct] if it is right, or with [Error] and "
    "what is wrong in the first wrong step."
)
_MARK = re.compile(r"\[[ ]?(correct|error)[ ]?\]", re.IGNORECASE)


def objection(binding: Binding, reply: Reply, fast: int, slow: int, agree: float) -> Effects[str]:
    """What is wrong with a reply in the model's own opinion, or "" if nothing is.

    ``fast`` short verdicts are sampled together. If a share of at least ``agree`` of them says
    the same, that is it; else ``slow`` long verdicts are sampled and the reply stands unless more
    of them find an error than call it correct. An unreadable verdict is neither. What is wrong
    is the text of the first verdict that finds an error.
    """
    texts = yield from _verdicts(binding, reply, _FAST, 48, fast, "fast")
    said = [verdict_in(text) for text in texts]
    if max(said.count("correct"), said.count("error")) / fast < agree:
        texts = yield from _verdicts(binding, reply, _SLOW, 256, slow, "slow")
        said = [verdict_in(text) for text in texts]
    if said.count("error") <= said.count("correct"):
        return ""
    return texts[said.index("error")]


def verdict_in(text: str) -> str:
    """ "correct" or "error", whichever stands last in brackets; "" if neither does."""
    marks = _MARK.findall(text)
    return str(marks[-1]).lower() if marks else ""


def _verdicts(
    binding: Binding, reply: Reply, request: str, max_tokens: int, count: int, name: str
) -> Effects[list[str]]:
    asking = partial(gone_on, binding, reply, request, max_tokens, name, sampling_law())
    said = yield from each([Program(asking, name) for _ in range(count)])
    return [verdict.text for verdict in said]
