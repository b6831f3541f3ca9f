"""``speculate(draft)``: a small model writes ahead, the large one corrects; its law is kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ponder.binding import Binding
from ponder.blocks.rewrite import rewritten
from ponder.dist import Bernoulli, Categorical
from ponder.effects import Effect, Effects, Nested, Program, Sample
from ponder.errors import PonderError
from ponder.law import Law
from ponder.lm.protocol import Completion, Draw, Finish, LanguageModel, NextToken, Tokens, drawn
from ponder.lm.sampling_law import log_law
from ponder.lm.table import cut, ended
from ponder.strategy import Transform

Probabilities = NDArray[np.float64]
Scored = tuple[int, float, float]  # a token, its log-probability under the model and the law


@dataclass(frozen=True, repr=False)
class Speculate(Transform):
    """Completions are drafted by a small model and verified by their own: same law, other work.

    Speculative sampling (Leviathan et al. 2023; Chen et al. 2023), for every sample of a
    ``Completion``, segments included. ``draft`` writes up to ``ahead`` tokens under the same
    sampling law, temperature and cuts included; with q its law of a token and p the model's, the
    token x is accepted with probability min(1, p(x) / q(x)). The first one that is not gives way
    to a draw from max(p - q, 0), normalised, and drafting begins again; if none is refused, the
    model adds one token of its own. Each token so has law p, whatever q is; if tokens are
    accepted with probability a, independently, a round writes (1 - a^(ahead+1)) / (1 - a).

    The draft must share the model's vocabulary; a name is looked up in the binding's drafts. All
    this is one nested choice called ``speculated``; the completion then is a sample at its old
    address. Law: that which comes in.

    It is the method and not yet the speed: the model is asked position by position
    (``next_log_probs``), not for a whole draft in one pass.
    """

    draft: str | LanguageModel
    ahead: int = 4
    notation: ClassVar[str] = "speculate"

    def __repr__(self) -> str:
        name = self.draft if isinstance(self.draft, str) else self.draft.name
        ahead = "" if self.ahead == type(self).ahead else f", ahead={self.ahead}"
        return f"{self.notation}({name!r}{ahead})"

    def law(self, incoming: Law) -> Law:
        return incoming

    def transform(self, program: Program[Any], binding: Binding) -> Program[Any]:
        rewrite = partial(_speculated, draft=binding.draft(self.draft), ahead=self.ahead)
        return rewritten(program, rewrite, repr(self))


def speculate(draft: str | LanguageModel, ahead: int = 4) -> Speculate:
    """``speculate('tiny', ahead=4)``: draft with a small model. See :class:`Speculate`."""
    if not isinstance(draft, str) and not hasattr(draft, "next_log_probs"):
        raise PonderError(f"speculate needs a language model or the name of one, got {draft!r}")
    if isinstance(ahead, bool) or not isinstance(ahead, int) or ahead < 1:
        raise PonderError(f"speculate drafts a whole number of at least 1 tokens, got {ahead!r}")
    return Speculate(draft, ahead)


def _speculated(effect: Effect, draft: LanguageModel, ahead: int) -> Effects[Any]:
    if not (isinstance(effect, Sample) and isinstance(effect.dist, Completion)):
        return (yield effect)
    writing = Program(partial(speculation, effect.dist, draft, ahead), "speculated")
    draw = yield Nested(writing, "speculated")
    return (yield Sample(Categorical((1.0,), (draw,)), effect.name))


def speculation(dist: Completion, draft: LanguageModel, ahead: int) -> Effects[Draw]:
    """A draw from ``dist`` in rounds of up to ``ahead`` tokens drafted and then verified."""
    scored: list[Scored] = []
    finish: Finish | None = None
    while finish is None:
        scored += yield from _round(dist, draft, tuple(token for token, _, _ in scored), ahead)
        finish = _ending(dist, [token for token, _, _ in scored])
    tokens, logp, logq = zip(*scored, strict=True)
    text = cut(dist.model.detokenize(tokens), dist)
    return drawn(dist, tokens, text, finish, logp, logq)


def _round(
    dist: Completion, draft: LanguageModel, written: Tokens, ahead: int
) -> Effects[list[Scored]]:
    """The tokens that one round adds: at least one, at most one more than are drafted."""
    # One less than may still be written, since the model adds one.
    room = dist.max_tokens - len(written) - 1
    guesses = yield from _drafted(dist, draft, written, min(ahead, room))
    scored: list[Scored] = []
    for i, guess in enumerate(guesses):
        prompt = dist.prompt + written + guesses[:i]
        row = dist.model.next_log_probs(prompt)
        logs = log_law(row, dist.law)
        p, q = _probabilities(logs), _probabilities(log_law(draft.next_log_probs(prompt), dist.law))
        if p.shape != q.shape:
            raise PonderError(
                f"the draft {draft.name} has {len(q)} tokens and {dist.model.name} has {len(p)}; "
                "speculate with a draft of the same vocabulary"
            )
        ratio = float(p[guess] / q[guess]) if p[guess] < q[guess] else float(p[guess] > 0)
        accepted = yield Sample(Bernoulli(ratio), "accept")
        token = guess if accepted else (yield Sample(_residual(p, q), "residual"))
        scored.append((token, float(row[token]), float(logs[token])))
        if not accepted:
            return scored
    if guesses and _ending(dist, written + guesses) is not None:
        return scored
    # As a completion of one token, since that says what its log-probabilities are.
    last = NextToken(dist.model, dist.prompt + written + guesses, dist.law).completion
    draw = yield Sample(last, "bonus")
    return [*scored, (draw.tokens[0], draw.logp[0], draw.logq[0])]


def _drafted(dist: Completion, draft: LanguageModel, written: Tokens, most: int) -> Effects[Tokens]:
    """Up to ``most`` tokens of the draft; none after one that ends the completion."""
    guesses: Tokens = ()
    while len(guesses) < most:
        prompt = dist.prompt + written + guesses
        guesses += ((yield Sample(NextToken(draft, prompt, dist.law), "draft")),)
        if _ending(dist, written + guesses) is not None:
            break
    return guesses


def _probabilities(logs: NDArray[Any]) -> Probabilities:
    return np.exp(np.asarray(logs, dtype=np.float64))


def _residual(p: Probabilities, q: Probabilities) -> Categorical:
    """The law of the token that replaces a refused one."""
    excess = np.maximum(p - q, 0.0)
    # Nothing exceeds where p = q up to rounding; a refusal there is rounding too.
    return Categorical((excess if excess.any() else p).tolist())


def _ending(dist: Completion, tokens: Tokens | list[int]) -> Finish | None:
    """Why the completion ends after these tokens, as the model itself would end it, or None."""
    finish = ended(dist.model, dist, tokens)
    engine = getattr(dist.model, "engine", None)
    full = engine is not None and len(dist.prompt) + len(tokens) >= engine.context
    return "length" if finish is None and full else finish
