"""Programs whose densities are estimated by inner importance sampling.

Lew, Cusumano-Towner and Mansinghka, "Recursive Monte Carlo and variational inference with auxiliary
variables" (UAI 2022). Both are programs: usable as the guide or the model of any objective.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ponder.effects import Effects, Program, program, sample
from ponder.errors import PonderError
from ponder.tensors import Estimator, Torch
from ponder.vi.copied import copies
from ponder.vi.traces import Estimated, Traced, Values, density, traced

Auxiliary = Callable[[Values], Program[Any]]


def marginal(
    source: Program[Any], keep: Sequence[str], auxiliary: Auxiliary, n: int = 1
) -> Estimated:
    """The law of the sites ``keep`` of a program, the others summed out by n importance samples.

    ``auxiliary(kept)`` is a program that proposes the other sites given the kept ones. Its
    estimates get exact as it nears their conditional law, or as n grows.
    """
    _at_least_one(n, "marginal")
    kept_names = set(keep)

    @program
    def proposed(kept: Values) -> Effects[torch.Tensor]:
        others, log_r = yield from traced(auxiliary(kept))
        return (yield from density(source, {**others, **kept})) - log_r

    def trace(estimator: Estimator | None) -> Effects[Traced]:
        values, log_p = yield from traced(source, estimator)
        missing = kept_names - values.keys()
        if missing:
            raise PonderError(f"{source.name} has no site {min(missing)!r} to keep")
        kept = {name: value for name, value in values.items() if name in kept_names}
        others = {name: value for name, value in values.items() if name not in kept_names}
        log_r = yield from density(auxiliary(kept), others)
        logs = (log_p - log_r).reshape(1)
        if n > 1:
            logs = torch.cat([logs, (yield from copies(proposed(kept), n - 1))])
        return Traced(kept, torch.logsumexp(logs, 0) - math.log(n))

    def score(values: Values) -> Effects[torch.Tensor]:
        logs = yield from copies(proposed(values), n)
        return torch.logsumexp(logs, 0) - math.log(n)

    return Estimated(trace, score, f"marginal({source.name}, n={n})")


def normalize(target: Program[Any], proposal: Program[Any], n: int) -> Estimated:
    """The law of one of n draws of ``proposal``, chosen by its weight under ``target``.

    As n grows this is the target divided by its total mass. The density that is estimated is that
    of this very law, so nothing is claimed of the target that n draws do not give.
    """
    _at_least_one(n, "normalize")

    @program
    def weighed(estimator: Estimator | None) -> Effects[tuple[Values, torch.Tensor, torch.Tensor]]:
        values, log_q = yield from traced(proposal, estimator)
        log_p = yield from density(target, values)
        return values, log_p, log_p - log_q

    def trace(estimator: Estimator | None) -> Effects[Traced]:
        values, log_p, logs = yield from copies(weighed(estimator), n)
        which = Torch(torch.distributions.Categorical(logits=logs), estimator)
        index = yield from sample(which)
        chosen = {name: _row(value, index) for name, value in values.items()}
        log_z = torch.logsumexp(logs, 0) - math.log(n)
        return Traced(chosen, _row(log_p, index) - log_z)

    def score(values: Values) -> Effects[torch.Tensor]:
        log_p = yield from density(target, values)
        log_q = yield from density(proposal, values)
        logs = (log_p - log_q).reshape(1)
        if n > 1:
            _, _, others = yield from copies(weighed(None), n - 1)
            logs = torch.cat([logs, others])
        return log_p - torch.logsumexp(logs, 0) + math.log(n)

    return Estimated(trace, score, f"normalize({target.name}, n={n})")


def _row(stacked: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return stacked.index_select(0, index.reshape(1))[0]


def _at_least_one(n: int, what: str) -> None:
    if n < 1:
        raise PonderError(f"{what} needs at least one inner particle, got {n}")
