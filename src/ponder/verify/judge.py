"""``judge``: the model's own probability that a reply is right, as a potential.

One token after the live trace: the judge's question is appended to the reply, so that nothing of
the trace is computed again, and the log-probabilities of yes and no are read (Kadavath et al.
2022, P(True)).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ponder.binding import Binding, Potential, PotentialSource
from ponder.dist import NEG_INF
from ponder.effects import Effects, Program, Sample
from ponder.lm.protocol import Draw, OptionLogProbs, Tokens

FINISHED = "Is the final answer above correct? Reply Yes or No."
SO_FAR = "Is the reasoning above correct so far? Reply Yes or No."


def log_odds_share(yes: float, no: float) -> float:
    """log P(yes) - log(P(yes) + P(no)); -inf where yes is impossible."""
    top = max(yes, no)
    if top == NEG_INF:
        return math.log(0.5)  # the model answers neither: it has not said anything
    return yes - (top + math.log(math.exp(yes - top) + math.exp(no - top)))


def _build(binding: Binding) -> Potential:
    model = binding.model
    groups = (spellings(model, "yes"), spellings(model, "no"))

    def asks(transcript: Tokens, question: str) -> Program[float]:
        def run() -> Effects[float]:
            chat = [
                {"role": "user", "content": "?"},
                {"role": "assistant", "content": "!"},
                {"role": "user", "content": question},
            ]
            prompt = transcript + model.follow_up(chat)
            yes, no = yield Sample(OptionLogProbs(model, prompt, groups), "judge")
            return log_odds_share(yes, no)

        return Program(run, "judge")

    def complete(reply: Any) -> Program[float]:
        return asks(reply.transcript, FINISHED)

    def prefix(values: tuple[Any, ...]) -> Program[float]:
        # A judge inside the program leaves its own samples among the values.
        last = next(value for value in reversed(values) if isinstance(value, Draw))
        return asks(last.prompt + last.tokens, SO_FAR)

    return Potential("judge", complete, prefix)


def spellings(model: Any, word: str) -> Tokens:
    """The single tokens that spell ``word``: with and without a space, in the usual cases."""
    forms = [lead + w for lead in ("", " ") for w in (word, word.capitalize(), word.upper())]
    found: Sequence[Tokens] = [model.tokenize(form) for form in forms]
    return tuple(sorted({tokens[0] for tokens in found if len(tokens) == 1}))


judge = PotentialSource("judge", _build, reads_trace=True)
