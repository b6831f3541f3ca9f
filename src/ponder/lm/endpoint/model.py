"""A model behind OpenAI-compatible servers, as a source of samples."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ponder.dist import Stream
from ponder.errors import PonderError
from ponder.ledger import Ledger
from ponder.lm.endpoint.address import Spec, display_name, fingerprint_of, parse_spec
from ponder.lm.endpoint.asker import Asker
from ponder.lm.endpoint.asking import TOKEN_LEVEL, check
from ponder.lm.endpoint.client import open_client
from ponder.lm.endpoint.engine import Background, EndpointEngine
from ponder.lm.endpoint.opening import opened
from ponder.lm.endpoint.pool import PATIENCE, Address, Pool
from ponder.lm.endpoint.request import Request
from ponder.lm.endpoint.spelling import END, chat_tokens, follow_up_tokens, text_of, tokens_of
from ponder.lm.protocol import Completion, Draw, Message, Tokens


class EndpointLM:
    """A language model that servers serve. Made by :func:`load_endpoint`.

    Its tokens spell themselves (see ``spelling``). ``fingerprint`` is of the model's name only, so
    that all its replicas share one bank; another model under the same name needs another name.
    """

    end_tokens = frozenset({END})

    def __init__(self, asker: Asker, background: Background, *, context: int, width: int) -> None:
        self.name = display_name(asker.model)
        self.fingerprint = fingerprint_of(asker.model)
        self.context = context
        self.engine = EndpointEngine(asker, background, name=self.name, width=width)
        self._asker = asker
        self._background = background

    @property
    def stitched(self) -> bool:
        """Whether a reply has been gone on with in one more turn, which bends its law."""
        return self._asker.stitched

    @property
    def urls(self) -> tuple[str, ...]:
        """Where it is asked for."""
        return tuple(address.url for address in self._asker.pool.addresses)

    def tokenize(self, text: str, *, special: bool = False) -> Tokens:
        """The tokens that spell ``text``; there is no markup in a text, even if ``special``."""
        return tokens_of(text)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text that tokens spell; markup gives nothing."""
        return text_of(tokens)

    def chat(self, messages: Sequence[Message]) -> Tokens:
        """The prompt of a chat; the server has the template."""
        return chat_tokens(messages)

    def follow_up(self, messages: Sequence[Message]) -> Tokens:
        """What follows the first assistant message."""
        return follow_up_tokens(messages)

    def draw(self, dist: Completion, stream: Stream) -> Draw:
        """Draw at once. The runtime has many under way instead."""
        check(dist, self.name)
        request = Request(dist, stream.key, Ledger())
        value, _ = self._background.run(self._asker.answer(request))
        assert isinstance(value, Draw)
        return value

    def next_log_probs(self, prompt: Tokens) -> Any:
        """Raises PonderError: servers do not tell them."""
        raise PonderError(TOKEN_LEVEL.format(self.name))

    def completions(self, dist: Completion) -> None:
        """They cannot be listed."""
        return

    def close(self) -> None:
        """Close the connections and end the thread."""
        self.engine.recover()
        for address in self._asker.pool.addresses:
            self._background.run(address.client.aclose())
        self._background.close()


def load_endpoint(
    name: str,
    *,
    width: int | None = None,
    patience: float = PATIENCE,
    warn: Callable[[str], None] | None = None,
    transport: Any = None,
) -> EndpointLM:
    """The model that ``openai:URL,URL?width=64#model`` names; see :func:`parse_spec`.

    Asks the servers which models they have, and the model for one token. Without ``#model`` it is
    the only one that they serve. ``patience`` is how many seconds all servers may be out of reach,
    once it has been loaded. ``warn`` is told what bends a law, once; else it is a warning.
    ``transport``, of httpx, is for tests. Raises PonderError, in one line, if no server answers,
    has the model, or takes the key.
    """
    spec: Spec = parse_spec(name)
    if width is not None:
        spec = replace(spec, width=width)
    clients = [open_client(url, spec.width, spec.seconds, transport) for url in spec.urls]
    pool = Pool([Address(u, c) for u, c in zip(spec.urls, clients, strict=True)], patience)
    background = Background()
    try:
        found = background.run(opened(pool, spec))
    except BaseException:
        background.close()
        raise
    asker = Asker(
        pool,
        found.model,
        logprobs=found.logprobs,
        continuation=spec.continuation,
        warn=warn or (lambda text: warnings.warn(text, stacklevel=2)),
    )
    return EndpointLM(asker, background, context=found.context, width=spec.width)
