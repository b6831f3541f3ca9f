"""Distribution Transformers where the posterior is known: in closed form, or on a grid.

normal    one Gaussian prior, 1 to 10 observations of its mean: conjugate, one component
variance  an inverse gamma prior (five log-normals) of a variance, 1 to 10 observations
modulus   a Gaussian prior, |x| observed with an error 1 to 10 times: two modes, five components

For each: KL(exact || network) on fresh problems, two updates in a row against one, a prior that is
swapped at query time, milliseconds a question, and stochastic variational inference (a Gaussian
guide in f(x), Adam, in torch) on the same problems. Trains what is not in --nets, and goes on
where a training was stopped:

    python benchmarks/dt_conjugate.py --nets NETS --json OUT.json --png OUT.png
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Report, machine, options
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtr

import ponder
from ponder.amortize import dt
from ponder.amortize.closed_forms import conjugate, kl
from ponder.amortize.em import fit
from ponder.amortize.mixtures import Gaussians, Mixtures
from ponder.arrays import Normals
from ponder.dist import Stream
from ponder.effects import Effects, Program
from ponder.interpret import evaluate

Floats = NDArray[np.float64]
Likelihood = Callable[[Floats, Floats], Floats]  # x (G,), observations (m,) -> (G,)
COUNTS = (1, 3, 10)
ERROR = 0.3  # of an observed modulus
GRID = 4001
SHAPES = np.exp(np.linspace(np.log(1.5), np.log(20.0), 24))  # of inverse gamma priors


@dataclass(frozen=True)
class Problem:
    """What is observed of x, what is believed before, and how a component sees it."""

    name: str
    priors: Callable[[int], Program[Mixtures]]
    simulate: Callable[[Floats, int], Program[Floats]]
    view: Callable[[Floats, Floats, Floats], Floats]
    log_likelihood: Likelihood
    components: int
    swaps: dict[str, Gaussians]


def normals(batch: int, centre: float, spread: float) -> Effects[Mixtures]:
    """Gaussian priors: means N(0, centre), log standard deviations N(0, spread)."""
    mean = yield from ponder.sample(Normals(np.zeros((batch, 1, 1)), centre))
    log_sd = yield from ponder.sample(Normals(np.zeros((batch, 1, 1)), spread))
    return Mixtures.diagonal(np.ones((batch, 1)), mean, np.exp(log_sd))


def noise(x: Floats, m: int) -> Effects[Floats]:
    """Standard normals (B, m, 1)."""
    return (yield from ponder.sample(Normals(np.zeros((len(x), m, 1)), 1.0)))


@ponder.program
def gaussian_priors(batch: int) -> Effects[Mixtures]:
    return (yield from normals(batch, 2.0, 0.7))


@ponder.program
def locations(x: Floats, m: int) -> Effects[Floats]:
    return x[:, None] + (yield from noise(x, m))


def innovation(z: Floats, centre: Floats, factor: Floats) -> Floats:
    return (z - centre) / np.sqrt(factor[..., 0] ** 2 + 1)


@ponder.program
def modulus_priors(batch: int) -> Effects[Mixtures]:
    return (yield from normals(batch, 1.0, 0.5))


@ponder.program
def moduli(x: Floats, m: int) -> Effects[Floats]:
    return np.abs(x[:, None]) + ERROR * (yield from noise(x, m))


def both_sides(z: Floats, centre: Floats, factor: Floats) -> Floats:
    spread = np.sqrt(factor[..., 0] ** 2 + ERROR**2)
    return np.concatenate([(z - centre) / spread, (-z - centre) / spread], axis=-1)


def inverse_gamma(shape: float, scale: float) -> Gaussians:
    """Five log-normals for InverseGamma(shape, scale), fitted to its quantiles."""
    found = fit(stats.invgamma(shape).ppf((np.arange(2000) + 0.5) / 2000), 5, "log")
    return Gaussians(found.weights, found.means + np.log(scale), found.factors, "log")


@ponder.program
def variance_priors(batch: int, table: Mixtures) -> Effects[Mixtures]:
    u = yield from ponder.sample(Normals(np.zeros(batch), 1.0))
    log_scale = yield from ponder.sample(Normals(np.zeros((batch, 1, 1)), 1.0))
    i = np.minimum((ndtr(u) * len(table)).astype(int), len(table) - 1)
    return Mixtures(table.weights[i], table.means[i] + log_scale, table.factors[i], "log")


@ponder.program
def deviations(x: Floats, m: int) -> Effects[Floats]:
    return np.sqrt(x)[:, None] * (yield from noise(x, m))


def relative_square(z: Floats, centre: Floats, factor: Floats) -> Floats:
    ratio = np.exp(np.clip(2 * np.log(np.abs(z) + 1e-12) - centre, -20, 5))
    return np.concatenate([np.minimum(ratio, 50.0), np.log(ratio + 1e-3)], axis=-1)


def problems() -> dict[str, Problem]:
    """All three; fitting the inverse gammas takes some seconds."""
    table = Mixtures.of([inverse_gamma(a, 1.0) for a in SHAPES])
    narrow, wide = Gaussians.normal(0.5, 0.3), Gaussians.normal(-1.0, 2.5)
    two = Gaussians([0.5, 0.5], [-1.5, 1.0], [0.6, 0.4])
    found = [
        Problem(
            "normal",
            gaussian_priors,
            locations,
            innovation,
            lambda x, z: stats.norm.logpdf(z[:, None], x, 1.0).sum(0),
            1,
            {"narrow": narrow, "wide": wide},
        ),
        Problem(
            "variance",
            partial(variance_priors, table=table),
            deviations,
            relative_square,
            lambda x, z: stats.norm.logpdf(z[:, None], 0.0, np.sqrt(x)).sum(0),
            5,
            {"narrow": inverse_gamma(15.0, 15.0), "wide": inverse_gamma(2.0, 1.0)},
        ),
        Problem(
            "modulus",
            modulus_priors,
            moduli,
            both_sides,
            lambda x, z: stats.norm.logpdf(z[:, None], np.abs(x), ERROR).sum(0),
            5,
            {"narrow": narrow, "wide": wide, "two Gaussians": two},
        ),
    ]
    return {p.name: p for p in found}


@dataclass(frozen=True)
class Posed:
    """A fresh problem: prior, data, and the exact posterior of f(x) on a grid."""

    prior: Gaussians
    data: Floats
    u: Floats
    density: Floats

    def divergence(self, q: Gaussians) -> float:
        """KL(exact || q), by quadrature."""
        plain = Gaussians(q.weights, q.means, q.factors)  # of f(x)
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = self.density * (np.log(self.density) - plain.log_probs(self.u[:, None]))
        return float(np.where(self.density > 0, terms, 0.0).sum() * (self.u[1] - self.u[0]))


def posed(problem: Problem, prior: Gaussians, data: Floats, log_prior: Any = None) -> Posed:
    """The exact posterior, on a grid that is placed where it has its mass."""
    plain = Gaussians(prior.weights, prior.means, prior.factors)
    before = log_prior or (lambda u: plain.log_probs(u[:, None]))
    sds = prior.factors[:, 0, 0]
    low, high = (prior.means[:, 0] - 12 * sds).min(), (prior.means[:, 0] + 12 * sds).max()
    for _ in range(2):
        u = np.linspace(low, high, GRID)
        x = np.exp(u) if prior.warps == ("log",) else u
        logs = before(u) + problem.log_likelihood(x, data)
        kept = u[logs > logs.max() - 45]
        step = u[1] - u[0]
        low, high = kept[0] - step, kept[-1] + step
    density = np.exp(logs - logs.max())
    return Posed(prior, data, u, density / (density.sum() * step))


def fresh(problem: Problem, m: int, n: int, seed: int) -> list[Posed]:
    """n problems from the meta-prior that no training saw."""
    priors = evaluate(problem.priors(n), seed, f"fresh {m}")
    x = priors.draw(Stream(f"x {seed} {m}".encode()))
    data = evaluate(problem.simulate(x, m), seed, f"data {m}")[..., 0]
    return [posed(problem, priors[i], data[i]) for i in range(n)]


def svi(problem: Problem, many: Sequence[Posed], steps: int) -> list[Gaussians]:
    """A Gaussian guide in f(x) for each problem at once: Adam on the reparameterised ELBO."""
    k = problem.components
    prior = Mixtures.of([p.prior.padded(k) for p in many])
    mean, covariance = (torch.from_numpy(a.copy()) for a in prior.moments())
    weights, means, sds = (
        torch.from_numpy(a.copy())
        for a in (prior.weights, prior.means[..., 0], prior.factors[..., 0, 0])
    )
    z = torch.from_numpy(np.stack([p.data for p in many]))
    where = mean.clone().requires_grad_()
    log_sd = (0.5 * covariance[..., 0].log()).clone().requires_grad_()
    optimiser = torch.optim.Adam([where, log_sd], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        eps = torch.randn(len(many), 8, generator=generator, dtype=torch.float64)
        u = where + log_sd.exp() * eps
        law = torch.distributions.Normal(means[:, None], sds[:, None])
        parts = law.log_prob(u[..., None])  # type: ignore[no-untyped-call]
        log_prior = torch.logsumexp(parts + weights[:, None].log(), -1)
        elbo = log_prior + torch_likelihood(problem.name, u, z) + log_sd
        optimiser.zero_grad()
        torch.autograd.backward(-elbo.mean(1).sum())
        optimiser.step()
        schedule.step()
    found = where.detach().numpy()[:, 0], log_sd.exp().detach().numpy()[:, 0]
    return [Gaussians([1.0], [m], [s]) for m, s in zip(*found, strict=True)]


def torch_likelihood(name: str, u: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Log-likelihood of z (B, m) at f(x) = u (B, S): (B, S)."""
    x, seen = u[..., None], z[:, None]
    law = {
        "normal": lambda: torch.distributions.Normal(x, 1.0),
        "variance": lambda: torch.distributions.Normal(torch.zeros(()).double(), (x / 2).exp()),
        "modulus": lambda: torch.distributions.Normal(x.abs(), ERROR),
    }[name]()
    found: torch.Tensor = law.log_prob(seen).sum(-1)  # type: ignore[no-untyped-call]
    return found


def network(problem: Problem, folder: Path, steps: int) -> dt.Dt:
    """Read from the folder, or trained into it."""
    file = folder / f"dt-{problem.name}.pt"
    if file.exists():
        return dt.load(file, problem.view)
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    net = dt.train(
        problem.priors,
        problem.simulate,
        components=problem.components,
        observations=max(COUNTS),
        view=problem.view,
        chain=2,
        steps=steps,
        batch=512 if problem.components == 1 else 128,
        learning_rate=4e-3,
        width=32,
        layers=2,
        resume=folder / f"dt-{problem.name}.training",
    )
    net.about["minutes"] = (time.monotonic() - began) / 60
    net.save(file)
    return net


def batched(net: dt.Dt, k: int, many: Sequence[Posed]) -> list[Gaussians]:
    """All posteriors in one pass."""
    priors = Mixtures.of([p.prior.padded(k) for p in many])
    found = net.posteriors(priors, np.stack([p.data for p in many])[..., None])
    return [found[i] for i in range(len(many))]


def in_a_row(net: dt.Dt, k: int, many: Sequence[Posed]) -> list[Gaussians]:
    """The same data in two halves, the first posterior being the second prior."""
    priors = Mixtures.of([p.prior.padded(k) for p in many])
    data = np.stack([p.data for p in many])[..., None]
    half = data.shape[1] // 2
    found = net.posteriors(net.posteriors(priors, data[:, :half]), data[:, half:])
    return [found[i] for i in range(len(many))]


def seconds(run: Callable[[], Any], repeat: int) -> list[float]:
    """Of each repetition, after one that does not count."""
    run()
    found = []
    for _ in range(repeat):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return found


def accuracy(report: Report, problem: Problem, net: dt.Dt, n: int, steps: int) -> dict[int, Any]:
    """KL to the exact posterior by number of observations; answers what the picture needs."""
    k, shown = problem.components, {}
    target = "<= 1e-3" if problem.name == "normal" else ""
    for m in COUNTS:
        many = fresh(problem, m, n, 1)
        place = (problem.name, f"{m} observations")
        answers = {"network": batched(net, k, many), "SVI": svi(problem, many, steps)}
        if m > 1:
            answers["network, two updates"] = in_a_row(net, k, many)
            both = zip(answers["network"], answers["network, two updates"], strict=True)
            between = [kl(joint, row).value for joint, row in both]
            report.add(place, "KL(joint || two updates)", float(np.mean(between)), "nats")
        for who, found in answers.items():
            values = np.array([p.divergence(q) for p, q in zip(many, found, strict=True)])
            tail = f"99%: {np.quantile(values, 0.99):.2g}"
            note = f"median {np.median(values):.2g}, {tail}, {n} problems"
            wanted = target if who == "network" else ""
            report.add(place, f"KL(exact || {who})", float(values.mean()), "nats", wanted, note)
        shown[m] = many, answers
    return shown


def swaps(report: Report, problem: Problem, net: dt.Dt) -> None:
    """The same data under other priors, without training again."""
    centre = np.exp(0.4) if problem.name == "variance" else 1.2
    data = evaluate(problem.simulate(np.array([[centre]]), 5), 7)[0, :, 0]
    for name, prior in problem.swaps.items():
        pose = posed(problem, prior, data)
        value = pose.divergence(net.posterior(prior, data))
        report.add((problem.name, "prior swapped"), f"KL, prior {name}", value, "nats")
    if problem.name != "variance":
        return
    shape, scale = 3.0, 2.0  # between the shapes that were fitted
    prior = inverse_gamma(shape, scale)
    pose = posed(problem, prior, data, lambda u: -shape * u - scale * np.exp(-u))
    value = pose.divergence(net.posterior(prior, data))
    place = (problem.name, "prior swapped")
    report.add(
        place, "KL, InverseGamma(3, 2) itself", value, "nats", "", "fit of the prior included"
    )


def speed(report: Report, problem: Problem, net: dt.Dt, repeat: int, steps: int) -> None:
    """One question, and a thousand at once, against SVI, in turns."""
    many = fresh(problem, 3, 1000, 2)
    one, k = many[:1], problem.components
    place = (problem.name, "3 observations")
    alone = seconds(lambda: net.posterior(one[0].prior, one[0].data), 20 * repeat)
    report.add(place, "network, one question", [1e3 * s for s in alone], "ms")
    priors = Mixtures.of([p.prior.padded(k) for p in many])
    data = np.stack([p.data for p in many])[..., None]
    together = seconds(lambda: net.posteriors(priors, data), repeat)
    report.add(place, "network, 1000 questions at once", [1e3 * s for s in together], "ms")
    slow = seconds(lambda: svi(problem, one, steps), 1)
    report.add(
        place,
        f"SVI of {steps} steps / network, one question",
        slow[0] / float(np.median(alone)),
        "x",
    )
    slow = seconds(lambda: svi(problem, many, steps), 1)
    report.add(
        place,
        f"SVI of {steps} steps / network, 1000 at once",
        slow[0] / float(np.median(together)),
        "x",
    )


def picture(found: dict[str, dict[int, Any]], file: Path) -> None:
    """Above: one posterior of each problem. Below: the divergences by number of observations."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, len(found), figsize=(4.2 * len(found), 6.4), squeeze=False)
    for (name, shown), (top, bottom) in zip(found.items(), axes.T, strict=True):
        many, answers = shown[3]
        modes = [
            int(((p.density[1:-1] > p.density[:-2]) & (p.density[1:-1] > p.density[2:])).sum())
            for p in many
        ]
        i = int(np.argmax(modes))
        pose = many[i]
        top.fill_between(pose.u, pose.density, color="0.85", label="exact")
        styles = {"network": "C0-", "network, two updates": "C2--", "SVI": "C1:"}
        for who, style in styles.items():
            q = answers[who][i]
            density = np.exp(Gaussians(q.weights, q.means, q.factors).log_probs(pose.u[:, None]))
            top.plot(pose.u, density, style, label=who)
        before = Gaussians(pose.prior.weights, pose.prior.means, pose.prior.factors)
        top.plot(
            pose.u, np.exp(before.log_probs(pose.u[:, None])), color="0.5", lw=0.8, label="prior"
        )
        top.set_title(f"{name}: a posterior after 3 observations", fontsize=10)
        top.set_xlabel("log x" if pose.prior.warps == ("log",) else "x")
        for who, style in styles.items():
            points = [
                (m, np.mean([p.divergence(q) for p, q in zip(s, a[who], strict=True)]))
                for m, (s, a) in shown.items()
                if who in a
            ]
            bottom.plot(*zip(*points, strict=True), style, marker="o", label=who)
        bottom.set(xscale="log", yscale="log", xlabel="observations", ylabel="KL(exact || .), nats")
        bottom.set_xticks(COUNTS, [str(c) for c in COUNTS])
        bottom.minorticks_off()
        bottom.axhline(1e-3, color="0.7", lw=0.8)
    axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def check_grid() -> None:
    """The grid agrees with the closed form, or nothing below means anything."""
    prior, data = Gaussians.normal(0.3, 1.4), np.array([0.1, 2.0])
    pose = posed(problems()["normal"], prior, data)
    worst = pose.divergence(conjugate(prior, data, 1.0).posterior)
    if not abs(worst) < 1e-9:
        raise SystemExit(f"the grid is off by {worst:.2g} nats")


def main() -> None:
    """Train or read the networks that were named; measure them."""
    parser = options(__doc__, ["normal", "variance", "modulus"], models=False)
    parser.add_argument("--nets", type=Path, default=Path("dt-nets"), help="folder of networks")
    parser.add_argument("--steps", type=int, help="training steps (7000; 20 with --quick)")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw a picture there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    report = Report(machine(("ponder", "numpy", "torch")))
    print(", ".join(f"{key} {value}" for key, value in report.machine.items()), flush=True)
    check_grid()
    n, svi_steps = (20, 50) if args.quick else (500, 1000)
    all_problems, shown = problems(), {}
    for name in args.cases or all_problems:
        problem = all_problems[name]
        net = network(problem, args.nets, args.steps or (20 if args.quick else 7000))
        for key in ("steps", "minutes"):
            report.add((name, "training"), key, float(net.about[key]))
        shown[name] = accuracy(report, problem, net, n, svi_steps)
        swaps(report, problem, net)
        speed(report, problem, net, args.repeat, svi_steps)
        if args.json:
            report.write(args.json)
    if args.png:
        picture(shown, args.png)


if __name__ == "__main__":
    main()
