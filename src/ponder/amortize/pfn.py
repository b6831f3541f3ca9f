"""Prior-Data Fitted Networks: a transformer that answers with the posterior predictive.

It is trained on data sets drawn from a prior, to predict some of their points from the others,
so that in one forward pass it says p(y | x, data) (Müller et al., "Transformers Can Do Bayesian
Inference", 2022): the loss, -log q(y | x, data), is the expected divergence from the posterior
predictive of the prior, plus a constant. The context is a set: there are no positions.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ponder.amortize.bars import Grid
from ponder.amortize.predictive import Pfn, Shape, Standard, load
from ponder.amortize.ranges import Range
from ponder.amortize.tasks import Drawer, Prior
from ponder.amortize.training import Plan, Resume, Told, training_bar
from ponder.amortize.training import train as run_training
from ponder.blocks.arguments import check_least, check_sizes
from ponder.effects import Program
from ponder.errors import PonderError

__all__ = ["Pfn", "load", "train"]
SURVEY = 20_000  # values of y that borders and ranges are read from
SURVEY_TASKS = 256
SPARSE = 20  # draws at an end of the survey: how far they reach, the training will go on


def train(
    prior: Prior,
    plan: Plan,
    *,
    context: int,
    queries: int = 16,
    batch: int = 64,
    classes: int | None = None,
    buckets: int = 100,
    width: int = 64,
    layers: int = 4,
    heads: int = 4,
    names: Sequence[str] | None = None,
    seed: int = 0,
    resume: str | os.PathLike[str] | None = None,
    every: float = 60.0,
    told: Told | None = None,
) -> Pfn:
    """Train a network on tasks drawn from a prior, in ``plan.steps`` steps of ``batch`` tasks.

    ``prior`` (see :class:`~ponder.amortize.tasks.Drawer`) is only sampled from: the program of
    one task, or, much faster, a function of (batch, n) to the program of a batch. Each step has a
    context of 0 ... ``context`` - 1 points, the rest of the task being queries (``queries`` of
    them where the prior lets us say). ``classes`` makes y a label. ``names`` are the features'.

    ``resume`` names a file that holds the training's state, written every ``every`` seconds: run
    again with the same arguments, it goes on from there and ends in the same weights. ``told``
    hears of every step; by default a bar is drawn if there is a terminal.
    """
    check_sizes("train", context=context, queries=queries, batch=batch, buckets=buckets)
    check_sizes("train", width=width, layers=layers, heads=heads)
    if not isinstance(plan, Plan):
        raise PonderError(f"train needs a plan, as Plan(steps=5000), got {plan!r:.80}")
    if classes is not None:
        check_least("train", "classes", classes, 2)
    drawer = Drawer(prior, seed, classes)
    pfn = _surveyed(drawer, context, queries, buckets, (width, layers, heads), names, seed)
    loss_at = _Loss(pfn, drawer, seed, context, queries, batch)
    config = {
        **asdict(pfn.shape),
        "seed": seed,
        "context": context,
        "queries": queries,
        "batch": batch,
        "prior": getattr(prior, "__name__", repr(prior)),
        "borders": None if pfn.grid is None else pfn.grid.borders.tolist(),
    }
    kept = None if resume is None else Resume(resume, config, every)
    with training_bar("training") as bar:
        losses = run_training(
            loss_at, pfn.network.parameters(), plan, resume=kept, told=told or bar
        )
    recent = losses[-max(1, len(losses) // 20) :]
    pfn.about = {"plan": asdict(plan), "training": config, "loss": float(recent.mean())}
    del pfn.about["training"]["borders"]
    return pfn


def _surveyed(
    drawer: Drawer,
    context: int,
    queries: int,
    buckets: int,
    size: tuple[int, int, int],
    names: Sequence[str] | None,
    seed: int,
) -> Pfn:
    """A network that has not been trained, with borders, scales and ranges from the prior."""
    n = context if isinstance(drawer.prior, Program) else context + queries
    tasks = [drawer("survey", SURVEY_TASKS, n)]
    while sum(y.size for _, y in tasks) < SURVEY:
        tasks.append(drawer(f"survey {len(tasks)}", SURVEY_TASKS, n))
    x = np.concatenate([x.reshape(-1, x.shape[-1]) for x, _ in tasks])
    y = np.concatenate([y.ravel() for _, y in tasks])
    features = x.shape[1]
    if names and len(names) != features:
        raise PonderError(f"names has {len(names)} features, the prior's x has {features}")
    named = tuple(names or (["x"] if features == 1 else [f"x[{i}]" for i in range(features)]))
    ranges = {
        "x": Range.of(x, named, SPARSE),
        "y": Range.of(y[:, None], ["y"], SPARSE),
        "n": Range.of(np.arange(context)[:, None], ["its number of points"]),
    }
    scale = x.std(axis=0)
    y_scale = float(y.std())
    standard = Standard(
        x.mean(axis=0), np.where(scale > 0, scale, 1.0), float(y.mean()), y_scale or 1.0
    )
    grid = None if drawer.classes is not None else Grid.at_quantiles(y, buckets)
    outputs = drawer.classes if grid is None else grid.buckets
    assert outputs is not None
    width, layers, heads = size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shape = Shape(features, outputs, grid is None, width, layers, heads)
        return Pfn(shape, grid, standard, ranges, {})


@dataclass(frozen=True)
class _Loss:
    """-log q of the queries of a step's batch, averaged."""

    pfn: Pfn
    drawer: Drawer
    seed: int
    context: int
    queries: int
    batch: int

    def points(self, n: int) -> int:
        """How many to ask the prior for: a program of one task has as many as it has."""
        return self.context if isinstance(self.drawer.prior, Program) else n + self.queries

    def __call__(self, step: int) -> Tensor:
        size = np.random.Generator(np.random.Philox(key=[self.seed, step]))
        n = int(size.integers(self.context))
        x, y = self.drawer(f"step {step}", self.batch, self.points(n))
        pfn = self.pfn
        if x.shape[-1] != pfn.shape.features:
            raise PonderError(
                f"the prior's x has {x.shape[-1]} features at step {step}, "
                f"before it had {pfn.shape.features}; return as many every time"
            )
        inputs = pfn.standard.x(x)
        logits = pfn.network(inputs[:, :n], pfn.answers(y[:, :n]), inputs[:, n:])
        targets = y[:, n:]
        if pfn.grid is None:
            labels = torch.from_numpy(targets).long()
            return functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        index, log_shape = pfn.grid.place(targets)
        loss = functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(index).flatten())
        return loss - float(log_shape.mean())
