"""Sensor fusion: a robot, two beacons, 15 moments; the model is that of examples/sensor_fusion.py.

DT         a Distribution Transformer's update, then the motion, an exact convolution
DT, once   the same, its last posterior corrected by weights: place | propose(guide) | draw(200)
PF n       ponder's bootstrap particle filter with array states, systematic resampling below n / 2
EKF        an extended Kalman filter

Negative log-likelihood of the true place at every moment, and milliseconds a moment, on the same
journeys, in turns. A particle filter's density of the place is not smoothed by a kernel: it is
p(z | x) sum_i W_i N(x; x_i + command, motion) / Z, the model's own densities, which favours it.

    python benchmarks/dt_fusion.py --nets NETS --json OUT.json --png OUT.png
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Report, machine, options
from numpy.typing import NDArray
from scipy.special import logsumexp

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import sensor_fusion as fusion
from sensor_fusion import MOTION, NOISE, START, Journey, journey

import ponder
from ponder.amortize import dt
from ponder.amortize.closed_forms import moved
from ponder.amortize.guides import as_guide
from ponder.amortize.mixtures import Gaussians, Mixtures
from ponder.arrays import Normals, SystematicAncestors
from ponder.effects import Effects, Program

Floats = NDArray[np.float64]
FIRST = 1000  # seeds of journeys
SIZES = (100, 1000, 10_000)
REFERENCE = 100_000


def log_likelihood(x: Floats, observed: Floats) -> Floats:
    """Of places (..., 2), given what is heard at one moment (2, 3)."""
    distances = np.linalg.norm(x[..., None, :] - observed[:, :2], axis=-1)
    found: Floats = Normals(distances, NOISE).log_probs(observed[:, 2]).sum(-1)
    return found


def learned(net: dt.Dt, way: Journey) -> tuple[list[Gaussians], list[Gaussians]]:
    """(predicted, filtered) of every moment."""
    before, after = [], []
    belief = START
    for t, observed in enumerate(way.observed):
        prior = moved(belief, way.commands[t], MOTION) if t else belief
        belief = net.posterior(prior, observed)
        before.append(prior)
        after.append(belief)
    return before, after


def learned_together(net: dt.Dt, ways: list[Journey]) -> None:
    """The same for many journeys at once: one pass a moment."""
    k = net.network.shape.components
    beliefs = Mixtures.of([START.padded(k)] * len(ways))
    covariance = MOTION**2 * np.eye(2)
    for t in range(len(ways[0].places)):
        if t:
            grown = beliefs.factors @ beliefs.factors.transpose(0, 1, 3, 2) + covariance
            commands = np.stack([w.commands[t] for w in ways])[:, None]
            factors = np.linalg.cholesky(grown)
            beliefs = Mixtures(beliefs.weights, beliefs.means + commands, factors)
        beliefs = net.posteriors(beliefs, np.stack([w.observed[t] for w in ways]))


def extended_kalman(way: Journey) -> list[Gaussians]:
    """Linearised at the predicted mean, both distances at once."""
    mean, covariance = START.moments()
    found = []
    for t, observed in enumerate(way.observed):
        if t:
            mean, covariance = mean + way.commands[t], covariance + MOTION**2 * np.eye(2)
        away = mean - observed[:, :2]
        distance = np.maximum(np.linalg.norm(away, axis=1), 1e-6)
        h = away / distance[:, None]
        innovation = h @ covariance @ h.T + NOISE**2 * np.eye(2)
        gain = np.linalg.solve(innovation, h @ covariance).T
        mean = mean + gain @ (observed[:, 2] - distance)
        keep = np.eye(2) - gain @ h  # Joseph's form stays positive
        covariance = keep @ covariance @ keep.T + NOISE**2 * gain @ gain.T
        found.append(Gaussians([1.0], mean[None], np.linalg.cholesky(covariance)[None]))
    return found


def particle_filter(way: Journey, n: int, score: bool) -> Program[list[float]]:
    """One program with n particles as its state; its value are the NLLs, if they are asked for."""
    last = len(way.places) - 1
    equal = np.full(n, -math.log(n))

    @ponder.program
    def step(state: tuple[int, Floats, Floats, tuple[float, ...]]) -> Effects[Any]:
        t, x, log_weights, scores = state
        observed, truth = way.observed[t], way.places[t]
        if t:
            law = Normals(x + way.commands[t], MOTION)
        else:
            law = Normals(np.broadcast_to(START.means[0], (n, 2)), START.factors[0, 0, 0])
        before = 0.0
        if score:
            sd = law.sd * np.ones(1)
            steps = Normals(law.mean, sd).log_probs(truth).sum(-1)
            before = float(logsumexp(steps + log_weights))
        x = yield from ponder.sample(law)
        log_weights = log_weights + log_likelihood(x, observed)
        total = float(logsumexp(log_weights))
        yield from ponder.factor(total)
        if score:
            density = before + float(log_likelihood(truth, observed)) - total
            scores = (*scores, -density)
        log_weights = log_weights - total
        if t == last:
            return ponder.Done(list(scores))
        weights = np.exp(log_weights)
        if 1 / float(weights @ weights) < n / 2:
            ancestors = yield from ponder.sample(SystematicAncestors(weights, n))
            return t + 1, x[ancestors], equal, scores
        return t + 1, x, log_weights, scores

    return ponder.iterate(step, (0, np.zeros((n, 2)), equal, ()))


def run_filter(way: Journey, n: int, score: bool, seed: int) -> list[float]:
    population = ponder.infer(particle_filter(way, n, score) | ponder.draw(1), seed=seed)
    return list(population.traces[0].value)


def corrected(way: Journey, net: dt.Dt, draws: int, seed: int) -> tuple[list[float], list[float]]:
    """(NLL, effective share of the draws) of every moment, each posterior corrected once."""
    scores, shares = [], []
    for t, (prior, q) in enumerate(zip(*learned(net, way), strict=True)):
        observed, truth = way.observed[t], way.places[t]
        guide = as_guide(q, "place")
        strategy = (
            fusion.place(prior, observed)
            | ponder.propose(guide, defensive=0.1)
            | ponder.draw(draws)
        )
        found = ponder.infer(strategy, seed=seed * 100 + t)
        density = prior.log_prob(truth) + float(log_likelihood(truth, observed))
        scores.append(found.log_evidence - density)
        shares.append(found.ess / draws)
    return scores, shares


def nll(found: list[Gaussians], way: Journey) -> list[float]:
    return [-q.log_prob(x) for q, x in zip(found, way.places, strict=True)]


def summary(report: Report, who: str, scores: Floats) -> None:
    """Mean NLL with its error over journeys, and the median."""
    means = scores.mean(axis=1)
    error = float(means.std(ddof=1)) / len(means) ** 0.5
    median = float(np.median(scores))
    note = f"se {error:.2g}, median {median:.3g}, at the first moment {scores[:, 0].mean():.3g}"
    place = ("fusion", f"{len(scores)} journeys")
    report.add(place, f"{who}, NLL", float(means.mean()), "nats", note=note)


def timed(run: Callable[[Journey], Any], ways: list[Journey]) -> list[float]:
    """Milliseconds a moment, of each journey."""
    found = []
    for way in ways:
        began = time.perf_counter()
        run(way)
        found.append(1e3 * (time.perf_counter() - began) / len(way.places))
    return found


def speed(report: Report, net: dt.Dt, ways: list[Journey]) -> None:
    """All methods on the same journeys, in turns."""
    runs: dict[str, Callable[[Journey], Any]] = {
        "DT": lambda way: learned(net, way),
        "EKF": extended_kalman,
    }
    for n in SIZES:
        runs[f"PF {n}"] = partial(run_filter, n=n, score=False, seed=0)
    for run in runs.values():
        run(ways[0])
    found: dict[str, list[float]] = {who: [] for who in runs}
    for way in ways:
        for who, run in runs.items():
            found[who] += timed(run, [way])
    place = ("fusion", "one journey alone")
    for who, times in found.items():
        report.add(place, f"{who}, a moment", times, "ms")
    for n in SIZES:
        ratio = float(np.median(np.array(found["DT"]) / np.array(found[f"PF {n}"])))
        report.add(place, f"DT / PF {n}, time", ratio, "x")
    many = [journey(FIRST + i) for i in range(500)]
    learned_together(net, many[:10])
    began = time.perf_counter()
    learned_together(net, many)
    each = 1e3 * (time.perf_counter() - began) / (len(many) * len(many[0].places))
    report.add(("fusion", "500 journeys at once"), "DT, a moment of a journey", each, "ms")


def network(folder: Path, steps: int) -> dt.Dt:
    """Read from the folder, or trained into it; a training that was stopped goes on."""
    file = folder / "dt-fusion.pt"
    if file.exists():
        return dt.load(file, fusion.seen_from)
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    net = fusion.train(steps, resume=str(folder / "dt-fusion.training"))
    net.about["minutes"] = (time.monotonic() - began) / 60
    net.save(file)
    return net


def picture(net: dt.Dt, way: Journey, scores: dict[str, Floats], file: Path) -> None:
    """Four moments of one journey, and the NLL by moment of all."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 5, figsize=(19, 4.2), width_ratios=[1, 1, 1, 1, 1.3])
    _, after = learned(net, way)
    kalman = extended_kalman(way)
    centre, reach = way.places.mean(axis=0), 4.5
    grid = np.linspace(-reach, reach, 160)
    points = np.stack(np.meshgrid(grid + centre[0], grid + centre[1]), axis=-1)
    for axis, t in zip(axes, (0, 1, 3, 8), strict=False):
        density = np.exp(after[t].log_probs(points.reshape(-1, 2))).reshape(160, 160)
        extent = (centre[0] - reach, centre[0] + reach, centre[1] - reach, centre[1] + reach)
        axis.imshow(density**0.5, origin="lower", extent=extent, cmap="Blues")
        axis.plot(*way.places[: t + 1].T, "k-", lw=0.8)
        axis.plot(*way.places[t], "k*", ms=9, label="truth")
        axis.plot(*kalman[t].means[0], "C3x", ms=8, label="EKF")
        axis.plot(*way.observed[t, :, :2].T, "C2^", label="beacons")
        axis.set(title=f"moment {t}", xlim=extent[:2], ylim=extent[2:])
    axes[0].legend(fontsize=8, loc="lower left")
    for who, values in scores.items():
        axes[4].plot(np.median(values, axis=0), label=f"{who}, median", marker=".")
    axes[4].set(xlabel="moment", ylabel="NLL of the true place, nats", title="all journeys")
    axes[4].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=100)


def main() -> None:
    """Train or read the network; measure it and its peers."""
    parser = options(__doc__, ["fusion"], models=False)
    parser.add_argument("--nets", type=Path, default=Path("dt-nets"), help="folder of networks")
    parser.add_argument("--steps", type=int, help="training steps (8000; 20 with --quick)")
    parser.add_argument("--journeys", type=int, help="how many (200; 6 with --quick)")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw a picture there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    report = Report(machine(("ponder", "numpy", "torch")))
    print(", ".join(f"{key} {value}" for key, value in report.machine.items()), flush=True)
    net = network(args.nets, args.steps or (20 if args.quick else 8000))
    for key in ("steps", "minutes"):
        report.add(("fusion", "training"), key, float(net.about[key]))
    ways = [journey(FIRST + i) for i in range(args.journeys or (6 if args.quick else 200))]
    scores = {
        "DT": np.array([nll(learned(net, w)[1], w) for w in ways]),
        "EKF": np.array([nll(extended_kalman(w), w) for w in ways]),
    }
    for n in (*SIZES, REFERENCE // 10 if args.quick else REFERENCE):
        scores[f"PF {n}"] = np.array([run_filter(w, n, True, i) for i, w in enumerate(ways)])
    some = ways[: max(5, len(ways) // 10)]
    both = [corrected(w, net, 200, i) for i, w in enumerate(some)]
    scores_once = np.array([s for s, _ in both])
    for who, values in scores.items():
        summary(report, who, values)
    summary(report, "DT of these", scores["DT"][: len(some)])
    summary(report, "DT, once corrected", scores_once)
    shares = np.array([share for _, share in both])
    note = f"worst {shares.min():.2g}, at the first moment {shares[:, 0].mean():.2g}"
    place = ("fusion", "DT as a proposal")
    report.add(place, "effective share of 200 draws", float(shares.mean()), note=note)
    reference = scores[f"PF {REFERENCE // 10 if args.quick else REFERENCE}"]
    for who in ("DT", *(f"PF {n}" for n in SIZES)):
        gap = (scores[who] - reference).mean(axis=1)
        note = f"se {float(gap.std(ddof=1)) / len(gap) ** 0.5:.2g}, paired"
        place = ("fusion", "against the largest PF")
        report.add(place, f"{who}, excess NLL", float(gap.mean()), "nats", note=note)
    speed(report, net, ways[: 5 * args.repeat])
    if args.json:
        report.write(args.json)
    if args.png:
        kept = ("DT", "EKF", f"PF {SIZES[0]}", f"PF {SIZES[1]}")
        worst = ways[int(np.argmax(scores["EKF"][:, 0]))]
        picture(net, worst, {who: scores[who] for who in kept}, args.png)


if __name__ == "__main__":
    main()
