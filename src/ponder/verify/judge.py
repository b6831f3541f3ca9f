"""``judge``: the model's own probability that a reply is right, as a potential.

Two tokens after the live trace: the judge's question is appended to the reply, so that nothing of
the trace is computed again, and the log-probabilities of yes and no are read (Kadavath et al.
2022, P(True)), with the two answers offered in either order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from ponder.binding import Binding, Potential, PotentialSource
from ponder.dist import NEG_INF
from ponder.effects import Effects, Program, each, sample
from ponder.errors import PonderError
from ponder.lm.further import further
from ponder.lm.protocol import LanguageModel, OptionLogProbs, Tokens
from ponder.verify.scoring import as_twist, candidate, last_draw, transcript_of, transcript_so_far

FINISHED = "Is the final answer above correct?"
SO_FAR = "Is the reasoning above correct so far?"
LEAST_SAID = 1e-3
"""The probability of yes and no together below which a model has answered neither."""

Groups = tuple[Tokens, Tokens]


def yes_or_no(binding: Binding, name: str) -> YesOrNo:
    """Ask the bound model yes-or-no questions. Raises PonderError if it has no token for one."""
    model = binding.model
    groups = (spellings(model, "yes"), spellings(model, "no"))
    if not all(groups):
        raise PonderError(
            f"{model.name} has no token for yes or none for no, so {name} gives no number; use "
            "another model, or another potential"
        )
    return YesOrNo(model, groups, name)


class YesOrNo:
    """What a model answers to a yes-or-no question after a trace: log P(yes) and log P(no).

    The two words are offered in both orders, and the two log-odds averaged. The advantage of the
    first word is a constant in them (of Qwen2.5-Coder-1.5B, asked about 50 replies to GSM8K
    questions: 0.79 with a standard deviation of 0.15, where the mean log-odds vary by 0.46), so it
    cancels, as it would not in an average of probabilities. Spellings of a word are summed. The
    other tokens that could have come are left out, so that the two add up to one; but where yes
    and no together have less than 0.001 the model has answered neither, and a PonderError says
    which candidate that was.

    Costs two requests, which share the trace and the beginning of the question: 31 tokens with
    Qwen's chat template, where one order alone would cost 22.
    """

    def __init__(self, model: LanguageModel, groups: Groups, name: str) -> None:
        self._model = model
        self._groups = groups
        self._name = name

    def after(self, transcript: Tokens, question: str, value: Any) -> Effects[tuple[float, float]]:
        """Ask ``question`` about ``value``, whose transcript this is."""
        orders = [
            Program(partial(self._asked, transcript, f"{question} Reply {words}.", value), words)
            for words in ("Yes or No", "No or Yes")
        ]
        both = yield from each(orders, ["yes first", "no first"])
        yes, no = (math.fsum(logs) / 2 for logs in zip(*both, strict=True))
        return log_share(yes, no), log_share(no, yes)

    def _asked(self, transcript: Tokens, question: str, value: Any) -> Effects[Sequence[float]]:
        prompt = further(self._model, transcript, question)
        logs = yield from sample(OptionLogProbs(self._model, prompt, self._groups), "answer")
        check_said(logs, self._name, "yes or no", value)
        return logs


def check_said(logs: Sequence[float], who: str, options: str, value: Any) -> None:
    """Raise PonderError if a model has hardly any probability for the options that it had."""
    said = math.fsum(math.exp(log) for log in logs)
    if said < LEAST_SAID:
        raise PonderError(
            f"{who} gives no number for {candidate(value)}: the model answers {options} with "
            f"probability {said:.1g} only; use another model, or another potential"
        )


def log_share(first: float, second: float) -> float:
    """log of p / (p + q), given log p and log q; 1/2 where both are zero."""
    top = max(first, second)
    if top == NEG_INF:
        return math.log(0.5)  # certain of one in one order, of the other in the other
    return first - (top + math.log(math.exp(first - top) + math.exp(second - top)))


def spellings(model: LanguageModel, word: str) -> Tokens:
    """The single tokens that spell ``word``: with and without a space, in the usual cases."""
    forms = [lead + w for lead in ("", " ") for w in (word, word.capitalize(), word.upper())]
    found: Sequence[Tokens] = [model.tokenize(form) for form in forms]
    return tuple(sorted({tokens[0] for tokens in found if len(tokens) == 1}))


def _build(binding: Binding) -> Potential:
    """log P(yes), of the finished reply and of the reasoning so far."""
    asks = yes_or_no(binding, "judge")

    def complete(reply: Any) -> Program[float]:
        def run() -> Effects[float]:
            yes, _ = yield from asks.after(transcript_of(reply, "judge"), FINISHED, reply)
            return yes

        return Program(run, "judge")

    def prefix(values: tuple[Any, ...]) -> float | Program[float]:
        draw = last_draw(values, binding.model)
        if draw is None:
            return 0.0

        def run() -> Effects[float]:
            yes, _ = yield from asks.after(transcript_so_far(draw, binding.model), SO_FAR, draw)
            return as_twist(yes)

        return Program(run, "judge")

    return Potential("judge", complete, prefix)


judge = PotentialSource("judge", _build, reads_trace=True)
