"""What lets methods share samples: a bank that sees all, and services asked the same only once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ponder.bank import Bank
from ponder.evidence.rerun import Samples
from ponder.lm.protocol import Completion, ModelDist, NextToken, OptionLogProbs
from ponder.outside import Outside

Row = tuple[bytes, str, str, str, Any]  # key, model, question, address, value


class Witness:
    """A bank that notes every sample of a model in ``samples``. It stands in for its ``bank``."""

    def __init__(self, bank: Bank, samples: Samples) -> None:
        self.path = bank.path
        self._bank = bank
        self._samples = samples
        self._asked: dict[bytes, ModelDist] = {}

    def get(self, key: bytes, dist: ModelDist | Outside) -> Any | None:
        known = self._bank.get(key, dist)
        if isinstance(dist, Completion | NextToken | OptionLogProbs):
            if known is None:
                self._asked[key] = dist
            else:
                self._samples.see(key, dist, known)
        return known

    def put(self, rows: Sequence[Row]) -> None:
        for key, _, _, _, value in rows:
            dist = self._asked.pop(key, None)
            if dist is not None:
                self._samples.see(key, dist, value)
        self._bank.put(rows)

    def fact(self, model: str, name: str) -> Any | None:
        return self._bank.fact(model, name)

    def remember(self, model: str, name: str, value: Any) -> None:
        self._bank.remember(model, name, value)


class Frozen:
    """A bank that is read and not written: what is new is known for as long as this lives.

    ``bank`` may be a Witness. Samples of models are read only where ``sampled`` says so: otherwise
    they are to come in another order than the bank has.
    """

    def __init__(self, bank: Bank | Witness) -> None:
        self.path = bank.path
        self.sampled = True
        self._bank = bank
        self._kept: dict[bytes, Any] = {}
        self._facts: dict[tuple[str, str], Any] = {}

    def get(self, key: bytes, dist: ModelDist | Outside) -> Any | None:
        if not (self.sampled or isinstance(dist, Outside)):
            return None
        known = self._kept.get(key)
        return self._bank.get(key, dist) if known is None else known

    def put(self, rows: Sequence[Row]) -> None:
        for key, _, _, _, value in rows:
            if self.sampled or isinstance(value, dict):
                self._kept[key] = value

    def restart(self) -> None:
        """Forget samples of models: what repeats them begins again, with the first."""
        self._kept = {key: value for key, value in self._kept.items() if isinstance(value, dict)}

    def fact(self, model: str, name: str) -> Any | None:
        known = self._facts.get((model, name))
        return self._bank.fact(model, name) if known is None else known

    def remember(self, model: str, name: str, value: Any) -> None:
        self._facts[model, name] = value


class Once:
    """A service that is asked the same thing only once."""

    def __init__(self, service: Any) -> None:
        self.name, self.fingerprint = service.name, service.fingerprint
        self._service = service
        self._known: dict[str, dict[str, Any]] = {}

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        key = json.dumps(request, sort_keys=True)
        if key not in self._known:
            self._known[key] = self._service.answer(request)
        return self._known[key]


class AskedOnce(Mapping[str, Any]):
    """Services each of which is asked the same thing only once."""

    def __init__(self, services: Mapping[str, Any]) -> None:
        self._services = services
        self._once: dict[str, Once] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._once:
            self._once[name] = Once(self._services[name])
        return self._once[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._services)

    def __len__(self) -> int:
        return len(self._services)
