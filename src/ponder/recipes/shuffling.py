"""``shuffled``: a choice question with its options in another order (Medprompt)."""

from __future__ import annotations

import dataclasses
import re
from string import ascii_uppercase
from typing import Any

from ponder.binding import Binding
from ponder.blocks.stratify import WHICH
from ponder.dist import Categorical
from ponder.effects import Effects, Program, sample
from ponder.errors import PonderError
from ponder.question import Question
from ponder.recipes import fields
from ponder.recipes.prompting import Reply, prompt_of, written
from ponder.recipes.replies import SETTINGS, cot_instruction, sampling_law
from ponder.strategy import Source

_LETTERED = re.compile(r"^\s*\(?A[).:]\s.*^\s*\(?B[).:]\s", re.MULTILINE | re.DOTALL)


def _build(binding: Binding, *, max_tokens: int = 512, **law: Any) -> Program[Reply]:
    """A chain of thought on the options in one of their n cyclic orders, each as likely.

    The choice-shuffle ensemble of Medprompt (Nori et al. 2023) when drawn from and voted on. The
    answer is the letter in the question's own order, whatever letter the reply's text names. Each
    option stands at each place equally often: a model that goes by the place alone says nothing
    of the options, and they come out even.
    """
    sampling = sampling_law(max_tokens, **law)
    n = len(fields.options(binding.question, "shuffled"))
    turned = [turned_by(binding.question, by) for by in range(n)]

    def run() -> Effects[Reply]:
        by: int = yield from sample(Categorical([1.0] * n), WHICH)
        there = dataclasses.replace(binding, question=turned[by])
        prompt = prompt_of(there, cot_instruction(turned[by]))
        reply = yield from written(there, prompt, sampling, max_tokens)
        if reply.answer is None:
            return reply
        place = ascii_uppercase.index(str(reply.answer))
        return dataclasses.replace(reply, answer=ascii_uppercase[(place + by) % n])

    return Program(run, "shuffled", normalised=True)


def turned_by(question: Question, by: int) -> Question:
    """The question whose option at place i is the one at place i + ``by``, counted round.

    Where its text lists the options, they are exchanged there. Raises PonderError if it lists
    others than ``options`` under letters.
    """
    old = question.options
    new = (*old[by:], *old[:by])
    marks = [
        rf"((?<!\w)\(?{letter}[).:]\s*){re.escape(option)}"
        for letter, option in zip(ascii_uppercase, old, strict=False)
    ]
    found = list(re.finditer(r"(\s*[,;]?\s*)".join(marks), question.text))
    text = question.text
    if found:
        start, end = found[-1].span()
        between = iter((*found[-1].groups(), ""))  # a mark, what follows its option, a mark, ...
        listed = "".join(f"{next(between)}{option}{next(between)}" for option in new)
        text = text[:start] + listed + text[end:]
    elif _LETTERED.search(text):
        name = question.id or text[:40]
        raise PonderError(
            f"the text of the question {name!r} lists other options than meta.options; make them "
            "the same"
        )
    elif all(option in text for option in old):
        listed = "\n".join(f"{a}) {o}" for a, o in zip(ascii_uppercase, new, strict=False))
        text = f"{text}\n{listed}"  # named, not listed: question_text would leave it at that
    return dataclasses.replace(question, text=text, options=new, labels=())


shuffled = Source("shuffled", _build, normalised=True, allowed=SETTINGS, check=sampling_law)
