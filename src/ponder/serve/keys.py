"""Who may ask: keys, and addresses that are safe without."""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from starlette.datastructures import Headers

from ponder.errors import PonderError
from ponder.serve.refusals import Refusal

VARIABLE = "PONDER_API_KEYS"


class Keys:
    """Any of some keys; without any, whoever comes may ask."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._hashes = [sha256(key.encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def check(self, headers: Headers) -> None:
        """Raise Refusal for a request without a key."""
        if not self._hashes:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        hashed = sha256(given.strip().encode()).digest()
        # All are compared, so that the time tells nothing.
        known = sum(hmac.compare_digest(hashed, one) for one in self._hashes)
        if scheme.lower() != "bearer" or not known:
            raise Refusal(
                401,
                "this server needs a key: send the header Authorization: Bearer KEY",
                code="invalid_api_key",
            )


def read_keys(path: Path | None) -> Keys:
    """The keys in a file, one a line, and in PONDER_API_KEYS, between commas or spaces.

    Raises PonderError for a file that cannot be read, or has none.
    """
    found = [key for key in re.split(r"[\s,]+", os.environ.get(VARIABLE, "")) if key]
    if path is not None:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not UTF-8"
            raise PonderError(
                f"cannot read {path} ({why}); give a file with a key a line"
            ) from None
        keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not keys:
            raise PonderError(f"{path} has no key; write one a line")
        found += keys
    short = [key for key in found if len(key) < 8 or not key.isascii() or not key.isprintable()]
    if short:
        raise PonderError("a key has at least 8 plain characters; change the short one")
    return Keys(found)


def is_local(host: str) -> bool:
    """Whether an address is of this machine only."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def refuse_open(host: str, keys: Keys, insecure: bool) -> None:
    """Raise PonderError for an address that others reach, without a key; or with it, insecurely."""
    if keys and insecure:
        raise PonderError("--insecure is for servers without keys; leave it or the keys out")
    if not (is_local(host) or keys or insecure):
        raise PonderError(
            f"{host} can be reached from other machines: give --api-key-file, or --insecure to "
            "answer anybody"
        )


def check_host(headers: Headers) -> None:
    """Raise Refusal for a request that came by a name that is not local.

    A page of another site may have its own name point here, and would then pass for this one.
    """
    named = headers.get("host", "")
    host = named if named.endswith("]") else re.sub(r":\d*$", "", named)
    if named and not is_local(host):
        raise Refusal(
            403,
            f"the name {host!r} is not local; use 127.0.0.1, or start ponder serve with "
            "--api-key-file",
            code="unknown_host",
        )
