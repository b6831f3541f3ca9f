"""``fit``: gradient ascent on the expectation of an objective."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ponder.blocks.arguments import check_least
from ponder.effects import Program
from ponder.errors import PonderError
from ponder.tensors import differentiable
from ponder.vi.estimate import noise, particles
from ponder.vi.expected import Setting
from ponder.vi.probing import find_fault, probe
from ponder.vi.rows import Objective, Rows, drawn_rows, made_anew, rows_of
from ponder.vi.sites import Sites

Parameters = torch.nn.Module | Mapping[str, torch.Tensor] | Iterable[torch.Tensor]
TOLD = 20  # times that a fit says how far it is


@dataclass(frozen=True, slots=True)
class Progress:
    """``value`` is the mean of the objective over the steps since the last word."""

    step: int
    steps: int
    value: float
    seconds: float

    def __str__(self) -> str:
        return f"step {self.step} of {self.steps}: {self.value:.4f} ({self.seconds:.1f} s)"


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a fit did: the objective's estimate at every step, and the estimators it used."""

    values: tuple[float, ...]
    sites: Sites
    seconds: float

    @property
    def value(self) -> float:
        """The mean of the objective over the last tenth of the steps."""
        last = self.values[-max(1, len(self.values) // 10) :]
        return sum(last) / len(last)


def fit(
    objective: Objective,
    parameters: Parameters,
    *,
    steps: int = 1000,
    samples: int = 1,
    lr: float = 0.01,
    anneal: bool = False,
    optimiser: Callable[[list[torch.Tensor]], torch.optim.Optimizer] | None = None,
    seed: int = 0,
    told: Callable[[object], None] = lambda message: None,
    data: torch.Tensor | tuple[torch.Tensor, ...] | None = None,
    batch: int | None = None,
) -> Fitted:
    """Maximise E[objective] by ``steps`` steps of Adam, from ``samples`` particles each.

    ``objective`` is a program, or a function without arguments that makes it anew every step
    (which it must be if it computes with parameters outside of the program). With ``data``, it is
    a function of one row of each of its tensors, and what is maximised is the mean over the rows,
    ``batch`` of which (all, by default) are drawn each step. ``parameters`` are changed in place.
    With ``anneal`` the learning rate falls to 0 along a half cosine, which settles the last digits.
    The same seed gives the same fit. ``told`` hears the estimators once, then :class:`Progress`.
    Warns of comparisons on reparameterised values. Raises PonderError for a value or a gradient
    that is not finite, naming the site where it can.
    """
    check_least("fit", "steps", steps, 1)
    if not isinstance(lr, int | float) or not 0 < lr < float("inf"):
        raise PonderError(f"fit needs a learning rate lr > 0, got {lr!r}")
    leaves = leaves_of(parameters)
    rows = rows_of(data)
    _require_batch(rows, batch)
    first = () if rows is None else tuple(column[0] for column in rows)
    make = made_anew(objective, len(first))
    sites = probe(lambda: make(*first), seed)
    told(sites)
    made = optimiser or partial(torch.optim.Adam, lr=lr)
    adam = made(leaves)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps) if anneal else None
    setting = Setting()
    values: list[float] = []
    started, said = time.perf_counter(), 0
    for step in range(steps):
        with noise(seed, step), differentiable():
            chosen = None if rows is None else drawn_rows(rows, batch)
            estimates = particles(make, setting, samples, chosen)
        value = float(estimates.detach().mean())
        if value != value or abs(value) == float("inf"):
            _explain(make, chosen, estimates, step, seed)
        adam.zero_grad()
        _backward(-estimates.mean())
        if step == 0 and all(tensor.grad is None for tensor in leaves):
            raise PonderError(
                "the objective depends on none of the parameters that fit was given; give those "
                "that the model and the guide are made of"
            )
        _check_gradients(leaves, step)
        adam.step()
        if rates is not None:
            rates.step()
        values.append(value)
        setting.running += (value - setting.running) / min(step + 1, 20)
        if (step + 1) * TOLD // steps > step * TOLD // steps:
            recent = values[said:]
            said, spent = step + 1, time.perf_counter() - started
            told(Progress(step + 1, steps, sum(recent) / len(recent), spent))
    return Fitted(tuple(values), sites, time.perf_counter() - started)


def leaves_of(parameters: Parameters) -> list[torch.Tensor]:
    if isinstance(parameters, torch.nn.Module):
        found: list[torch.Tensor] = list(parameters.parameters())
    elif isinstance(parameters, Mapping):
        found = list(parameters.values())
    else:
        found = [parameters] if isinstance(parameters, torch.Tensor) else list(parameters)
    leaves = [t for t in found if isinstance(t, torch.Tensor) and t.requires_grad]
    if not leaves:
        raise PonderError(
            "fit got no parameter that requires a gradient; give tensors made with "
            "requires_grad=True, or a torch.nn.Module"
        )
    if not all(tensor.is_leaf for tensor in leaves):
        raise PonderError(
            "fit got a parameter that was computed from others; give the tensors it starts from"
        )
    return leaves


def _require_batch(rows: Rows | None, batch: int | None) -> None:
    if batch is None:
        return
    if rows is None:
        raise PonderError("fit got a batch without data; give data=, or no batch")
    if not isinstance(batch, int) or not 1 <= batch <= len(rows[0]):
        raise PonderError(f"fit needs a batch between 1 and {len(rows[0])} rows, got {batch}")


def _backward(loss: torch.Tensor) -> None:
    try:
        loss.backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        if "second time" in str(error):
            raise PonderError(
                "the objective was made once from computed parameters; give fit a function that "
                "makes it: fit(lambda: elbo(model(), guide(log_sd.exp())), ...)"
            ) from error
        if "does not require grad" in str(error):
            raise PonderError("the objective depends on no parameter through tensors") from error
        raise


def _check_gradients(leaves: list[torch.Tensor], step: int) -> None:
    total = sum(tensor.grad.sum() for tensor in leaves if tensor.grad is not None)
    if not bool(torch.isfinite(torch.as_tensor(total))):
        raise PonderError(
            f"the gradient at step {step} is not finite though the objective is; look for sqrt, "
            "log or a division at 0, or take a smaller lr"
        )


def _explain(
    make: Callable[..., Program[Any]],
    rows: tuple[torch.Tensor, ...] | None,
    estimates: torch.Tensor,
    step: int,
    seed: int,
) -> None:
    """Raise the error that names the site, or else says how many particles are not finite."""
    bad = ~torch.isfinite(estimates.detach())
    for column in rows or ():
        if column.is_floating_point() and not bool(torch.isfinite(column).all()):
            raise PonderError(
                f"the objective is not finite at step {step}, and the rows of data that it was "
                "given hold values that are not finite; leave them out"
            )
    row = None if rows is None else tuple(column[int(bad.any(-1).nonzero()[0])] for column in rows)
    find_fault(lambda: make(*(row or ())), seed)
    raise PonderError(
        f"the objective is not finite at step {step} for {int(bad.sum())} of {bad.numel()} "
        "particles; a guide's support may leave the model's, or a parameter its range"
    )
