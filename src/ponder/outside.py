"""What programs ask of the world besides models: a sandbox, a prover, an endpoint.

Such a question is a sample from a point mass, like the request of a judge: it is recorded in the
trace, replayed for nothing, kept in the bank, and served while the models go on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol

from ponder.dist import NEG_INF, Stream
from ponder.errors import PonderError


class Service(Protocol):
    """Answers requests, JSON objects both; asked by one thread at a time, or by ``width``.

    ``fingerprint`` changes whenever answers might; a service with an empty one is asked anew every
    time. A request that goes wrong in the way it may (a program that fails, a proof that is not
    found) is answered; what is raised ends the question that asked.
    """

    name: str
    fingerprint: str

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to ``request``."""
        ...


@dataclass(frozen=True)
class Outside:
    """The answer of a service to a request: a point mass on a JSON object."""

    service: Service = field(repr=False)
    request: str

    @classmethod
    def ask(cls, service: Service, **request: Any) -> Outside:
        """The distribution to sample from. Raises PonderError if the request is no JSON."""
        try:
            return cls(service, json.dumps(request, sort_keys=True, ensure_ascii=True))
        except (TypeError, ValueError) as error:
            raise PonderError(f"{service.name} can be asked JSON only: {error}") from None

    @property
    def key(self) -> bytes:
        """What the bank keeps the answer under, 32 bytes."""
        parts = ["outside", self.service.name, self.service.fingerprint, self.request]
        return sha256(json.dumps(parts).encode()).digest()

    def draw(self, stream: Stream) -> dict[str, Any]:
        return self.service.answer(json.loads(self.request))

    def log_prob(self, value: Any) -> float:
        return 0.0 if isinstance(value, dict) else NEG_INF

    def support(self) -> Sequence[tuple[dict[str, Any], float]]:
        return [(self.service.answer(json.loads(self.request)), 0.0)]
