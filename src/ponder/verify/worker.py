"""A function in a process of its own, which can be killed: for libraries that hang, leak or crash.

The process is a fresh interpreter with the ``sys.path`` of the one that asks. It imports the
function once and answers until a request takes too long, crashes it, or nobody is left to ask.
Needs a POSIX system.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, Any

from ponder.errors import PonderError

START_SECONDS = 120.0
"""Wall seconds for the start of the process and the import of the function."""
MEMORY = 4 << 30
"""Bytes of address space that the process may take; where more is needed it meets MemoryError."""
FAILURES = frozenset(("timeout", "crashed", "error", "cancelled"))
"""What the status of an answer says where it is not the function's."""

_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from ponder.verify.worker import serve; serve(*json.loads(sys.argv[2]))"
)
_LONGEST = 86_400.0
_GRACE = 5.0


def failed(answer: Mapping[str, Any]) -> bool:
    """Whether an answer is a worker's own, for want of its function's."""
    return answer.get("status") in FAILURES


class Worker:
    """A service that answers requests with ``module:function``, in a process of its own.

    The function takes and returns a dict that can be written as JSON. ``answer`` returns what it
    returned, after at most ``seconds`` of wall time (the start of the process comes on top). For
    want of that it returns ``{"status": ..., "detail": one line}``, and the next request is
    answered as if nothing had happened. The statuses: ``timeout``, killed at the limit;
    ``crashed``, the process ended by itself; ``error``, the function raised something or returned
    what is not JSON; ``cancelled``, another thread called ``abort``.

    ``answer`` raises PonderError if the function cannot be imported, or raises one itself: a
    mistake that the user can mend, such as an extra that is not installed. ``warm`` is a request
    that belongs to the start of the process, for what the function imports or builds lazily.
    """

    def __init__(
        self,
        target: str,
        seconds: float,
        *,
        name: str = "",
        fingerprint: str = "",
        warm: Mapping[str, Any] | None = None,
    ) -> None:
        if not 0 < seconds <= _LONGEST:
            raise PonderError(f"a worker cannot have {seconds} seconds; give more than 0, to 86400")
        self.name = name or target
        self.fingerprint = fingerprint or f"{target} {seconds:g} s"
        self._target = target
        self._seconds = seconds
        self._warm = warm
        self._process: _Process | None = None
        self._cancelled = False
        self._turn = threading.Lock()
        self._guard = threading.Lock()  # of _process and _cancelled, against abort

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The function's answer to ``request``, or a failure; see the class."""
        line = json.dumps(request).encode() + b"\n"
        with self._turn:
            try:
                reply = self._ready().ask(line, self._seconds)
            except TimeoutError:
                return _failure("timeout", f"no answer within {self._seconds:g} s")
            except (EOFError, OSError):
                return self._gone()
            finally:
                with self._guard:
                    # An interrupt may come here too; a late reply must not answer the next one.
                    if self._process is not None and self._process.owes:
                        self._drop()
        if "mend" in reply:
            raise PonderError(reply["mend"])
        return reply["answer"] if "answer" in reply else _failure("error", reply["error"])

    def abort(self) -> None:
        """Kill what is being answered, if anything is; from any thread."""
        with self._guard:
            if self._process is not None and self._process.owes:
                self._cancelled = True
                self._process.kill()

    def close(self) -> None:
        """End the process; a later request starts another."""
        with self._turn, self._guard:
            self._drop()

    def _ready(self) -> _Process:
        """The process, waiting for a request."""
        try:
            with self._guard:
                self._cancelled = False
                if self._process is not None and self._process.alive:
                    return self._process
                self._drop()
                self._process = process = _Process(self._target, self._seconds, self._warm)
            hello = process.line(START_SECONDS)
        except (EOFError, OSError):
            if self._cancelled:
                raise EOFError from None
            raise PonderError(
                f"no process for {self._target} could be started with {sys.executable}; "
                "see that this interpreter runs and has memory"
            ) from None
        if "mend" in hello:
            raise PonderError(hello["mend"])
        return process

    def _gone(self) -> dict[str, Any]:
        """Why a process has ended before it answered."""
        if self._cancelled:
            return _failure("cancelled", "stopped before it was answered")
        code = 0 if self._process is None else self._process.end()
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return _failure("crashed", f"the process of {self._target} ended with {how}")

    def _drop(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None


def _failure(status: str, detail: str) -> dict[str, Any]:
    return {"status": status, "detail": detail}


class _Process:
    """The parent's end of the pipes. ``owes``: a line is due that has not been read."""

    def __init__(self, target: str, seconds: float, warm: Mapping[str, Any] | None) -> None:
        path = json.dumps([entry for entry in sys.path if isinstance(entry, str)])
        life = json.dumps([target, seconds, warm])
        self._popen = subprocess.Popen(
            # -P: nothing that lies in the working directory may pass for the json module.
            [sys.executable, "-P", "-c", _BOOT, path, life],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Out of reach of Ctrl-C; and its own children can be killed along with it.
            start_new_session=True,
            # No answer may depend on the order of a set.
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        self._unread = b""
        self.owes = True

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def ask(self, line: bytes, seconds: float) -> dict[str, Any]:
        """Send a request and wait for the reply; see :meth:`line`."""
        assert self._popen.stdin is not None
        self.owes = True
        self._popen.stdin.write(line)
        self._popen.stdin.flush()
        return self.line(seconds)

    def line(self, seconds: float) -> dict[str, Any]:
        """The next reply. Raises TimeoutError after ``seconds``, EOFError if none will come."""
        assert self._popen.stdout is not None
        source = self._popen.stdout.fileno()
        poll = select.poll()
        poll.register(source, select.POLLIN)
        deadline = time.monotonic() + seconds
        while b"\n" not in self._unread:
            if not poll.poll(max(deadline - time.monotonic(), 0.0) * 1000):
                raise TimeoutError
            found = os.read(source, 1 << 20)
            if not found:
                raise EOFError
            self._unread += found
        line, _, self._unread = self._unread.partition(b"\n")
        self.owes = False
        reply: dict[str, Any] = json.loads(line)
        return reply

    def kill(self) -> None:
        """Kill it and whatever it started; who waits for a line meets EOFError."""
        if self._popen.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, signal.SIGKILL)

    def end(self) -> int:
        """Kill it if it lives and let go of it; its exit status, negative for a signal."""
        self.kill()
        code = self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        return code


def serve(target: str, seconds: float, warm: Mapping[str, Any] | None) -> None:
    """The life of the process: a line that says it is ready, then a line for each request."""
    # Printing goes nowhere: the pipes are ours alone.
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory()
    todo: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests, todo), daemon=True).start()
    try:
        function = _load(target)
        if warm is not None:
            function(warm)
    except PonderError as error:
        _send(replies, json.dumps({"mend": str(error)}).encode())
        return
    _send(replies, b"{}")
    while True:
        line = todo.get()
        # If the parent is gone and the function never lets another Python thread run.
        faulthandler.dump_traceback_later(seconds + _GRACE, exit=True)
        reply = _reply(function, line)
        faulthandler.cancel_dump_traceback_later()
        _send(replies, reply)


def _read(requests: IO[bytes], todo: queue.SimpleQueue[bytes]) -> None:
    """Pass requests on; where no more can come, nobody waits for what is under way either."""
    for line in requests:
        todo.put(line)
    os._exit(0)


def _load(target: str) -> Callable[[Any], Any]:
    module, _, name = target.partition(":")
    try:
        function: Callable[[Any], Any] = getattr(importlib.import_module(module), name)
    except PonderError:
        raise
    except BaseException as error:
        raise PonderError(f"cannot import {target}: {_worded(error)}; mend that first") from None
    return function


def _reply(function: Callable[[Any], Any], line: bytes) -> bytes:
    try:
        answer = function(json.loads(line))
        if not isinstance(answer, dict):
            raise TypeError(f"the answer is of type {type(answer).__name__}, not dict")
        return json.dumps({"answer": answer}).encode()
    except PonderError as error:
        return json.dumps({"mend": str(error)}).encode()
    except BaseException as error:
        return json.dumps({"error": _worded(error)}).encode()


def _worded(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException:
        text = ""
    lines = text.strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"


def _send(replies: IO[bytes], reply: bytes) -> None:
    replies.write(reply + b"\n")
    replies.flush()


def _limit_memory() -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
