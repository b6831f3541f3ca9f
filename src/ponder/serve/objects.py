"""OpenAI's objects: whole replies and the chunks of streams."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ponder.serve.asking import Request
from ponder.serve.choices import Said, usage

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Reply:
    """What all objects of one reply share."""

    request: Request
    model: str
    created: int = field(default_factory=lambda: int(time.time()))
    token: str = field(default_factory=lambda: secrets.token_hex(12))

    @property
    def id(self) -> str:
        """Unique; the log knows the request by it."""
        return ("chatcmpl-" if self.request.chats else "cmpl-") + self.token

    def whole(self, parts: Sequence[Said]) -> dict[str, Any]:
        """A reply in one object; ``parts`` has every choice, in order."""
        choice = self._message if self.request.chats else self._text
        single = len(parts) == 1
        return {
            **self._head("chat.completion"),
            "choices": [
                choice(part) | ({} if single else {"ponder": part.ponder}) for part in parts
            ],
            "usage": usage(parts),
            "ponder": parts[0].ponder,
        }

    def opening(self) -> Iterable[dict[str, Any]]:
        """The first chunks: whose turn it is."""
        if self.request.chats:
            for index in range(len(self.request.work.questions)):
                yield self._chunk(self._delta(index, {"role": "assistant", "content": ""}))

    def words(self, index: int, text: str) -> dict[str, Any]:
        """The text of a choice goes on."""
        if self.request.chats:
            return self._chunk(self._delta(index, {"content": text}))
        return self._chunk({"index": index, "text": text, "logprobs": None, "finish_reason": None})

    def progress(self, index: int, said: dict[str, Any]) -> dict[str, Any]:
        """How far a choice has come, in a chunk that adds nothing to it."""
        empty = (
            self._delta(index, {}) if self.request.chats else self.words(index, "")["choices"][0]
        )
        return self._chunk(empty) | {"ponder": {"progress": said}}

    def closing(self, part: Said) -> Iterable[dict[str, Any]]:
        """The last chunk of a choice: why it ends, the log-probabilities, the ponder object."""
        if self.request.chats:
            delta = {} if part.refusal is None else {"refusal": part.refusal}
            last = self._delta(part.index, delta, part.finish)
            if part.spelled is not None:
                last["logprobs"] = _logprobs(part)
        else:
            last = self._text(part) | {"text": ""}
        yield self._chunk(last) | {"ponder": part.ponder}

    def counts(self, parts: Sequence[Said]) -> dict[str, Any]:
        """The chunk with the usage of all."""
        return self._chunk() | {"usage": usage(parts)}

    def _head(self, kind: str) -> dict[str, Any]:
        kind = kind if self.request.chats else "text_completion"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _chunk(self, *choices: dict[str, Any]) -> dict[str, Any]:
        options = self.request.body.stream_options
        counted = {"usage": None} if options is not None and options.include_usage else {}
        return {**self._head("chat.completion.chunk"), "choices": list(choices), **counted}

    @staticmethod
    def _delta(index: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}

    @staticmethod
    def _message(part: Said) -> dict[str, Any]:
        return {
            "index": part.index,
            "message": {"role": "assistant", "content": part.text, "refusal": part.refusal},
            "logprobs": None if part.spelled is None else _logprobs(part),
            "finish_reason": part.finish,
        }

    @staticmethod
    def _text(part: Said) -> dict[str, Any]:
        return {
            "index": part.index,
            "text": part.text,
            "logprobs": None if part.spelled is None else _legacy_logprobs(part),
            "finish_reason": part.finish,
        }


def event(chunk: dict[str, Any]) -> bytes:
    """A chunk as an event of a stream."""
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


def comment(text: str) -> bytes:
    """A line that clients pass over."""
    return f": {text}\n\n".encode()


def told(said: dict[str, Any]) -> str:
    """Progress in a few words."""
    finished = sum(row["status"] != "running" for row in said["traces"])
    return f"{finished} of {len(said['traces'])} traces, {said['tokens']} tokens"


def _logprobs(part: Said) -> dict[str, Any]:
    rows = [
        {
            "token": piece.decode("utf-8", errors="replace"),
            "logprob": logp,
            "bytes": list(piece),
            "top_logprobs": [],
        }
        for piece, logp in part.spelled or ()
    ]
    return {"content": rows, "refusal": None}


def _legacy_logprobs(part: Said) -> dict[str, Any]:
    offsets, place = [], 0
    for piece, _ in part.spelled or ():
        offsets.append(place)
        place += len(piece.decode("utf-8", errors="ignore"))
    return {
        "tokens": [piece.decode("utf-8", errors="replace") for piece, _ in part.spelled or ()],
        "token_logprobs": [logp for _, logp in part.spelled or ()],
        "top_logprobs": None,
        "text_offset": offsets,
    }
