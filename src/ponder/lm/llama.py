"""A GGUF model through llama.cpp: weights, vocabulary, chat markup, and its engine."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponder.defaults import CELLS, LEAST_CELLS
from ponder.dist import Stream
from ponder.errors import CutShort, PonderError
from ponder.ledger import Ledger
from ponder.lm.binding import Packing, lib, load_weights
from ponder.lm.chat import ChatTemplate
from ponder.lm.decoder import Decoder
from ponder.lm.engine import Engine
from ponder.lm.protocol import Completion, Draw, Message, Tokens
from ponder.lm.request import Request
from ponder.lm.states import States
from ponder.lm.writing import Vocabulary

SLOTS = 256  # llama_max_parallel_sequences() of the library


class LlamaLM:
    """A language model in a GGUF file. Loading raises PonderError for a file that is not one.

    ``cells`` is the number of tokens that all live sequences together may hold, ``width`` the
    most sequences that decode at once. ``fingerprint`` is the sha256 of the file.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        fingerprint: str | None = None,
        cells: int = CELLS,
        width: int = 32,
        threads: int | None = None,
        packing: Packing | None = None,
    ) -> None:
        from ponder.lm.probe import best_packing
        from ponder.lm.weights import file_hash

        if cells < LEAST_CELLS:
            raise PonderError(f"a context holds at least {LEAST_CELLS} tokens, got {cells}")
        self.path = Path(path)
        self.name = name or self.path.name
        self._model = load_weights(str(self.path), packing or best_packing(self.path))
        if not self._model:
            raise PonderError(
                f"{self.path} is not a model that llama.cpp can load (cut off, or of a newer "
                "format?); fetch it again"
            )
        self.fingerprint = fingerprint or file_hash(self.path)
        self._vocab = lib.llama_model_get_vocab(self._model)
        size = int(lib.llama_vocab_n_tokens(self._vocab))
        ends = frozenset(t for t in range(size) if lib.llama_vocab_is_eog(self._vocab, t))
        self.end_tokens = ends
        self.vocabulary = Vocabulary(size, ends, self._spell)
        self.context = min(int(lib.llama_model_n_ctx_train(self._model)), cells)
        self._cells = cells
        self._width = width
        self._threads = threads

    @cached_property
    def decoder(self) -> Decoder:
        """The llama.cpp context; made on first use."""
        return Decoder(
            self._model, self.vocabulary.size, cells=self._cells, slots=SLOTS, threads=self._threads
        )

    @cached_property
    def engine(self) -> Engine:
        """The engine that serves this model's requests in one continuous batch."""
        return Engine(self.decoder, self.vocabulary, context=self.context, width=self._width)

    @cached_property
    def states(self) -> States:
        """The token-level view: next-token laws of states, advance, fork, release."""
        return States(self.decoder, self.vocabulary.size)

    @cached_property
    def template(self) -> ChatTemplate:
        """The chat template that the file carries."""
        source = self._metadata("tokenizer.chat_template")
        if source is None:
            return ChatTemplate.plain()
        bos, eos = (
            self._spell(t, special=True).decode() if t >= 0 else ""
            for t in (lib.llama_vocab_bos(self._vocab), lib.llama_vocab_eos(self._vocab))
        )
        return ChatTemplate(source, bos=bos, eos=eos)

    def tokenize(self, text: str, *, special: bool = False) -> Tokens:
        """Tokens of ``text``, nothing added; markup is read as such only if ``special``."""
        data = text.encode("utf-8", errors="replace")
        buffer = (lib.llama_token * (len(data) + 8))()
        count = lib.llama_tokenize(
            self._vocab, data, len(data), buffer, len(buffer), False, special
        )
        if count < 0:
            raise PonderError("llama.cpp could not tokenize the text")
        return tuple(buffer[:count])

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of ``tokens``; end tokens give nothing."""
        pieces = b"".join(self.vocabulary.piece(t) for t in tokens)
        return pieces.decode("utf-8", errors="replace")

    def chat(self, messages: Sequence[Message]) -> Tokens:
        """The prompt of a chat; what the messages say is never read as markup."""
        return self._pieces(self.template.pieces(messages))

    def follow_up(self, messages: Sequence[Message]) -> Tokens:
        """The markup and messages that follow the first assistant message."""
        pieces = self.template.pieces(messages)
        contents = [i for i, (_, markup) in enumerate(pieces) if not markup]
        said = [m["role"] for m in messages if m["content"]].index("assistant")
        return self._pieces(pieces[contents[said] + 1 :])

    def draw(self, dist: Completion, stream: Stream) -> Draw:
        """Draw at once, alone in the batch. The runtime batches instead.

        Raises CutShort if the engine is told to abort.
        """
        request = Request(dist, stream.key, Ledger())
        self.engine.submit(request)
        while request in self.engine.running or request in self.engine.waiting:
            for ended, value in self.engine.step():
                if ended is request:
                    assert isinstance(value, Draw)
                    return value
            if self.engine.aborted:
                self.engine.recover()
        raise CutShort("abort")

    def next_log_probs(self, prompt: Tokens) -> NDArray[np.float32]:
        """Log-probabilities of the next token at temperature 1, shape (vocabulary,)."""
        state = self.states.open(prompt)
        try:
            law: NDArray[np.float32] = self.states.log_probs([state])[0]
            return law
        finally:
            self.states.release(state)

    def completions(self, dist: Completion) -> None:
        """A real model's completions cannot be listed."""
        return

    def close(self) -> None:
        """Free the context and the weights."""
        if "decoder" in self.__dict__:
            self.decoder.close()
        if self._model:
            lib.llama_model_free(self._model)
            self._model = None

    def _pieces(self, pieces: Sequence[tuple[str, bool]]) -> Tokens:
        tokens: list[int] = []
        for text, markup in pieces:
            tokens += self.tokenize(text, special=markup)
        return tuple(tokens)

    def _spell(self, token: int, special: bool = False) -> bytes:
        count = -256
        while count < 0:  # minus the bytes that are needed
            buffer = ctypes.create_string_buffer(-count)
            count = lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, special)
        return buffer.raw[:count]

    def _metadata(self, key: str) -> str | None:
        size = lib.llama_model_meta_val_str(self._model, key.encode(), None, 0)
        if size < 0:
            return None
        buffer: Any = ctypes.create_string_buffer(size + 1)
        lib.llama_model_meta_val_str(self._model, key.encode(), buffer, size + 1)
        return str(buffer.value.decode("utf-8", errors="replace"))
