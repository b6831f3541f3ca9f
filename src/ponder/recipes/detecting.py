"""``detected``: solve until it is solved, verify, refine once (Solve-Detect-Verify)."""

from __future__ import annotations

import dataclasses
from typing import Any

from ponder.binding import Binding
from ponder.blocks.arguments import check_least
from ponder.effects import Effects, Program, sample
from ponder.errors import PonderError
from ponder.lm.protocol import Completion, Draw
from ponder.lm.sampling_law import SamplingLaw
from ponder.recipes.layers.asking import gone_on
from ponder.recipes.prompting import Reply, prompt_of, reply_of
from ponder.recipes.rechecking import objection
from ponder.recipes.replies import SETTINGS, cot_instruction, sampling_law
from ponder.strategy import Source
from ponder.verify.judge import yes_or_no

HESITATIONS = ("Wait", " wait", "Alternatively", "alternatively", "Hmm", "double-check")
_COMPLETE = "Is the solution above already complete?"
_REFINE = "A check of your solution found this:\n{found}\nNow write the corrected solution."


def _build(
    binding: Binding,
    *,
    fast: int = 4,
    agree: float = 0.75,
    slow: int = 3,
    max_tokens: int = 512,
    **law: Any,
) -> Program[Reply]:
    """A chain of thought that ends where it is complete, verified, and refined at most once.

    Solve-Detect-Verify (Zhong et al. 2025). Detect: see :func:`solved`. Verify: ``fast`` short
    verdicts, ``slow`` long ones if fewer than ``agree`` of them say the same (see
    :func:`~ponder.recipes.rechecking.objection`). If they find an error, the model is told and
    writes one more reply, which counts unverified. A reply without an answer is not verified.
    """
    sampling = _check(fast, agree, slow, max_tokens=max_tokens, **law)

    def run() -> Effects[Reply]:
        reply = yield from solved(binding, sampling, max_tokens)
        if reply.answer is None:
            return reply
        found = yield from objection(binding, reply, fast, slow, agree)
        if not found:
            return reply
        request = f"{_REFINE.format(found=found)} {cot_instruction(binding.question)}"
        keep = binding.keep_state
        return (yield from gone_on(binding, reply, request, max_tokens, "refined", sampling, keep))

    return Program(run, "detected", normalised=True)


def solved(binding: Binding, law: SamplingLaw, max_tokens: int) -> Effects[Reply]:
    """A chain of thought that is stopped where it hesitates though it is complete.

    It is drawn up to each word of hesitation. There, if an answer has been announced, the model
    is asked on the live trace whether the solution is complete; P(yes) above 1/2 ends it, without
    that word (which only ``transcript`` keeps). Where it never hesitates this is the law of
    ``cot``.
    """
    model, prompt = binding.model, prompt_of(binding, cot_instruction(binding.question))
    tokens, draws = prompt, list[Draw]()
    while (left := max_tokens - len(tokens) + len(prompt)) > 0:
        segment = Completion(model, tokens, law, left, HESITATIONS, segment=True, keep=True)
        draw = yield from sample(segment, "solve")
        draws.append(draw)
        tokens += draw.tokens
        if draw.finish != "stop" or draw.tokens[-1] in model.end_tokens:
            return reply_of(binding, prompt, draws)
        before = min(p for word in HESITATIONS if (p := draw.text.find(word)) >= 0)
        certain = dataclasses.replace(draw, text=draw.text[:before])
        reply = reply_of(binding, prompt, [*draws[:-1], certain])
        if reply.answer is not None:
            asks = yes_or_no(binding, "detected")
            yes, no = yield from asks.after(tokens, _COMPLETE, reply)
            if yes > no:
                return reply
    return reply_of(binding, prompt, draws, "length")


def _check(fast: int = 4, agree: float = 0.75, slow: int = 3, **law: Any) -> SamplingLaw:
    check_least("detected", "fast", fast, 1)
    check_least("detected", "slow", slow, 1)
    if isinstance(agree, bool) or not isinstance(agree, int | float) or not 0.5 < agree <= 1:
        raise PonderError(f"detected needs agree, a share above 0.5 and up to 1, got {agree!r}")
    return sampling_law(**law)


detected = Source(
    "detected",
    _build,
    normalised=True,
    allowed=(*SETTINGS, "fast", "agree", "slow"),
    check=_check,
)
