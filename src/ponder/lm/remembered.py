"""A model whose prompts are remembered in the bank, so that a replay needs no weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from ponder.bank import Bank
from ponder.dist import Stream
from ponder.errors import PonderError
from ponder.lm.protocol import Completion, Draw, LanguageModel, Message, Tokens


class RememberedLM:
    """``model`` with its tokenisation written to ``bank``; without a model, read from it.

    Raises PonderError for a model or a prompt that the bank has not seen, when there is none.
    """

    def __init__(self, bank: Bank, name: str, model: LanguageModel | None) -> None:
        self.name = name
        self._bank = bank
        self._model = model
        if model is not None:
            bank.remember(
                model.fingerprint,
                "model",
                {"name": name, "context": model.context, "ends": sorted(model.end_tokens)},
            )
            bank.remember(name, "fingerprint", model.fingerprint)
            bank.remember("", "default", name)
        fingerprint = bank.fact(name, "fingerprint") if model is None else model.fingerprint
        if fingerprint is None:
            raise PonderError(
                f"replay: the bank has no samples of the model {name}; run once without --replay"
            )
        self.fingerprint: str = fingerprint
        facts: Any = bank.fact(self.fingerprint, "model")
        self.context = int(facts["context"])
        self.end_tokens = frozenset(facts["ends"])

    @property
    def engine(self) -> Any:
        """The engine that serves this model, or None."""
        return getattr(self._model, "engine", None)

    @property
    def stitched(self) -> bool:
        """See :attr:`ponder.lm.endpoint.model.EndpointLM.stitched`; not known of a replay."""
        return getattr(self._model, "stitched", False)

    def tokenize(self, text: str, *, special: bool = False) -> Tokens:
        return self._recall(
            f"tokenize {special} {text}", lambda m: m.tokenize(text, special=special)
        )

    def chat(self, messages: Sequence[Message]) -> Tokens:
        return self._recall(f"chat {_text(messages)}", lambda m: m.chat(messages))

    def follow_up(self, messages: Sequence[Message]) -> Tokens:
        return self._recall(f"follow_up {_text(messages)}", lambda m: m.follow_up(messages))

    def detokenize(self, tokens: Sequence[int]) -> str:
        return self._present.detokenize(tokens)

    def draw(self, dist: Completion, stream: Stream) -> Draw:
        return self._present.draw(dist, stream)

    def next_log_probs(self, prompt: Tokens) -> Any:
        return self._present.next_log_probs(prompt)

    def completions(self, dist: Completion) -> Sequence[tuple[Draw, float]] | None:
        return self._present.completions(dist)

    @property
    def _present(self) -> LanguageModel:
        if self._model is None:
            raise PonderError("replay: the model itself is needed here; run without --replay")
        return self._model

    def _recall(self, name: str, ask: Callable[[LanguageModel], Tokens]) -> Tokens:
        known = self._bank.fact(self.fingerprint, name)
        if known is not None:
            return tuple(known)
        if self._model is None:
            raise PonderError(
                "replay: the bank has not seen this question with this model; run once without "
                "--replay"
            )
        tokens = ask(self._model)
        self._bank.remember(self.fingerprint, name, list(tokens))
        return tokens


def _text(messages: Sequence[Message]) -> str:
    return json.dumps([[m["role"], m["content"]] for m in messages], ensure_ascii=False)
