"""What a client receives, for the description: the tests hold the server's replies to it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Sent(BaseModel):
    """Nothing else comes."""

    model_config = ConfigDict(extra="forbid")


class Fault(Sent):
    """What went wrong, in a line."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(Sent):
    """OpenAI's form of an error."""

    error: Fault


class CachedTokens(Sent):
    """Prompt tokens that the model had read already."""

    cached_tokens: int


class Usage(Sent):
    """Tokens of all choices, by themselves: whoever paid for them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


class ShareOfAnswer(Sent):
    """An answer's part of the posterior; ``error`` is its standard error."""

    answer: str
    share: float
    error: float | None
    count: int


class Cost(Sent):
    """Ledgers: of what it has cost now, and of what it costs alone, with an empty bank."""

    now: dict[str, float]
    alone: dict[str, float]


class Beside(Sent):
    """What the answer is worth; ``docs/serve.md`` says more of each."""

    seed: int
    answer: str | None
    probability: float | None
    probability_of: str
    abstained: str | None
    posterior: list[ShareOfAnswer]
    ess: float
    unparsed: int
    unfinished: int
    law: str
    kind: str
    strategy: str
    model: str
    cut_short: str | None
    cost: Cost
    program: str | None = None
    genealogy: dict[str, Any] | None = None
    traces: list[dict[str, Any]] | None = None


class TokenLogprob(Sent):
    """A token and its log-probability under the model itself, at temperature 1."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[Any]


class Logprobs(Sent):
    """The tokens of a reply."""

    content: list[TokenLogprob]
    refusal: None


class TextLogprobs(Sent):
    """The tokens of a completion."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: None
    text_offset: list[int]


class Message(Sent):
    """``content`` is the full text of a winning trace; ``refusal`` says why it is empty."""

    role: Literal["assistant"]
    content: str
    refusal: str | None


class ChatChoice(Sent):
    """One of n; its own ``ponder`` object is here if n is more than 1."""

    index: int
    message: Message
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length"]
    ponder: Beside | None = None


class Completed(Sent):
    """What both kinds of completion hold; ``ponder`` is that of the first choice."""

    id: str
    created: int
    model: str
    usage: Usage
    ponder: Beside


class ChatReply(Completed):
    """A chat completion."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class TextChoice(Sent):
    """One of n, for every prompt."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"]
    ponder: Beside | None = None


class TextReply(Completed):
    """A completion."""

    object: Literal["text_completion"]
    choices: list[TextChoice]


class MethodOfModel(Sent):
    """How a model's name answers; null for the bare model."""

    strategy: str | None
    law: str | None


class ModelReply(Sent):
    """A model's name."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    ponder: MethodOfModel


class ModelsReply(Sent):
    """All names."""

    object: Literal["list"]
    data: list[ModelReply]


class HealthReply(Sent):
    """``running`` and ``waiting`` count requests."""

    status: Literal["ok", "draining"]
    model: str
    running: int
    waiting: int
