"""Expectations of a program's value, with gradients: the interpreter of programmable VI.

An objective is a program of one particle whose value is a scalar tensor f. Its *surrogate* is a
scalar whose value estimates E f and whose gradient estimates that of E f, without bias. A site
contributes by its estimator (ADEV: Lew, Huot, Staton and Mansinghka, POPL 2023; Becker et al.,
"Probabilistic programming with programmable variational inference", PLDI 2024), with R(x) the
surrogate of what follows the value x:

    reparam    R(x), x a differentiable function of noise
    reinforce  R(x) + (f - baseline) (log q(x) - [log q(x)]), [.] constant
    enum       sum over c of q(c) R(c)
    mvd        R(x) + sum over i of f(x_i) w_i, the w_i zeros with a gradient (``measure_valued``)

What follows a value is found by running the program again with the values so far, so programs are
functions of their choices. Particles, outcomes and alternates are batched by ``torch.func.vmap``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch.func import vmap
from torch.utils import _pytree as pytree

from ponder.dist import Dist
from ponder.effects import Program
from ponder.errors import PonderError
from ponder.machine import Machine, Task
from ponder.tensors import Torch, outcomes
from ponder.vi.copied import Copies
from ponder.vi.measure_valued import alternates
from ponder.vi.noise import drawn
from ponder.vi.sites import SMALL, Choosing, as_site

Mode = Literal["full", "value", "probe", "copy"]


class Surrogate(NamedTuple):
    """``value`` (see above) less baseline times ``score`` is the surrogate of one particle.

    ``score`` is a zero with the gradient of the log-probabilities of the sites whose baseline is
    the mean of the other particles, which no particle can know.
    """

    value: torch.Tensor
    score: torch.Tensor


class _Branches(BaseException):
    """Every outcome of a site is to be gone on from; no program is meant to catch it."""

    def __init__(self, values: torch.Tensor, site: Torch) -> None:
        self.values = values
        self.site = site


class _OneByOne(BaseException):
    """These copies have sites that are enumerated or differentiated one copy at a time."""


@dataclass
class Setting:
    """What all runs of one estimate have in common."""

    choosing: Choosing = field(default_factory=Choosing)
    vectorised: bool = True
    running: float = 0.0
    """The running baseline."""
    after: Callable[[str, torch.Tensor], None] | None = None
    """Told of every reparameterised value."""


@dataclass
class _Run:
    """The handler of one run, which follows ``prefix`` and then estimates.

    "full" is what is described above; "value" only samples, without gradients; "probe" samples
    each site once and keeps graphs; "copy" is one of many copies, whose sites must be simple.
    """

    setting: Setting
    mode: Mode
    prefix: tuple[Any, ...] = ()
    room: float = SMALL
    followed: list[Any] = field(default_factory=list)
    zero: torch.Tensor = field(default_factory=lambda: torch.zeros(()))
    again: Callable[[tuple[Any, ...], Mode, float], Surrogate] | None = None

    def __post_init__(self) -> None:
        self.score = self.zero  # multiplies f
        self.constant = self.zero  # is added
        self.left_out = self.zero  # multiplies the baseline of the others

    def tell(self, task: Task, message: object) -> None:
        pass

    def abandon(self, task: Task) -> None:
        pass

    def sample(self, task: Task, address: str, dist: Dist[Any]) -> Any:
        if len(self.followed) < len(self.prefix):
            value = self.prefix[len(self.followed)]
        elif isinstance(dist, Copies):
            value = self._copies(dist)
        else:
            value = self._value(f"{task.path}/{address}".strip("/"), dist)
        self.followed.append(value)
        return value

    def _value(self, address: str, dist: Dist[Any]) -> torch.Tensor:
        site = as_site(address, dist)
        room = 0.0 if self.mode == "copy" else self.room
        site, estimator = self.setting.choosing.of(address, site, room)
        distribution, method = site.distribution, estimator.method
        if self.mode == "copy" and method in ("enum", "mvd"):
            raise _OneByOne
        if self.mode == "value":
            return drawn(distribution, differentiable=False)
        if method == "reparam":
            value = drawn(distribution, differentiable=True)
            if self.setting.after is not None:
                self.setting.after(address, value)
            return value
        if method == "enum" and self.mode == "full":
            listed = outcomes(distribution)
            assert listed is not None
            raise _Branches(listed, site)
        value = drawn(distribution, differentiable=False)
        if self.mode == "probe":
            return value
        if method == "reinforce":
            self._score(site.score(value), estimator.baseline)
        elif method == "mvd":
            self._measure_valued(site, value)
        return value

    def _score(self, log_prob: torch.Tensor, baseline: Any) -> None:
        change = log_prob - log_prob.detach()
        self.score = self.score + change
        if isinstance(baseline, str) and baseline == "leave_one_out":
            self.left_out = self.left_out + change
            return
        if isinstance(baseline, str):
            baseline = self.setting.running
        elif callable(baseline):
            baseline = baseline()
        if baseline is not None:
            self.constant = self.constant - change * torch.as_tensor(baseline).detach()

    def _measure_valued(self, site: Torch, value: torch.Tensor) -> None:
        assert self.again is not None
        again, before = self.again, tuple(self.followed)

        def onward(place: torch.Tensor) -> torch.Tensor:
            return again((*before, place), "value", 1.0).value

        found = alternates(site.distribution, value)
        # Common random numbers: what follows is drawn alike wherever it goes on from.
        state = torch.get_rng_state()
        for values, weights in found.places:
            with torch.no_grad():
                if len(values) == 1:
                    worth = onward(values[0]).reshape(1)
                else:
                    worth = over(onward, values, self.setting.vectorised)
            self.constant = self.constant + (weights * worth.detach()).sum()
            torch.set_rng_state(state)
        self.score = self.score + found.main

    def _copies(self, dist: Copies) -> Any:
        """The copies' values, stacked; None if the program has to run them one by one."""
        if self.mode == "probe":
            first, choosing = dist.program(torch.tensor(0)), self.setting.choosing
            choosing.copies *= dist.count
            value = _returned(first, _Run(self.setting, "probe", room=0.0))
            choosing.copies //= dist.count
            return pytree.tree_map(lambda part: torch.stack([part] * dist.count), value)
        if not self.setting.vectorised:
            return None
        mode: Mode = "value" if self.mode == "value" else "copy"

        def one(number: torch.Tensor) -> Any:
            run = _Run(self.setting, mode, zero=self.zero)
            return _returned(dist.program(number), run), (run.score, run.constant, run.left_out)

        try:
            values, parts = vmap(one, randomness="different")(torch.arange(dist.count))
        except _OneByOne:
            return None
        self.score = self.score + parts[0].sum()
        self.constant = self.constant + parts[1].sum()
        self.left_out = self.left_out + parts[2].sum()
        return values


def over(function: Callable[[torch.Tensor], Any], values: torch.Tensor, vectorised: bool) -> Any:
    """``function`` of every row, stacked; tensors or named tuples of them."""
    if vectorised:
        return vmap(function, randomness="different")(values)
    rows = [function(value) for value in values]
    if isinstance(rows[0], torch.Tensor):
        return torch.stack(rows)
    return type(rows[0])(*(torch.stack(column) for column in zip(*rows, strict=True)))


def _returned(program: Program[Any], run: _Run) -> Any:
    task = Machine(run).start(program, b"")
    if task.failed is not None:
        raise task.failed
    if not isinstance(task.log_weight, float) or task.log_weight != 0.0:
        raise PonderError(
            f"the objective {program.name} has factors of its own; score a model by density(model, "
            "values), or run it by traced(model)"
        )
    return task.value


def surrogate(
    program: Program[Any],
    setting: Setting,
    prefix: tuple[Any, ...] = (),
    mode: Mode = "full",
    room: float = SMALL,
) -> Surrogate:
    """The surrogate of one particle, going on from the values in ``prefix``."""

    def again(prefix: tuple[Any, ...], mode: Mode, room: float) -> Surrogate:
        return surrogate(program, setting, prefix, mode, room)

    run = _Run(setting, mode, prefix, room, again=again)
    try:
        value = _scalar(program, _returned(program, run))
        rest = Surrogate(value, torch.zeros_like(value))
    except _Branches as found:
        rest = _enumerated(found, run, again)
    if mode == "value":
        return rest
    total = rest.value + rest.value.detach() * run.score + run.constant
    return Surrogate(total, rest.score + run.left_out)


def _enumerated(
    found: _Branches, run: _Run, again: Callable[[tuple[Any, ...], Mode, float], Surrogate]
) -> Surrogate:
    before = tuple(run.followed)
    room = run.room / len(found.values)
    parts = over(
        lambda value: again((*before, value), "full", room), found.values, run.setting.vectorised
    )
    chances = over(lambda value: found.site.score(value).exp(), found.values, True)
    # What cannot happen may be undefined.
    possible = chances > 0
    value = (chances * torch.where(possible, parts[0], 0.0)).sum()
    return Surrogate(value, (chances * torch.where(possible, parts[1], 0.0)).sum())


def _scalar(program: Program[Any], value: Any) -> torch.Tensor:
    if isinstance(value, float | int):
        value = torch.as_tensor(float(value))
    if not isinstance(value, torch.Tensor) or value.shape != ():
        what = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
        raise PonderError(
            f"the objective {program.name} returned {what}; return one number, a tensor of shape ()"
        )
    return value if value.is_floating_point() else value.to(torch.get_default_dtype())
