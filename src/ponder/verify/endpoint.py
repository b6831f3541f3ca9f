"""``Endpoint``: a reward model that is asked over HTTP."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from ponder.binding import PotentialSource
from ponder.errors import PonderError
from ponder.verify.reward import reward_from
from ponder.verify.scoring import rewards_in

DELAYS = (0.5, 1.5)
"""Seconds before each further try."""
LONGEST = 1 << 20  # bytes of an answer


class Endpoint:
    """A service that asks an HTTP endpoint for rewards, for :func:`reward_from`.

    It is sent ``{"question": text, "text": the reply, "steps": [text]}`` by POST, and answers
    JSON: ``{"rewards": [one for each step]}``, ``{"reward": r}`` for the whole, or that list or
    number alone, all from 0 to 1. It has ``seconds`` for each try. A connection that fails or
    breaks, 429 and 5xx are tried again twice; whatever else goes wrong is a PonderError, which ends
    the question that asked and no other. As many as four questions are asked at once.

    Answers are kept in the bank under the address and ``version``, to be changed when the model
    behind the address is. ``headers``, a key say, are neither kept nor shown.
    """

    width = 4

    def __init__(
        self,
        url: str,
        *,
        seconds: float = 30.0,
        version: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise PonderError(f"an endpoint has an address such as http://host/path, not {url!r}")
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
            raise PonderError(f"an endpoint needs more than 0 seconds, got {seconds!r}")
        # What follows the path may hold a key.
        self.name = f"the endpoint {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        self.fingerprint = f"endpoint {sha256(url.encode()).hexdigest()[:16]} {version}".strip()
        self._url = url
        self._seconds = float(seconds)
        self._headers = {"Content-Type": "application/json", **(headers or {})}

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The rewards of a reply. Raises PonderError if there are none to be had."""
        sent = {key: request[key] for key in ("question", "text", "steps")}
        content = self._posted(json.dumps(sent).encode())
        try:
            said = json.loads(content)
        except ValueError:
            shown = content[:60].decode(errors="replace")
            raise PonderError(f"{self.name} answered what is no JSON: {shown!r}") from None
        if isinstance(said, dict):
            if not said.keys() & {"reward", "rewards"}:
                known = ", ".join(map(repr, said)) or "nothing"
                raise PonderError(f"{self.name} answered {known}, but no 'reward' or 'rewards'")
            said = said["rewards"] if "rewards" in said else said["reward"]
        return rewards_in(said, len(request["steps"]), self.name, request["candidate"])

    def _posted(self, body: bytes) -> bytes:
        """What comes back, tried again where that may help."""
        for delay in (*DELAYS, None):
            try:
                return self._tried(body)
            except _Again as error:
                if delay is None:
                    tries = len(DELAYS) + 1
                    why = f"{self.name} {error}, {tries} times; see that it is up"
                    raise PonderError(why) from None
                time.sleep(delay)
        raise AssertionError

    def _tried(self, body: bytes) -> bytes:
        request = urllib.request.Request(self._url, body, self._headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=self._seconds) as response:
                return self._read(response)
        except urllib.error.HTTPError as error:
            error.close()
            why = f"answered {error.code} {error.reason}"
            if error.code == 429 or error.code >= 500:
                raise _Again(why) from None
            raise PonderError(f"{self.name} {why}; see that its address is right") from None
        except TimeoutError:
            raise self._late() from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise self._late() from None
            raise _Again(f"failed ({str(reason) or type(reason).__name__})") from None

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        """The whole answer. Raises TimeoutError if it comes too slowly."""
        deadline = time.monotonic() + self._seconds
        content = b""
        while piece := response.read1(LONGEST):
            content += piece
            if len(content) > LONGEST:
                raise PonderError(f"{self.name} answered more than {LONGEST} bytes")
            if time.monotonic() > deadline:
                raise TimeoutError
        if response.length:  # less came than was announced
            raise http.client.IncompleteRead(content, response.length)
        return content

    def _late(self) -> PonderError:
        return PonderError(f"{self.name} gave no answer within {self._seconds:g} s")


class _Again(Exception):
    """What may go better another time."""


def endpoint(url: str, combine: str = "last", seconds: float = 30.0) -> PotentialSource:
    """``endpoint("http://host/path")``: rewards from an HTTP endpoint. See :class:`Endpoint`."""
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise PonderError(f"endpoint needs an address, such as 'http://host/path', got {url!r}")
    written = [repr(url)]
    written += [f"combine={combine!r}"] * (combine != "last")
    written += [f"seconds={seconds!r}"] * (seconds != 30.0)
    asked = Endpoint(url, seconds=seconds)
    return reward_from(asked, combine, name=f"endpoint({', '.join(written)})")
