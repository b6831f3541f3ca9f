"""Grammars at the level of tokens: what may be written next, so that the whole is accepted.

A token is what its bytes say, whichever tokens a text could also be spelled with: a grammar
restricts texts, and every spelling of an accepted text is allowed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ponder.errors import PonderError

if TYPE_CHECKING:
    from ponder.lm.protocol import LanguageModel, Tokens
    from ponder.lm.writing import Vocabulary

Mask = NDArray[np.bool_]
Kind = Literal["json", "regex", "lark"]
_NAMES: dict[Kind, str] = {"json": "JSON schema", "regex": "regular expression", "lark": "grammar"}


class Matcher(Protocol):
    """How far a text has come in a grammar."""

    @property
    def accepts(self) -> bool:
        """Whether the text may end here."""
        ...

    def allowed(self) -> Mask:
        """The tokens that may come next, shape (V,), the caller's to keep.

        End tokens are among them exactly where the grammar accepts, markup never is. All False in
        a dead end. An allowed token need not lead anywhere: what dies later has weight zero.
        """
        ...

    def advance(self, token: int) -> None:
        """Append an allowed token that does not end the text."""
        ...

    def copy(self) -> Matcher:
        """An independent matcher in the same place."""
        ...


def advanced(matcher: Matcher, token: int) -> Matcher:
    """Another matcher, one token further."""
    after = matcher.copy()
    after.advance(token)
    return after


class Grammar(Protocol):
    """A set of texts, as what may still be written. Immutable and hashable; equal sets compare
    equal only if they are given in the same way."""

    @property
    def key(self) -> list[Any]:
        """What the bank knows it by: JSON, equal only for grammars that are equal."""
        ...

    def after(self, tokens: Tokens) -> Grammar:
        """What may follow ``tokens``: the grammar of the next segment."""
        ...

    def compile(self, model: LanguageModel) -> Matcher:
        """A matcher for the tokens of ``model``. Raises PonderError where there is none."""
        ...


@dataclass(frozen=True)
class FormalGrammar:
    """A JSON schema, a regular expression or a Lark grammar, matched by llguidance.

    ``text`` must match as a whole. How each kind is read is llguidance's: properties in the order
    of the schema, white space between them free; regular expressions without look-around.
    """

    kind: Kind
    text: str
    consumed: Tokens = ()

    @property
    def key(self) -> list[Any]:
        return [self.kind, self.text, list(self.consumed)]

    def after(self, tokens: Tokens) -> FormalGrammar:
        return replace(self, consumed=self.consumed + tokens)

    def compile(self, model: LanguageModel) -> Matcher:
        """Raises PonderError if llguidance is missing or cannot read the grammar, if nothing
        satisfies it, if ``consumed`` does not begin it, or if the model spells no tokens."""
        vocabulary = _vocabulary_of(model)
        state = vocabulary.grammars.state(self.kind, self.text).deep_copy()
        if self.consumed and not state.consume_tokens(list(self.consumed)):
            raise PonderError(
                f"what has been written so far does not begin the {_NAMES[self.kind]}; "
                "start it with the same grammar"
            )
        return _FormalMatcher(state, sorted(vocabulary.end_tokens))


@dataclass(frozen=True)
class PredicateGrammar:
    """The texts for which ``accepts``; ``begins`` says whether a text may still become one.

    ``begins`` may be too generous, never too strict. ``name`` must tell it from every other one in
    a bank. One call of ``begins`` for each token of the vocabulary: for finite models.
    """

    name: str
    begins: Callable[[str], bool] = field(repr=False)
    accepts: Callable[[str], bool] = field(repr=False)
    consumed: Tokens = ()

    @property
    def key(self) -> list[Any]:
        return ["predicate", self.name, list(self.consumed)]

    def after(self, tokens: Tokens) -> PredicateGrammar:
        return replace(self, consumed=self.consumed + tokens)

    def compile(self, model: LanguageModel) -> Matcher:
        return _PredicateMatcher(self, _vocabulary_of(model), list(self.consumed))


class _PredicateMatcher:
    def __init__(
        self, grammar: PredicateGrammar, vocabulary: Vocabulary, tokens: list[int]
    ) -> None:
        self._grammar = grammar
        self._vocabulary = vocabulary
        self._tokens = tokens

    @property
    def accepts(self) -> bool:
        return self._grammar.accepts(_decoded(self._written()))

    def allowed(self) -> Mask:
        before = self._written()
        pieces = map(self._vocabulary.piece, range(self._vocabulary.size))
        may = [bool(p) and self._grammar.begins(_decoded(before + p)) for p in pieces]
        mask = np.array(may, dtype=bool)
        mask[sorted(self._vocabulary.end_tokens)] = self.accepts
        return mask

    def advance(self, token: int) -> None:
        self._tokens.append(token)

    def copy(self) -> _PredicateMatcher:
        return _PredicateMatcher(self._grammar, self._vocabulary, list(self._tokens))

    def _written(self) -> bytes:
        return b"".join(map(self._vocabulary.piece, self._tokens))


class _FormalMatcher:
    def __init__(self, state: Any, ends: Sequence[int]) -> None:
        self._state = state
        self._ends = ends

    @property
    def accepts(self) -> bool:
        return bool(self._state.is_accepting())

    def allowed(self) -> Mask:
        mask: Mask = np.frombuffer(self._state.compute_logit_bias(), dtype=np.uint8) != 0
        if self._state.is_error():
            error = self._state.get_error()
            if not error.startswith("NoExtension"):
                raise PonderError(f"the grammar is too complex ({_one_line(error)}); simplify it")
            mask[:] = False  # a dead end, where llguidance offers the end tokens
        mask[self._ends] = self.accepts
        return mask

    def advance(self, token: int) -> None:
        if not self._state.consume_token(token):
            raise PonderError(f"token {token} is not allowed here; advance by allowed tokens only")

    def copy(self) -> _FormalMatcher:
        return _FormalMatcher(self._state.deep_copy(), self._ends)


class GrammarCompiler:
    """llguidance for one vocabulary: its tokenizer, and the grammars compiled of late."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        try:
            import llguidance
        except ImportError:
            raise PonderError(
                "grammars need the package llguidance: pip install 'ponder[grammar]'"
            ) from None
        self._library = llguidance
        self._ends = sorted(vocabulary.end_tokens)
        wrapper = llguidance.TokenizerWrapper(_Spelled(vocabulary))
        self._tokenizer = llguidance.LLTokenizer(wrapper, eos_token=self._ends)
        self.state: Callable[[Kind, str], Any] = lru_cache(maxsize=64)(self._compiled)

    def _compiled(self, kind: Kind, text: str) -> Any:
        """The initial state of a grammar."""
        if kind == "json":
            read_schema(text)
        found = self._library.LLMatcher(self._tokenizer, self._source(kind, text), log_level=0)
        if found.is_error():
            said = self._explained(kind, text, found.get_error())
            raise PonderError(f"the {_NAMES[kind]} cannot be read: {said}; correct it")
        if not _FormalMatcher(found.deep_copy(), self._ends).allowed().any():
            raise PonderError(f"nothing satisfies the {_NAMES[kind]} {text!r}; correct it")
        return found

    def _source(self, kind: Kind, text: str) -> str:
        """In llguidance's Lark notation, as written, whatever tokens it is spelled with.

        Left to itself, llguidance allows one spelling only of what must come: the tokenizer's.
        The law then would not be the model's on accepted texts.
        """
        start = text
        if kind == "json":
            start = f"start: %json {text}"
        elif kind == "regex":
            start = f"start: /{self._library.regex_to_lark(text, '')}/"
        return start + '\n%llguidance {"no_forcing": true}'

    def _explained(self, kind: Kind, text: str, error: str) -> str:
        """One line, with the place in the user's text where it is known."""
        said = _one_line(error)
        at = re.match(r"(?:at )?(\d+)\((\d+)\): ", said)
        if kind == "lark" and at:
            return f"line {at[1]}, column {at[2]}: {said[at.end() :]}"
        said = said[at.end() :] if at else said
        if kind == "json":
            said = said.removeprefix("failed to compile JSON schema: ")
            return f"{said}, at {_place(json.loads(text), self._fails_like(said)) or 'its top'}"
        pointed = re.search(r"^ {4}( *)\^+$", error, re.MULTILINE)
        reason = re.search(r"error: (.*)", said)
        if pointed and reason:
            return f"{reason[1]}, at character {len(pointed[1]) + 1} of {text!r}"
        return said

    def _fails_like(self, said: str) -> Callable[[Any], bool]:
        def fails(part: Any) -> bool:
            source = self._source("json", json.dumps(part))
            error = self._library.LLMatcher(self._tokenizer, source, log_level=0).get_error()
            return _one_line(error).endswith(said)

        return fails


def read_schema(text: str) -> Any:
    """The JSON schema that ``text`` spells. Raises PonderError, naming the place, if it is none."""
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise PonderError(f"the JSON schema is not JSON: {error}; correct it") from None
    if not isinstance(schema, dict | bool):
        raise PonderError(f"a JSON schema is an object, got {text!r}")
    return schema


class _Spelled:
    """What llguidance asks of a tokenizer: the bytes of each token. It never tokenizes here."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        ends = vocabulary.end_tokens
        self.eos_token_id = min(ends)
        self.bos_token_id = None
        self.tokens = [b"" if t in ends else vocabulary.spell(t) for t in range(vocabulary.size)]
        self.special_token_ids = sorted(ends)

    def __call__(self, text: bytes) -> list[int]:
        return []


def _vocabulary_of(model: LanguageModel) -> Vocabulary:
    engine = getattr(model, "engine", None)
    found: Vocabulary | None = getattr(
        engine or model, "vocabulary" if engine else "spelling", None
    )
    if found is None:
        raise PonderError(
            f"the model {model.name} does not say how its tokens are spelled, which a grammar "
            "needs; use a GGUF model or a TableLM"
        )
    return found


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", errors="replace")


def _one_line(error: str) -> str:
    """The message without the source and the state that llguidance prints below it."""
    message = re.split(r"\n\s+\d+ \| |\n<state>|\n<grammar>", error)[0]
    return " ".join(message.split())


def _place(part: Any, fails: Callable[[Any], bool]) -> str | None:
    """The path of the innermost part of a schema that fails as the whole does."""
    if not isinstance(part, dict | list):
        return None
    for name, inner in part.items() if isinstance(part, dict) else enumerate(part):
        found = _place(inner, fails)
        if found is not None:
            return f"/{name}{found}"
    return "" if isinstance(part, dict) and fails(part) else None
