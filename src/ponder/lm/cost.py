"""Idealised runtime: the seconds that a request takes on a quiet machine, from a few timings.

    seconds(prompt, output) = base + rate * max(prompt - flat, 0) + step * (output - 1)

Prompts of up to ``flat`` tokens all cost the same, from there on each token costs its share
(attention, which is quadratic, matters little at the sizes measured). The first output token
comes with the prompt; every further one takes a decoding step, whose time depends on how many
sequences decode together; so does the base, since the others start once the prompt is there.
After Narayanan et al., "Cheaply Estimating Inference Efficiency Metrics for Autoregressive
Transformer Models" (2023).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ponder.dist import Stream, derive
from ponder.errors import CutShort, PonderError
from ponder.ledger import Ledger
from ponder.lm.engine import Engine
from ponder.lm.protocol import Completion, LanguageModel, Tokens

Floats = NDArray[np.float64]

TEXT = "A cab decided that each bad bead had faded, and a deaf chef baked a cake beside a cafe. "


class Timing(NamedTuple):
    """``width`` sequences after one shared prompt, each of ``output`` tokens, all decoding at once.

    ``seconds`` from submission until the last has ended; the prompt is computed once.
    """

    prompt: int
    output: int
    width: int
    seconds: float


@dataclass(frozen=True)
class Runtime:
    """The fitted model of the module, with how well it fits."""

    flat: float
    """Prompt tokens that cost no more than one does."""
    rate: float
    """Seconds for each prompt token beyond."""
    steps: tuple[tuple[int, float, float], ...]
    """(width, base, step) in seconds, for each width that was timed, growing."""
    r2: float
    """Share of the variance of the timings explained; 1 if they do not vary."""
    worst: float
    """The largest error on the timings, in seconds."""

    def seconds(self, prompt: float, output: float, width: float | None = None) -> float:
        """Of ``width`` sequences after one prompt, each of ``output`` tokens, decoding together.

        ``prompt`` counts the tokens to compute: leave out those found in the cache. ``width`` is
        the smallest that was timed if not given; between those timed it is interpolated. Raises
        PonderError for a width beyond them.
        """
        widths, bases, steps = np.array(self.steps).T
        at = widths[0] if width is None else width
        if not widths[0] <= at <= widths[-1]:
            raise PonderError(
                f"widths from {widths[0]:g} to {widths[-1]:g} were timed, not {at:g}; measure that"
            )
        reading = float(np.interp(at, widths, bases)) + self.rate * max(prompt - self.flat, 0.0)
        return reading + float(np.interp(at, widths, steps)) * max(output - 1.0, 0.0)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Runtime:
        """The reverse of :meth:`as_dict`. Raises PonderError for anything else."""
        try:
            numbers = {k: float(stored[k]) for k in ("flat", "rate", "r2", "worst")}
            steps = tuple((int(w), float(base), float(step)) for w, base, step in stored["steps"])
        except (KeyError, TypeError, ValueError) as error:
            raise PonderError("this is no fitted runtime; measure and fit again") from error
        return cls(steps=steps, **numbers)


def fit(timings: Sequence[Timing | tuple[int, int, int, float]]) -> Runtime:
    """Least squares on the fastest of the timings of each (prompt, output, width).

    Noise only ever slows down, so the minimum over repeats is what a quiet machine takes. No
    coefficient is negative; ``flat`` is the best of 0 and the prompt lengths timed. Raises
    PonderError unless prompts of two lengths and, at each width, outputs of two lengths are there.
    """
    fastest: dict[tuple[int, int, int], float] = {}
    for prompt, output, width, seconds in timings:
        if min(prompt, output, width) < 1 or not 0 <= seconds < math.inf:
            raise PonderError(f"a timing needs tokens and seconds, got {(prompt, output, width)}")
        key = (prompt, output, width)
        fastest[key] = min(seconds, fastest.get(key, math.inf))
    table = np.array(list(fastest), dtype=np.float64).reshape(-1, 3)
    widths = np.unique(table[:, 2])
    few = [w for w in widths if len(np.unique(table[table[:, 2] == w, 1])) < 2]
    if len(np.unique(table[:, 0])) < 2 or few:
        raise PonderError("time prompts of two lengths, and outputs of two lengths at each width")
    return _fitted(table, np.array(list(fastest.values())), widths)


def _fitted(table: Floats, seconds: Floats, widths: Floats) -> Runtime:
    from scipy.optimize import nnls

    prompt, output, width = table.T
    each = (width[:, None] == widths).astype(float)
    base_and_step = np.hstack([each, each * (output - 1)[:, None]])
    best: tuple[float, float, Floats] | None = None
    for flat in (0.0, *np.unique(prompt)[:-1]):
        columns = np.column_stack([base_and_step, np.maximum(prompt - flat, 0)])
        scale = columns.max(axis=0)
        found, distance = nnls(columns / scale, seconds)
        if best is None or distance < best[0] - 1e-12:
            best = (float(distance), float(flat), found / scale)
    assert best is not None
    _, flat, (*both, rate) = best
    errors = base_and_step @ both + rate * np.maximum(prompt - flat, 0) - seconds
    variance = float(np.sum((seconds - seconds.mean()) ** 2))
    bases, steps = both[: len(widths)], both[len(widths) :]
    return Runtime(
        flat=flat,
        rate=float(rate),
        steps=tuple(zip(map(int, widths), map(float, bases), map(float, steps), strict=True)),
        r2=1 - float(np.sum(errors**2)) / variance if variance > 0 else 1.0,
        worst=float(np.abs(errors).max()),
    )


def measure(
    model: LanguageModel,
    *,
    prompts: Sequence[int] = (16, 64, 128, 256, 512),
    outputs: Sequence[int] = (1, 8, 32),
    widths: Sequence[int] = (1, 8),
    repeats: int = 3,
    text: str = TEXT,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Timing]:
    """Timings of the model on every prompt x output x width, ``repeats`` times over, for `fit`.

    On the model's engine, with no token that ends a text, so that outputs have the length asked
    for, and nothing cached; a model without an engine draws one sequence after the other, so its
    widths must be (1,), and writes what it likes: what it has written is what is noted. Prompts
    are ``text``, over and over. Once around beforehand warms up. The model must be idle. Raises
    PonderError if the context is too small, or the text has no token for the model; CutShort if
    the engine is told to abort.
    """
    words = model.tokenize(text)
    if not words:
        raise PonderError("the model knows no token of the text; give measure another text")
    engine: Engine | None = getattr(model, "engine", None)
    if engine is not None and not hasattr(engine, "decoder"):
        raise PonderError(f"{model.name} is behind a server, whose load is not known; not timed")
    if engine is None and tuple(widths) != (1,):
        raise PonderError(f"{model.name} has no engine that batches; measure it with widths=(1,)")
    longest = max(prompts) + max(widths) * (max(outputs) + 1)
    if engine is not None and longest > min(engine.context, engine.cache.size):
        raise PonderError(
            f"{longest} tokens do not fit the context of {engine.context}; measure fewer or raise "
            "--context"
        )
    if engine is not None and max(widths) > engine.width:
        raise PonderError(f"at most {engine.width} sequences decode together; measure fewer")
    return list(_timings(model, words, list(product(prompts, outputs, widths)), repeats, clock))


def _timings(
    model: LanguageModel,
    words: Tokens,
    grid: Sequence[tuple[int, int, int]],
    repeats: int,
    clock: Callable[[], float],
) -> Iterator[Timing]:
    for turn in range(repeats + 1):
        for length, output, width in grid if turn else grid[:1]:
            prompt = (words * (length // len(words) + 1))[:length]
            dist = Completion(model, prompt, max_tokens=output)
            keys = [derive(b"cost", f"{turn} {i}") for i in range(width)]
            written, seconds = _timed(model, dist, keys, clock)
            if turn:
                yield Timing(length, written, width, seconds)


def _timed(
    model: LanguageModel, dist: Completion, keys: Sequence[bytes], clock: Callable[[], float]
) -> tuple[int, float]:
    """(tokens that each sequence has, seconds until the last has them)."""
    shared: Engine | None = getattr(model, "engine", None)
    if shared is None:
        began = clock()
        draw = model.draw(dist, Stream(keys[0]))
        return len(draw.tokens), clock() - began
    for slot in shared.cache.idle():
        shared.cache.release(slot)
    endless = replace(shared.vocabulary, end_tokens=frozenset())
    engine = Engine(shared.decoder, endless, context=shared.context, width=shared.width)
    ledger, left = Ledger(), len(keys)
    began = clock()
    for key in keys:
        engine.submit(engine.request(dist, key, ledger))
    while left:
        left -= len(engine.step())
        if engine.aborted:
            engine.recover()
            raise CutShort
    return dist.max_tokens, clock() - began
