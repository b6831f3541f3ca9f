"""``thinksum``: options scored under several prompts, the scores combined outside of the model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from string import ascii_uppercase

from ponder.binding import Binding
from ponder.dist import NEG_INF, Categorical
from ponder.effects import Effects, Program, each, sample
from ponder.errors import PonderError
from ponder.lm.protocol import OptionLogProbs, Tokens
from ponder.recipes import fields
from ponder.recipes.prompting import ask_messages, question_text
from ponder.recipes.single_tokens import single_tokens
from ponder.strategy import Source

MODES = ("product", "mixture", "ratio")
_INSTRUCTION = "Reply with the letter of the best option, nothing else."


def _build(binding: Binding, *, mode: str = "product") -> Program[str | None]:
    """The letter of an option, drawn in proportion to its combined score (Ozturkler et al. 2022).

    Think: for each text i of the question's meta["items"], l_ij is the log-probability that the
    model answers option j to that text and the options. Sum, see :func:`combined`: "product" takes
    the items for independent evidence, "mixture" for one of which is meant, "ratio" is a product
    that divides out what the model answers to the options alone. With "ratio" the question itself
    is the item, if none are given. The law is exact given the scores.
    """
    _check(mode)
    question = binding.question
    letters = ascii_uppercase[: len(fields.options(question, "thinksum"))]
    if mode == "ratio" and not question.meta.get("items"):
        items: tuple[str, ...] = (question_text(question),)
    else:
        items = fields.texts(question, "items", "thinksum")
    prompts = [*items, *([""] if mode == "ratio" else [])]

    def think(item: str) -> Effects[tuple[float, ...]]:
        about = dataclasses.replace(question, text=item)
        prompt: Tokens = binding.model.chat(ask_messages(about, _INSTRUCTION))
        groups = tuple(single_tokens(binding.model, letter) for letter in letters)
        return (yield from sample(OptionLogProbs(binding.model, prompt, groups), "think"))

    def run() -> Effects[str | None]:
        rows = yield from each([Program(partial(think, item), "think") for item in prompts])
        null = rows.pop() if mode == "ratio" else ()
        scores = combined(mode, rows, null)
        top = max(scores)
        if top == NEG_INF:
            return None
        shares = Categorical([math.exp(score - top) for score in scores], tuple(letters))
        letter: str = yield from sample(shares, "answer")
        return letter

    return Program(run, "thinksum", normalised=True)


def combined(mode: str, rows: Sequence[Sequence[float]], null: Sequence[float] = ()) -> list[float]:
    """The log-score of each option, up to a constant, given log-probabilities (items, options).

    product: sum_i l_ij; mixture: log mean_i exp l_ij; ratio: sum_i (l_ij - null_j). An option
    that ``null`` excludes has no ratio and no score.
    """
    columns = list(zip(*rows, strict=True))
    if mode == "product":
        return [math.fsum(column) for column in columns]
    if mode == "mixture":
        means = [math.fsum(map(math.exp, column)) / len(column) for column in columns]
        return [math.log(mean) if mean > 0 else NEG_INF for mean in means]
    pairs = zip(columns, null, strict=True)
    return [NEG_INF if n == NEG_INF else math.fsum(x - n for x in c) for c, n in pairs]


def _check(mode: str = "product") -> None:
    if mode not in MODES:
        raise PonderError(f"thinksum has the modes {', '.join(MODES)}, got {mode!r}")


thinksum = Source("thinksum", _build, normalised=True, allowed=("mode",), check=_check)
