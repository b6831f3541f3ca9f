"""Messages on a pipe: four bytes that say how long, then JSON."""

from __future__ import annotations

import json
import os
from typing import Any

HEADER = 4
LONGEST = 8 * 2**20


class Garbled(Exception):
    """What was read is not a message."""


def pack(message: Any) -> bytes:
    """The bytes of ``message``. Raises Garbled if they are more than LONGEST."""
    body = json.dumps(message, separators=(",", ":"), check_circular=False).encode()
    if len(body) > LONGEST:
        raise Garbled(f"a message of {len(body)} bytes; {LONGEST} are allowed")
    return len(body).to_bytes(HEADER, "big") + body


def size(header: bytes) -> int:
    """How many bytes follow a header. Raises Garbled if they are more than LONGEST."""
    length = int.from_bytes(header, "big")
    if length > LONGEST:
        raise Garbled(f"a message of {length} bytes; {LONGEST} are allowed")
    return length


def unpack(body: bytes | bytearray) -> Any:
    """The message in ``body``. Raises Garbled, whatever the bytes are."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Garbled(f"not JSON: {error}") from None


def write(pipe: int, message: Any) -> None:
    """Send one message; waits as long as it takes."""
    rest = memoryview(pack(message))
    while rest:
        rest = rest[os.write(pipe, rest) :]


def read(pipe: int) -> Any:
    """The next message; waits as long as it takes. Raises EOFError at the end of the pipe."""
    return unpack(_exactly(pipe, size(_exactly(pipe, HEADER))))


def _exactly(pipe: int, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = os.read(pipe, min(count - len(parts), 2**16))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)
