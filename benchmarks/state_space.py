"""A linear Gaussian state-space model, whose evidence a Kalman filter knows: numbers, no model.

scalar     ``smc(n)`` over a program of one trajectory: general, a Python program a particle
array      one program whose state holds all n particles as arrays
particles  the package `particles`, bootstrap filter, the same n, resampling and threshold

x_0 ~ N(0, 1), x_t ~ N(rho x_{t-1}, sigma_x^2), y_t ~ N(x_t, sigma_y^2); resampling is systematic
where the effective sample size falls below n / 2. The package needs numpy < 2, so a separate
environment, whose Python then measures all three:

    python -m venv peer && peer/bin/pip install 'numpy<2' scipy particles
    peer/bin/pip install --no-deps . && peer/bin/python benchmarks/state_space.py
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module, util
from typing import Any

import numpy as np
from harness import Quiet, Report, alternate, machine, options, ratios
from numpy.typing import NDArray

import ponder
from ponder.arrays import Normals, SystematicAncestors
from ponder.effects import Effects

Floats = NDArray[np.float64]
DATA_SEED = 20_240


@dataclass(frozen=True)
class LinearGaussian:
    """The model's parameters."""

    rho: float = 0.9
    sigma_x: float = 0.5
    sigma_y: float = 0.5

    def data(self, length: int, seed: int = DATA_SEED) -> Floats:
        """Observations drawn from the model."""
        noise = np.random.Generator(np.random.PCG64(seed)).standard_normal((2, length))
        observed: Floats = self.sigma_y * noise[1]
        x = 0.0
        for t, e in enumerate(noise[0].tolist()):
            x = self.rho * x + self.sigma_x * e if t else e
            observed[t] += x
        return observed

    def log_evidence(self, observed: Sequence[float] | Floats) -> float:
        """The exact log-density of the observations, by a Kalman filter."""
        mean, variance, total = 0.0, 1.0, 0.0
        for y in observed:
            spread = variance + self.sigma_y**2
            total -= 0.5 * ((y - mean) ** 2 / spread + math.log(2 * math.pi * spread))
            gain = variance / spread
            mean, variance = mean + gain * (y - mean), variance * (1 - gain)
            mean, variance = self.rho * mean, self.rho**2 * variance + self.sigma_x**2
        return float(total)


def trajectory(model: LinearGaussian, observed: Floats) -> ponder.Program[float]:
    """One trajectory; the value is its last state."""
    last = len(observed) - 1
    ys = observed.tolist()

    @ponder.program
    def step(state: tuple[int, float]) -> Effects[Any]:
        t, x = state
        law = ponder.Normal(model.rho * x, model.sigma_x) if t else ponder.Normal(0.0, 1.0)
        x = yield from ponder.sample(law)
        yield from ponder.observe(ponder.Normal(x, model.sigma_y), ys[t])
        return ponder.Done(x) if t == last else (t + 1, x)

    return ponder.iterate(step, (0, 0.0))


def array_filter(
    model: LinearGaussian, observed: Floats, n: int, ess: float = 0.5
) -> ponder.Program[float]:
    """A bootstrap filter as one program: its factors multiply to the estimate of the evidence.

    The state is (t, particles (n,), normalised log-weights (n,)); the value is the filter mean.
    """
    last = len(observed) - 1
    equal = np.full(n, -math.log(n))

    @ponder.program
    def step(state: tuple[int, Floats, Floats]) -> Effects[Any]:
        t, x, log_weights = state
        law = Normals(model.rho * x, model.sigma_x) if t else Normals(np.zeros(n), 1.0)
        x = yield from ponder.sample(law)
        log_weights = log_weights + Normals(x, model.sigma_y).log_probs(observed[t])
        top = float(log_weights.max())
        weights = np.exp(log_weights - top)
        total = float(weights.sum())
        increment = top + math.log(total)
        yield from ponder.factor(increment)
        if t == last:
            return ponder.Done(float(weights @ x) / total)
        if total**2 < ess * n * float(weights @ weights):
            ancestors = yield from ponder.sample(SystematicAncestors(weights, n))
            return t + 1, x[ancestors], equal
        return t + 1, x, log_weights - increment

    return ponder.iterate(step, (0, np.zeros(n), equal))


Run = Callable[[int], float]  # seed -> log of the estimated evidence
LENGTH = 100


def ponder_scalar(model: LinearGaussian, observed: Floats, n: int) -> Run:
    """The general method over trajectories."""
    strategy = trajectory(model, observed) | ponder.smc(n)

    def run(seed: int) -> float:
        return float(ponder.infer(strategy, seed=seed).log_evidence)

    return run


def ponder_array(model: LinearGaussian, observed: Floats, n: int) -> Run:
    """One trace of the filter with array states, through the same interface."""
    strategy = array_filter(model, observed, n) | ponder.draw(1)

    def run(seed: int) -> float:
        return float(ponder.infer(strategy, seed=seed).log_evidence)

    return run


def peers(model: LinearGaussian, observed: Floats, n: int) -> dict[str, Run]:
    """The package as shipped, and with the observation's density written out in NumPy.

    As shipped it calls ``scipy.stats.norm.logpdf``, a quarter to a half of its time; ponder's
    program does not, so the second compares like with like.
    """
    particles: Any = import_module("particles")
    spaces: Any = import_module("particles.state_space_models")
    kalman: Any = import_module("particles.kalman")
    linear = kalman.LinearGauss(
        rho=model.rho, sigmaX=model.sigma_x, sigmaY=model.sigma_y, sigma0=1.0
    )
    constant = math.log(model.sigma_y) + 0.5 * math.log(2 * math.pi)

    class WrittenOut(spaces.Bootstrap):  # type: ignore[misc]
        def logG(self, t: int, xp: Floats, x: Floats) -> Floats:
            z: Floats = (self.data[t] - x) / model.sigma_y
            return -0.5 * z * z - constant

    def run(shape: Any, seed: int) -> float:
        np.random.seed(seed)  # the package draws from NumPy's global generator
        smc = particles.SMC(fk=shape, N=n, resampling="systematic", ESSrmin=0.5)
        smc.run()
        return float(smc.logLt)

    shapes = {
        "particles": spaces.Bootstrap(ssm=linear, data=observed),
        "particles, density in NumPy": WrittenOut(ssm=linear, data=observed),
    }
    return {name: partial(run, shape) for name, shape in shapes.items()}


@dataclass(frozen=True)
class Case:
    """A method, its number of particles, and how many seeds a round has."""

    method: Callable[[LinearGaussian, Floats, int], Run]
    n: int
    seeds: int


CASES = {
    "array": Case(ponder_array, 10_000, 12),
    "array-1000": Case(ponder_array, 1_000, 40),
    "scalar-1000": Case(ponder_scalar, 1_000, 2),
    "scalar-100": Case(ponder_scalar, 100, 20),
}


def timed(run: Run, seeds: int) -> Callable[[], list[tuple[float, float]]]:
    """Runs fresh seeds; answers (seconds, log-evidence) of each."""
    begun = 0

    def go() -> list[tuple[float, float]]:
        nonlocal begun
        found = []
        for seed in range(begun, begun + seeds):
            began = time.perf_counter()
            log_evidence = run(seed)
            found.append((time.perf_counter() - began, log_evidence))
        begun += seeds
        return found

    return go


def measure(report: Report, name: str, repeat: int, quick: bool) -> None:
    """Milliseconds and estimates of one method and of the package, in turns."""
    case, model = CASES[name], LinearGaussian()
    observed = model.data(10 if quick else LENGTH)
    runs = {"ponder": case.method(model, observed, case.n)}
    if util.find_spec("particles"):
        runs |= peers(model, observed, case.n)
    for run in runs.values():
        run(0)  # compiles, fills caches
    load = Quiet()
    turns = {who: timed(run, 1 if quick else case.seeds) for who, run in runs.items()}
    found = alternate(turns, repeat, load)
    place = (name, f"n = {case.n}")
    seconds = {who: [statistics.median(s for s, _ in b) for b in found[who]] for who in found}
    for who, batches in found.items():
        best = 1e3 * min(s for b in batches for s, _ in b)
        note = f"best run {best:.3g}" + (f"; {load}" if who == "ponder" else "")
        report.add(place, f"{who}, a run", [1e3 * s for s in seconds[who]], "ms", note=note)
        if who != "ponder":
            target = "< 3" if name == "array" else ""
            report.add(
                place, f"ponder / {who}", ratios(seconds["ponder"], seconds[who]), "x", target
            )
    exact = model.log_evidence(observed)
    for who in list(found)[:2]:  # the package with another density gives the same numbers
        estimates(report, place, who, np.array([v for b in found[who] for _, v in b]) - exact)


def estimates(report: Report, place: tuple[str, str], who: str, errors: Floats) -> None:
    """The mean of log Z-hat - log Z, which lies below 0 by half a variance, and of Z-hat / Z."""
    runs = len(errors)
    spread = float(errors.std(ddof=1))
    note = f"se {spread / runs**0.5:.2g}, sd {spread:.2g}, {runs} seeds"
    report.add(place, f"{who}, log-evidence - Kalman's", float(errors.mean()), "nats", note=note)
    parts = np.exp(errors)
    note = f"se {float(parts.std(ddof=1)) / runs**0.5:.2g}"
    report.add(place, f"{who}, evidence / Kalman's", float(parts.mean()), "x", "1", note)


def main() -> None:
    """Measure the cases that were named."""
    args = options(__doc__, list(CASES), models=False).parse_args()
    report = Report(machine(("ponder", "numpy", "scipy", "particles", "numba")))
    print(", ".join(f"{key} {value}" for key, value in report.machine.items()), flush=True)
    if not util.find_spec("particles"):
        print("particles is not installed here: only ponder is measured; see --help")
    for name in args.cases or CASES:
        measure(report, name, 2 if args.quick else args.repeat, args.quick)
        if args.json:
            report.write(args.json)


if __name__ == "__main__":
    main()
