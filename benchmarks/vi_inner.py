"""Inner SMC against inner importance sampling: bounds on the evidence of a Gaussian random walk.

    python benchmarks/vi_inner.py --json vi_inner.json

A walk of T steps of variance 1, each seen with an error of variance 1/4; the guide is the walk
itself, untrained. With 16 inner particles: IWELBO, FIVO with the resampling's gradient left out
(``stop``), and the exact log-evidence by the Kalman filter; means over 50, and the seconds of one
value with its gradient.
"""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from harness import Report, machine, options
from torch.distributions import Normal

from ponder import Effects, Program, observe, program, sample
from ponder.tensors import Torch, stop
from ponder.vi import expectation, fivo, iwelbo

INNER, OUTER, ERROR = 16, 50, 0.5


@program
def walk(seen: list[float], gain: torch.Tensor) -> Effects[None]:
    """Steps that are observed."""
    x = torch.zeros(())
    for t, y in enumerate(seen):
        x = yield from sample(Torch(Normal(x * gain, 1.0)), f"x{t}")
        yield from observe(Torch(Normal(x, ERROR)), torch.tensor(y))


@program
def blind(steps: int, gain: torch.Tensor) -> Effects[None]:
    """The same steps, without a look at what is observed."""
    x = torch.zeros(())
    for t in range(steps):
        x = yield from sample(Torch(Normal(x * gain, 1.0)), f"x{t}")


def evidence(seen: list[float]) -> float:
    """Exactly, by the Kalman filter."""
    mean, variance, total = 0.0, 0.0, 0.0
    for y in seen:
        variance += 1.0
        s = variance + ERROR**2
        total -= 0.5 * ((y - mean) ** 2 / s + math.log(2 * math.pi * s))
        mean, variance = mean + variance / s * (y - mean), variance * ERROR**2 / s
    return total


def main() -> None:
    """Both bounds at each length."""
    torch.set_num_threads(1)
    args = options(__doc__, (), models=False).parse_args()
    report = Report(machine(("ponder", "numpy", "torch")))
    for steps in (10, 20):
        rng = np.random.default_rng(steps)
        seen = np.cumsum(rng.normal(size=steps)) + ERROR * rng.normal(size=steps)
        gain = torch.ones((), requires_grad=True)
        given = seen.tolist()

        def model(gain: torch.Tensor = gain, given: list[float] = given) -> Program[None]:
            return walk(given, gain)

        case = f"{steps} steps"
        report.add((case, ""), "log evidence, exact", evidence(given), "nats")
        for name, objective in (
            ("IWELBO", iwelbo(model(), blind(steps, gain), INNER)),
            ("FIVO", fivo(model(), blind(steps, gain), INNER, resample=stop)),
        ):
            started = time.perf_counter()
            estimates = expectation(objective, OUTER, seed=1)
            estimates.mean().backward()
            seconds = time.perf_counter() - started
            values = estimates.detach()
            error = float(values.std()) / math.sqrt(OUTER)
            told = f"se {error:.2g}; {seconds:.2f} s for {OUTER}"
            report.add((case, ""), name, float(values.mean()), "nats", note=told)
    if args.json:
        report.write(args.json)


if __name__ == "__main__":
    main()
