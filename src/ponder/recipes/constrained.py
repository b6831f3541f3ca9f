"""``constrained``: a reply that satisfies a JSON schema, a regular expression or a grammar."""

from __future__ import annotations

import json
from typing import Any

from ponder.binding import Binding
from ponder.effects import Effects, Factor, Program, Sample
from ponder.errors import PonderError
from ponder.lm.grammar import FormalGrammar, Grammar, Kind, read_schema
from ponder.lm.protocol import Completion, Draw, Tokens
from ponder.lm.sampling_law import SamplingLaw
from ponder.question import Question
from ponder.recipes.prompting import Reply, prompt_of, reply_of
from ponder.recipes.replies import SETTINGS, sampling_law
from ponder.strategy import Source

_GIVEN: dict[str, Kind] = {"schema": "json", "regex": "regex", "lark": "lark"}
_ASKED: dict[Kind, str] = {
    "json": "Reply with one JSON value that follows this JSON schema, and nothing else:\n",
    "regex": "Reply with text that matches this regular expression, and nothing else:\n",
    "lark": "Reply with text of this grammar (in Lark's notation), and nothing else:\n",
}


def conditioned(
    binding: Binding,
    grammar: Grammar,
    instruction: str,
    law: SamplingLaw,
    max_tokens: int = 512,
    every: int = 8,
) -> Program[Reply]:
    """The law of a reply to the question and ``instruction``, on what ``grammar`` accepts.

    Unnormalised: its evidence is the probability that a reply drawn from ``law`` is accepted. It is
    drawn in segments of ``every`` tokens, or at once if that is 0, each weighed by the mass that
    was allowed; so ``smc`` resamples what the grammar has led astray. A reply that has not ended
    after ``max_tokens`` abstains, with the weight it has by then.
    """
    prompt = prompt_of(binding, instruction)

    def run() -> Effects[Reply]:
        draws: list[Draw] = []
        tokens: Tokens = ()
        while True:
            asked = min(max_tokens - len(tokens), every or max_tokens)
            segment = Completion(
                binding.model,
                prompt + tokens,
                law,
                asked,
                segment=True,
                keep=every > 0 or binding.keep_state,
                grammar=grammar.after(tokens),
            )
            draw = yield Sample(segment)
            yield Factor(segment.log_evidence(draw))
            draws.append(draw)
            tokens += draw.tokens
            # Fewer than asked for: the model's context is full.
            if draw.finish != "length" or len(draw.tokens) < asked or len(tokens) == max_tokens:
                return reply_of(binding, prompt, draws)

    return Program(run, "constrained")


def _build(
    binding: Binding,
    *,
    schema: str | None = None,
    regex: str | None = None,
    lark: str | None = None,
    every: int = 8,
    max_tokens: int = 512,
    **law: Any,
) -> Program[Reply]:
    """A reply that satisfies what is given, or else the question's meta["schema"] or ["regex"].

    See :func:`conditioned`. Nothing is cut off unless asked: what top-p, top-k, min-p or
    temperature 0 remove has no mass even where the grammar needs it, and the trace dies. The
    answer is read by the question's kind; "json" parses it.
    """
    sampling = _check(schema, regex, lark, every, max_tokens=max_tokens, **law)
    grammar = _grammar(binding.question, {"schema": schema, "regex": regex, "lark": lark})
    instruction = _ASKED[grammar.kind] + grammar.text
    return conditioned(binding, grammar, instruction, sampling, max_tokens, every)


def _grammar(question: Question, settings: dict[str, str | None]) -> FormalGrammar:
    for name, text in settings.items():
        if text is not None:
            return FormalGrammar(_GIVEN[name], text)
    for name in ("schema", "regex"):
        text = question.meta.get(name)
        if isinstance(text, dict | bool):
            text = json.dumps(text)
        if isinstance(text, str):
            return FormalGrammar(_GIVEN[name], text)
    raise PonderError(
        f'the question {question.id or question.text!r} has no meta["schema"] or meta["regex"]; '
        "give one there, or constrained(schema=...), (regex=...) or (lark=...)"
    )


def _check(
    schema: str | None = None,
    regex: str | None = None,
    lark: str | None = None,
    every: int = 8,
    **law: Any,
) -> SamplingLaw:
    given = {"schema": schema, "regex": regex, "lark": lark}
    texts = {name: text for name, text in given.items() if text is not None}
    if len(texts) > 1:
        raise PonderError(f"constrained takes one of schema, regex and lark, got {len(texts)}")
    for name, text in texts.items():
        if not isinstance(text, str):
            raise PonderError(f"constrained needs {name} as a text, got {text!r}")
    if schema is not None:
        read_schema(schema)
    if isinstance(every, bool) or not isinstance(every, int) or every < 0:
        raise PonderError(f"every must be a number of tokens, or 0 for all at once, got {every}")
    return sampling_law(**law)


constrained = Source(
    "constrained",
    _build,
    allowed=(*SETTINGS, "schema", "regex", "lark", "every"),
    check=_check,
)
