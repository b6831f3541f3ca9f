"""Pictures of what changes with the number of traces or of runs."""

from __future__ import annotations

import math
from typing import Any

import examples.escalate
import examples.escalate_first
import matplotlib.pyplot as plt
import numpy as np
from drawing.bars import BLUE, GREEN, GREY, ORANGE, posterior, save, share

from ponder.binding import Binding
from ponder.blocks import best, draw, evidence_bounds
from ponder.checking.betting import Bet
from ponder.checking.toys import chain, coins
from ponder.dist import Categorical
from ponder.effects import Effects, Program, sample
from ponder.interpret import enumerate_measure, enumerate_runs, evaluate
from ponder.meaning import atoms
from ponder.measure import Population


def deciding() -> None:
    """What a vote converges to, and what best-of-N does not."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.1))
    target, ns = chain(1), range(1, 11)
    truth = posterior(target)[(True,)]
    biases = [abs(share(target | draw(n), (True,)) - truth) for n in ns]
    left.loglog(ns, biases, marker="o", markersize=4, color=BLUE, label="draw(n) | vote")
    left.loglog(
        ns, biases[-1] * ns[-1] / np.array(ns), ":", color="black", label="proportional to 1/n"
    )
    left.set_xticks([1, 2, 3, 5, 10], ["1", "2", "3", "5", "10"], minor=False)
    left.set_yticks([0.02, 0.05, 0.1, 0.2], ["0.02", "0.05", "0.1", "0.2"])
    left.minorticks_off()
    left.set_title("vote: |bias| of a share, by n")
    left.legend()
    coin = coins(1)
    chosen = []
    for n in ns:
        made = (coin | draw(n) | best(lambda bits: float(bits[0]))).bind(Binding())
        runs = enumerate_runs(made)
        chosen.append(math.fsum(math.exp(p) for found, p in runs if found.answer == (True,)))
    right.plot(ns, chosen, marker="x", markersize=4, color=ORANGE, label="draw(n) | best(score)")
    right.axhline(enumerate_measure(coin)[(True,)], color=GREY, linewidth=2, label="the target")
    right.set_ylim(0, 1.05)
    right.set_title("best: chance of answering 1, by n")
    right.legend(loc="center right")
    save(figure, "deciding")


def bounding() -> None:
    """Means of 300 runs of the two estimates of log Z, and where the middle half of them are."""
    target = chain(4)
    known = atoms(target)
    log_z = math.log(math.fsum(a.mass for a in known))
    ns = (2, 4, 8, 16, 32)
    figure, axes = plt.subplots(figsize=(4.2, 2.1))
    found: dict[str, list[list[float]]] = {"upper": [], "lower": []}

    def run(n: int) -> Program[Any]:
        def both() -> Effects[Any]:
            at = yield from sample(Categorical([a.mass for a in known]))
            return (yield from evidence_bounds(target, known[at].trace, n, ess=1.0))

        return Program(both, "both")

    for n in ns:
        runs = [evaluate(run(n), seed, "bounds") for seed in range(300)]
        found["upper"].append([r.upper for r in runs])
        found["lower"].append([r.lower for r in runs])
    for side, color in (("upper", GREEN), ("lower", BLUE)):
        at = np.array(found[side])
        axes.fill_between(ns, *np.quantile(at, [0.25, 0.75], axis=1), color=color, alpha=0.2)
        axes.plot(ns, at.mean(axis=1), marker="o", markersize=4, color=color, label=side)
    axes.axhline(log_z, color="black", linewidth=0.8, linestyle="--", label="log Z")
    axes.set_xscale("log", base=2)
    axes.set_xticks(ns, map(str, ns))
    axes.set_title("evidence_bounds: means of 300 runs, by n")
    figure.legend(loc="outside right center")
    save(figure, "bounding")


def betting() -> None:
    """Wealth of a gambler who bets that a claim is false, run by run."""
    figure, axes = plt.subplots(figsize=(4.2, 2.1))
    target = coins(2)
    value, exact = max(enumerate_measure(target).items(), key=lambda pair: pair[1])
    for block, label, color in (
        (examples.escalate_first.escalate, "escalate, first version", ORANGE),
        (examples.escalate.escalate, "escalate, mended", BLUE),
    ):
        bound = (target | block).bind(Binding())
        bet = Bet(exact, high=1.0, side="both")
        counts, wealth = range(1000, 26000, 1000), []
        for count in counts:
            runs = [evaluate(bound, count, str(run)) for run in range(1000)]
            bet.observe(np.array([mass_of(value, population) for population in runs]))
            wealth.append(bet.log_e / math.log(10))
        axes.plot(counts, wealth, color=color, label=label)
        print(f"betting: {label}: e = 10^{wealth[-1]:.1f}")
    axes.axhline(6, color="black", linewidth=0.8, linestyle="--", label="refuted (one claim)")
    axes.set_title("log10 of the wealth, by runs")
    axes.legend()
    save(figure, "betting")


def mass_of(value: Any, population: Population[Any]) -> float:
    """The population's mass on a value."""
    hits = [trace.value == value for trace in population.traces]
    return float(np.exp(population.log_weights)[hits].sum())
