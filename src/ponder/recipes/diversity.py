"""``diverse``, ``diverse_once``: several approaches to one question (Naik et al. 2023)."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from typing import Any

from ponder.binding import Binding
from ponder.blocks.arguments import check_least
from ponder.blocks.stratify import WHICH
from ponder.blocks.vote import choose
from ponder.dist import Categorical
from ponder.effects import Effects, Program, sample
from ponder.errors import PonderError
from ponder.lm.sampling_law import SamplingLaw
from ponder.question import Question
from ponder.recipes.layers.asking import asked
from ponder.recipes.prompting import Reply, answer_in, prompt_of, wanted, written
from ponder.recipes.replies import SETTINGS, cot_instruction, sampling_law
from ponder.strategy import Source

_LIST = (
    "Do not solve this yet. List {n} different approaches to solve it, numbered, one a line, "
    "each in at most ten words."
)
_ITEM = re.compile(r"^\s*(?:\d+\s*[.):]|[-*])\s*(\S.*)$", re.MULTILINE)
_ONCE = (
    "Solve this in {n} different ways, one after the other{ways}. Begin them with 'Way 1:', "
    "'Way 2:' and so on. Keep each short and end each with 'Answer: ' and {wanted}."
)
_WAY = re.compile(r"^[\s#*_]*way\s*\d+\b", re.IGNORECASE | re.MULTILINE)


def _build(
    binding: Binding,
    *,
    n: int | None = None,
    approaches: str | None = None,
    max_tokens: int = 512,
    **law: Any,
) -> Program[Reply]:
    """A chain of thought under one of n approaches, each as likely as the others.

    They are ``approaches`` ("algebra|guess and check"), or what the model lists when asked for n:
    greedily, so that every trace has the same list, and each pays for it. Where the list is too
    short, the missing ones are plain chains of thought. The law is the mixture over approaches;
    ``stratify(1, 1, ...)`` draws each of them once (DIV-SE), ``draw`` at random.
    """
    count, given, sampling = _check(n, approaches, max_tokens=max_tokens, **law)

    def run() -> Effects[Reply]:
        which: int = yield from sample(Categorical([1.0] * count), WHICH)
        known = given
        if not known:
            said = yield from asked(binding, _LIST.format(n=count), 40 * count, "approaches")
            known = listed_in(said, count)
        instruction = cot_instruction(binding.question)
        if known[which]:
            instruction = f"Use this approach: {known[which]}\n{instruction}"
        prompt = prompt_of(binding, instruction)
        return (yield from written(binding, prompt, sampling, max_tokens))

    return Program(run, "diverse", normalised=True)


def _build_once(
    binding: Binding,
    *,
    n: int | None = None,
    approaches: str | None = None,
    max_tokens: int = 1024,
    **law: Any,
) -> Program[Reply]:
    """One reply that solves the question in n ways; the majority of their answers (IDIV-SE).

    Ties are broken at random. Ways without a readable answer do not vote, a reply that is cut off
    abstains.
    """
    count, given, sampling = _check(n, approaches, max_tokens=max_tokens, **law)
    question = binding.question
    ways = f", by these approaches: {'; '.join(given)}" if given else ""
    instruction = _ONCE.format(n=count, ways=ways, wanted=wanted(question))
    prompt = prompt_of(binding, instruction)

    def run() -> Effects[Reply]:
        reply = yield from written(binding, prompt, sampling, max_tokens)
        votes = Counter(answers_in(reply.text, question) if reply.finish == "stop" else ())
        top = max(votes.values(), default=0)
        answer = yield from choose([a for a, count in votes.items() if count == top])
        return dataclasses.replace(reply, answer=answer)

    return Program(run, "diverse_once", normalised=True)


def listed_in(text: str, n: int) -> tuple[str, ...]:
    """The first n items of a list, one a line; "" for each that is missing."""
    found = [item.strip() for item in _ITEM.findall(text)][:n]
    return (*found, *[""] * (n - len(found)))


def answers_in(text: str, question: Question) -> list[Any]:
    """The answers of the sections that begin with a line "Way 1:" and so on, where readable."""
    _, *sections = _WAY.split(text)
    read = [answer_in(s, question) for s in sections]
    return [answer for answer in read if answer is not None]


def _check(
    n: int | None = None, approaches: str | None = None, **law: Any
) -> tuple[int, tuple[str, ...], SamplingLaw]:
    if approaches is None:
        return check_least("diverse", "n", 5 if n is None else n, 1), (), sampling_law(**law)
    given = tuple(part.strip() for part in approaches.split("|"))
    if not all(given):
        raise PonderError(f"approaches are texts with | between them, got {approaches!r}")
    if n not in (None, len(given)):
        raise PonderError(f"diverse got n={n} and {len(given)} approaches; leave out n")
    return len(given), given, sampling_law(**law)


_ALLOWED = (*SETTINGS, "n", "approaches")
diverse = Source("diverse", _build, normalised=True, allowed=_ALLOWED, check=_check)
diverse_once = Source("diverse_once", _build_once, normalised=True, allowed=_ALLOWED, check=_check)
