"""``hypotheses``: a rule in words, then a program for it, provided that it fits all examples."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from ponder.binding import Binding
from ponder.effects import Effects, Factor, Program, sample
from ponder.errors import PonderError
from ponder.lm.further import further
from ponder.lm.protocol import Message, Tokens
from ponder.lm.sampling_law import SamplingLaw
from ponder.outside import Outside
from ponder.question import Question
from ponder.recipes.layers.asking import elided
from ponder.recipes.prompting import Reply, ask_messages, prompt_of, written
from ponder.recipes.replies import SETTINGS, sampling_law
from ponder.strategy import Source
from ponder.verify.structured import data_form, program_text

_LONGEST = 1_000  # characters of a value that is shown
_RULE = (
    "Do not give the output yet. State the rule that turns every input into its output, in one or "
    "two sentences."
)
_CODE = (
    "Write this rule as a Python function transform(value) that returns the output for an input, "
    "in the same form. Only code, no explanation."
)
_REVISE = "State a rule that is right on all examples, in one or two sentences."


def _build(
    binding: Binding,
    *,
    refine: int = 0,
    soft: float | None = None,
    max_tokens: int = 512,
    **law: Any,
) -> Program[Reply]:
    """Draw a rule, then a program for it; run the program on the training pairs and the tests.

    Hypothesis Search (Wang et al. 2024). The factor is 1 for a program that fits every pair of
    meta["train"] and 0 for any other: the measure is the model's own prior on programs restricted
    to those that fit, ``draw`` is rejection sampling from it, and its evidence is the probability
    that a program fits. With ``soft`` every pair that fails costs so many nats instead.

    A program that fails is shown what it does, and the rule stated anew, at most ``refine`` times
    (Qiu et al. 2024); of several rounds only the last is shown. The prior is then that of the last
    program. The answer is its output on meta["test"], a list of them if there are several.
    """
    sampling = _check(refine, soft, max_tokens=max_tokens, **law)
    question, live = binding.question, dataclasses.replace(binding, keep_state=True)
    train, tests = _pairs(question, "train", "output"), _pairs(question, "test", "input")

    def said(prompt: Tokens, name: str) -> Effects[Reply]:
        return written(live, prompt, sampling, max_tokens, name)

    def run() -> Effects[Reply]:
        rule = yield from said(prompt_of(binding, _RULE), "hypothesis")
        for left in reversed(range(refine + 1)):
            code = yield from said(further(binding.model, rule.transcript, _CODE), "program")
            program = program_text(code.text, "transform") if code.finish == "stop" else None
            wrong = yield from _failures(binding, program, train)
            if not wrong or not left:
                break
            prompt = binding.model.chat(_feedback(question, rule, code, wrong))
            rule = yield from said(prompt, "hypothesis")
        if wrong:
            yield Factor(-math.inf if soft is None else -soft * len(wrong))
        outputs = yield from _called(binding, program, tests, "answer")
        forms = [form_of(output) for output in outputs]
        answer = forms[0] if len(forms) == 1 else f"[{','.join(map(str, forms))}]"
        return dataclasses.replace(code, answer=None if None in forms else answer, program=program)

    return Program(run, "hypotheses")


def _pairs(question: Question, name: str, key: str) -> list[dict[str, Any]]:
    """The pairs of meta[name], of which each has an input and the ``key``."""
    listed = question.meta.get(name)
    pairs: list[dict[str, Any]] = listed if isinstance(listed, list) else []
    good = all(isinstance(pair, dict) and {"input", key} <= {*pair} for pair in pairs)
    if question.kind == "json" and pairs and good:
        return pairs
    raise PonderError(
        f"hypotheses needs a question of kind json with meta.train and meta.test, lists of objects "
        f"with input and output; {question.id or question.text[:40]!r} is none"
    )


def _called(
    binding: Binding, program: str | None, pairs: Sequence[dict[str, Any]], name: str
) -> Effects[list[dict[str, Any]]]:
    """What the service "python" says of the program on each input."""
    results: list[dict[str, Any]] = []
    for pair in pairs:
        result = {"status": "failed", "detail": "there is no program"}
        if program is not None:
            call = f"transform({pair['input']!r})"
            request = Outside.ask(binding.service("python"), program=program, call=call)
            result = yield from sample(request, name)
        results.append(result)
    return results


def _failures(
    binding: Binding, program: str | None, train: Sequence[dict[str, Any]]
) -> Effects[list[str]]:
    """What the program does on each pair that it does not fit, in words."""
    results = yield from _called(binding, program, train, "run")
    wrong = []
    for pair, result in zip(train, results, strict=True):
        form, right = form_of(result), data_form(pair["output"])
        if form != right:
            did = form or f"no value ({result.get('detail')})"
            shown = data_form(pair["input"])
            wrong.append(f"Input: {shown}\nExpected: {right}\nGot: {elided(did, _LONGEST)}")
    return wrong


def form_of(result: dict[str, Any]) -> str | None:
    """What a call returned, as canonical JSON, tuples as lists; None for what is no such value."""
    from ponder.verify.sandbox import NotPlain, plain

    if result.get("status") != "ok":
        return None
    try:
        return data_form(plain(result["value"]))
    except (NotPlain, TypeError, ValueError, RecursionError):
        return None


def _feedback(question: Question, rule: Reply, code: Reply, wrong: list[str]) -> list[Message]:
    """The chat that asks for another rule; nothing of earlier rounds is in it."""
    failures = "\n\n".join(wrong)
    said = f"On these examples the program is wrong.\n\n{failures}\n\n{_REVISE}"
    return [
        *ask_messages(question, _RULE),
        {"role": "assistant", "content": rule.text},
        {"role": "user", "content": _CODE},
        {"role": "assistant", "content": code.text},
        {"role": "user", "content": said},
    ]


def _check(refine: int = 0, soft: float | None = None, **law: Any) -> SamplingLaw:
    if isinstance(refine, bool) or not isinstance(refine, int) or refine < 0:
        raise PonderError(f"refine must be a number of rounds, 0 for none, got {refine!r}")
    number = isinstance(soft, int | float) and not isinstance(soft, bool)
    if soft is not None and not (number and 0 <= soft < math.inf):
        raise PonderError(f"soft must be the nats that a pair costs, such as 2, got {soft!r}")
    return sampling_law(**law)


hypotheses = Source("hypotheses", _build, allowed=(*SETTINGS, "refine", "soft"), check=_check)
