"""The sandboxed interpreter as the host sees it: started, asked, ended."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from ponder.errors import PonderError
from ponder.verify.sandbox.inside import frames
from ponder.verify.sandbox.limits import Limits

_START = "import sys; sys.path.insert(0, sys.argv[2]); from inside import zygote; del sys.path[0]"
_NOBODY = 65534
_INSIDE = 1000
_PATIENCE = 10.0  # seconds for what takes milliseconds


class Refused(Exception):
    """This machine gives no namespaces; says why."""


class Zygote:
    """A running sandbox. Raises Refused if it cannot be made."""

    def __init__(self, limits: Limits, *, namespaces: bool) -> None:
        self._control, theirs = socket.socketpair()
        self._control.settimeout(_PATIENCE)
        users, groups, root = _identities()
        options = {
            "control": theirs.fileno(),
            "namespaces": namespaces,
            "identity": (_INSIDE if namespaces else _NOBODY) if root else None,
            "cpu_seconds": limits.cpu_seconds,
            "memory_mb": limits.memory_mb,
            "threads": limits.threads,
            "output_bytes": limits.output_bytes,
        }
        command = [sys.executable, "-s", "-S", "-P", "-B", "-c", f"{_START}; zygote.main()"]
        # Not -I: it would ignore the hash seed, and with it the order of sets would vary.
        self._process = subprocess.Popen(
            [*command, json.dumps(options), str(Path(__file__).parent)],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        try:
            self._greet(users, groups)
            self._rehearse()
        except BaseException:
            self.end()
            raise

    def _greet(self, users: str, groups: str) -> None:
        try:
            word = self._control.recv(1)
            if word == b"m":
                folder = Path(f"/proc/{self._process.pid}")
                if os.geteuid() != 0:
                    (folder / "setgroups").write_text("deny")
                (folder / "uid_map").write_text(users)
                (folder / "gid_map").write_text(groups)
                # The first to go when memory is short.
                with suppress(OSError):
                    (folder / "oom_score_adj").write_text("1000")
                self._control.sendall(b"m")
                word = self._control.recv(1)
            if word == b"!":
                raise Refused(self._control.recv(500).decode(errors="replace"))
        except OSError as error:
            raise Refused(str(error)) from None
        if word != b"r":
            raise Refused("the sandbox did not start")

    def _rehearse(self) -> None:
        """Run a first program: what only a request needs may be refused too."""
        channel = self.open()
        if channel is None:
            raise Refused("the sandbox ended")
        with channel:
            try:
                answer = exchange(
                    channel, {"program": "", "call": "1", "seconds": _PATIENCE}, _PATIENCE
                )
            except (OSError, EOFError, frames.Garbled):
                answer = None
        if not self.finish() or not isinstance(answer, dict) or answer.get("value") != 1:
            raise Refused("a first program could not be run")

    def open(self) -> socket.socket | None:
        """A channel for one request; None if the sandbox has ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [b"r"], [theirs.fileno()])
            except OSError:
                ours.close()
                return None
        return ours

    def finish(self) -> bool:
        """Kill all processes of the request and wait until they are gone; False if that failed."""
        try:
            self._control.sendall(b"e")
            return self._control.recv(1) == b"e"
        except OSError:
            return False

    def end(self) -> None:
        """End every process of the sandbox, and wait for it."""
        self._control.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def exchange(channel: socket.socket, message: object, seconds: float) -> object:
    """Send a message and receive one. Raises OSError, EOFError or Garbled."""
    deadline = time.monotonic() + seconds
    channel.settimeout(seconds)
    channel.sendall(frames.pack(message))
    return frames.unpack(_exactly(channel, frames.size(_exactly(channel, 4, deadline)), deadline))


def _exactly(channel: socket.socket, count: int, deadline: float) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        channel.settimeout(max(deadline - time.monotonic(), 1e-3))
        part = channel.recv(min(count - len(parts), 2**16))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def check_platform(unsafe: bool) -> None:
    """Raises PonderError where programs cannot be run at all, or not confined."""
    if not hasattr(os, "fork"):
        raise PonderError("model-written programs cannot be run on Windows: use Linux, or WSL")
    if not sys.platform.startswith("linux") and not unsafe:
        raise PonderError(
            "programs can be confined on Linux only: run this there, or accept with --unsafe-exec "
            "that they may do what you may do"
        )
    if not sys.executable:
        raise PonderError("sys.executable is not known: run ponder with a python of its own")


def _environment() -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("LD_LIBRARY_PATH",) if key in os.environ}
    return {**kept, "PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _identities() -> tuple[str, str, bool]:
    """(map of users, map of groups, whether we are root and can become another).

    Root shows itself as 0, which builds, and nobody as 1000, which runs; who is not root has but
    one user to show.
    """
    user, group = os.geteuid(), os.getegid()
    if user == 0 and _mapped("uid") and _mapped("gid"):
        rest = f"{_INSIDE} {_NOBODY} 1\n"
        return f"0 {user} 1\n{rest}", f"0 {group} 1\n{rest}", True
    return f"{_INSIDE} {user} 1\n", f"{_INSIDE} {group} 1\n", False


def _mapped(kind: str) -> bool:
    """Whether our own user namespace, a container's perhaps, has a nobody."""
    try:
        lines = Path(f"/proc/self/{kind}_map").read_text().splitlines()
    except OSError:
        return False
    ranges = [[int(word) for word in line.split()] for line in lines]
    return any(first <= _NOBODY < first + count for first, _, count in ranges)
