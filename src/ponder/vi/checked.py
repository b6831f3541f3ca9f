"""Gradient estimators held to the exact gradient, with their variances side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ponder.checking.claims import Finding, Report, Verdict
from ponder.effects import Program
from ponder.errors import PonderError
from ponder.tensors import Distribution, Estimator, Method, Torch, differentiable, outcomes
from ponder.tensors import unwrapped as without_independent
from ponder.vi.estimate import noise, particles
from ponder.vi.expected import Setting
from ponder.vi.fitting import Parameters, leaves_of
from ponder.vi.probing import probe
from ponder.vi.rows import Objective, made_anew
from ponder.vi.sites import Choosing, impossible

GRID = {1: 4001, 2: 161}
"""Points of a quadrature over one normal site, or over each of two."""
ALARM = 1e-6


@dataclass(frozen=True)
class Row:
    """One choice of estimators. ``z`` is the largest standardised error of its mean gradient.

    ``variance`` is of one particle's gradient, summed over the parameters; ``error`` the largest
    absolute difference from the exact gradient; ``limit`` what ``z`` may not exceed;
    ``would_find`` the bias that would have been found in any parameter, 99 times in 100.
    """

    estimators: str
    error: float
    z: float
    limit: float
    would_find: float
    variance: float
    seconds: float

    @property
    def unbiased(self) -> bool:
        return self.z <= self.limit

    def __str__(self) -> str:
        verdict = "unbiased" if self.unbiased else "BIASED"
        return (
            f"{self.estimators:<12} {verdict:<9} error {self.error:9.2e}  z {self.z:7.2f}  "
            f"variance {self.variance:10.3e}  {1e3 * self.seconds:6.2f} ms"
        )


@dataclass(frozen=True)
class GradientCheck:
    """The estimators as written, then each method wherever a site can have it."""

    exact: tuple[float, ...]
    rows: tuple[Row, ...]

    @property
    def unbiased(self) -> bool:
        """Of the objective as it is written."""
        return self.rows[0].unbiased

    def __str__(self) -> str:
        return "\n".join(map(str, self.rows))


@dataclass(frozen=True)
class Gradients:
    """An objective and its parameters, for ``ponder check file.py:function``."""

    objective: Objective
    parameters: Parameters

    def report(self, seconds: float, seed: int, told: Callable[[str], None]) -> Report:
        """Findings: the estimators as written are a claim, the others are facts."""
        started = time.perf_counter()
        told("the exact gradient, then each estimator")
        groups = min(2000, max(50, int(20 * seconds)))
        found = check_gradient(
            self.objective, self.parameters, groups=groups, samples=128, seed=seed
        )
        claim = found.rows[0]
        largest = max(map(abs, found.exact))
        verdict, remedy = _verdict(claim, largest)
        findings = [
            Finding(
                "the gradient is unbiased, as written",
                "sampled",
                verdict,
                would_find=claim.would_find,
                runs=groups,
                note=f"{_in_words(claim)}; refuted beyond {claim.limit:.1f} standard errors; the "
                f"exact gradient's largest part is {largest:.3g}{remedy}",
            )
        ]
        for row in found.rows[1:]:
            found_so = "unbiased" if row.unbiased else "BIASED"
            said = f"{found_so}; {_in_words(row)}"
            findings.append(
                Finding(f"by {row.estimators} where possible", "none", "known", note=said)
            )
        subject = f"gradient of {made_anew(self.objective)().name}"
        spent = time.perf_counter() - started
        return Report(subject, "unbiased gradient", tuple(findings), spent)


def _verdict(claim: Row, largest: float) -> tuple[Verdict, str]:
    """Untested if not even a gradient that is always 0 would have been found."""
    if not claim.unbiased:
        return "refuted", ""
    if 0 < largest < claim.would_find:
        return "untested", "; too noisy to find one that is 0: give more --seconds"
    return "valid", ""


def _in_words(row: Row) -> str:
    return (
        f"variance {row.variance:.3g}; error {row.error:.3g} at {row.z:.1f} standard errors; "
        f"{1e3 * row.seconds:.1f} ms"
    )


def check_gradient(
    objective: Objective,
    parameters: Parameters,
    *,
    groups: int = 300,
    samples: int = 16,
    seed: int = 0,
    methods: Sequence[Method] = ("reparam", "enum", "mvd", "reinforce"),
) -> GradientCheck:
    """Whether estimated gradients have the exact gradient as their mean.

    The exact one enumerates every finite site, and integrates one or two scalar normal sites on a
    grid (which a jump of the objective may put off by about .002 of its size). Each estimator is
    given ``groups`` independent means of ``samples`` particles; Student's t of the worst
    coordinate refutes at a level of 10^-6 over all coordinates, with the means taken as normal.
    Then each of ``methods`` wherever a site can have it. Raises PonderError if there is no exact
    gradient.
    """
    leaves = leaves_of(parameters)
    make = made_anew(objective)
    exact = exact_gradient(make, leaves, seed)
    rows = [_row("as written", None, make, leaves, exact, (groups, samples, seed))]
    for method in methods:
        used: list[bool] = []
        override = _everywhere(method, used)
        row = _row(method, override, make, leaves, exact, (groups, samples, seed))
        if any(used):
            rows.append(row)
    return GradientCheck(tuple(exact.tolist()), tuple(rows))


def _everywhere(method: Method, used: list[bool]) -> Callable[[Torch], Torch]:
    baseline = "leave_one_out" if method == "reinforce" else None
    estimator = Estimator(method, baseline)

    def override(site: Torch) -> Torch:
        stopped = site.estimator is not None and site.estimator.method == "stop"
        if stopped or impossible(site.distribution, estimator):
            return site
        used.append(True)
        return replace(site, estimator=estimator)

    return override


Floats = NDArray[np.float64]


def exact_gradient(
    make: Callable[[], Program[Any]], leaves: list[torch.Tensor], seed: int = 0
) -> Floats:
    """The gradient of the expectation, all parameters in one row."""
    sites = probe(make, seed).sites
    normals = sum(site.copies for site in sites if site.family == "Normal")
    points = GRID.get(max(normals, 1))
    if points is None:
        raise PonderError(
            f"no exact gradient with {normals} normal sites, copies counted; check a smaller "
            "objective, with finite sites and at most two scalar normal ones"
        )

    def override(site: Torch) -> Torch:
        distribution = site.distribution
        if site.estimator is not None and site.estimator.method == "stop":
            raise PonderError(
                "no exact gradient through a site of stop, which wake_sleep and sleep make of all "
                "of theirs; check another objective, or name another estimator"
            )
        if isinstance(distribution, torch.distributions.Normal):
            if distribution.batch_shape:
                raise PonderError("the exact gradient needs scalar normal sites; split the vector")
            distribution = _Grid(distribution, points)
        if outcomes(distribution) is None:
            raise PonderError(
                f"no exact gradient: {type(without_independent(distribution)).__name__} is "
                "neither finite nor a scalar normal; check a smaller objective"
            )
        return Torch(distribution, Estimator("enum"))

    setting = Setting(Choosing(override))
    with noise(seed), differentiable():
        value = particles(make, setting, 1).mean()
    parts = _parts(value, leaves)
    if all(part is None for part in parts):
        raise PonderError(
            "the objective depends on none of the parameters that are to be checked; give those "
            "that the model and the guide are made of"
        )
    return _in_a_row(parts, leaves)


def _parts(value: torch.Tensor, leaves: list[torch.Tensor]) -> Sequence[torch.Tensor | None]:
    """The gradient with respect to each parameter; None where the value does not depend on it."""
    if not value.requires_grad:  # as where reparam meets nothing but steps
        return [None] * len(leaves)
    return torch.autograd.grad(value, leaves, allow_unused=True)


def _in_a_row(parts: Sequence[torch.Tensor | None], leaves: list[torch.Tensor]) -> Floats:
    filled = [
        torch.zeros_like(leaf) if part is None else part
        for part, leaf in zip(parts, leaves, strict=True)
    ]
    return torch.cat([part.reshape(-1) for part in filled]).double().cpu().numpy()


def _row(
    name: str,
    override: Callable[[Torch], Torch] | None,
    make: Callable[[], Program[Any]],
    leaves: list[torch.Tensor],
    exact: Floats,
    size: tuple[int, int, int],
) -> Row:
    from scipy.stats import t

    groups, samples, seed = size
    setting = Setting(Choosing(override))
    found = []
    started = time.perf_counter()
    for group in range(groups):
        with noise(seed, group), differentiable():
            estimates = particles(make, setting, samples)
        found.append(_in_a_row(_parts(estimates.mean(), leaves), leaves))
        setting.running = float(estimates.detach().mean())
    seconds = (time.perf_counter() - started) / groups
    gradients = np.array(found)
    error = np.abs(gradients.mean(0) - exact)
    spread = gradients.std(0, ddof=1)
    # What passes for rounding in single precision.
    rounding = 1e-4 * (np.abs(exact).max() + np.abs(gradients).mean() + 1e-3) / math.sqrt(groups)
    unit = spread / math.sqrt(groups) + rounding
    z = error / unit
    limit = float(t.isf(ALARM / (2 * len(exact)), groups - 1))
    would_find = (limit + float(t.isf(0.01, groups - 1))) * float(unit.max())
    variance = samples * float((spread**2).sum())
    worst = float(error.max())
    return Row(name, worst, float(z.max()), limit, would_find, variance, seconds)


class _Grid(Distribution):
    """A normal on the midpoints of a fine grid; its mass there is a function of its parameters."""

    has_enumerate_support = True
    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - PyTorch's own name

    def __init__(self, base: torch.distributions.Normal, points: int) -> None:
        super().__init__(validate_args=False)
        self.base = base
        self.points = points

    def enumerate_support(self, expand: bool = True) -> torch.Tensor:
        mean, sd = self.base.loc.detach(), self.base.scale.detach()
        return mean + sd * torch.linspace(-8.0, 8.0, self.points, dtype=mean.dtype)

    def log_prob(self, value: torch.Tensor) -> torch.Tensor:
        step = self.base.scale.detach() * 16.0 / (self.points - 1)
        found: torch.Tensor = self.base.log_prob(value)  # type: ignore[no-untyped-call]
        return found + torch.log(step)

    def sample(self, sample_shape: Any = ()) -> torch.Tensor:
        found: torch.Tensor = self.base.sample(sample_shape)  # type: ignore[no-untyped-call]
        return found
