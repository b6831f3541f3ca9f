"""``neighbours``: the most similar solved examples come before the question (Medprompt)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ponder.binding import Binding
from ponder.blocks.arguments import check_least
from ponder.effects import Effects, Program
from ponder.lm.protocol import Message
from ponder.lm.sampling_law import SamplingLaw
from ponder.question import Question
from ponder.recipes import fields
from ponder.recipes.prompting import Reply, answer_in, ask_messages, opening_messages, written
from ponder.recipes.replies import SETTINGS, cot_instruction, sampling_law
from ponder.strategy import Source
from ponder.verify.answers import is_correct

_WORD = re.compile(r"[^\W_]+")


def _build(binding: Binding, *, k: int = 5, max_tokens: int = 512, **law: Any) -> Program[Reply]:
    """A chain of thought after the k nearest of the question's meta["examples"], as chat.

    An example is {"question", "answer"} and a "reply" that a model gave or a "solution" that is
    known to be right. Replies with another answer than the example's are left out (as in
    Medprompt, Nori et al. 2023), and so is the question itself. The nearest stands last, next to
    the question; fewer than k are fine, without any it is ``cot``.
    """
    sampling = _check(k, max_tokens=max_tokens, **law)
    question = binding.question
    shown = nearest(question, k)
    chat = opening_messages(question)
    for example in shown:
        chat += _demonstration(question, example)
    asking = ask_messages(question, cot_instruction(question))
    prompt = binding.model.chat([*chat, asking[-1]])

    def run() -> Effects[Reply]:
        return (yield from written(binding, prompt, sampling, max_tokens))

    return Program(run, "neighbours", normalised=True)


def nearest(question: Question, k: int) -> list[Mapping[str, Any]]:
    """The usable examples most similar to the question, the most similar one last.

    Similarity is the cosine of bags of words; of equal ones the first stand nearer. Raises
    PonderError for an example without the fields that it needs.
    """
    listed = fields.needed(question, "examples", "neighbours", "a list of solved examples")
    if not isinstance(listed, list | tuple):
        raise fields.lacking(question, "meta.examples as a list of solved examples", "neighbours")
    examples = [_checked(question, example) for example in listed]
    usable = [e for e in examples if e["question"] != question.text and _is_right(question, e)]
    ranked = sorted(usable, key=lambda e: -cosine(e["question"], question.text))
    return ranked[:k][::-1]


def cosine(a: str, b: str) -> float:
    """The cosine of the word counts of two texts, in [0, 1]; 0 for a text without words."""
    left, right = (Counter(_WORD.findall(text.lower())) for text in (a, b))
    product = sum(count * right[word] for word, count in left.items())
    return product / math.sqrt(_square(left) * _square(right)) if product else 0.0


def _square(counts: Counter[str]) -> int:
    return sum(count * count for count in counts.values())


def _checked(question: Question, example: Any) -> Mapping[str, Any]:
    held = example if isinstance(example, Mapping) else {}
    for field in ("question", "answer"):
        if not isinstance(held.get(field), str):
            raise fields.lacking(question, f"a text {field!r} in meta.examples", "neighbours")
    if not any(isinstance(held.get(field), str) for field in ("reply", "solution")):
        raise fields.lacking(question, "'reply' or 'solution' in meta.examples", "neighbours")
    return held


def _is_right(question: Question, example: Mapping[str, Any]) -> bool:
    """Whether its reply gives its answer; a solution is taken for right."""
    if "reply" not in example:
        return True
    like = _asked(question, example)
    said = answer_in(example["reply"], like)
    return is_correct(said, example["answer"], like.kind, options=like.options, labels=like.labels)


def _asked(question: Question, example: Mapping[str, Any]) -> Question:
    options = tuple(map(str, example.get("options") or ()))
    return Question(example["question"], question.kind, options=options, labels=question.labels)


def _demonstration(question: Question, example: Mapping[str, Any]) -> list[Message]:
    like = _asked(question, example)
    said = example.get("reply") or f"{example['solution']}\nAnswer: {example['answer']}"
    asking = ask_messages(like, cot_instruction(like))
    return [*asking, {"role": "assistant", "content": said}]


def _check(k: int = 5, **law: Any) -> SamplingLaw:
    check_least("neighbours", "k", k, 1)
    return sampling_law(**law)


neighbours = Source("neighbours", _build, normalised=True, allowed=(*SETTINGS, "k"), check=_check)
