"""The training loop: Adam, a warm-up, a cosine, and a checkpoint from which it goes on exactly."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ponder.amortize import checkpoint
from ponder.errors import PonderError

SMOOTHING = 100  # steps that the loss of a progress line is averaged over
BETAS = (0.9, 0.98)


@dataclass(frozen=True)
class Plan:
    """How many steps, and the learning rate of each.

    The rate rises linearly to ``learning_rate`` over ``warm_up`` steps (default: 5%), then falls
    to zero as a cosine. Gradients are clipped to a norm of ``clip``.
    """

    steps: int
    learning_rate: float = 1e-3
    warm_up: int | None = None
    clip: float = 1.0

    def __post_init__(self) -> None:
        steps = isinstance(self.steps, int) and self.steps >= 1
        if not steps or not 0 < self.learning_rate < math.inf or not self.clip > 0:
            raise PonderError(
                f"a plan needs steps >= 1, a learning rate and a clip > 0, got {self!r}"
            )

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rising = math.ceil(self.steps / 20) if self.warm_up is None else self.warm_up
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        done = (step - rising) / max(1, self.steps - rising)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Progress:
    """After ``step`` of ``steps``: the loss averaged over the last steps, seconds of this run."""

    step: int
    steps: int
    loss: float
    seconds: float

    def __str__(self) -> str:
        return f"step {self.step} of {self.steps}: {self.loss:.4f} ({self.seconds:.0f} s)"


Told = Callable[[Progress], None]


@dataclass(frozen=True)
class Resume:
    """Where a training keeps its state, written every ``every`` seconds and at the end.

    If the file is there, the training goes on from it. ``config`` says what is trained, as plain
    numbers and texts: a file of another training is refused.
    """

    path: str | os.PathLike[str]
    config: dict[str, Any] = field(default_factory=dict)
    every: float = 60.0


def train(
    loss_at: Callable[[int], Tensor],
    parameters: Iterable[Tensor],
    plan: Plan,
    *,
    resume: Resume | None = None,
    told: Told | None = None,
) -> NDArray[np.float32]:
    """Minimise E[loss_at(step)] over the parameters, in place; answers the loss of every step.

    ``loss_at`` draws the batch of a step from a seed and the step alone (and nothing from torch's
    global generator), so that a training that was killed and resumed ends in the same weights,
    bit for bit on the same machine and number of threads. Raises PonderError for a loss or a
    gradient that is not finite.
    """
    trained = list(parameters)
    optimiser = torch.optim.Adam(trained, lr=plan.learning_rate, betas=BETAS)
    state = _State(trained, optimiser, np.full(plan.steps, np.nan, dtype=np.float32))
    first = 0 if resume is None else state.read(resume, plan)
    begun = written = time.monotonic()
    for step in range(first, plan.steps):
        for group in optimiser.param_groups:
            group["lr"] = plan.rate(step)
        loss = loss_at(step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(trained, plan.clip)
        _require_finite(step, loss.item(), float(norm))
        optimiser.step()
        state.losses[step] = loss.item()
        now = time.monotonic()
        last = step + 1 == plan.steps
        if resume is not None and (last or now - written >= resume.every):
            state.write(resume, plan, step + 1)
            written = time.monotonic()
        if told is not None:
            recent = state.losses[max(0, step + 1 - SMOOTHING) : step + 1]
            told(Progress(step + 1, plan.steps, float(recent.mean()), now - begun))
    return state.losses


def _require_finite(step: int, loss: float, norm: float) -> None:
    if math.isfinite(loss) and math.isfinite(norm):
        return
    what = f"loss is {loss}" if not math.isfinite(loss) else f"gradient has norm {norm}"
    raise PonderError(
        f"training: the {what} at step {step}; check the data of that step, "
        "or lower the learning rate"
    )


@dataclass
class _State:
    """All that a step depends on but its number: parameters, Adam's two averages, the losses."""

    parameters: list[Tensor]
    optimiser: torch.optim.Adam
    losses: NDArray[np.float32]

    def write(self, resume: Resume, plan: Plan, step: int) -> None:
        tensors = {"losses": torch.from_numpy(self.losses)}
        for i, parameter in enumerate(self.parameters):
            tensors[f"parameter {i}"] = parameter
            for name, value in self.optimiser.state[parameter].items():
                tensors[f"{name} {i}"] = value
        about = {"step": step, "training": _describe(resume, plan)}
        checkpoint.save(resume.path, "training", {}, tensors, about)

    def read(self, resume: Resume, plan: Plan) -> int:
        """The step to go on from; 0 if there is no file."""
        if not Path(resume.path).exists():
            return 0
        saved = checkpoint.load(resume.path, "training")
        shapes = [tuple(p.shape) for p in self.parameters]
        found = [tuple(v.shape) for k, v in saved.weights.items() if k.startswith("parameter ")]
        if saved.about["training"] != _describe(resume, plan) or shapes != found:
            raise PonderError(
                f"{resume.path} is of another training (other settings, seed or plan); "
                "delete it, or give another file"
            )
        self.losses[:] = saved.weights["losses"].numpy()
        with torch.no_grad():
            for i, parameter in enumerate(self.parameters):
                parameter.copy_(saved.weights[f"parameter {i}"])
                self.optimiser.state[parameter] = {
                    name: saved.weights[f"{name} {i}"].clone()
                    for name in ("step", "exp_avg", "exp_avg_sq")
                    if f"{name} {i}" in saved.weights
                }
        return int(saved.about["step"])


def _describe(resume: Resume, plan: Plan) -> str:
    return json.dumps({"config": resume.config, "plan": asdict(plan)}, sort_keys=True)


@contextmanager
def training_bar(label: str) -> Iterator[Told | None]:
    """Something to tell the progress to: a bar with the loss, or None if no terminal is there."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    loss = TextColumn("loss {task.fields[loss]:.4f}")
    with Bar(*columns, loss, console=Console(stderr=True), transient=True) as bar:
        task = None

        def told(progress: Progress) -> None:
            nonlocal task
            if task is None:
                task = bar.add_task(label, total=progress.steps, loss=progress.loss)
            bar.update(task, completed=progress.step, loss=progress.loss)

        yield told
