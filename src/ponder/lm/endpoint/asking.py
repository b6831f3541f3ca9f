"""What is sent to a server: the body of a request."""

from __future__ import annotations

from typing import Any

from ponder.errors import PonderError
from ponder.lm.endpoint.request import Request
from ponder.lm.endpoint.servers import Kind
from ponder.lm.endpoint.spelling import messages_in
from ponder.lm.protocol import Completion, OptionLogProbs
from ponder.lm.sampling_law import SamplingLaw

MOST_OPTIONS = 20  # log-probabilities that servers tell of the next token
GO_ON = (
    "Go on exactly where your last message stopped, as if you had not been interrupted. Repeat "
    "nothing of it."
)
TOKEN_LEVEL = (
    "the probabilities of all next tokens are needed here (constrained, contrasted, speculate, "
    "grammars and scores of a reply under another law need them), and {} is behind a server, "
    "which does not tell them; use an embedded model"
)


def check(dist: Any, name: str) -> None:
    """Raise PonderError for what no server can be asked."""
    if not isinstance(dist, Completion | OptionLogProbs):
        raise PonderError(TOKEN_LEVEL.format(name))
    if isinstance(dist, Completion) and dist.grammar is not None:
        # A server would obey it, but not say what mass its law gives to what was allowed.
        raise PonderError(TOKEN_LEVEL.format(name))
    messages_in(dist.prompt)


def body_of(request: Request, model: str, kind: Kind, *, logprobs: bool) -> dict[str, Any]:
    """The body for ``/chat/completions`` of a server of that kind.

    Prompts of a question begin alike, message by message, so that the server's cache finds them.
    """
    dist = request.dist
    messages, begun = messages_in(dist.prompt)
    found: dict[str, Any] = {"model": model, "messages": messages}
    if begun and kind.goes_on is not None:
        messages.append({"role": "assistant", "content": begun})
        found |= kind.goes_on
    elif begun:
        messages.append({"role": "assistant", "content": begun})
        messages.append({"role": "user", "content": GO_ON})
    if isinstance(dist, OptionLogProbs):
        top = {"logprobs": True, "top_logprobs": MOST_OPTIONS}
        return {**found, "max_tokens": 1, **kind.law(SamplingLaw()), **top}
    assert isinstance(dist, Completion)
    found |= {"max_tokens": dist.max_tokens, **kind.law(dist.law), "seed": request.seed}
    if logprobs:
        found |= {"logprobs": True, "top_logprobs": 1}
    if request.aloud or streams(dist, kind):
        found |= {"stream": True, "stream_options": {"include_usage": True}}
    if dist.stop and not streams(dist, kind):
        found["stop"] = list(dist.stop)
        if dist.segment:
            found |= kind.whole_stop or {}
    return found


def streams(dist: Any, kind: Kind) -> bool:
    """Whether the stop strings are looked for here, because the server would not say which it was.

    A segment ends with one and the reply goes on; it ends without one and the reply is over.
    """
    segment = isinstance(dist, Completion) and dist.segment and bool(dist.stop)
    return segment and kind.whole_stop is None


def goes_on(dist: Any) -> bool:
    """Whether the prompt ends within a message of the assistant."""
    return bool(messages_in(dist.prompt)[1])
