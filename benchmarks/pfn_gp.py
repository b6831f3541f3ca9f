"""A Prior-Data Fitted Network for a Gaussian process, held to the exact predictive and to NUTS.

Two priors (``gp_exact.py``): ``fixed``, whose predictive a Cholesky factor knows, and ``hyper``,
whose length scale and noise are unknown: there MCMC is what one would use, and a grid is exact.

    python benchmarks/pfn_gp.py train fixed --minutes 12     # resumes if it was interrupted
    python benchmarks/pfn_gp.py train hyper --minutes 12
    python -m venv peer && peer/bin/pip install numpyro
    python benchmarks/pfn_gp.py measure --peer peer/bin/python --json FILE --png FILE

NLL gaps are paired: exact minus network on the same points, an interval over tasks. Times are of
one run on one machine, in turns: one task alone, and many in one batch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gp_exact import EXACT, LENGTH, NOISE, PRIORS, SPREAD, Floats, Predictive
from harness import Report, machine

from ponder.amortize import pfn
from ponder.amortize.pfn import Pfn
from ponder.amortize.ranges import OutsideTraining
from ponder.amortize.training import Plan, Progress
from ponder.interpret import evaluate

CONTEXT = 25  # context sizes are 0 ... 24
SETTINGS = {"context": CONTEXT, "queries": 16, "batch": 64, "width": 64, "layers": 6}
BUCKETS, RATE = 200, 2e-3
FRESH = 9_000_000  # seed of the tasks that nothing was trained on
NUTS_SIZES = ((10, 10), (25, 25), (50, 50), (100, 100), (250, 250), (500, 500))


def train(prior: str, minutes: float, folder: Path, seed: int = 0) -> Pfn:
    """Train for about this long, or go on with a training that was interrupted."""
    folder.mkdir(parents=True, exist_ok=True)
    plan_file = folder / f"{prior}.plan.json"
    if plan_file.exists():
        steps = int(json.loads(plan_file.read_text())["steps"])
    else:
        told: list[Progress] = []
        pfn.train(PRIORS[prior], Plan(60), **SETTINGS, buckets=BUCKETS, told=told.append)
        seconds = (told[-1].seconds - told[9].seconds) / 50
        steps = int(minutes * 60 / seconds)
        plan_file.write_text(json.dumps({"steps": steps, "minutes": minutes}) + "\n")
    net = pfn.train(
        PRIORS[prior],
        Plan(steps, learning_rate=RATE),
        **SETTINGS,
        buckets=BUCKETS,
        seed=seed,
        resume=folder / f"{prior}.state",
        told=None if sys.stderr.isatty() else _lines(steps),
    )
    net.save(folder / f"{prior}.pfn")
    return net


def _lines(steps: int) -> Callable[[Progress], None]:
    every = max(1, steps // 40)

    def told(progress: Progress) -> None:
        if progress.step % every == 0:
            print(progress, flush=True)

    return told


@dataclass(frozen=True)
class Fresh:
    """Tasks of one context size: x, y (tasks, n), queries, values (tasks, m)."""

    x: Floats
    y: Floats
    queries: Floats
    values: Floats

    @classmethod
    def of(cls, prior: str, tasks: int, n: int, m: int) -> Fresh:
        x, y = evaluate(PRIORS[prior](tasks, n + m), FRESH, f"{prior} {n} of {tasks}")
        return cls(x[:, :n, 0], y[:, :n], x[:, n:, 0], y[:, n:])

    def log_density(self, net: Pfn) -> Floats:
        return net.log_density(self.x[..., None], self.y, self.queries[..., None], self.values)


def interval(rows: Floats) -> tuple[float, float]:
    """Mean over tasks, and 1.96 standard errors."""
    per_task = rows.mean(axis=1)
    return float(per_task.mean()), 1.96 * float(per_task.std(ddof=1)) / len(per_task) ** 0.5


def gaps(report: Report, prior: str, net: Pfn, tasks: int) -> list[tuple[int, float, float]]:
    """Exact minus network, in nats a point, by context size; and the coverage of 90% intervals."""
    found, all_gaps, inside, nll = [], [], [], []
    for n in range(CONTEXT):
        fresh = Fresh.of(prior, tasks, n, 16)
        exact = EXACT[prior](fresh.x, fresh.y, fresh.queries)
        true = exact.log_density(fresh.values)
        gap = true - fresh.log_density(net)
        level = net.cdf(fresh.x[..., None], fresh.y, fresh.queries[..., None], fresh.values)
        inside.append((np.abs(level - 0.5) < 0.45).mean())
        found.append((n, *interval(gap)))
        all_gaps.append(gap)
        nll.append(-true.mean())
    mean, error = interval(np.concatenate(all_gaps))
    place = (prior, f"context 0-{CONTEXT - 1}")
    target = "<= 0.05"
    note = f"+- {error:.2g} (95%), {tasks * CONTEXT} tasks of 16 points"
    report.add(place, "NLL, network - exact", mean, "nats", target, note)
    report.add(place, "NLL, exact", float(np.mean(nll)), "nats")
    for n, gap_n, error_n in found:
        if n in (0, 1, 2, 5, 10, 15, 20, 24):
            report.add(
                (prior, f"context {n}"), "NLL, network - exact", gap_n, "nats",
                note=f"+- {error_n:.2g}",
            )  # fmt: skip
    report.add(place, "coverage of the network's 90% intervals", float(np.mean(inside)), "", "0.9")
    return found


def clock(run: Callable[[], object], seconds: float = 0.5) -> float:
    """Median seconds of a call, over at least this long."""
    run()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def ask(net: Pfn, fresh: Fresh, tasks: int) -> Callable[[], Floats]:
    one = Fresh(*(part[:tasks] for part in vars(fresh).values()))
    return lambda: one.log_density(net)


def speed_exact(report: Report, prior: str, net: Pfn, rounds: int) -> None:
    """Against the exact predictive, one task and many at once, in turns."""
    most = 256 if prior == "fixed" else 16
    fresh = Fresh.of(prior, most, 20, 16)
    for many in (1, most):
        one = Fresh(*(part[:many] for part in vars(fresh).values()))
        pairs = []
        for _ in range(rounds):
            net_s = clock(ask(net, fresh, many))
            exact_s = clock(
                lambda t=one: EXACT[prior](t.x, t.y, t.queries).log_density(t.values)  # type: ignore[misc]
            )
            pairs.append((net_s / many, exact_s / many))
        place = (prior, f"n = 20, {many} at once")
        report.add(place, "network, a task", [1e3 * a for a, _ in pairs], "ms")
        report.add(place, "exact, a task", [1e3 * b for _, b in pairs], "ms")
        report.add(place, "exact / network, time", [b / a for a, b in pairs], "x")


def speed_nuts(report: Report, net: Pfn, peer: Path, tasks: int) -> None:
    """Against NUTS over the hyper-parameters: the smallest run whose NLL is the network's."""
    fresh = Fresh.of("hyper", tasks, 20, 16)
    exact = EXACT["hyper"](fresh.x, fresh.y, fresh.queries).log_density(fresh.values)
    mine = fresh.log_density(net)
    place = ("hyper", f"n = 20, {tasks} tasks")
    report.add(place, "NLL, network - exact", interval(exact - mine)[0], "nats", "",
               f"+- {interval(exact - mine)[1]:.2g}")  # fmt: skip
    equal = None
    for warmup, samples in NUTS_SIZES:
        alone = clock(ask(net, fresh, 1))
        batched = clock(ask(net, fresh, tasks)) / tasks
        said = _nuts(peer, fresh, warmup, samples)
        its = np.array(said["log_density"])
        seconds = float(np.median(said["seconds"]))
        name = f"NUTS {warmup} + {samples}"
        loss, error = interval(exact - its)
        ahead, ahead_error = interval(its - mine)
        report.add(place, f"{name}, a task", 1e3 * seconds, "ms", "", str(said["about"]))
        report.add(place, f"{name}, NLL - exact", loss, "nats", "", f"+- {error:.2g}")
        note = f"NLL network - NUTS {ahead:.4f} +- {ahead_error:.2g}"
        if said["seconds_plain"]:
            plain = said["seconds_plain"] / alone
            why = "MCMC.run called for each task, as documented: it traces and compiles anew"
            report.add(place, f"{name}, MCMC.run / network", plain, "x", "", why)
        both = (seconds / alone, float(said["seconds_batched"]) / batched)
        report.add(place, f"{name} / network, one by one", both[0], "x", "", note)
        report.add(place, f"{name} / network, both batched", both[1], "x", "", note)
        if equal is None and ahead >= 0:
            equal = (name, *both, note)
    if equal is None:
        report.add(place, "at equal NLL", 0.0, "x", ">= 200", "no NUTS run was as good")
        return
    name, alone_ratio, batched_ratio, note = equal
    report.add(place, "at equal NLL, one by one", alone_ratio, "x", ">= 200", f"{name}: {note}")
    report.add(place, "at equal NLL, both batched", batched_ratio, "x", "", f"{name}: {note}")


def _nuts(peer: Path, fresh: Fresh, warmup: int, samples: int) -> dict[str, Any]:
    parts = (part.tolist() for part in vars(fresh).values())
    asked = {
        "length": LENGTH, "noise": NOISE, "spread": SPREAD, "warmup": warmup,
        "samples": samples, "plain": samples == NUTS_SIZES[-1][1],
        "tasks": list(zip(*parts, strict=True)),
    }  # fmt: skip
    script = Path(__file__).with_name("gp_nuts.py")
    done = subprocess.run(
        [str(peer), str(script)], input=json.dumps(asked), capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def picture(
    nets: dict[str, Pfn], by_size: dict[str, list[tuple[int, float, float]]], path: Path
) -> None:
    """Predictive bands of one task beside the exact ones; gaps by context size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * (len(nets) + 1), 3.4), layout="constrained")
    axes = figure.subplots(1, len(nets) + 1)
    grid = np.linspace(0.0, 1.0, 101)[None]
    for axis, (prior, net) in zip(axes, nets.items(), strict=False):
        fresh = Fresh.of(prior, 2, 6, 1)
        x, y = fresh.x[1:], fresh.y[1:]
        exact: Predictive = EXACT[prior](x, y, grid)
        levels = {
            q: net.quantile(x[..., None], y, grid[..., None], q)[0] for q in (0.05, 0.5, 0.95)
        }
        axis.fill_between(grid[0], levels[0.05], levels[0.95], alpha=0.3, label="network, 5-95%")
        axis.plot(grid[0], levels[0.5], label="network, median")
        for q, style in ((0.05, "--"), (0.5, "-"), (0.95, "--")):
            label = {0.5: "exact, median", 0.05: "exact, 5 and 95%"}.get(q)
            axis.plot(grid[0], exact.quantile(q)[0], "k" + style, lw=0.9, label=label)
        axis.plot(x[0], y[0], "ro", ms=4)
        axis.set(title=f"{prior}: predictive given 6 points", xlabel="x", ylabel="y")
        axis.legend(fontsize=7)
    for prior, rows in by_size.items():
        n, mean, error = (np.array(column) for column in zip(*rows, strict=True))
        axes[-1].errorbar(n, mean, error, marker=".", lw=1, label=prior)
    axes[-1].axhline(0.0, color="k", lw=0.7)
    axes[-1].axhline(0.05, color="k", lw=0.7, ls=":")
    axes[-1].set(title="NLL, network - exact (95%)", xlabel="points of context", ylabel="nats")
    axes[-1].legend(fontsize=7)
    figure.savefig(path, dpi=120)


def measure(args: argparse.Namespace) -> None:
    report = Report(machine(("ponder", "numpy", "scipy", "torch")))
    files = {prior: args.folder / f"{prior}.pfn" for prior in PRIORS}
    nets = {prior: pfn.load(file) for prior, file in files.items() if file.exists()}
    by_size = {}
    for prior, net in nets.items():
        trained = net.about["plan"]
        print(prior, repr(net), trained, flush=True)
        report.machine[prior] = {"net": repr(net), **trained}
        fewer = 10 if prior == "hyper" else 1  # its exact predictive is a thousand times dearer
        by_size[prior] = gaps(report, prior, net, max(2, args.tasks // fewer))
        speed_exact(report, prior, net, rounds=2 if args.quick else 5)
    if "hyper" in nets and args.peer:
        speed_nuts(report, nets["hyper"], args.peer, 4 if args.quick else 64)
    if args.png:
        picture(nets, by_size, args.png)
    if args.json:
        report.write(args.json)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("train", "measure"))
    parser.add_argument("prior", nargs="?", choices=tuple(PRIORS), default="fixed")
    parser.add_argument("--minutes", type=float, default=12.0, help="of training (12)")
    parser.add_argument("--folder", type=Path, default=Path("pfn-gp"), help="of networks (pfn-gp)")
    parser.add_argument("--threads", type=int, help="torch's (train: 2, measure: 1)")
    parser.add_argument("--tasks", type=int, default=400, help="fresh tasks a context size (400)")
    parser.add_argument("--peer", type=Path, help="a Python that has numpyro")
    parser.add_argument("--quick", action="store_true", help="small and rough: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--png", type=Path, metavar="FILE")
    args = parser.parse_args()
    # Two threads that wait for one another make a small forward pass slow on a busy machine.
    torch.set_num_threads(args.threads or (2 if args.what == "train" else 1))
    if args.what == "train":
        train(args.prior, args.minutes, args.folder)
    else:
        # A few fresh points lie just outside of what training saw; they count like the others.
        warnings.simplefilter("ignore", OutsideTraining)
        measure(args)


if __name__ == "__main__":
    main()
