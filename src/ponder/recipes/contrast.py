"""``contrasted``: where the model is unsure, away from what it would say without the examples."""

from __future__ import annotations

import dataclasses
import doctest
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ponder.binding import Binding
from ponder.dist import NEG_INF, Stream
from ponder.effects import Effects, Program, sample
from ponder.errors import PonderError
from ponder.lm.protocol import Completion, Draw, Finish, LanguageModel, Tokens, drawn
from ponder.lm.sampling_law import Logs, SamplingLaw, log_law
from ponder.question import Question
from ponder.recipes.prompting import Reply, ask_messages, prompt_of, reply_of
from ponder.recipes.replies import SETTINGS, direct_instruction, sampling_law
from ponder.strategy import Source

_HEAD = math.log(0.1)  # how far below the most probable token one may be to gain by contrast
_LEAST = -30.0  # nats; what the weak prompt rules out must not gain without bound


@dataclass(frozen=True)
class Contrasted:
    """The law of the next token after ``prompt``, contrasted with that after ``weak``.

    l and w are the log-probabilities after them, at temperature 1. Where the entropy of l is above
    ``unsure`` nats, it is (1 + eta) l - eta w, on the tokens that are at least a tenth as probable
    as the most probable one; elsewhere, and where eta is 0, l itself. Then ``law`` is applied. A
    value is a :class:`Draw` of one token.
    """

    model: LanguageModel = field(repr=False)
    prompt: Tokens
    weak: Tokens
    law: SamplingLaw
    eta: float
    unsure: float

    def logs(self) -> tuple[Logs, Logs]:
        """Log-probabilities under the model and under this law, shape (vocabulary,) both."""
        full: Logs = self.model.next_log_probs(self.prompt)
        if self.eta == 0 or self.weak == self.prompt or entropy(full) <= self.unsure:
            return full, log_law(full, self.law)
        weak = np.maximum(self.model.next_log_probs(self.weak), _LEAST)
        scores = np.where(full >= full.max() + _HEAD, full + self.eta * (full - weak), NEG_INF)
        return full, log_law(scores, self.law)

    def draw(self, stream: Stream) -> Draw:
        full, law = self.logs()
        cumulative = np.cumsum(np.exp(law.astype(np.float64)))
        found = np.searchsorted(cumulative, stream.uniform() * cumulative[-1], side="right")
        # The product may be rounded up to the total.
        return self._drawn(min(int(found), int(np.flatnonzero(np.isfinite(law))[-1])), full, law)

    def log_prob(self, value: Draw) -> float:
        return float(self.logs()[1][value.tokens[0]])

    def support(self) -> Sequence[tuple[Draw, float]]:
        full, law = self.logs()
        tokens = np.flatnonzero(np.isfinite(law)).tolist()
        return [(self._drawn(token, full, law), float(law[token])) for token in tokens]

    def _drawn(self, token: int, full: Logs, law: Logs) -> Draw:
        end = token in self.model.end_tokens
        text = self.model.detokenize((token,))
        logs = (float(full[token]),), (float(law[token]),)
        return Draw((token,), text, "stop" if end else "length", *logs)


def entropy(log_probs: Logs) -> float:
    """In nats, of log-probabilities of shape (V,)."""
    logs = log_probs[np.isfinite(log_probs)].astype(np.float64)
    return -float(np.exp(logs) @ logs)


def weakened(question: Question) -> Question:
    """The question without its examples: doctests in the text, tests that it shows, their name."""
    try:
        parts = doctest.DocTestParser().parse(question.text)
    except ValueError:
        parts = [question.text]
    text = "".join(part for part in parts if isinstance(part, str))
    meta = {key: value for key, value in question.meta.items() if key == "tests_style"}
    return dataclasses.replace(question, text=text, meta=meta)


def _build(
    binding: Binding,
    *,
    eta: float = 0.3,
    unsure: float = 0.5,
    max_tokens: int = 512,
    **law: Any,
) -> Program[Reply]:
    """Uncertainty-aware selective contrastive decoding (Wang et al. 2024), token by token.

    ``direct``, contrasted with the same question :func:`weakened`; without examples, or with
    ``eta`` 0, it is ``direct``. See :class:`Contrasted`. The model is asked for every token by
    itself, twice where it is unsure: slow, not kept in the bank, and not counted by a budget.
    """
    sampling = _check(eta, unsure, max_tokens=max_tokens, **law)
    question, model = binding.question, binding.model
    prompt = prompt_of(binding, direct_instruction(question))
    lame = weakened(question)
    weak: Tokens = model.chat(ask_messages(lame, direct_instruction(lame)))

    def run() -> Effects[Reply]:
        draws: list[Draw] = []
        tokens: Tokens = ()
        finish: Finish = "length"
        most = min(max_tokens, model.context - len(prompt))
        while finish == "length" and len(draws) < most:
            law = Contrasted(model, prompt + tokens, weak + tokens, sampling, eta, unsure)
            draws.append((yield from sample(law)))
            tokens, finish = tokens + draws[-1].tokens, draws[-1].finish
        logs = [d.logp[0] for d in draws], [d.logq[0] for d in draws]
        asked = Completion(model, prompt, sampling, max_tokens)
        whole = drawn(asked, tokens, model.detokenize(tokens), finish, *logs)
        return reply_of(binding, prompt, [whole])

    return Program(run, "contrasted", normalised=True)


def _check(eta: float = 0.3, unsure: float = 0.5, **law: Any) -> SamplingLaw:
    for name, value in (("eta", eta), ("unsure", unsure)):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value < math.inf:
            raise PonderError(f"contrasted needs {name} as a number of at least 0, got {value!r}")
    return sampling_law(**law)


contrasted = Source(
    "contrasted",
    _build,
    normalised=True,
    allowed=(*SETTINGS, "eta", "unsure"),
    check=_check,
)
