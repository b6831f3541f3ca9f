"""A finite language model: next-token laws from a table, every completion enumerable.

Nearly all tests and every check run on it: whatever holds for a language model can be computed
exactly for this one.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ponder.dist import NEG_INF, Stream
from ponder.errors import PonderError
from ponder.lm.grammar import Matcher, advanced
from ponder.lm.protocol import (
    Completion,
    Draw,
    Finish,
    LanguageModel,
    Message,
    Tokens,
    drawn,
)
from ponder.lm.sampling_law import Logs, SamplingLaw, log_law, restricted
from ponder.lm.writing import Vocabulary

Table = Mapping[Tokens, Sequence[float]] | Callable[[Tokens], Sequence[float]]


class TableLM:
    """A language model given by next-token probabilities.

    ``vocabulary`` lists the tokens' texts, the last one being the end token. ``table`` maps the
    last ``order`` tokens (fewer at the beginning), or all of them for a function, to
    probabilities of shape (len(vocabulary),), normalised here. After ``context`` tokens only the
    end token is possible. Every completion must end, so enumerate with small ``max_tokens``.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        table: Table,
        *,
        order: int = 1,
        context: int = 64,
        name: str = "table",
    ) -> None:
        self.vocabulary = tuple(vocabulary)
        self.name = name
        self.context = context
        self.end = len(self.vocabulary) - 1
        self.end_tokens = frozenset({self.end})
        self._table = table
        self._order = order
        self._rows: dict[Tokens, Logs] = {}
        self._known_laws: dict[tuple[int, SamplingLaw], tuple[Logs, Logs, list[float]]] = {}
        self.fingerprint = f"table:{name}"

    @cached_property
    def spelling(self) -> Vocabulary:
        """The tokens' bytes: what a grammar is matched by."""
        size = len(self.vocabulary)
        return Vocabulary(size, self.end_tokens, lambda t: self.vocabulary[t].encode())

    def tokenize(self, text: str, *, special: bool = False) -> Tokens:
        """Greedy longest match; text outside the vocabulary is left out (prompts may be prose)."""
        tokens: list[int] = []
        position = 0
        by_length = sorted(range(self.end), key=lambda t: -len(self.vocabulary[t]))
        while position < len(text):
            for token in by_length:
                word = self.vocabulary[token]
                if word and text.startswith(word, position):
                    tokens.append(token)
                    position += len(word)
                    break
            else:
                position += 1
        return tuple(tokens)

    def detokenize(self, tokens: Sequence[int]) -> str:
        return "".join(self.vocabulary[t] for t in tokens if t != self.end)

    def chat(self, messages: Sequence[Message]) -> Tokens:
        """No prompt: a table has no chat markup and a toy question no words in its vocabulary."""
        return ()

    def follow_up(self, messages: Sequence[Message]) -> Tokens:
        return ()

    def next_log_probs(self, prompt: Tokens) -> Logs:
        """Shape (vocabulary,), float64, -inf where impossible."""
        state = prompt if callable(self._table) else prompt[-self._order :] if self._order else ()
        full = len(prompt) >= self.context
        key = (-1,) if full else state
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = self._row(state, full)
        return row

    def _laws(self, prompt: Tokens, law: SamplingLaw) -> tuple[Logs, Logs, list[float]]:
        """Log-probabilities of the next token, under the law, and its cumulative probabilities."""
        row = self.next_log_probs(prompt)
        key = (id(row), law)  # rows are kept for good, so their identity names them
        found = self._known_laws.get(key)
        if found is None:
            logs = log_law(row, law)
            cumulative = np.cumsum(np.exp(logs.astype(np.float64))).tolist()
            found = self._known_laws[key] = (row, logs, cumulative)
        return found

    def _row(self, state: Tokens, full: bool) -> Logs:
        if full:
            probabilities = np.zeros(len(self.vocabulary))
            probabilities[self.end] = 1.0
        elif callable(self._table):
            probabilities = np.asarray(self._table(state), dtype=float)
        elif state in self._table:
            probabilities = np.asarray(self._table[state], dtype=float)
        else:
            raise PonderError(f"the table of {self.name} has no row for {state}; add one")
        if probabilities.shape != (len(self.vocabulary),):
            raise PonderError(f"row {state} of {self.name} needs {len(self.vocabulary)} numbers")
        with np.errstate(divide="ignore"):
            row: Logs = np.log(probabilities / probabilities.sum()).astype(np.float64)
        return row

    def draw(self, dist: Completion, stream: Stream) -> Draw:
        path = _Path([], [], [], [])
        matcher = None if dist.grammar is None else dist.grammar.compile(self)
        finish = None
        while finish is None:
            row, law, cumulative = self._laws(dist.prompt + tuple(path.tokens), dist.law)
            if matcher is not None:
                law, log_mass = restricted(law, matcher.allowed())
                path.masses.append(log_mass)
                if log_mass == NEG_INF:
                    return self._finished(dist, path, "dead")
                cumulative = np.cumsum(np.exp(law)).tolist()
            token = min(bisect_right(cumulative, stream.uniform() * cumulative[-1]), self.end)
            if law[token] == NEG_INF:  # u * total was rounded up to the total
                token = int(np.flatnonzero(np.isfinite(law))[-1])
            path.tokens.append(token)
            path.logp.append(float(row[token]))
            path.logq.append(float(law[token]))
            finish = ended(self, dist, path.tokens)
            if matcher is not None and finish is None:
                matcher.advance(token)
        return self._finished(dist, path, finish)

    def _finished(self, dist: Completion, path: _Path, finish: Finish) -> Draw:
        text = cut(self.detokenize(path.tokens), dist)
        evidence = None if dist.grammar is None else math.fsum(path.masses)
        return drawn(dist, path.tokens, text, finish, path.logp, path.logq, evidence)

    def completions(self, dist: Completion) -> Sequence[tuple[Draw, float]]:
        matcher = None if dist.grammar is None else dist.grammar.compile(self)
        every = self._every(dist, matcher, _Path([], [], [], []))
        return [(d, math.fsum(d.logq)) for d in every]

    def _every(self, dist: Completion, matcher: Matcher | None, path: _Path) -> Iterator[Draw]:
        row, law, _ = self._laws(dist.prompt + tuple(path.tokens), dist.law)
        masses = path.masses
        if matcher is not None:
            law, log_mass = restricted(law, matcher.allowed())
            masses = [*masses, log_mass]
            if log_mass == NEG_INF:
                yield self._finished(dist, path._replace(masses=masses), "dead")
        for token in np.flatnonzero(np.isfinite(law)).tolist():
            logp, logq = [*path.logp, float(row[token])], [*path.logq, float(law[token])]
            longer = _Path([*path.tokens, token], logp, logq, masses)
            finish = ended(self, dist, longer.tokens)
            if finish is None:
                after = None if matcher is None else advanced(matcher, token)
                yield from self._every(dist, after, longer)
            else:
                yield self._finished(dist, longer, finish)


class _Path(NamedTuple):
    """A completion under way: see :class:`~ponder.lm.protocol.Draw`; the log-mass at each token."""

    tokens: list[int]
    logp: list[float]
    logq: list[float]
    masses: list[float]


def ended(model: LanguageModel, dist: Completion, tokens: Sequence[int]) -> Finish | None:
    """Why a completion stops after these tokens, or None if it goes on."""
    if tokens[-1] in model.end_tokens:
        return "stop"
    if dist.stop and any(s in model.detokenize(tokens) for s in dist.stop):
        return "stop"
    return "length" if len(tokens) >= dist.max_tokens else None


def cut(text: str, dist: Completion) -> str:
    """The text before the first stop string; a segment keeps it."""
    if dist.segment:
        return text
    places = [text.index(s) for s in dist.stop if s in text]
    return text[: min(places)] if places else text
