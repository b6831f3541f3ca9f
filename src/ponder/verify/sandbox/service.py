"""``Sandbox``: runs programs that a model wrote, and says which tests they pass."""

from __future__ import annotations

import json
import platform
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ponder.errors import PonderError
from ponder.verify.sandbox.inside.frames import LONGEST, Garbled
from ponder.verify.sandbox.limits import Limits
from ponder.verify.sandbox.process import Refused, Zygote, check_platform, exchange

VERSION = 1  # to be raised when answers may change
_GRACE = 1.0  # seconds beyond the limit in which the verifier itself says that time is up
_REMEDY = (
    "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1 or "
    "kernel.apparmor_restrict_unprivileged_userns=0; for a container --security-opt "
    "seccomp=unconfined), or accept with --unsafe-exec that programs may do what you may do"
)


class Sandbox:
    """A service that runs programs which nobody has read.

    The program and the tests run in two processes that share nothing but three pipes, each alone
    in its pid namespace, without network, files, capabilities or the right to start a process:
    see ``ponder.verify.sandbox``. ``unsafe`` permits the same without namespaces where the machine
    gives none. Raises PonderError where programs cannot be confined and ``unsafe`` is False.
    """

    name = "python"

    def __init__(self, limits: Limits | None = None, *, unsafe: bool = False) -> None:
        self.limits = limits or Limits()
        self.unsafe = unsafe
        version = f"{platform.python_implementation()} {platform.python_version()}"
        self.fingerprint = f"sandbox {VERSION}, {version}, {self.limits}, unsafe={unsafe}"
        self._busy = threading.Lock()
        self._guard = threading.Lock()
        self._channel: socket.socket | None = None
        self._running = self._aborted = False
        check_platform(unsafe)
        self._zygote: Zygote | None = self._start()

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run one program. Whatever it does is an answer; a malformed request is a PonderError.

        ``{"program", "tests", "entry_point", "setup"}`` (the last two may be missing) runs tests:
        ``{"status": "passed" | "failed", "passed", "total", "results": [{"ok", "why"}],
        "detail"}``, passed if there are tests and the program passes all of them.
        ``{"program", "call"}`` evaluates an expression in the program, or runs the program as
        ``__main__`` if ``call`` is None: ``{"status": "ok" | "failed", "value", "type", "stdout",
        "detail"}``, the value a form that :func:`plain` makes a value again. ``status`` is
        "cancelled" after :meth:`abort`.
        """
        checked = _checked(request)
        with self._busy:
            with self._guard:
                self._running, self._aborted = True, False
            try:
                status, found = self._run({**checked, "seconds": self.limits.seconds})
            finally:
                with self._guard:
                    self._running = False
            if self._aborted:
                status, found = "cancelled", {}
        if "tests" in checked:
            return _of_tests(status, found, len(checked["tests"]))
        return _of_call(status, found, self.limits.output_bytes)

    def abort(self) -> None:
        """Kill what runs; its answer has status "cancelled". From any thread."""
        with self._guard:
            self._aborted = self._running
            self._cut()

    def close(self) -> None:
        """Abort, and end all processes. A later request starts anew."""
        self.abort()
        with self._busy:
            if self._zygote is not None:
                self._zygote.end()
                self._zygote = None

    def _cut(self) -> None:
        """Let :func:`exchange` end at once; under the guard."""
        if self._channel is not None:
            with suppress(OSError):
                self._channel.shutdown(socket.SHUT_RDWR)

    def _start(self) -> Zygote:
        try:
            return Zygote(self.limits, namespaces=True)
        except Refused as refused:
            why = f"this machine does not let programs be confined ({refused}): {_REMEDY}"
        if not self.unsafe:
            raise PonderError(why)
        try:
            return Zygote(self.limits, namespaces=False)
        except Refused as refused:
            raise PonderError(f"no Python could be started for programs: {refused}") from None

    def _run(self, message: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """("", what the verifier found), or (what to say in place of it, {})."""
        for _ in range(2):  # the sandbox may have been killed, by whom is short of memory say
            if self._zygote is None:
                self._zygote = self._start()
            status, found = self._attempt(self._zygote, message)
            if self._zygote.finish():
                return status, found
            self._zygote.end()
            self._zygote = None
            if self._aborted:
                break
        return "the sandbox was killed", {}

    def _attempt(self, zygote: Zygote, message: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        channel = zygote.open()
        if channel is None:
            return "", {}
        with self._guard:
            self._channel = channel
            if self._aborted:
                self._cut()
        status, found = "", None
        try:
            found = exchange(channel, message, self.limits.seconds + _GRACE)
        except TimeoutError:
            status = "the time is up"
        except (OSError, EOFError):
            status = "the tests ended the process that ran them"
        except Garbled:
            status = "the tests garbled their report"
        with self._guard:
            self._channel = None
        channel.close()
        return status, found if isinstance(found, dict) else {}


def _checked(request: Mapping[str, Any]) -> dict[str, Any]:
    """The request with nothing missing. Raises PonderError."""
    if not isinstance(request, Mapping):
        raise PonderError(f"the sandbox is asked with a mapping, got {type(request).__name__}")
    program, tests = request.get("program"), request.get("tests")
    if not isinstance(program, str):
        raise PonderError("the sandbox needs a program: give its source as text")
    if len(program) > LONGEST // 16:
        raise PonderError(f"the program is {len(program)} characters long: at most {LONGEST // 16}")
    if "call" in request:
        if not isinstance(request["call"], str | None):
            raise PonderError('call must be an expression such as "solution()", or None')
        return {"program": program, "call": request["call"]}
    if not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
        raise PonderError("the sandbox needs tests, a list of Python sources, or a call")
    entry_point, setup = request.get("entry_point"), request.get("setup") or ""
    if not isinstance(entry_point, str | None) or not isinstance(setup, str):
        raise PonderError("entry_point must be the name of a function or None, and setup text")
    return {"program": program, "tests": tests, "entry_point": entry_point, "setup": setup}


def _of_tests(status: str, found: dict[str, Any], total: int) -> dict[str, Any]:
    """The answer about tests, counted here: the verifier's word is only what each test did."""
    results = []
    given = found.get("results")
    for row in given if isinstance(given, list) and len(given) == total else []:
        ok, why = row if isinstance(row, list) and len(row) == 2 else (False, "")
        results.append({"ok": ok is True, "why": str(why)[:500]})
    if len(results) != total:
        results = [{"ok": False, "why": status or "garbled report"} for _ in range(total)]
    passed = sum(result["ok"] is True for result in results)
    first = next((str(result["why"]) for result in results if not result["ok"]), "")
    outcome = "passed" if total and passed == total else "failed"
    return {
        "status": "cancelled" if status == "cancelled" else outcome,
        "passed": passed,
        "total": total,
        "results": results,
        "detail": first if total else status or "there are no tests",
    }


def _of_call(status: str, found: dict[str, Any], output_bytes: int) -> dict[str, Any]:
    """The answer about a call."""
    detail = status or str(found.get("detail", "garbled report"))
    if len(json.dumps(found.get("value"))) > output_bytes:
        detail = f"the value is longer than {output_bytes} bytes"
    return {
        "status": "cancelled" if status == "cancelled" else "failed" if detail else "ok",
        "value": None if detail else found.get("value"),
        "type": "" if detail else str(found.get("type", "")),
        "stdout": str(found.get("stdout", "")),
        "detail": detail,
    }
