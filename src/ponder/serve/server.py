"""The process: an address to listen at, and two signals to end it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator

import uvicorn

from ponder.errors import PonderError
from ponder.serve.app import make_app
from ponder.serve.service import Service


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address, which does not listen yet. Raises PonderError if it is taken."""
    try:
        kind, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(kind, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise PonderError(
            f"cannot listen at {host}:{port} ({why}); choose another --port (0: any), or --host"
        ) from None
    return bound


def address_of(bound: socket.socket) -> str:
    """Where to find it."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(service: Service, bound: socket.socket, grace: float, ready: Callable[[], None]) -> None:
    """Serve until a signal; then let requests finish for ``grace`` seconds, and conclude the rest.

    A second signal ends the process at once.
    """
    config = uvicorn.Config(
        make_app(service),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        http="h11",
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
    )
    asyncio.run(_serve(_Server(config), service, bound, grace, ready))


class _Server(uvicorn.Server):
    """Signals are ours: uvicorn would close the door before it says why."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(
    server: _Server,
    service: Service,
    bound: socket.socket,
    grace: float,
    ready: Callable[[], None],
) -> None:
    stop = asyncio.Event()
    own = asyncio.get_running_loop()

    def signalled(number: int) -> None:
        if stop.is_set():
            sys.stderr.write("ponder: stopped\n")
            sys.stderr.flush()
            os._exit(128 + number)
        sys.stderr.write(
            f"ponder: shutting down; {len(service.exchanges)} requests have {grace:g} s to finish, "
            "a second signal ends at once\n"
        )
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        own.add_signal_handler(number, signalled, number)
    serving = asyncio.create_task(server.serve([bound]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    ready()
    ended = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, ended}, return_when=asyncio.FIRST_COMPLETED)
    if not serving.done():
        await service.drain(grace)
        server.should_exit = True
    await serving
    await asyncio.to_thread(service.loop.close)
