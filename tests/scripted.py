"""A language model whose replies are a function of the prompt's text, every one with its chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ponder.dist import NEG_INF, Stream
from ponder.lm.protocol import Completion, Draw, Message, Tokens, drawn

END = 0
WORDS = {word: 0xE000 + i for i, word in enumerate(("Yes", "No"))}  # tokens of their own
_SPELLED = {token: word for word, token in WORDS.items()}
Said = str | Mapping[str, float]


class Scripted:
    """Replies to a prompt by ``reply(prompt)``: one text, or texts with their probabilities.

    Tokens are the code points of the text, but for yes and no; the prompt of a chat is its
    messages, one a line, as ``role: content``, and ``assistant:``. ``asked`` lists every prompt
    that was drawn from. What the next token is after a prompt, ``reply`` says too: the first
    characters of its texts.
    """

    def __init__(self, reply: Callable[[str], Said], name: str = "scripted") -> None:
        self.name = name
        self.fingerprint = f"scripted:{name}"
        self.context = 1_000_000
        self.end_tokens = frozenset({END})
        self.asked: list[str] = []
        self._reply = reply

    def tokenize(self, text: str, *, special: bool = False) -> Tokens:
        return (WORDS[text],) if text in WORDS else tuple(map(ord, text))

    def detokenize(self, tokens: Sequence[int]) -> str:
        return "".join(_SPELLED.get(t, chr(t)) for t in tokens if t != END)

    def chat(self, messages: Sequence[Message]) -> Tokens:
        lines = [f"{m['role']}: {m['content']}" for m in messages]
        return self.tokenize("\n".join([*lines, "assistant:"]))

    def follow_up(self, messages: Sequence[Message]) -> Tokens:
        lines = [f"{m['role']}: {m['content']}" for m in messages[2:]]
        return self.tokenize("\n" + "\n".join([*lines, "assistant:"]))

    def said(self, prompt: Tokens) -> Mapping[str, float]:
        """The texts that may follow, with their probabilities."""
        said = self._reply(self.detokenize(prompt))
        return {said: 1.0} if isinstance(said, str) else said

    def completions(self, dist: Completion) -> list[tuple[Draw, float]]:
        found = []
        for text, p in self.said(dist.prompt).items():
            if p > 0:
                found.append((self._draw(dist, text, math.log(p)), math.log(p)))
        return found

    def _draw(self, dist: Completion, text: str, log_prob: float) -> Draw:
        places = [text.index(s) for s in dist.stop if s in text]
        stopped = bool(places)
        if stopped:
            end = min(places) + (len(dist.stop[0]) if dist.segment else 0)
            text = text[:end]
        tokens = self.tokenize(text) if stopped else (*self.tokenize(text), END)
        finish: Any = "stop"
        if len(tokens) > dist.max_tokens:
            tokens, finish = tokens[: dist.max_tokens], "length"
            text = self.detokenize(tokens)
        # The whole log-probability stands at the first token; the others follow for certain.
        logp = [log_prob, *[0.0] * (len(tokens) - 1)]
        return drawn(dist, tokens, text, finish, logp, logp)

    def draw(self, dist: Completion, stream: Stream) -> Draw:
        self.asked.append(self.detokenize(dist.prompt))
        listed = self.completions(dist)
        u = stream.uniform()
        for draw, log_prob in listed:
            u -= math.exp(log_prob)
            if u < 0:
                return draw
        return listed[-1][0]

    def next_log_probs(self, prompt: Tokens) -> Any:
        self.asked.append(self.detokenize(prompt))
        row = np.full(0xE100, NEG_INF)
        masses: dict[int, float] = {}
        for text, p in self.said(prompt).items():
            first = self.tokenize(text)[0] if text else END
            masses[first] = masses.get(first, 0.0) + p
        for token, p in masses.items():
            row[token] = math.log(p) if p > 0 else NEG_INF
        return row
