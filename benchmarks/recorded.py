"""A language model that repeats samples recorded earlier, so that methods are replayed on them.

A file of samples holds one JSON object a line: ``id`` (of the question), ``text``, ``finish``
("stop" or "length"), ``token_logp``, and ``logq`` (their sum under the law drawn from).
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ponder.dist import Stream
from ponder.errors import PonderError
from ponder.lm.protocol import Completion, Draw, Message, Tokens, drawn

END = 0


def read_samples(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The samples of a (gzipped) JSON-lines file by question."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for line in text.decode().splitlines():
        row = json.loads(line)
        found[row["id"]].append(row)
    return found


class RecordedLM:
    """Gives every prompt its recorded samples in a random order, each of them once.

    ``replies`` maps the last message of a chat to its samples. An order is as good as a draw, since
    the samples are exchangeable; another seed of the runtime is another order. Raises PonderError
    for what was not recorded.
    """

    name = "recorded"
    fingerprint = "recorded"
    context = 1_000_000
    end_tokens = frozenset({END})

    def __init__(self, replies: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        self._replies = replies
        self._left: dict[Tokens, list[Mapping[str, Any]]] = {}

    def chat(self, messages: Sequence[Message]) -> Tokens:
        return self.tokenize(messages[-1]["content"])

    def tokenize(self, text: str, *, special: bool = False) -> Tokens:
        return tuple(map(ord, text))

    def detokenize(self, tokens: Sequence[int]) -> str:
        return "".join(map(chr, tokens))

    def follow_up(self, messages: Sequence[Message]) -> Tokens:
        raise PonderError("nothing was recorded after the first reply")

    def next_log_probs(self, prompt: Tokens) -> Any:
        raise PonderError("no log-probabilities of single tokens were recorded")

    def completions(self, dist: Completion) -> None:
        return None

    def draw(self, dist: Completion, stream: Stream) -> Draw:
        if dist.prompt not in self._left:
            self._left[dist.prompt] = list(self._replies[self.detokenize(dist.prompt)])
        left = self._left[dist.prompt]
        if not left:
            raise PonderError("all recorded samples of this prompt have been drawn")
        row = left.pop(int(stream.uniform() * len(left)))
        n = len(row["token_logp"])
        tokens = [1] * (n - 1) + [END if row["finish"] == "stop" else 1]
        logq = [row["logq"] / n] * n
        return drawn(dist, tokens, row["text"], row["finish"], row["token_logp"], logq)
