"""``linc``: a reply in first-order logic that a prover decides (Olausson et al. 2023)."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from ponder.binding import Binding
from ponder.effects import Effects, Program, sample
from ponder.errors import PonderError
from ponder.lm.protocol import Message
from ponder.outside import Outside
from ponder.question import Question
from ponder.recipes.prompting import Reply, opening_messages, written
from ponder.recipes.replies import SETTINGS, sampling_law
from ponder.strategy import Source

SECONDS = 5.0  # for each proof

_TASK = (
    "Translate each numbered sentence into first-order logic. Write one formula a line, with its "
    "number, and nothing else. Use the same predicate and constant names throughout."
)
_EXAMPLES = (
    (
        "1. Every gardener who owns a greenhouse grows tomatoes or cucumbers.\n"
        "2. No cucumber grower lives in Arden.\n"
        "3. Mira is a gardener who lives in Arden.\n"
        "4. If Mira does not own a greenhouse, then she rents a field.\n"
        "5. Mira grows tomatoes or rents a field.",
        "1. ∀x ((Gardener(x) ∧ OwnsGreenhouse(x)) → (GrowsTomatoes(x) ∨ GrowsCucumbers(x)))\n"
        "2. ∀x (GrowsCucumbers(x) → ¬LivesIn(x, arden))\n"
        "3. Gardener(mira) ∧ LivesIn(mira, arden)\n"
        "4. ¬OwnsGreenhouse(mira) → RentsField(mira)\n"
        "5. GrowsTomatoes(mira) ∨ RentsField(mira)",
    ),
    (
        "1. Some trains of the north line stop in Velden.\n"
        "2. A train is either on time or late.\n"
        "3. All late trains that stop in Velden are announced.\n"
        "4. The Comet is a train of the north line, and it is not announced.\n"
        "5. The Comet is on time.",
        "1. ∃x (Train(x) ∧ NorthLine(x) ∧ StopsIn(x, velden))\n"
        "2. ∀x (Train(x) → (OnTime(x) ⊕ Late(x)))\n"
        "3. ∀x ((Train(x) ∧ Late(x) ∧ StopsIn(x, velden)) → Announced(x))\n"
        "4. Train(comet) ∧ NorthLine(comet) ∧ ¬Announced(comet)\n"
        "5. OnTime(comet)",
    ),
    (
        "1. If a member of the club pays late, then they get a letter.\n"
        "2. People either pay late or are members of the board.\n"
        "3. Nobody on the board gets a letter.\n"
        "4. Either Tom both swims and dives, or he neither swims nor dives.\n"
        "5. If Tom does not swim, then Tom gets no letter.",
        "1. ∀x ((ClubMember(x) ∧ PaysLate(x)) → GetsLetter(x))\n"
        "2. ∀x (PaysLate(x) ⊕ BoardMember(x))\n"
        "3. ∀x (BoardMember(x) → ¬GetsLetter(x))\n"
        "4. (Swims(tom) ∧ Dives(tom)) ⊕ (¬Swims(tom) ∧ ¬Dives(tom))\n"
        "5. ¬Swims(tom) → ¬GetsLetter(tom)",
    ),
)
_LINE = re.compile(r"^\W*(\d+)\s*[.:)]\s*(\S.*)$")


def sentences_of(question: Question) -> list[str]:
    """The premises and, last, the conclusion. Raises PonderError if the question has none."""
    premises, conclusion = question.meta.get("premises"), question.meta.get("conclusion")
    if not isinstance(premises, list | tuple) or not isinstance(conclusion, str):
        raise PonderError(
            f"linc needs meta.premises (a list) and meta.conclusion of the question "
            f"{question.id or question.text[:40]!r}; add them, or use cot"
        )
    return [*map(str, premises), conclusion]


def formulas_in(text: str, count: int) -> list[str] | None:
    """The formulas numbered 1 to ``count``, the last one of each number; None if one lacks."""
    found = {}
    for line in text.splitlines():
        match = _LINE.match(line.strip())
        if match:
            found[int(match.group(1))] = match.group(2).strip("` ")
    wanted = range(1, count + 1)
    return [found[i] for i in wanted] if all(i in found for i in wanted) else None


def _messages(question: Question) -> list[Message]:
    chat = opening_messages(question)
    for text, formulas in _EXAMPLES:
        chat.append({"role": "user", "content": f"{_TASK}\n\n{text}"})
        chat.append({"role": "assistant", "content": formulas})
    numbered = "\n".join(f"{i}. {s}" for i, s in enumerate(sentences_of(question), 1))
    return [*chat, {"role": "user", "content": f"{_TASK}\n\n{numbered}"}]


def _build(binding: Binding, *, max_tokens: int = 512, **law: Any) -> Program[Reply]:
    """Translate premises and conclusion, prove or refute; what is neither is Uncertain.

    A translation that cannot be read, contradicts itself or is not decided in time abstains.
    """
    sampling = sampling_law(max_tokens, **law)
    count = len(sentences_of(binding.question))
    prompt = binding.model.chat(_messages(binding.question))

    def run() -> Effects[Reply]:
        reply = yield from written(binding, prompt, sampling, max_tokens)
        formulas = formulas_in(reply.text, count) if reply.finish == "stop" else None
        if formulas is None:
            return dataclasses.replace(reply, answer=None)
        *premises, conclusion = formulas
        request = Outside.ask(
            binding.service("z3"), premises=premises, conclusion=conclusion, seconds=SECONDS
        )
        verdict = yield from sample(request, "prove")
        return dataclasses.replace(reply, answer=verdict.get("label"))

    return Program(run, "linc", normalised=True)


linc = Source("linc", _build, normalised=True, allowed=SETTINGS, check=sampling_law)
