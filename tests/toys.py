"""The toys of ``ponder check``, and finite language models."""

from __future__ import annotations

import math

from ponder.blocks import multinomial, residual, stratified, systematic
from ponder.blocks.resample import Resampler
from ponder.checking import toys as checked
from ponder.checking.toys import *  # noqa: F403
from ponder.dist import Bernoulli
from ponder.effects import Effects, Factor, each, program, sample
from ponder.lm.protocol import Completion, Tokens
from ponder.lm.sampling_law import SamplingLaw
from ponder.lm.table import TableLM

NEG_INF = -math.inf
# ``ponder check`` runs on the others too, where they are small enough; here all must be.
LARGE = ("rare", "long", "inception")
PROGRAMS = {name: p for name, p in checked.PROGRAMS.items() if name not in LARGE}
RESAMPLERS: tuple[Resampler, ...] = (multinomial, stratified, systematic, residual)


@program
def repeated() -> Effects[tuple[bool, ...]]:
    """Repeated names, inside and outside of sub-programs."""
    bits: tuple[bool, ...] = ()
    for _ in range(3):
        bits = (*bits, (yield from sample(Bernoulli(0.4), "bit")))
        bits = (*bits, *(yield from each([named(), named()], ["left", "right"])))
        yield Factor(-0.5 * sum(bits))
    return bits


@program
def named() -> Effects[bool]:
    yield from sample(Bernoulli(0.5), "bit")
    return (yield from sample(Bernoulli(0.5), "bit"))


def writer(context: int = 3) -> TableLM:
    """Writes lines of a and b; after ``context`` tokens it ends."""
    rows = {
        (): [0.5, 0.2, 0.2, 0.1],
        (0,): [0.1, 0.3, 0.4, 0.2],
        (1,): [0.3, 0.1, 0.2, 0.4],
        (2,): [0.6, 0.3, 0.0, 0.1],
    }
    return TableLM(("a", "b", "\n", "<end>"), rows, context=context, name="writer")


@program(normalised=True)
def whole(model: TableLM, law: SamplingLaw | None = None) -> Effects[Tokens]:
    """What the model writes, at once."""
    drawn = yield from sample(Completion(model, (), law or SamplingLaw(), max_tokens=10))
    return drawn.tokens


@program(normalised=True)
def steps(model: TableLM, law: SamplingLaw | None = None) -> Effects[Tokens]:
    """What the model writes, line by line."""
    tokens: Tokens = ()
    while not tokens or tokens[-1] != model.end:
        segment = Completion(
            model, tokens, law or SamplingLaw(), max_tokens=10, stop=("\n",), segment=True
        )
        tokens += (yield from sample(segment)).tokens
    return tokens
