"""Going on with a live chat: what the model has computed of it is found again."""

from __future__ import annotations

from ponder.lm.protocol import LanguageModel, Tokens


def further(model: LanguageModel, transcript: Tokens, text: str) -> Tokens:
    """The tokens that ask ``text`` after a reply whose transcript this is.

    ``transcript`` is the prompt and the reply, without the end token.
    """
    chat = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "!"},
        {"role": "user", "content": text},
    ]
    return transcript + model.follow_up(chat)
