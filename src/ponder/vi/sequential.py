"""A particle filter as part of an objective: batched particles, resampled between stages.

The particles go through a target's stages (``staged``) together, and are resampled, multinomially,
after every stage but the last. A stage is one ``vmap`` of target and proposal over the particles,
which replays the values so far: T stages take T^2 / 2 times the steps of one, each of them batched.

The estimate of the evidence is unbiased. So is, for a trace of the normalised target, the
reciprocal of the estimate of a run in which that trace is kept as one of the particles (Andrieu,
Doucet and Holenstein, "Particle Markov chain Monte Carlo methods", JRSS B 2010).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from ponder.effects import Effects, Program, sample
from ponder.errors import PonderError
from ponder.tensors import Distribution, Estimator, Torch
from ponder.vi.copied import copies
from ponder.vi.sites import as_site, overridden
from ponder.vi.staged import Asked, Drawing, Last, Stage, Staged
from ponder.vi.traces import Values

Resampling = Callable[[Distribution], Torch]
"""Names the estimator of the ancestors' site: ``reinforce`` or ``stop``, or any of ``tensors``."""


class Filtered(NamedTuple):
    """n particles at the end: ``values`` and ``log_p`` (n,) of whole traces.

    ``logs`` (n,) are the log-weights of the last stage; ``log_z`` estimates the log-evidence.
    """

    values: Values
    log_p: torch.Tensor
    logs: torch.Tensor
    log_z: torch.Tensor


def filtered(
    staged: Staged,
    n: int,
    resample: Resampling,
    estimator: Estimator | None = None,
    kept: Values | None = None,
) -> Effects[Filtered]:
    """Run n particles through the stages; with ``kept``, the first of them is that trace.

    ``estimator``, if given, replaces those of all sites, the ancestors' too.
    """
    count = n if kept is None else n - 1
    drawing = _drawing(estimator)
    values: Values = {}
    log_p, log_z = torch.zeros(n), torch.zeros(())
    while True:
        stage = yield from _advanced(staged, values, drawing, count, kept)
        logs = stage.log_p - stage.log_q
        values, log_p = {**values, **stage.values}, log_p + stage.log_p
        log_z = log_z + torch.logsumexp(logs, 0) - math.log(n)
        if isinstance(stage, Last):
            _refuse_unused(staged, values, kept)
            return Filtered(values, log_p, logs, log_z)
        ancestors = yield from _ancestors(logs, count, resample, estimator)
        values = {name: value.index_select(0, ancestors) for name, value in values.items()}
        log_p = log_p.index_select(0, ancestors)


def _ancestors(
    logs: torch.Tensor, count: int, resample: Resampling, estimator: Estimator | None
) -> Effects[torch.Tensor]:
    """Whom each of n particles goes on from; the first, if it is kept, from itself."""
    kept = torch.zeros(len(logs) - count, dtype=torch.long)
    if not count:
        return kept
    site = resample(torch.distributions.Categorical(logits=alive(logs).expand(count, len(logs))))
    if estimator is not None:
        site = overridden(site, estimator)
    drawn = yield from sample(site, "ancestors")
    return torch.cat([kept, drawn.long()])


def _advanced(
    staged: Staged, values: Values, drawing: Drawing, count: int, kept: Values | None
) -> Effects[Stage | Last]:
    """One stage of all particles, stacked."""
    first = 0 if kept is None else 1

    def one(index: torch.Tensor) -> Program[Stage | Last]:
        known = {name: row(value, index + first) for name, value in values.items()}
        return Program(lambda: staged.stage(known, drawing), staged.target.name)

    others: Stage | Last | None = (yield from copies(one, count)) if count else None
    if kept is None:
        assert others is not None
        return others
    known = {name: value[0] for name, value in values.items()}
    own = yield from staged.stage(known, _giving(staged, kept))
    parts = [own] if others is None else [own, others]
    return type(own)(
        {name: _joined([part.values[name] for part in parts]) for name in own.values},
        _joined([part.log_p for part in parts]),
        _joined([part.log_q for part in parts]),
    )


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    """The kept particle's part, before those of the others if there are any."""
    own = parts[0].unsqueeze(0)
    return torch.cat([own.to(parts[1].dtype), parts[1]]) if len(parts) > 1 else own


def _drawing(estimator: Estimator | None) -> Drawing:
    def draw(asked: Asked) -> Effects[torch.Tensor]:
        site = as_site(asked.address, asked.dist)
        if estimator is not None:
            site = overridden(site, estimator)
        return (yield from sample(site, asked.name))

    return draw


def _giving(staged: Staged, kept: Values) -> Drawing:
    def draw(asked: Asked) -> Effects[torch.Tensor]:
        if asked.address not in kept:
            raise PonderError(
                f"{staged.proposal.name} samples {asked.address!r}, which the values to score lack"
            )
        return kept[asked.address]
        yield

    return draw


def _refuse_unused(staged: Staged, values: Values, kept: Values | None) -> None:
    for address in kept or ():
        if address not in values:
            raise PonderError(
                f"{staged.target.name} has no site {address!r}, which its guide samples; name them "
                "alike, or sum the guide's own sites out by marginal(guide, keep=...)"
            )


def row(stacked: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """One row, by an index that may itself be one of many under vmap."""
    return stacked.index_select(0, index.reshape(1))[0]


def alive(logs: torch.Tensor) -> torch.Tensor:
    """Log-weights to choose by: those that are no numbers count nothing; if none counts, all do.

    The estimate of the evidence is not finite then, which ``fit`` says, naming the site.
    """
    counted = torch.where(logs < torch.inf, logs, -torch.inf)
    return torch.where(counted.max() > -torch.inf, counted, 0.0)
