"""``perceived``: only the premises that matter, in the order of a proof (COP)."""

from __future__ import annotations

import dataclasses
from typing import Any

from ponder.binding import Binding
from ponder.blocks.arguments import check_least
from ponder.effects import Effects, Program
from ponder.lm.sampling_law import SamplingLaw
from ponder.question import Question
from ponder.recipes import fields
from ponder.recipes.premises import relevant
from ponder.recipes.prompting import Reply, prompt_of, written
from ponder.recipes.replies import SETTINGS, cot_instruction, sampling_law
from ponder.strategy import Source


def _build(
    binding: Binding, *, depth: int = 10, max_tokens: int = 512, **law: Any
) -> Program[Reply]:
    """A chain of thought on the premises that lead to the conclusion, and no others.

    Concise and organised perception (Liu et al. 2023): the question's meta["premises"] are a graph
    (see :mod:`~ponder.recipes.premises`); those within ``depth`` links behind its
    meta["conclusion"] are put to the model, facts first. What is left out is not seen: a premise
    missed can turn a proof into "Uncertain".
    """
    sampling = _check(depth, max_tokens=max_tokens, **law)
    question = perceived_question(binding.question, depth)
    there = dataclasses.replace(binding, question=question)
    prompt = prompt_of(there, cot_instruction(question))

    def run() -> Effects[Reply]:
        return (yield from written(there, prompt, sampling, max_tokens))

    return Program(run, "perceived", normalised=True)


def perceived_question(question: Question, depth: int) -> Question:
    """The question on the premises that bear on its conclusion. Raises PonderError without any."""
    premises = fields.texts(question, "premises", "perceived")
    conclusion = str(fields.needed(question, "conclusion", "perceived", "a text"))
    kept = [premises[i] for i in relevant(premises, conclusion, depth)]
    numbered = [f"{number}. {premise}" for number, premise in enumerate(kept, 1)]
    text = "\n".join(["Premises:", *numbered, f"Conclusion: {conclusion}"])
    asking = "Given the premises, is the conclusion True, False or Uncertain?"
    return dataclasses.replace(question, text=f"{text}\n{asking}")


def _check(depth: int = 10, **law: Any) -> SamplingLaw:
    check_least("perceived", "depth", depth, 1)
    return sampling_law(**law)


perceived = Source("perceived", _build, normalised=True, allowed=(*SETTINGS, "depth"), check=_check)
