"""From a body to what the loop works on: questions, a strategy with its settings, a budget."""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ponder.blocks import draw, vote
from ponder.errors import PonderError
from ponder.ledger import Budget
from ponder.question import Question, make_question
from ponder.recipes.chatting import chat, continuation
from ponder.recipes.constrained import constrained
from ponder.serve.bodies import (
    MOST_CHOICES,
    Asked,
    ChatBody,
    CompletionBody,
    Ponder,
    TextPart,
    Turn,
)
from ponder.serve.naming import Chosen, Naming, with_settings
from ponder.serve.refusals import Refusal
from ponder.serve.work import Work
from ponder.strategy import Pipeline

COLDEST = 0.05
"""Under a schema the likeliest token may be one that it does not allow, so that temperature 0
would leave nothing; this is as greedy as can be."""


@dataclass(frozen=True)
class Ceilings:
    """What the operator grants a request at most; None is no ceiling."""

    max_tokens: int | None = None
    max_seconds: float | None = None

    def budget(self, wanted: Ponder) -> Budget:
        """What a client wants, but no more than this."""
        return Budget(
            _least(wanted.max_tokens, self.max_tokens),
            _least(wanted.max_seconds, self.max_seconds),
            wanted.max_calls,
        )


@dataclass(frozen=True)
class Request:
    """What a client wants, read and checked. ``stops`` cut a strategy's reply after the fact."""

    work: Work
    body: ChatBody | CompletionBody
    method: str
    stops: tuple[str, ...] = ()

    @property
    def chats(self) -> bool:
        """Whether it came to /v1/chat/completions."""
        return isinstance(self.body, ChatBody)

    @property
    def wanted(self) -> Ponder:
        """Its ``ponder`` field."""
        return self.body.ponder or Ponder()

    @property
    def logprobs(self) -> bool:
        """Whether log-probabilities are wanted."""
        given = self.body.logprobs
        return given is not None and given is not False


def read_request(
    body: ChatBody | CompletionBody, naming: Naming, ceilings: Ceilings, seed: int | None = None
) -> Request:
    """What ``body`` asks for. ``seed`` is the operator's, for those that give none.

    Raises Refusal for what cannot be done.
    """
    wanted = body.ponder or Ponder()
    if body.stream_options is not None and not body.stream:
        raise Refusal(400, "stream_options needs stream: true", param="stream_options")
    chosen = naming.choose(body.model, wanted.strategy, wanted.risk, wanted.confidence)
    stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    try:
        pipeline = _pipeline(body, chosen, stop)
        work = Work(
            pipeline,
            tuple(_questions(body, wanted, pipeline)),
            _seed(body, seed),
            ceilings.budget(wanted),
            chosen.worth,
            words=chosen.pipeline is None,
            progress=bool(wanted.progress or (body.stream and chosen.pipeline is not None)),
            genealogy=bool(wanted.genealogy),
        )
    except PonderError as error:
        raise Refusal(400, str(error)) from None
    return Request(work, body, chosen.label, () if "stop" in pipeline.source.allowed else stop)


def _seed(body: Asked, seed: int | None) -> int:
    if body.seed is not None:
        return body.seed
    return secrets.randbits(53) if seed is None else seed  # 53: exact in every JSON reader


def _pipeline(body: ChatBody | CompletionBody, chosen: Chosen, stop: tuple[str, ...]) -> Pipeline:
    """The strategy with the settings that the client gives."""
    settings = _settings(body)
    pipeline = chosen.pipeline
    if pipeline is None:
        pipeline = (chat if isinstance(body, ChatBody) else continuation) | draw(1) | vote
    elif chosen.tuned and settings:
        names = ", ".join(settings)
        raise Refusal(400, f"the card holds for its own settings; leave {names} out")
    form = _form(body)
    if pipeline.source.name == chat.name and form is not None:
        if stop:
            raise Refusal(400, "a schema says itself where a reply ends; leave stop out")
        if settings.get("temperature") == 0:
            settings["temperature"] = COLDEST
        source = constrained(schema=form, **dict(pipeline.source.settings))
        if chosen.pipeline is None:
            source = source(every=0)  # one trace, so that nothing can be resampled on its way
        return with_settings(Pipeline(source, pipeline.blocks), settings)
    if form is not None:
        raise Refusal(
            400,
            "response_format needs the bare model, or a strategy of chat, such as "
            "chat | draw(8) | vote",
            param="response_format",
        )
    if (pipeline.source.name == continuation.name) is isinstance(body, ChatBody):
        raise Refusal(
            400,
            "messages are never flattened to a text: use the strategy at /v1/completions"
            if isinstance(body, ChatBody)
            else "a completion goes on from its prompt, by the bare model or a strategy of "
            "continuation; use /v1/chat/completions for others",
        )
    if stop and "stop" in pipeline.source.allowed:
        settings["stop"] = stop
    return with_settings(pipeline, settings)


def _settings(body: ChatBody | CompletionBody) -> dict[str, Any]:
    longest = body.max_tokens
    if isinstance(body, ChatBody) and body.max_completion_tokens is not None:
        if longest is not None and longest != body.max_completion_tokens:
            raise Refusal(400, "max_tokens and max_completion_tokens differ; give one")
        longest = body.max_completion_tokens
    given = {"temperature": body.temperature, "top_p": body.top_p, "max_tokens": longest}
    return {name: value for name, value in given.items() if value is not None}


def _form(body: ChatBody | CompletionBody) -> str | None:
    """The JSON schema that the reply has to follow."""
    form = body.response_format if isinstance(body, ChatBody) else None
    if form is None or form.type == "text":
        return None
    return (
        '{"type": "object"}' if form.type == "json_object" else json.dumps(form.json_schema.schema_)
    )


def _questions(
    body: ChatBody | CompletionBody, wanted: Ponder, pipeline: Pipeline
) -> list[Question]:
    """One for every choice; the first of a conversation is the one that ponder ask would ask."""
    if isinstance(body, CompletionBody):
        prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
        found = [_of_kind(Question(prompt, "text"), wanted, pipeline) for prompt in prompts]
    else:
        found = [_of_kind(_conversation(body), wanted, pipeline)]
    listed = [question for question in found for _ in range(body.n or 1)]
    if len(listed) > MOST_CHOICES:
        raise Refusal(400, f"{len(listed)} choices are too many; ask for {MOST_CHOICES}", param="n")
    return [_named(question, number) for number, question in enumerate(listed)]


def _named(question: Question, number: int) -> Question:
    return dataclasses.replace(question, id=str(number + 1) if number else "")


def _conversation(body: ChatBody) -> Question:
    """The last message as the question, those before it as its system prompt and history."""
    turns = [
        ("system" if turn.role == "developer" else turn.role, said_in(turn))
        for turn in body.messages
    ]
    role, text = turns.pop()
    if role != "user":
        raise Refusal(
            400,
            f"the last message is the {role}'s; end with one of the user's",
            param=f"messages.{len(turns)}.role",
        )
    system = None
    if turns and turns[0][0] == "system":
        system = turns.pop(0)[1]
    if not text.strip():
        raise Refusal(
            400,
            "the last message is empty; give some text",
            param=f"messages.{len(body.messages) - 1}",
        )
    return Question(text, "", system=system or None, history=tuple(turns))


def said_in(turn: Turn) -> str:
    """The text of a turn; of one that abstained, why."""
    return text_of(turn.content or "") or getattr(turn, "refusal", None) or ""


def text_of(content: str | Sequence[TextPart]) -> str:
    """The text of a message; its parts are paragraphs."""
    return content if isinstance(content, str) else "\n".join(part.text for part in content)


def _of_kind(question: Question, wanted: Ponder, pipeline: Pipeline) -> Question:
    """The question with the kind of its answer: said, inferred, or text for the model's own say."""
    own = pipeline.source.name in (chat.name, continuation.name)
    _check_options(wanted, own)
    kind: str | None = wanted.kind
    if kind is None and wanted.options:
        kind = "choice"
    if kind is None and pipeline.source.name == constrained.name:
        kind = "json"
    if kind is None and own:
        kind = "text"
    if kind is None:
        kind = make_question(question.text).kind
    return dataclasses.replace(question, kind=kind, options=tuple(wanted.options or ()))


def _check_options(wanted: Ponder, own: bool) -> None:
    """Raise Refusal for choices that the question would not offer."""
    if wanted.options is None:
        return
    why = None
    if own:
        why = "the model's own reply is asked for as it is; a strategy such as cot offers them"
    elif wanted.kind not in (None, "choice"):
        why = f"they are of the kind choice, not {wanted.kind}"
    elif len(set(wanted.options)) < len(wanted.options):
        why = "two of them are the same"
    if why:
        raise Refusal(400, f"ponder.options: {why}", param="ponder.options")


def _least(a: Any, b: Any) -> Any:
    given = [x for x in (a, b) if x is not None]
    return min(given, default=None)
