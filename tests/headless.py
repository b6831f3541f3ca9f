"""Chromium without a window, spoken to over a pipe: enough to try a page as a person would."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
PATIENCE = 60.0  # seconds
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


class Browser:
    """One tab of a fresh profile; a context manager.

    Commands and events are JSON, each ended by a zero byte, on the child's descriptors 3 and 4.
    """

    def __enter__(self) -> Browser:
        assert CHROMIUM is not None
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs_in, self._write = os.pipe()
        self._read, theirs_out = os.pipe()
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"]
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (theirs_in, theirs_out)]
        actions = [
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            *((os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(ends, 3)),
        ]
        self._pid = os.posix_spawn(CHROMIUM, command, os.environ, file_actions=actions)
        for end in (theirs_in, theirs_out, *ends):
            os.close(end)
        self._replies: dict[int, dict[str, Any]] = {}
        self._news = threading.Condition()
        self._number = 0
        self._session: str | None = None
        self.errors: list[str] = []
        """What the page's console complained of."""
        threading.Thread(target=self._listen, daemon=True).start()
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Accessibility"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.kill(self._pid, signal.SIGTERM)
        os.waitpid(self._pid, 0)
        os.close(self._write)
        self._profile.cleanup()

    def _listen(self) -> None:
        buffer = b""
        while piece := os.read(self._read, 1 << 16):
            *whole, buffer = (buffer + piece).split(b"\0")
            for message in map(json.loads, whole):
                with self._news:
                    if "id" in message:
                        self._replies[message["id"]] = message
                        self._news.notify_all()
                    else:
                        self._note(message.get("method", ""), message.get("params", {}))
        os.close(self._read)

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"])[:500])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the DevTools protocol, and its result."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        with self._news:
            assert self._news.wait_for(lambda: number in self._replies, PATIENCE), method
            reply = self._replies.pop(number)
        assert "error" not in reply, reply
        result: dict[str, Any] = reply["result"]
        return result

    def run(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page, awaited."""
        found = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, expression: str) -> Any:
        """Waits for an expression to be true."""
        end = time.monotonic() + PATIENCE
        while not (found := self.run(expression)):
            assert time.monotonic() < end, f"never came: {expression}; {self.errors}"
            time.sleep(0.03)
        return found

    def look(self, *, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        """The size of the window and the colours that its owner prefers."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1 if width > 600 else 2,
            mobile=width <= 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url: str) -> None:
        """Go to a page, in a new document."""
        self.send("Page.navigate", url=url)
        self.until(f"document.readyState === 'complete' && location.href.startsWith({url!r})")

    def press(self, key: str, *, control: bool = False) -> None:
        """One key, as from a keyboard."""
        arrows = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        codes = {"Enter": 13, " ": 32, **arrows}
        keys = {
            "key": key,
            "code": "Space" if key == " " else key,
            "windowsVirtualKeyCode": codes[key],
            "modifiers": 2 if control else 0,
        }
        text = {"Enter": "\r", " ": " "}.get(key, "")
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **keys)
        self.send("Input.dispatchKeyEvent", type="keyUp", **keys)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """A screenshot of the whole page, or of the window."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))
