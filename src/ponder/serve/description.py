"""The description of the server for programs: OpenAPI, made of what checks the bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from ponder.serve import schemas
from ponder.serve.bodies import ChatBody, CompletionBody

if TYPE_CHECKING:
    from ponder.serve.service import Service

_ERRORS = {
    "400": "The request cannot be answered as it is; the message says why.",
    "401": "The key is missing or wrong.",
    "403": "The server was asked by a name that is not local.",
    "404": "There is no such model or alias.",
    "408": "The body took too long to arrive.",
    "413": "The body is too long.",
    "415": "The body is not said to be JSON.",
    "429": "The queue is full.",
    "500": "A bug; the log says more of the id in the message.",
    "503": "The server is shutting down.",
}
_SENT: list[type[BaseModel]] = [
    schemas.ChatReply,
    schemas.TextReply,
    schemas.ModelReply,
    schemas.ModelsReply,
    schemas.HealthReply,
    schemas.ErrorReply,
]
_WAIT = {
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}, "required": True}
}


def description(service: Service) -> dict[str, Any]:
    """The OpenAPI document, version 3.1, with the names that this server has."""
    from ponder import __version__

    parts = _components()
    _state_names(parts, service)
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "ponder serve",
            "version": __version__,
            "description": "OpenAI's chat and text completions, by methods that spend more "
            "samples on an answer and say what it is worth.",
        },
        "paths": {
            "/v1/chat/completions": {
                "post": _asking("chat", "Answer a conversation.", ChatBody, schemas.ChatReply)
            },
            "/v1/completions": {
                "post": _asking("complete", "Go on from a text.", CompletionBody, schemas.TextReply)
            },
            "/v1/models": {
                "get": _telling("models", "The names of models.", schemas.ModelsReply, "401", "403")
            },
            "/v1/models/{name}": {"get": _one_model(service)},
            "/health": {"get": _health()},
            "/metrics": {"get": _text("metrics", "For Prometheus.", "text/plain", "401", "403")},
            "/": {"get": _text("page", "A page to ask from.", "text/html", "403")},
        },
        "components": {"schemas": parts},
    }
    if service.keys:
        found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path, operations in found["paths"].items():
            if path.startswith("/v1/") or path == "/metrics":
                for operation in operations.values():
                    operation["security"] = [{"key": []}]
    return found


def _components() -> dict[str, Any]:
    inputs: list[tuple[type[BaseModel], Any]] = [
        (ChatBody, "validation"),
        (CompletionBody, "validation"),
    ]
    outputs: list[tuple[type[BaseModel], Any]] = [(model, "serialization") for model in _SENT]
    _, made = models_json_schema(
        [*inputs, *outputs], ref_template="#/components/schemas/{model}", by_alias=True
    )
    return dict(made["$defs"])


def _state_names(parts: dict[str, Any], service: Service) -> None:
    """The names that a body may give, besides notations."""
    names = [row["id"] for row in service.naming.listed()]
    for body, known in (("ChatBody", names), ("CompletionBody", names[:1])):
        parts[body]["properties"]["model"] = {
            "type": "string",
            "enum": known,
            "description": "A name here, or a notation after the first name and @, such as "
            f"{names[0]}@cot | draw(8) | vote.",
        }


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _content(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": _reference(model)}}


def _faults(*statuses: str) -> dict[str, Any]:
    return {
        status: {
            "description": _ERRORS[status],
            "content": _content(schemas.ErrorReply),
            **({"headers": _WAIT} if status in ("429", "503") else {}),
        }
        for status in statuses
    }


def _asking(
    name: str, summary: str, body: type[BaseModel], reply: type[BaseModel]
) -> dict[str, Any]:
    event = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
    stream = {"schema": {**event, "description": "Server-sent events, if stream is true."}}
    answered = {
        "description": "The reply.",
        "content": {**_content(reply), "text/event-stream": stream},
    }
    return {
        "operationId": name,
        "summary": summary,
        "requestBody": {"required": True, "content": _content(body)},
        "responses": {"200": answered, **_faults(*_ERRORS)},
    }


def _telling(name: str, summary: str, reply: type[BaseModel], *faults: str) -> dict[str, Any]:
    answered = {"description": summary, "content": _content(reply)}
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": answered, **_faults(*faults)},
    }


def _one_model(service: Service) -> dict[str, Any]:
    found = _telling("model", "One name.", schemas.ModelReply, "400", "401", "403", "404")
    known = [row["id"] for row in service.naming.listed()]
    schema = {"type": "string", "enum": known}
    found["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": schema}]
    return found


def _health() -> dict[str, Any]:
    found = _telling("health", "Whether it takes requests.", schemas.HealthReply, "403")
    found["responses"]["503"] = {
        "description": _ERRORS["503"],
        "content": _content(schemas.HealthReply),
    }
    return found


def _text(name: str, summary: str, kind: str, *faults: str) -> dict[str, Any]:
    shown = {"description": summary, "content": {kind: {"schema": {"type": "string"}}}}
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": shown, **_faults(*faults)},
    }
