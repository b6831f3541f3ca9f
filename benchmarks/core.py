"""The core without a model: what an effect costs.

particles    10,000 particles of 20 next tokens each from a finite language model
length       an effect in a trace of 2,000 steps against one in 500, resampling at every step
enumeration  leaves a second when every outcome is visited
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from harness import Quiet, Report, alternate, begin, options, ratios

import ponder
from ponder.effects import Effects

MODEL = ponder.TableLM(
    ["a", "b", "."], {(): (0.5, 0.3, 0.2), (0,): (0.2, 0.5, 0.3), (1,): (0.5, 0.2, 0.3)}
)


@ponder.program(normalised=True)
def written(length: int) -> Effects[tuple[int, ...]]:
    """So many next tokens; ends are left out, so that every trace has the same effects."""
    tokens: tuple[int, ...] = ()
    for _ in range(length):
        token = yield from ponder.sample(ponder.NextToken(MODEL, tokens))
        tokens += (token,) if token != MODEL.end else ()
    return tokens


@ponder.program
def walk(state: tuple[int, int]) -> Effects[Any]:
    """One step of a walk: a coin and a factor."""
    left, heads = state
    head = yield from ponder.sample(ponder.Bernoulli(0.5))
    yield from ponder.factor(math.log(0.9 if head else 0.1))
    heads += head
    return ponder.Done(heads) if left == 0 else (left - 1, heads)


@ponder.program
def coins(count: int) -> Effects[int]:
    """So many coins and a factor."""
    heads = 0
    for _ in range(count):
        heads += yield from ponder.sample(ponder.Bernoulli(0.5))
    yield from ponder.factor(0.1 * heads)
    return heads


def particles(report: Report, repeat: int, quick: bool) -> None:
    """Seconds for all of them, and microseconds an effect."""
    count, load = 200 if quick else 10_000, Quiet()

    def once() -> float:
        began = time.perf_counter()
        population = ponder.infer(written(20) | ponder.draw(count))
        assert len(population) == count
        return time.perf_counter() - began

    seconds = alternate({"draw": once}, repeat, load)["draw"]
    place = ("particles", "table")
    report.add(place, f"{count} particles of 20 effects", seconds, "s", "< 10", str(load))
    report.add(place, "an effect", [1e6 * s / count / 20 for s in seconds], "us")


def length(report: Report, repeat: int, quick: bool) -> None:
    """Microseconds an effect in long and in short traces: flat if the ratio is near 1."""
    short, long = (50, 200) if quick else (500, 2_000)
    load = Quiet()

    def once(steps: int) -> float:
        began = time.perf_counter()
        ponder.infer(ponder.iterate(walk, (steps - 1, 0)) | ponder.smc(32, ess=1.0))
        return 1e6 * (time.perf_counter() - began) / steps / 32 / 2

    found = alternate({"short": partial(once, short), "long": partial(once, long)}, repeat, load)
    place = ("length", "-")
    report.add(place, f"32 particles of {short} steps, an effect", found["short"], "us")
    report.add(place, f"32 particles of {long} steps, an effect", found["long"], "us")
    ratio = ratios(found["long"], found["short"])
    report.add(place, f"{long} / {short} steps", ratio, "x", "near 1", str(load))


def enumeration(report: Report, repeat: int, quick: bool) -> None:
    """Leaves a second of a program of coins."""
    count, load = 6 if quick else 14, Quiet()

    def once() -> float:
        began = time.perf_counter()
        ponder.enumerate_measure(coins(count))
        return float(2**count / (time.perf_counter() - began))

    rates = alternate({"leaves": once}, repeat, load)["leaves"]
    report.add(("enumeration", "-"), f"2^{count} leaves", rates, "leaves/s", note=str(load))


CASES: dict[str, Callable[[Report, int, bool], None]] = {
    "particles": particles,
    "length": length,
    "enumeration": enumeration,
}


def main() -> None:
    """Run the cases that were named."""
    args = options(__doc__, list(CASES), models=False).parse_args()
    report = begin()
    for name in args.cases or CASES:
        CASES[name](report, 2 if args.quick else args.repeat, args.quick)
        if args.json:
            report.write(args.json)


if __name__ == "__main__":
    main()
