"""What comes back from a server: its reply as a draw, its numbers, what it has used."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ponder.dist import NEG_INF
from ponder.errors import PonderError
from ponder.lm.endpoint.failures import Again
from ponder.lm.endpoint.servers import Kind
from ponder.lm.endpoint.spelling import END, cut, piece_of, pieces_of, token_of
from ponder.lm.protocol import Completion, Draw, Finish, OptionLogProbs, Tokens, drawn
from ponder.lm.sampling_law import SamplingLaw

Listed = Sequence[tuple[bytes, float]]
"""The bytes of each token that a server lists, and its log-probability."""


@dataclass(frozen=True)
class Usage:
    """Tokens that a request has cost, as the server counts; None where it does not say."""

    prompt: int | None = None
    cached: int = 0
    generated: int | None = None


@dataclass(frozen=True)
class Written:
    """A reply as the server gave it. ``stopped``: by a stop string; None if it does not say."""

    text: str
    reason: str
    listed: Listed
    usage: Usage
    stopped: bool | None = None


def usage_of(reply: Mapping[str, Any]) -> Usage:
    """The usage that a reply reports."""
    found = reply.get("usage") or {}
    details = found.get("prompt_tokens_details") or {}
    prompt, generated = found.get("prompt_tokens"), found.get("completion_tokens")
    return Usage(prompt, min(details.get("cached_tokens") or 0, prompt or 0), generated)


def listed_in(choice: Mapping[str, Any]) -> list[tuple[bytes, float]]:
    """The tokens of a choice with their log-probabilities; none where they are not offered."""
    content = (choice.get("logprobs") or {}).get("content") or []
    # Six decimals are far below float32 noise and keep the bank small.
    return [(_bytes(entry), round(float(entry["logprob"]), 6)) for entry in content]


def written_in(reply: Mapping[str, Any], dist: Completion, kind: Kind, begun: str) -> Written:
    """A reply that came at once. Raises Again if it is not whole."""
    choice = _choice(reply)
    text, listed = (choice.get("message") or {}).get("content") or "", listed_in(choice)
    if kind.repeats and b"".join(piece for piece, _ in listed) != text.encode():
        text = text.removeprefix(begun)
    stopped: bool | None = False if not dist.stop else None
    if dist.stop and kind.stopped_by:
        stopped = isinstance(choice.get(kind.stopped_by), str)
    return Written(text, _reason(choice), listed, usage_of(reply), stopped)


def draw_of(dist: Completion, written: Written, kind: Kind) -> Draw:
    """A reply as a draw from ``dist``; its tokens are as many as the server counted.

    They are the server's own tokens where it lists them, else the text in so many pieces. What the
    server does not tell of their log-probabilities is NaN. An end token is appended where the reply
    ended by itself; one that neither stop strings nor the length can explain.
    """
    if written.reason == "content_filter":
        raise PonderError("the server withheld a reply (content_filter); rephrase the question")
    finish: Finish = "length" if written.reason == "length" else "stop"
    text, listed = written.text, written.listed
    own = b"".join(piece for piece, _ in listed)
    ended = finish == "stop" and _ended(written)
    if dist.segment and own.startswith(text.encode()) and not ended:
        text = own.decode(errors="replace")  # the token that holds a stop string may go on
    tokens, logs = _spelled(text, listed, written.usage.generated, ended)
    plain = dist.law == SamplingLaw()
    # Tempered ones are of this law if it cuts nothing off, and of the model only at 1.
    uncut = dist.law.temperature > 0 and dist.law == SamplingLaw(dist.law.temperature)
    unknown = [math.nan] * len(logs)
    logp = logs if not kind.tempered or dist.law.temperature == 1 else unknown
    logq = logs if plain or (kind.tempered and uncut) else unknown
    return drawn(dist, tokens, text, finish, logp, logq)


def options_of(dist: OptionLogProbs, reply: Mapping[str, Any]) -> tuple[float, ...]:
    """The log-probability of each option, summed over those of its spellings that are listed.

    An option of which none is among the 20 most probable tokens has none. Raises PonderError if
    that goes for all of them, or where no log-probabilities are offered.
    """
    content = (_choice(reply).get("logprobs") or {}).get("content") or []
    if not content:
        raise PonderError(NO_LOGS)
    top = [(_bytes(entry), float(entry["logprob"])) for entry in content[0].get("top_logprobs", ())]
    drawn_one = (_bytes(content[0]), float(content[0]["logprob"]))
    top += [drawn_one] * (drawn_one[0] not in [piece for piece, _ in top])
    found = []
    for group in dist.groups:
        spelled = {piece_of(token) for token in group}
        found.append(math.fsum(math.exp(log) for piece, log in top if piece in spelled))
    if not any(found):
        shown = ", ".join(repr(piece_of(group[0]).decode()) for group in dist.groups if group)
        raise PonderError(
            f"none of {shown} is among the {len(top)} most probable next tokens, of which alone "
            "the server tells; use another model, or another method"
        )
    return tuple(math.log(p) if p > 0 else NEG_INF for p in found)


NO_LOGS = (
    "the server offers no log-probabilities, which judge, tournament, thinksum and whatever else "
    "weighs options need; have it offer them, or use another method"
)


def _ended(written: Written) -> bool:
    """Whether the model ended the reply itself."""
    if written.stopped is not None:
        return not written.stopped
    # It does not say. An end token is listed as one that is no part of the text.
    last = written.listed[-1][0] if written.listed else b" "
    return not last


def _spelled(
    text: str, listed: Listed, count: int | None, ended: bool
) -> tuple[Tokens, list[float]]:
    """Tokens, and the log-probability of each."""
    logs = [log for _, log in listed]
    total = max(len(listed), count or 0)
    if not total:
        total = len(pieces_of(text)) + ended  # nobody counts
    data = text.encode(errors="replace")
    if ended and listed and total == len(listed) and data.endswith(listed[-1][0] or b"\0"):
        total += 1  # the end is neither listed nor counted
    total = max(total, ended + bool(data), 1)
    logs += [math.nan] * (total - len(logs))
    spoken = total - ended
    pieces = [piece for piece, _ in listed[:spoken]]
    if len(pieces) < spoken or not b"".join(pieces).startswith(data):
        pieces = cut(text, spoken) if spoken else []
    tokens = [token_of(piece) for piece in pieces]
    return (*tokens, END) if ended else tuple(tokens), logs


def _choice(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise Again("answered without choices")
    found: Mapping[str, Any] = choices[0]
    return found


def _reason(choice: Mapping[str, Any]) -> str:
    reason = choice.get("finish_reason")
    if reason in (None, "", "abort", "error"):
        raise Again("ended a reply before it was finished")
    return str(reason)


def _bytes(entry: Mapping[str, Any]) -> bytes:
    """The bytes of a listed token; llama.cpp lists the end token with none."""
    raw = entry.get("bytes")
    return str(entry.get("token", "")).encode(errors="replace") if raw is None else bytes(raw)
