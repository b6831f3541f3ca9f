"""What a client may send: OpenAI's fields, and ponder's own beside them.

A field that is not honoured is here too, with the only values that mean "off": whatever else comes
is refused by its name, never ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

MOST_CHOICES = 128


def _boolean(value: Any) -> Any:
    """False, and not 0, which Python takes for it."""
    if not isinstance(value, bool):
        raise ValueError("Input should be a boolean")
    return value


Filled = Annotated[str, Field(min_length=1)]
NoList = Annotated[list[Any], Field(max_length=0)]
NoEntries = Annotated[dict[str, Any], Field(max_length=0)]
No = Annotated[Literal[False], BeforeValidator(_boolean)]
Zero = Annotated[float, Field(ge=0, le=0)]


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 1.0 is an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
Count = Annotated[int, Field(ge=1, le=10**9), WHOLE]
Seconds = Annotated[float, Field(gt=0, le=10**9)]
Share = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63), WHOLE]
Stop = Filled | Annotated[list[Filled], Field(max_length=16)]


class Body(BaseModel):
    """Nothing unknown, nothing converted, no infinities."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class TextPart(Body):
    """A part of a message. Images, sound and files are refused: models here read text."""

    type: Literal["text"]
    text: str


Content = str | Annotated[list[TextPart], Field(min_length=1)]


class Instruction(Body):
    """What the operator of the client says."""

    role: Literal["system", "developer"]
    content: Content
    name: None = None


class UserTurn(Body):
    """What the user says."""

    role: Literal["user"]
    content: Content
    name: None = None


class AssistantTurn(Body):
    """What the model said before, or why it said nothing; what else replies carry is empty."""

    role: Literal["assistant"]
    content: Content | None = None
    name: None = None
    refusal: str | None = None
    audio: None = None
    function_call: None = None
    tool_calls: NoList | None = None
    annotations: NoList | None = None


Turn = Annotated[Instruction | UserTurn | AssistantTurn, Field(discriminator="role")]


class AsText(Body):
    """Any text: the default."""

    type: Literal["text"]


class AsObject(Body):
    """Some JSON object."""

    type: Literal["json_object"]


class Schema(Body):
    """A JSON schema; it is always held to, whatever ``strict`` says."""

    name: str
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


class AsSchema(Body):
    """A JSON value that a schema accepts."""

    type: Literal["json_schema"]
    json_schema: Schema


Form = Annotated[AsText | AsObject | AsSchema, Field(discriminator="type")]


class StreamOptions(Body):
    """What a stream says besides the reply."""

    include_usage: bool | None = None
    include_obfuscation: No | None = None


class Ponder(Body):
    """How to answer, and for how much; see ``docs/serve.md``."""

    strategy: Filled | None = Field(
        default=None, description="A notation, or the name of an alias."
    )
    risk: Share | None = Field(
        default=None, description="Answer only where at most this share is wrong."
    )
    confidence: Share | None = Field(default=None, description="With which the risk holds.")
    kind: Literal["number", "choice", "bool", "text", "json", "code", "logic", "math"] | None = None
    options: Annotated[list[Filled], Field(min_length=2, max_length=26)] | None = None
    max_tokens: Count | None = Field(
        default=None, description="Of the whole request, prompts counted."
    )
    max_seconds: Seconds | None = None
    max_calls: Count | None = None
    progress: bool | None = None
    genealogy: bool | None = None
    traces: bool | None = None


class Asked(Body):
    """What chats and completions have in common."""

    model: Filled
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES), WHOLE] | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Count | None = None
    ponder: Ponder | None = None
    # Accepted, since they change no reply.
    user: str | None = None
    metadata: dict[str, str] | None = None
    # Refused unless they are off.
    frequency_penalty: Zero | None = None
    presence_penalty: Zero | None = None
    logit_bias: NoEntries | None = None


class ChatBody(Asked):
    """The body of /v1/chat/completions."""

    messages: Annotated[list[Turn], Field(min_length=1)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    response_format: Form | None = None
    parallel_tool_calls: bool | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    service_tier: Literal["auto", "default"] | None = None
    store: No | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=0), WHOLE] | None = None
    tools: NoList | None = None
    tool_choice: Literal["none", "auto"] | None = None
    functions: NoList | None = None
    function_call: Literal["none", "auto"] | None = None
    modalities: Annotated[list[Literal["text"]], Field(min_length=1, max_length=1)] | None = None
    audio: None = None
    prediction: None = None
    reasoning_effort: None = None
    verbosity: None = None
    web_search_options: None = None


class CompletionBody(Asked):
    """The body of /v1/completions; several prompts are answered in one request."""

    prompt: Filled | Annotated[list[Filled], Field(min_length=1, max_length=MOST_CHOICES)]
    logprobs: Annotated[int, Field(ge=0, le=0), WHOLE] | None = None
    best_of: Annotated[int, Field(ge=1, le=1), WHOLE] | None = None
    echo: No | None = None
    suffix: Annotated[str, Field(max_length=0)] | None = None
