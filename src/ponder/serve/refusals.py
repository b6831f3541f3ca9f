"""What a client is told when there is no answer: one line, in the form of OpenAI's errors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from starlette.responses import JSONResponse

from ponder.errors import PonderError, Unavailable
from ponder.serve.work import Late

_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
_ADDRESS = re.compile(r"(the server )?https?://[^\s/,;:]+(:\d+)?(/[\w/.-]*)?")  # an operator's
_UNIONS = {"messages": 2, "response_format": 1}  # where a role or a type stands in a path


class Refusal(Exception):
    """A reply with a status of 400 or more; ``retry_after`` in seconds."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = " ".join(message.split())
        self.param = param
        self.code = code
        self.retry_after = retry_after

    def as_dict(self) -> dict[str, Any]:
        """OpenAI's form of an error."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {
            "message": self.message,
            "type": _TYPES.get(self.status, kind),
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}

    def response(self, headers: Mapping[str, str] | None = None) -> JSONResponse:
        """As a whole reply."""
        added = dict(headers or {})
        if self.retry_after is not None:
            added["Retry-After"] = str(self.retry_after)
        if self.status == 401:
            added["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.as_dict(), self.status, added)

    def event(self) -> bytes:
        """As an event of a stream that has begun."""
        return b"data: " + json.dumps(self.as_dict()).encode() + b"\n\n"


def refused(error: BaseException, reference: str) -> Refusal:
    """What the client is told of an error; what is no fault of its own is found by ``reference``.

    Nothing else of such an error goes out: it may tell of other requests.
    """
    if isinstance(error, Refusal):
        return error
    if isinstance(error, Unavailable):
        return Refusal(
            503,
            f"the server lacks what it needs for this; its log says more of {reference}",
            code="unavailable",
            retry_after=30,
        )
    if isinstance(error, Late):
        return Refusal(503, str(error), code="cut_short", retry_after=5)
    if isinstance(error, PonderError):
        return Refusal(400, _ADDRESS.sub("the engine", str(error)))
    return Refusal(
        500,
        f"a bug in ponder; the server's log says more of {reference}",
        code="internal_error",
    )


def unreadable(error: ValidationError, known: Sequence[str]) -> Refusal:
    """The first thing that is wrong with a body, whose fields are ``known``."""
    # Of a choice of forms every one complains: the one that got furthest is the one meant.
    first = max(error.errors(include_url=False), key=lambda e: len(e["loc"]))
    if first["type"] == "json_invalid":
        said = str(first.get("ctx", {}).get("error", "it cannot be read"))
        return Refusal(400, f"the body is not JSON: {said}", code="invalid_json")
    param = _place(first["loc"])
    if not param:
        return Refusal(400, "the body is not a JSON object; send one", code="invalid_json")
    if first["type"] == "extra_forbidden":
        message = f"unknown field {param!r}; remove it (nothing is ignored)"
        return Refusal(400, message, param=param, code="unknown_parameter")
    if first["type"] == "missing":
        return Refusal(400, f"{param} is missing; add it", param=param, code="missing")
    if first["type"] == "union_tag_invalid":
        tag, wanted = first["ctx"]["discriminator"], first["ctx"]["expected_tags"]
        message = f"{param}: {tag.strip(chr(39))} is not supported unless it is one of {wanted}"
        return Refusal(400, message, param=param, code="unsupported_value")
    off = known_off(param, known)
    if off:
        message = f"{param} is not supported, only {off}; leave it out"
        return Refusal(400, message, param=param, code="unsupported_parameter")
    return Refusal(400, f"{param}: {first['msg']}", param=param, code="invalid_value")


_OFF = {
    "tools": "[] or null",
    "tool_choice": '"none", "auto" or null',
    "functions": "[] or null",
    "function_call": '"none", "auto" or null',
    "tool_calls": "[] or null",
    "logit_bias": "{} or null",
    "top_logprobs": "0 or null",
    "logprobs": "true, false, 0 or null",
    "frequency_penalty": "0 or null",
    "presence_penalty": "0 or null",
    "best_of": "1 or null",
    "echo": "false or null",
    "suffix": '"" or null',
    "store": "false or null",
    "include_obfuscation": "false or null",
    "service_tier": '"auto", "default" or null',
    "modalities": '["text"] or null',
    "audio": "null",
    "prediction": "null",
    "reasoning_effort": "null",
    "verbosity": "null",
    "web_search_options": "null",
    "name": "null",
    "refusal": "null",
    "annotations": "[] or null",
}


def known_off(param: str, known: Sequence[str]) -> str | None:
    """What a field may be that is not honoured; None for one that is."""
    *above, last = param.split(".")
    return _OFF.get(last) if above or last in known else None


def _place(loc: Sequence[str | int]) -> str:
    """The path of a field, without the branches of unions that pydantic puts into it."""
    tag = _UNIONS.get(str(loc[0])) if loc else None
    kept = [part for i, part in enumerate(loc) if i != tag]
    return ".".join(str(part) for part in kept if part != "str" and not set("[(-") & set(str(part)))
