"""What a language model is to the rest of ponder: a source of distributions over text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from ponder.dist import NEG_INF, Stream
from ponder.errors import PonderError
from ponder.lm.grammar import Grammar
from ponder.lm.sampling_law import SamplingLaw, log_law, restricted

Tokens = tuple[int, ...]
Finish = Literal["stop", "length", "dead"]
Message = dict[str, str]
UNTOLD = (
    "the log-probability of a reply is needed here, and the server of {} did not tell it; use an "
    "embedded model, or a method that does without"
)


@dataclass(frozen=True, slots=True)
class Draw:
    """What a model wrote. Equal if the tokens and the reason to stop are.

    ``tokens`` includes the end token where one was drawn; ``prompt``, ``law`` and ``model`` (its
    fingerprint) say what they were drawn from.
    ``logp`` holds each token's log-probability under the model itself (temperature 1, nothing cut
    off), ``logq`` under the law it was actually drawn from; NaN where a server did not tell.
    ``finish`` is "stop" (end token or
    stop string), "length", or "dead" where the grammar leaves nothing. ``log_evidence`` is the
    sum over tokens of the log of the mass that the law gave to what the ``grammar`` allowed; 0
    without one, -inf for a dead draw.
    """

    tokens: Tokens
    text: str
    finish: Finish
    logp: tuple[float, ...] = field(compare=False)
    logq: tuple[float, ...] = field(compare=False)
    prompt: Tokens = field(default=(), compare=False, repr=False)
    law: SamplingLaw | None = field(default=None, compare=False, repr=False)
    model: str = field(default="", compare=False, repr=False)
    grammar: Grammar | None = field(default=None, compare=False, repr=False)
    log_evidence: float = field(default=0.0, compare=False)


class LanguageModel(Protocol):
    """A language model. ``fingerprint`` identifies its weights in the bank."""

    name: str
    fingerprint: str
    context: int
    end_tokens: frozenset[int]

    def tokenize(self, text: str, *, special: bool = False) -> Tokens:
        """Tokens of ``text``; markup such as ``<|im_end|>`` is read as such only if ``special``."""
        ...

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of ``tokens``; end tokens and other markup give nothing."""
        ...

    def chat(self, messages: Sequence[Message]) -> Tokens:
        """The prompt that asks for the next assistant message."""
        ...

    def follow_up(self, messages: Sequence[Message]) -> Tokens:
        """What follows the first assistant message of a chat, up to the next assistant message.

        A live trace is continued by appending these tokens to it, not by a new prompt.
        """
        ...

    def draw(self, dist: Completion, stream: Stream) -> Draw:
        """Draw a completion at once. An engine that batches is asked by the runtime instead."""
        ...

    def next_log_probs(self, prompt: Tokens) -> Any:
        """Log-probabilities of the next token at temperature 1, shape (vocabulary,)."""
        ...

    def completions(self, dist: Completion) -> Sequence[tuple[Draw, float]] | None:
        """Every completion with its log-probability, or None where they cannot be listed."""
        ...


@dataclass(frozen=True)
class Completion:
    """The law of what ``model`` writes after ``prompt``: a distribution over :class:`Draw`.

    It ends at an end token, after ``max_tokens`` tokens, or once the text contains a stop string.
    With ``segment`` the stop string belongs to the text and the trace will go on from there;
    otherwise the text is cut before it. ``keep`` asks the engine to keep the model's state.

    With a ``grammar`` each token is drawn from the law restricted to what is allowed and
    renormalised. That alone ("masking") is not the law of accepted texts: it favours beginnings
    from which hardly anything is allowed. The program must also yield
    ``Factor(completion.log_evidence(draw))``; then its measure is the unrestricted law on accepted
    texts, in one completion or in segments (``grammar.after(tokens)``), whose factors multiply.
    An end token is allowed only where the grammar accepts; at ``max_tokens`` it may not have.
    What top-k, top-p, min-p or temperature 0 cut off has no mass, whatever the grammar needs.
    """

    model: LanguageModel = field(repr=False)
    prompt: Tokens
    law: SamplingLaw = field(default_factory=SamplingLaw)
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    segment: bool = False
    keep: bool = field(default=False, compare=False)
    grammar: Grammar | None = None

    def __post_init__(self) -> None:
        if self.grammar is not None and self.stop and not self.segment:
            raise PonderError(
                "a stop string ends the text before its grammar does; use segment=True with it"
            )

    def draw(self, stream: Stream) -> Draw:
        return self.model.draw(self, stream)

    def log_prob(self, value: Draw) -> float:
        """Under this law, whatever law ``value`` was drawn from.

        What the draw recorded answers where it can; otherwise the model is asked for every token.
        Raises PonderError where the server that drew it did not tell.
        """
        found = self._log_prob(value)
        if math.isnan(found):
            raise PonderError(UNTOLD.format(self.model.name))
        return found

    def _log_prob(self, value: Draw) -> float:
        if self.grammar is None and value.finish == "dead":
            return NEG_INF
        if self._recorded(value):
            return math.fsum(value.logq)
        if value.prompt == self.prompt and value.model == self.model.fingerprint:
            if value.law == self.law and self.grammar is None:
                return math.fsum(value.logq) + value.log_evidence
            if self.law == SamplingLaw() and self.grammar is None:
                return math.fsum(value.logp)
        return math.fsum(log_q for log_q, _ in self._retraced(value))

    def log_evidence(self, value: Draw) -> float:
        """What a program yields as a factor after drawing ``value``: 0 without a grammar.

        Under this law, whatever law ``value`` was drawn from; so not ``value.log_evidence``, which
        a kernel or a proposal may have left there.
        """
        if self.grammar is None:
            return 0.0
        if self._recorded(value):
            return value.log_evidence
        return math.fsum(log_mass for _, log_mass in self._retraced(value))

    def _recorded(self, value: Draw) -> bool:
        """Whether what ``value`` recorded is of this law."""
        return (
            value.prompt == self.prompt
            and value.model == self.model.fingerprint
            and value.law == self.law
            and value.grammar == self.grammar
        )

    def _retraced(self, value: Draw) -> Iterator[tuple[float, float]]:
        """Of each token: its log-probability, and the log of the mass that is allowed there."""
        matcher = None if self.grammar is None else self.grammar.compile(self.model)
        for i, token in enumerate((*value.tokens, None)):
            if token is None and value.finish != "dead":
                return
            logs = log_law(self.model.next_log_probs(self.prompt + value.tokens[:i]), self.law)
            log_mass = 0.0
            if matcher is not None:
                logs, log_mass = restricted(logs, matcher.allowed())
            if token is None:
                yield (0.0 if log_mass == NEG_INF else NEG_INF), log_mass
                return
            yield float(logs[token]), log_mass
            if logs[token] == NEG_INF:
                return
            if matcher is not None and token not in self.model.end_tokens:
                matcher.advance(token)

    def support(self) -> Sequence[tuple[Draw, float]] | None:
        return self.model.completions(self)


@dataclass(frozen=True)
class NextToken:
    """The law of the next token after ``prompt``: a distribution over token ids."""

    model: LanguageModel = field(repr=False)
    prompt: Tokens
    law: SamplingLaw = field(default_factory=SamplingLaw)

    @property
    def completion(self) -> Completion:
        """The same law as a completion of one token whose state is kept."""
        return Completion(self.model, self.prompt, self.law, max_tokens=1, segment=True, keep=True)

    def draw(self, stream: Stream) -> int:
        return self.model.draw(self.completion, stream).tokens[0]

    def log_prob(self, value: Any) -> float:
        return float(log_law(self.model.next_log_probs(self.prompt), self.law)[value])

    def support(self) -> Sequence[tuple[int, float]] | None:
        listed = self.model.completions(self.completion)
        return None if listed is None else [(d.tokens[0], lp) for d, lp in listed]


@dataclass(frozen=True)
class OptionLogProbs:
    """The model's log-probability of each group of next tokens: a point mass, no randomness.

    ``groups`` are sets of token ids (spelling variants of one option), whose probabilities are
    summed. The value is a tuple of log-probabilities at temperature 1, one a group. Being a
    choice, it is recorded in the trace: a replay does not ask the model again.
    """

    model: LanguageModel = field(repr=False)
    prompt: Tokens
    groups: tuple[Tokens, ...]

    def of(self, log_probs: Any) -> tuple[float, ...]:
        """The value, given the log-probabilities of all next tokens, shape (vocabulary,)."""
        sums = [float(np.exp(log_probs[list(g)].astype(np.float64)).sum()) for g in self.groups]
        return tuple(math.log(s) if s > 0 else NEG_INF for s in sums)

    def draw(self, stream: Stream) -> tuple[float, ...]:
        return self.of(self.model.next_log_probs(self.prompt))

    def log_prob(self, value: Any) -> float:
        return 0.0

    def support(self) -> Sequence[tuple[tuple[float, ...], float]]:
        return [(self.of(self.model.next_log_probs(self.prompt)), 0.0)]


def drawn(
    dist: Completion,
    tokens: Sequence[int],
    text: str,
    finish: Finish,
    logp: Sequence[float],
    logq: Sequence[float],
    log_evidence: float | None = None,
) -> Draw:
    """The draw of ``tokens`` from ``dist``, with what it was drawn from.

    Raises PonderError without ``log_evidence`` if ``dist`` has a grammar: it was not obeyed.
    """
    if log_evidence is None and dist.grammar is not None:
        raise PonderError(
            "a completion with a grammar was drawn by something that knows of none, such as "
            "speculate(...); leave it out"
        )
    return Draw(
        tuple(tokens),
        text,
        finish,
        tuple(logp),
        tuple(logq),
        dist.prompt,
        dist.law,
        dist.model.fingerprint,
        dist.grammar,
        log_evidence or 0.0,
    )


ModelDist = Completion | NextToken | OptionLogProbs
