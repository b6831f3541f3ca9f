"""Getting to know servers: which model they have, and whether it answers."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from ponder.errors import PonderError
from ponder.lm.endpoint.address import Spec
from ponder.lm.endpoint.asker import find_kind, list_models
from ponder.lm.endpoint.asking import MOST_OPTIONS
from ponder.lm.endpoint.client import post
from ponder.lm.endpoint.failures import Again, delay
from ponder.lm.endpoint.pool import Address, Pool
from ponder.lm.endpoint.servers import context_of

CONTEXT = 1_000_000  # where a server does not say how much it takes, it will when it is too much
TRIES = 3
LOADING = 60.0  # seconds that a server which says it is busy, or still loading, is waited for


@dataclass(frozen=True)
class Opened:
    """The model, the tokens it takes, and whether it tells log-probabilities."""

    model: str
    context: int
    logprobs: bool


async def opened(pool: Pool, spec: Spec) -> Opened:
    """Ask all addresses for their models, and one for a token.

    One that is out of reach is left for later, as long as another answers. Raises PonderError.
    """
    asked = [_patiently(list_models, address) for address in pool.addresses]
    heard: list[Any] = await asyncio.gather(*asked, return_exceptions=True)
    reached = []
    for address, models in zip(pool.addresses, heard, strict=True):
        if isinstance(models, Again):
            pool.failed(address, models)
        elif isinstance(models, BaseException):
            raise models
        else:
            reached.append((address, models))
    if not reached:
        said = "; ".join(f"{address.url} {address.why}" for address in pool.addresses)
        raise PonderError(f"no server answers: {said}; start it, or correct the address")
    address, models = reached[0]
    model = spec.model or _only(address, models)
    told = await _first_token(address, spec, model, models)
    entry = next((m for m in models if m.get("id") == model), models[0] if models else {})
    return Opened(model, context_of(entry) or CONTEXT, told)


def _only(address: Address, models: list[dict[str, Any]]) -> str:
    """The model of a server that has one."""
    names = _names(models)
    if len(names) != 1:
        known = f"it has {', '.join(names)}" if names else "it lists none"
        raise PonderError(f"which model of {address.url}? {known}; write #MODEL after the address")
    return names[0]


def _names(models: list[dict[str, Any]]) -> list[str]:
    return [str(m["id"]) for m in models if m.get("id")]


async def _first_token(
    address: Address, spec: Spec, model: str, models: list[dict[str, Any]]
) -> bool:
    """Whether log-probabilities come with a token. Raises PonderError if none comes."""
    url = f"{address.url}/chat/completions"
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": "Say yes."}],
        "max_tokens": 1,
    }
    full = {**body, "logprobs": True, "top_logprobs": MOST_OPTIONS}

    async def ask(address: Address, asked: dict[str, Any]) -> Any:
        return await post(address.client, url, asked)

    try:
        address.kind = await find_kind(address, model, spec.continuation)
        try:
            reply = await _patiently(ask, address, full)
        except PonderError as error:
            if not any(f"({status})" in str(error) for status in (400, 422)):
                raise
            await _patiently(ask, address, body)
            return False
    except Again as failure:
        raise PonderError(f"{address.url} {failure}; see that it works") from None
    except PonderError as error:
        if "(404)" in str(error):
            known = ", ".join(_names(models)) or "none that it lists"
            raise PonderError(f"{address.url} has no model {model!r}; it has {known}") from None
        raise
    choice = (reply.get("choices") or [{}])[0]
    return bool(((choice.get("logprobs") or {}).get("content") or [{}])[0].get("top_logprobs"))


async def _patiently(ask: Any, address: Address, *rest: Any) -> Any:
    """What ``ask`` answers, tried a few times where that may help; raises Again at last."""
    began, tries = time.monotonic(), 0
    while True:
        try:
            return await ask(address, *rest)
        except Again as failure:
            tries += 1
            waits = failure.busy and time.monotonic() - began < LOADING
            if failure.slow or (tries >= TRIES and not waits):
                raise
            await asyncio.sleep(min(failure.wait or delay(tries), 10.0))
