"""The process that confines itself once, and forks a clean verifier for every request."""

from __future__ import annotations

import builtins
import gc
import importlib
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from typing import Any

from . import kernel
from .cage import Cage, keep_open, own_root
from .verifier import verify

CONTROL = 3
# What programs import most, and what needs libraries that are out of sight later.
_MODULES = """
    abc array ast base64 bisect bz2 calendar cmath collections contextlib copy csv ctypes
    dataclasses datetime decimal enum fractions functools hashlib heapq io itertools json lzma math
    operator pyexpat queue random re statistics string struct textwrap threading time traceback
    typing unicodedata uuid zlib
"""


def main() -> None:
    """Serve on the socket whose number is in the first argument, until it is closed.

    The other end hears ``m`` when it shall map users, ``r`` when requests can come, or ``!`` and
    what went wrong. It sends ``r`` with the socket of a request, and then ``e`` when the answer
    is there or no longer wanted; ``e`` comes back when no process of that request is left.
    """
    options = json.loads(sys.argv[1])
    keep_open([0, 0, 0, options["control"]])
    control = socket.socket(fileno=CONTROL)
    try:
        _prepare()
        cage, own_pids = _confine(control, options)
    except OSError as error:
        control.send(b"!" + str(error.strerror or error).encode())
        os._exit(1)
    control.send(b"r")
    _serve(control, cage, own_pids, options["output_bytes"])


def _prepare() -> None:
    """All that costs time or needs the host's files, before either is gone."""
    for name in _MODULES.split():
        with suppress(ImportError):
            importlib.import_module(name)
    vars(builtins).update(exit=sys.exit, quit=sys.exit)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.collect()
    gc.freeze()


def _confine(control: socket.socket, options: dict[str, Any]) -> tuple[Cage, int | None]:
    """(cage, descriptor of the pid namespace). In namespaces, it returns in a new process."""
    limits = (options["cpu_seconds"], options["memory_mb"], options["threads"])
    if options["identity"] is not None:
        os.setgroups([])
    if not options["namespaces"]:
        return Cage(False, options["identity"], *limits), None
    kernel.unshare(kernel.NEWUSER)
    control.send(b"m")
    if control.recv(1) != b"m":
        os._exit(1)
    kernel.unshare(kernel.NEWNS | kernel.NEWPID | kernel.NEWNET | kernel.NEWIPC | kernel.NEWUTS)
    socket.sethostname("sandbox")
    child = os.fork()
    if child:
        control.close()
        os.waitpid(child, 0)
        os._exit(0)
    kernel.die_with_parent()
    own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    own_root()
    return Cage(True, options["identity"], *limits), own_pids


def _serve(control: socket.socket, cage: Cage, own_pids: int | None, output_bytes: int) -> None:
    while True:
        word, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not word:
            os._exit(0)
        if own_pids is not None:
            kernel.enter_namespace(own_pids, kernel.NEWPID)
            kernel.unshare(kernel.NEWPID)
        scratch = "/tmp" if cage.namespaces else _folder(cage)
        child = os.fork()
        if child == 0:
            try:
                keep_open([0, 0, 0, descriptors[0]])
                verify(3, cage, scratch, output_bytes)
            finally:
                os._exit(1)
        os.close(descriptors[0])
        word = control.recv(1)
        _end(child, cage)
        if not cage.namespaces:
            shutil.rmtree(scratch, ignore_errors=True)
        if not word:
            os._exit(0)
        control.send(b"e")


def _end(child: int, cage: Cage) -> None:
    """Kill a verifier and, with its namespace or its group, its program."""
    if not cage.namespaces:
        with suppress(OSError):
            os.killpg(child, signal.SIGKILL)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _folder(cage: Cage) -> str:
    folder = tempfile.mkdtemp(prefix="ponder-")
    if cage.identity is not None:
        os.chown(folder, cage.identity, cage.identity)
    return folder
