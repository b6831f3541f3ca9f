"""What one request to the sandbox may use."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ponder.errors import PonderError


@dataclass(frozen=True)
class Limits:
    """Limits of one request.

    ``seconds`` of time for all of it; for each of its two processes, the program's and the
    tests', ``cpu_seconds`` of processor time, ``memory_mb`` of address space and ``threads``;
    ``output_bytes`` printed, or of JSON in the value of a call. Raises PonderError.
    """

    seconds: float = 5.0
    cpu_seconds: int = 5
    memory_mb: int = 512
    output_bytes: int = 65536
    threads: int = 16

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise PonderError(f"seconds must be a positive number, got {self.seconds!r}")
        least = {"cpu_seconds": 1, "memory_mb": 64, "output_bytes": 1, "threads": 1}
        for name, lowest in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
                raise PonderError(f"{name} must be a whole number from {lowest} on, got {value!r}")
