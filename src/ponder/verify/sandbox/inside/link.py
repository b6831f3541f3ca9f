"""The tested program as the verifier sees it: a process that answers calls, truly or not."""

from __future__ import annotations

import builtins
import os
import resource
import select
import time
from typing import Any

from . import frames
from .plain import NotPlain, decode, encode


class CallFailed(BaseException):
    """A call without an answer. No ``except Exception`` in a test takes it for an exception."""


class Link:
    """Calls to the program in process ``child``, over three pipes.

    ``fault`` says why a call of the current test failed, "" if none did: such a test has failed,
    whatever it makes of the exception. ``broken`` says why no more calls can be made. ``output``
    is what the program has printed.
    """

    def __init__(
        self, child: int, pipes: tuple[int, int, int], deadline: float, limits: tuple[int, int]
    ) -> None:
        self._child = child
        self._calls, self._replies, self._output = pipes
        self._deadline = deadline
        self._output_bytes, self._cpu_seconds = limits
        self._listening = True
        self._received = bytearray()
        self.output = bytearray()
        self.fault = ""
        self.broken = ""
        for pipe in pipes:
            os.set_blocking(pipe, False)

    def call(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """The value of a function of the program; what it changes in its arguments is changed.

        Raises what the function raises, as the nearest builtin exception; CallFailed if there is
        no answer, or the arguments are not plain data.
        """
        try:
            forms = [encode(argument) for argument in arguments]
            named = {key: encode(value) for key, value in keywords.items()}
        except (NotPlain, RecursionError) as problem:
            raise self._fail(f"{name} cannot be given this: {problem}") from None
        answer = self.ask({"call": name, "arguments": forms, "keywords": named})
        try:
            if "arguments" in answer:
                for old, new in zip(arguments, decode(answer["arguments"]), strict=True):
                    _pour(old, new)
            if "raised" not in answer:
                return decode(answer["value"])
            kind, parts = answer["raised"]
            raised = _exception(kind, decode(parts))
        except (NotPlain, KeyError, TypeError, ValueError, RecursionError, MemoryError) as problem:
            raise self._fail(f"malformed answer: {type(problem).__name__}") from None
        raise raised

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """The answer to a message: it has ``value`` or ``raised``. Raises CallFailed."""
        if self.broken:
            raise self._fail(self.broken)
        ticket = os.urandom(8).hex()  # what was written before it was asked for is no answer
        try:
            answer = self._exchange(frames.pack({**message, "id": ticket}))
        except frames.Garbled as error:
            raise self._break(f"malformed answer: {error}"[:200]) from None
        if type(answer) is not dict or answer.get("id") != ticket:
            raise self._break("malformed answer: not one to this call")
        if "unfit" in answer:
            raise self._fail(str(answer["unfit"])[:500])
        return answer

    def _fail(self, why: str) -> CallFailed:
        self.fault = self.fault or why
        return CallFailed(why)

    def _break(self, why: str) -> CallFailed:
        self.broken = why
        return self._fail(why)

    def _exchange(self, message: bytes) -> Any:
        """Send, receive one message; read what is printed meanwhile, so that nobody waits."""
        to_send = memoryview(message)
        while True:
            wait = self._deadline - time.monotonic()
            if wait <= 0:
                raise self._break("the time is up")
            reading = [self._replies, self._output][: 1 + self._listening]
            writing = [self._calls] if to_send else []
            readable, writable, _ = select.select(reading, writing, [], wait)
            if self._output in readable:
                self._listen()
            if writable:
                try:
                    to_send = to_send[os.write(self._calls, to_send) :]
                except BlockingIOError:
                    pass
                except BrokenPipeError:
                    raise self._break(self._end()) from None
            if self._replies in readable:
                answer = self._receive()
                if answer is not None:
                    self._listen()
                    return answer[0]

    def _receive(self) -> tuple[Any] | None:
        """The message that has arrived, None while parts of it are missing."""
        part = os.read(self._replies, 2**16)
        if not part:
            self._listen()
            raise self._break(self._end())
        self._received += part
        if len(self._received) < frames.HEADER:
            return None
        end = frames.HEADER + frames.size(bytes(self._received[: frames.HEADER]))
        if len(self._received) < end:
            return None
        if len(self._received) > end:
            raise frames.Garbled("more than was asked for")
        body = self._received[frames.HEADER :]
        self._received = bytearray()
        return (frames.unpack(body),)

    def _listen(self) -> None:
        """Take what the program has printed."""
        while self._listening:
            try:
                part = os.read(self._output, 2**16)
            except BlockingIOError:
                return
            self.output += part
            self._listening = bool(part)
            if len(self.output) > self._output_bytes:
                del self.output[self._output_bytes :]
                self._listening = False
                raise self._break(f"it printed more than {self._output_bytes} bytes")

    def _end(self) -> str:
        """Why the program's process ended, or that it no longer talks."""
        ended, status = os.waitpid(self._child, os.WNOHANG)
        for _ in range(20):
            if ended:
                break
            time.sleep(0.005)  # the pipe closes a little before the process is gone
            ended, status = os.waitpid(self._child, os.WNOHANG)
        if not ended:
            return "the program stopped answering"
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        # The limit counts ticks, which on a busy machine are more than the time they stand for.
        if used.ru_utime + used.ru_stime > self._cpu_seconds / 2:
            return f"it used more than {self._cpu_seconds} seconds of processor time"
        if os.WIFSIGNALED(status):
            return f"the program was killed by signal {os.WTERMSIG(status)}"
        return f"the program exited with status {os.waitstatus_to_exitcode(status)}"


def _exception(name: str, arguments: list[Any]) -> Exception:
    """The builtin exception of that name. Raises KeyError if there is none."""
    kind = vars(builtins).get(name)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        raise KeyError(name)
    for base in kind.__mro__:
        try:
            return base(*arguments)  # type: ignore[no-any-return]
        except TypeError:  # UnicodeDecodeError, say, wants five of certain types
            continue
    raise KeyError(name)


def _pour(old: Any, new: Any) -> None:
    """Give a mutable argument the contents that the call left it with; its parts are copies."""
    if type(old) is not type(new):
        return
    if type(old) is list:
        old[:] = new
    elif type(old) in (dict, set):
        old.clear()
        old.update(new)
