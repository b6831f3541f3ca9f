"""What can go wrong with a server, in one line each, and what to do about it."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from ponder.errors import PonderError

KEY, OPENAI_KEY = "PONDER_API_KEY", "OPENAI_API_KEY"
FIRST, MOST = 0.5, 30.0  # seconds to wait after a first failure, and at most
LONGEST_WAIT = 600.0  # seconds that a server may ask for
AGAIN = frozenset({408, 409, 425, 429, *range(500, 600)})
SHOWN = 300  # characters of a server's message


class Again(Exception):
    """A failure after which another try may go better.

    ``wait`` is what the server asks for, in seconds. ``down`` says that the address failed, and
    not this request alone: it is left alone for a while. ``busy``: it works, but is full.
    ``slow``: the request took too long, which may be its own doing.
    """

    def __init__(
        self,
        why: str,
        *,
        wait: float | None = None,
        down: bool = False,
        busy: bool = False,
        slow: bool = False,
    ) -> None:
        super().__init__(why)
        self.wait = wait
        self.down = down
        self.busy = busy
        self.slow = slow


def key(host: str | None = None) -> str | None:
    """The key for the server ``host``, from the environment; OpenAI's own goes nowhere else."""
    own = host is not None and (host == "openai.com" or host.endswith(".openai.com"))
    return os.environ.get(KEY) or (os.environ.get(OPENAI_KEY) if own else None) or None


def delay(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubling, up to a half left to chance."""
    return float(min(MOST, FIRST * 2.0 ** min(failures - 1, 10)) * random.uniform(0.5, 1.0))


def refusal(status: int, headers: Mapping[str, str], body: bytes, where: str) -> Exception:
    """The error of an answer other than 200."""
    said = message_in(body)
    if status in AGAIN:
        wait = retry_after(headers)
        why = f"answers {status}{f' ({said})' if said else ''}"
        busy = status in (429, 503) or wait is not None
        return Again(why, wait=wait, busy=busy, down=status == 502 and not busy)
    if status in (401, 403):
        host = urlsplit(where.rpartition(" ")[2]).hostname
        given = "refuses its key" if key(host) else "wants a key"
        return PonderError(f"{where} {given} ({status}); put the right one into {KEY}")
    return PonderError(f"{where} refuses the request ({status}): {said or 'it does not say why'}")


def message_in(body: bytes) -> str:
    """What a server says of an error, in one line, without the key."""
    text = body.decode(errors="replace")
    try:
        found = json.loads(text)
        while isinstance(found, dict):
            found = next((found[k] for k in ("error", "message", "detail") if k in found), text)
        text = found if isinstance(found, str) else text
    except ValueError:
        pass
    text = " ".join(text.split())
    for name in (KEY, OPENAI_KEY):
        secret = os.environ.get(name)
        text = text.replace(secret, "***") if secret else text
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks to wait, of either form of the header; None if it does not."""
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), LONGEST_WAIT) if seconds == seconds else None
