"""HTTP to one server: a request there, its answer or why there is none."""

from __future__ import annotations

import importlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from ponder.errors import PonderError
from ponder.lm.endpoint.failures import Again, key, refusal

CONNECT = 10.0  # seconds
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def httpx() -> Any:
    """The library, imported when it is first needed. Raises PonderError with the remedy."""
    try:
        return importlib.import_module("httpx")
    except ImportError:
        raise PonderError(
            "models behind a server need httpx: pip install 'ponder[endpoint]'"
        ) from None


def open_client(url: str, width: int, seconds: float, transport: Any = None) -> Any:
    """An asynchronous client for one server, at most ``width`` connections and a few more.

    Proxies of the environment are used, but not for this machine. ``transport`` is for tests.
    """
    library = httpx()
    host = urlsplit(url).hostname
    own = host in _LOOPBACK
    limits = library.Limits(max_connections=width + 4, max_keepalive_connections=width + 4)
    if transport is None and (own or not getproxies()):
        transport = library.AsyncHTTPTransport(limits=limits, socket_options=_keep_alive())
    headers = {"Authorization": f"Bearer {found}"} if (found := key(host)) else {}
    timeout = library.Timeout(seconds, connect=CONNECT, pool=None)
    return library.AsyncClient(limits=limits, timeout=timeout, headers=headers, transport=transport)


def _keep_alive() -> list[tuple[int, int, int]]:
    """A machine that vanishes without a word is noticed after a minute."""
    found = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            found.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return found


async def get(client: Any, url: str) -> Any:
    """The JSON at an address. Raises Again or PonderError, as :func:`post`."""
    with _told(url):
        response = await client.get(url)
        return _json(response, url)


async def post(client: Any, url: str, body: dict[str, Any]) -> Any:
    """The JSON that answers ``body``.

    Raises Again where another try may go better, PonderError where it will not.
    """
    with _told(url):
        response = await client.post(url, json=body)
        return _json(response, url)


@asynccontextmanager
async def stream(client: Any, url: str, body: dict[str, Any]) -> AsyncIterator[AsyncIterator[str]]:
    """The lines that answer ``body``, as they come; leaving closes the connection."""
    with _told(url):
        async with client.stream("POST", url, json=body) as response:
            if response.status_code != 200:
                raise refusal(
                    response.status_code, response.headers, await response.aread(), _where(url)
                )
            yield response.aiter_lines()


def _json(response: Any, url: str) -> Any:
    if response.status_code != 200:
        raise refusal(response.status_code, response.headers, response.content, _where(url))
    try:
        found = json.loads(response.content)
    except ValueError:
        raise Again("answered what is no JSON, or half of it") from None
    if not isinstance(found, dict):
        raise Again("answered JSON of another form")
    return found


def _where(url: str) -> str:
    parts = urlsplit(url)
    return f"the server {parts.scheme}://{parts.netloc}"


class _told:
    """Turns what the library raises into Again."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        if error is None or not isinstance(error, httpx().TransportError):
            return
        if isinstance(error, httpx().ConnectTimeout | httpx().ConnectError):
            raise Again("cannot be reached", down=True) from None
        if isinstance(error, httpx().TimeoutException):
            raise Again("gave no answer in time", down=True, slow=True) from None
        if isinstance(error, httpx().UnsupportedProtocol | httpx().LocalProtocolError):
            raise PonderError(f"{_where(self._url)} cannot be asked ({error})") from None
        raise Again("broke the connection", down=True) from None
