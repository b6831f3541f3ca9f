"""Stop rules at questions of known difficulty: how often they stop, how often wrongly, and when.

    python benchmarks/stopping.py [--horizon 40]

A question has one answer of probability ``share``; the rest is one other answer, or four of equal
probability. A rule is looked at after every sample. Exact (dynamic programming), but for
``settled`` at five answers, which remembers too much: there 10,000 runs are simulated, by seed.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from ponder.guarantee.mode import ModeEvidence
from ponder.guarantee.operating import Operating, operating
from ponder.guarantee.stopping import (
    Settled,
    StopRule,
    agreement,
    dirichlet,
    entropy,
    majority,
    settled,
)

SHARES = (0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 0.95)
RULES: tuple[StopRule, ...] = (
    agreement(0.95),
    agreement(0.99),
    dirichlet(0.95),
    majority(0.8),
    entropy(0.75),
    settled(0.1),
    settled(0.05),
    settled(0.01),
)
RUNS = 10_000


def simulated(rule: Settled, others: int, horizon: int) -> Operating:
    """The same as ``operating``, from runs: standard errors are at most .005 of a rate."""
    found = np.zeros((3, len(SHARES)))
    for i, share in enumerate(SHARES):
        law = [share, *[(1 - share) / others] * others]
        draws = np.random.default_rng(i).choice(others + 1, size=(RUNS, horizon), p=law)
        for run in draws.tolist():
            evidence, answer, used = ModeEvidence(), None, 0
            while used < horizon and answer is None:
                evidence.observe(run[used])
                answer, used = evidence.settled(rule.alpha), used + 1
            found[:, i] += answer is not None, answer not in (None, 0), used
    return Operating(*(found / RUNS))


def table(others: int, horizon: int) -> None:
    print(f"\n{others + 1} answers, horizon {horizon}: stop rate / wrong-stop rate / mean samples")
    print(f"{'leader share':22}" + "".join(f"{share:>20.2f}" for share in SHARES))
    for rule in RULES:
        began = time.perf_counter()
        if isinstance(rule, Settled) and others > 1:
            found, how = simulated(rule, others, horizon), "simulated"
        else:
            found, how = operating(rule, SHARES, others, horizon), "exact"
        cells = zip(*found, strict=True)
        row = "".join(f"{s:8.3f}{w:7.4f}{n:5.1f}" for s, w, n in cells)
        seconds = time.perf_counter() - began
        print(f"{rule!r:22}{row}   {how}, {seconds:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--horizon", type=int, default=40, help="the most samples of a question")
    horizon = parser.parse_args().horizon
    for others in (1, 4):
        table(others, horizon)


if __name__ == "__main__":
    main()
