"""The routes, and what every request passes on its way to them."""

from __future__ import annotations

import secrets
from functools import lru_cache
from importlib.resources import files
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ponder.serve.bodies import ChatBody, CompletionBody
from ponder.serve.description import description
from ponder.serve.exchange import Exchange
from ponder.serve.keys import check_host
from ponder.serve.limits import closing, read_body
from ponder.serve.refusals import Refusal, refused
from ponder.serve.service import Service, log

OPEN = {"/", "/health", "/openapi.json"}
"""What is shown without a key: nothing of anybody's."""
PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def make_app(service: Service) -> ASGIApp:
    """The whole server as an ASGI application."""

    async def chat(request: Request) -> Exchange:
        return service.exchange(ChatBody, await read_body(request, service.max_body))

    async def complete(request: Request) -> Exchange:
        return service.exchange(CompletionBody, await read_body(request, service.max_body))

    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": _models(service)})

    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        for found in _models(service):
            if found["id"] == name:
                return JSONResponse(found)
        service.naming.choose(name)
        raise Refusal(404, f"{name!r} has no entry of its own", code="model_not_found")

    async def health(request: Request) -> Response:
        said = {
            "status": "draining" if service.draining else "ok",
            "model": service.naming.model,
            "running": service.places.taken,
            "waiting": service.places.waiting,
        }
        return JSONResponse(said, 503 if service.draining else 200)

    async def metrics(request: Request) -> Response:
        return Response(service.metrics.page(), media_type="text/plain; version=0.0.4")

    async def described(request: Request) -> Response:
        return JSONResponse(description(service))

    async def page(request: Request) -> Response:
        return HTMLResponse(_page(), headers={"Content-Security-Policy": PAGE_POLICY})

    routes = [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/completions", complete, methods=["POST"]),
        Route("/v1/models", models),
        Route("/v1/models/{name:path}", model),
        Route("/health", health),
        Route("/metrics", metrics),
        Route("/openapi.json", described),
        Route("/", page),
    ]
    return Gate(Router(routes), service)


class Gate:
    """Keys, names, shutdown, counting; and no error goes out but in one line."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        reference = f"req-{secrets.token_hex(12)}"
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.setdefault("x-request-id", reference)
                headers["x-content-type-options"] = "nosniff"
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            self._check(scope)
            scope["app"] = self  # so that the router raises what it finds wrong
            await self._app(scope, receive, sending)
        except Exception as error:
            refusal = _of_routing(error, scope) or refused(error, reference)
            if refusal.status == 500:
                self._service.log_bug(error, reference)
            log.info("%s refused: %d %s", reference, refusal.status, refusal.code or "")
            if not status:
                headers = getattr(error, "headers", None)
                await refusal.response(headers)(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._service.metrics.replies.labels(route, str(status)).inc()

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if self._service.local and not self._service.keys:
            check_host(headers)
        if scope["path"] not in OPEN:
            self._service.keys.check(headers)
        if self._service.draining and scope["method"] == "POST":
            raise closing()


def _models(service: Service) -> list[dict[str, Any]]:
    return [
        {
            "id": row["id"],
            "object": "model",
            "created": service.created,
            "owned_by": "ponder",
            "ponder": {"strategy": row["strategy"], "law": row["law"]},
        }
        for row in service.naming.listed()
    ]


def _of_routing(error: Exception, scope: Scope) -> Refusal | None:
    """What the router says, in the form of all errors."""
    if isinstance(error, ClientDisconnect):
        return Refusal(408, "the body did not arrive")
    if not isinstance(error, HTTPException):
        return None
    path = scope["path"]
    told = {
        404: f"there is nothing at {path}; see /openapi.json",
        405: f"{scope['method']} is not for {path}; see /openapi.json",
    }
    return Refusal(error.status_code, told.get(error.status_code, error.detail))


@lru_cache(maxsize=1)
def _page() -> str:
    place = files("ponder.serve") / "page.html"
    return place.read_text(encoding="utf-8") if place.is_file() else "<title>ponder</title>ponder"
