"""Objectives: programs of one particle, each a few lines over ``traced`` and ``density``.

All are to be maximised. A user's own is written the same way, e.g. the Renyi bound of order 1/2
(Li and Turner 2016), 2 log E_q sqrt(p / q), from k particles:

    @program
    def renyi(model, guide, k):
        logs = yield from copies(elbo(model, guide), k)
        return 2 * (torch.logsumexp(logs / 2, 0) - math.log(k))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ponder.blocks.arguments import check_least
from ponder.effects import Effects, Program, program
from ponder.errors import PonderError
from ponder.tensors import Estimator, reinforce
from ponder.vi.copied import copies
from ponder.vi.sequential import Resampling, filtered
from ponder.vi.staged import Staged
from ponder.vi.traces import density, traced


@program
def elbo(model: Program[Any], guide: Program[Any]) -> Effects[torch.Tensor]:
    """log p - log q at the guide's values: its expectation is at most the log-evidence."""
    values, log_q = yield from traced(guide, factors=False)
    log_p = yield from density(model, values)
    return log_p - log_q


@program
def iwelbo(model: Program[Any], guide: Program[Any], k: int) -> Effects[torch.Tensor]:
    """The log of the mean of k importance weights (Burda, Grosse and Salakhutdinov 2016)."""
    check_least("iwelbo", "k particles", k, 1)
    logs = yield from copies(elbo(model, guide), k)
    return torch.logsumexp(logs, 0) - math.log(k)


@program
def fivo(
    model: Program[Any], guide: Program[Any], n: int, resample: Resampling = reinforce
) -> Effects[torch.Tensor]:
    """The log of the evidence by sequential Monte Carlo with n particles of the guide.

    Filtering variational objectives (Maddison et al. 2017; Le et al. 2018; Naesseth et al. 2018).
    For models of stages, see ``staged``; with one stage it is ``iwelbo``. ``resample`` names
    the estimator of the ancestors: with ``stop`` its gradient is biased, of low variance, and what
    is published under these names.
    """
    check_least("fivo", "n particles", n, 1)
    return (yield from filtered(Staged(model, guide), n, resample)).log_z


@program
def wake_sleep(model: Program[Any], guide: Program[Any], k: int) -> Effects[torch.Tensor]:
    """Reweighted wake-sleep (Bornschein and Bengio 2015): the value is that of ``iwelbo``.

    Its gradient is that of sum of w log p for what is in the model (wake-theta) and of sum of
    w log q for what is in the guide (wake-phi), with the self-normalised weights w of k values
    held constant. So no site needs an estimator; biased O(1/k), as published.
    """
    check_least("wake_sleep", "k particles", k, 1)
    log_p, log_q = yield from copies(_both(model, guide), k)
    logs = (log_p - log_q).detach()
    weights = torch.softmax(logs, 0)
    gains = (weights * (log_p - log_p.detach() + log_q - log_q.detach())).sum()
    value: torch.Tensor = torch.logsumexp(logs, 0) - math.log(k) + gains
    return value


@program
def sleep(
    joint: Program[Any], guide: Callable[..., Program[Any]], seen: Sequence[str]
) -> Effects[torch.Tensor]:
    """log q of what a model sampled, by the guide that is told what of it is ``seen``.

    ``joint`` samples everything, data too; ``guide`` is given the values at the addresses ``seen``,
    in this order, and samples all others. Its expectation is less than that of the posteriors'
    log-density by the forward KL, which ``forward_kl`` estimates: so the guide covers every mode.
    It learns nothing of the model. The sleep phase (Hinton et al. 1995), neural posterior
    estimation (Papamakarios and Murray 2016).
    """
    values, _ = yield from traced(joint, Estimator("stop"), factors=False)
    names = [seen] if isinstance(seen, str) else list(seen)
    unknown = [name for name in names if name not in values]
    if unknown:
        known = ", ".join(values)
        raise PonderError(f"{joint.name} has no site {unknown[0]!r} to see; it samples {known}")
    others = {name: value for name, value in values.items() if name not in names}
    return (yield from density(guide(*(values[name] for name in names)), others))


@program
def _both(model: Program[Any], guide: Program[Any]) -> Effects[tuple[torch.Tensor, torch.Tensor]]:
    values, log_q = yield from traced(guide, Estimator("stop"), factors=False)
    log_p = yield from density(model, values)
    return log_p, log_q
