"""Options that a model names with one token, such as letters and digits."""

from __future__ import annotations

from ponder.errors import PonderError
from ponder.lm.protocol import LanguageModel, Tokens


def single_tokens(model: LanguageModel, text: str) -> Tokens:
    """The tokens that spell ``text``, alone or after a space. Raises PonderError without any."""
    spelled = [model.tokenize(lead + text) for lead in ("", " ")]
    found = {tokens[0] for tokens in spelled if len(tokens) == 1}
    if not found:
        raise PonderError(f"{model.name} has no single token for {text!r}; use another model")
    return tuple(sorted(found))
