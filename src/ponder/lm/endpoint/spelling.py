"""Tokens that spell themselves: what stands for a prompt where a server keeps the tokenizer.

A token is a number that holds a piece of UTF-8, its bytes behind a leading 1; markup is negative.
So prompts and replies are tuples of numbers as with any model, what follows a reply is appended to
it, and the chat is read off again exactly. No text can pass for markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from ponder.errors import PonderError
from ponder.lm.protocol import Message, Tokens

ROLES = {"system": -1, "user": -2, "assistant": -3}
END = -4
PIECE = 4  # bytes: about a token of English
_NAMES = {mark: role for role, mark in ROLES.items()}


def token_of(piece: bytes) -> int:
    """The token that spells ``piece``."""
    return int.from_bytes(b"\x01" + piece)


def piece_of(token: int) -> bytes:
    """The bytes that a token spells; nothing for markup. Raises PonderError for no token."""
    if token < 0:
        return b""
    data = token.to_bytes((token.bit_length() + 7) // 8)
    if data[:1] != b"\x01":
        raise PonderError(f"{token} is no token of an endpoint; its prompts come from chat()")
    return data[1:]


def pieces_of(text: str) -> list[bytes]:
    """The text cut into pieces of up to 4 bytes, no character in two."""
    pieces = [b""]
    for character in text:
        data = character.encode(errors="replace")
        if len(pieces[-1]) + len(data) > PIECE:
            pieces.append(b"")
        pieces[-1] += data
    return [piece for piece in pieces if piece]


def tokens_of(text: str) -> Tokens:
    """The tokens that spell ``text``."""
    return tuple(token_of(piece) for piece in pieces_of(text))


def cut(text: str, count: int) -> list[bytes]:
    """The text in exactly ``count`` pieces, as even as can be; some are empty if it is short."""
    n = len(text)
    edges = [i * n // count for i in range(count + 1)]
    return [text[a:b].encode(errors="replace") for a, b in pairwise(edges)]


def bytes_of(tokens: Iterable[int]) -> bytes:
    """What tokens spell."""
    return b"".join(map(piece_of, tokens))


def text_of(tokens: Iterable[int]) -> str:
    """What tokens spell, as text; bytes that are no whole character show as U+FFFD."""
    return bytes_of(tokens).decode(errors="replace")


def chat_tokens(messages: Sequence[Message]) -> Tokens:
    """The prompt that asks for the message after these.

    Raises PonderError for another role than system, user and assistant, and where the last
    message is the assistant's: a server would go on with it.
    """
    if not messages:
        raise PonderError("there is no message: give at least one, such as the question")
    if messages[-1]["role"] == "assistant":
        raise PonderError("the last message is the assistant's own; end with one of the user")
    tokens: list[int] = []
    for message in messages:
        mark = ROLES.get(message["role"])
        if mark is None:
            raise PonderError(
                f"an endpoint takes messages of {', '.join(ROLES)}, not of {message['role']!r}"
            )
        tokens += [mark, *tokens_of(message["content"])]
    return (*tokens, ROLES["assistant"])


def follow_up_tokens(messages: Sequence[Message]) -> Tokens:
    """What follows the first assistant message of a chat, up to the next."""
    roles = [message["role"] for message in messages]
    return chat_tokens(messages[roles.index("assistant") + 1 :])


def messages_in(prompt: Sequence[int]) -> tuple[list[Message], str]:
    """The chat of a prompt, and what the assistant's last message begins with: "" if it is new.

    Raises PonderError if it is no chat's.
    """
    if not prompt or prompt[0] not in _NAMES:
        raise PonderError(
            "an endpoint answers chats, and this prompt is none; what goes on with a raw text, "
            "such as continuation, needs an embedded model"
        )
    said: list[tuple[str, bytearray]] = []
    for token in prompt:
        if token in _NAMES:
            said.append((_NAMES[token], bytearray()))
        else:
            said[-1][1].extend(piece_of(token))
    role, begun = said.pop()
    if role != "assistant":
        raise PonderError("the prompt of an endpoint ends where the assistant is to speak")
    # At the seam only whole characters can be sent; elsewhere all are whole.
    messages = [{"role": r, "content": d.decode(errors="replace")} for r, d in said]
    return messages, begun.decode(errors="ignore")
