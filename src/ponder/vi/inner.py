"""Programs whose densities are estimated by inner importance sampling, or sequential Monte Carlo.

Lew, Cusumano-Towner and Mansinghka, "Recursive Monte Carlo and variational inference with auxiliary
variables" (UAI 2022). Both are programs: usable as the guide or the model of any objective.

With ``resample``, as in ``normalize(target, proposal, 8, resample=reinforce)``, the inner particles
are resampled between the target's stages (``staged`` says what has them), and what is named is
the gradient estimator of the ancestors: ``reinforce`` is unbiased, ``stop`` leaves their part out
and has less variance. To score, a trace that is given is kept among the particles. ``enum`` at
sites of the particles costs the product of all their supports: it is for tests of tiny programs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ponder.blocks.arguments import check_least
from ponder.effects import Effects, Program, program, sample
from ponder.errors import PonderError
from ponder.tensors import Estimator, Torch
from ponder.vi.copied import copies
from ponder.vi.sequential import Filtered, Resampling, alive, filtered, row
from ponder.vi.staged import Staged
from ponder.vi.traces import Estimated, Traced, Values, density, traced

Auxiliary = Callable[[Values], Program[Any]]


def marginal(
    source: Program[Any],
    keep: Sequence[str],
    auxiliary: Auxiliary,
    n: int = 1,
    resample: Resampling | None = None,
) -> Estimated:
    """The law of the sites ``keep`` of a program, the others summed out by n importance samples.

    ``auxiliary(kept)`` is a program that proposes the other sites given the kept ones. Its
    estimates get exact as it nears their conditional law, or as n grows. With ``resample``, the
    kept sites end stages as factors do.
    """
    check_least("marginal", "n inner particles", n, 1)
    if isinstance(auxiliary, Program):
        raise PonderError(
            "marginal needs an auxiliary that is a function of the kept values to a program; give "
            "lambda kept: ..."
        )
    kept_names = {keep} if isinstance(keep, str) else set(keep)

    @program
    def proposed(kept: Values) -> Effects[torch.Tensor]:
        others, log_r = yield from traced(auxiliary(kept), factors=False)
        return (yield from density(source, {**others, **kept})) - log_r

    def trace(estimator: Estimator | None) -> Effects[Traced]:
        values, log_p = yield from traced(source, estimator)
        missing = kept_names - values.keys()
        if missing:
            raise PonderError(f"{source.name} has no site {min(missing)!r} to keep")
        kept = {name: value for name, value in values.items() if name in kept_names}
        others = {name: value for name, value in values.items() if name not in kept_names}
        if resample is not None:
            staged = Staged(source, auxiliary(kept), kept)
            found = yield from filtered(staged, n, resample, estimator, others)
            return Traced(kept, found.log_z)
        log_r = yield from density(auxiliary(kept), others)
        logs = (log_p - log_r).reshape(1)
        if n > 1:
            logs = torch.cat([logs, (yield from copies(proposed(kept), n - 1))])
        return Traced(kept, torch.logsumexp(logs, 0) - math.log(n))

    def score(values: Values) -> Effects[torch.Tensor]:
        if resample is not None:
            staged = Staged(source, auxiliary(values), values)
            return (yield from filtered(staged, n, resample)).log_z
        logs = yield from copies(proposed(values), n)
        return torch.logsumexp(logs, 0) - math.log(n)

    return Estimated(trace, score, f"marginal({source.name}, n={n})")


def normalize(
    target: Program[Any], proposal: Program[Any], n: int, resample: Resampling | None = None
) -> Estimated:
    """The law of one of n draws of ``proposal``, chosen by its weight under ``target``.

    With ``resample``, of one of n traces that a particle filter ends with.

    As n grows this is the target divided by its total mass. The density that is estimated is that
    of this very law, so nothing is claimed of the target that n draws do not give.
    """
    check_least("normalize", "n inner particles", n, 1)

    @program
    def weighed(estimator: Estimator | None) -> Effects[tuple[Values, torch.Tensor, torch.Tensor]]:
        values, log_q = yield from traced(proposal, estimator, factors=False)
        log_p = yield from density(target, values)
        return values, log_p, log_p - log_q

    def drawn(estimator: Estimator | None) -> Effects[Filtered]:
        if resample is not None:
            return (yield from filtered(Staged(target, proposal), n, resample, estimator))
        values, log_p, logs = yield from copies(weighed(estimator), n)
        return Filtered(values, log_p, logs, torch.logsumexp(logs, 0) - math.log(n))

    def trace(estimator: Estimator | None) -> Effects[Traced]:
        found = yield from drawn(estimator)
        which = Torch(torch.distributions.Categorical(logits=alive(found.logs)), estimator)
        index = yield from sample(which, "chosen")
        chosen = {name: row(value, index) for name, value in found.values.items()}
        return Traced(chosen, row(found.log_p, index) - found.log_z)

    def score(values: Values) -> Effects[torch.Tensor]:
        if resample is not None:
            found = yield from filtered(Staged(target, proposal), n, resample, kept=values)
            return found.log_p[0] - found.log_z
        log_p = yield from density(target, values)
        log_q = yield from density(proposal, values)
        logs = (log_p - log_q).reshape(1)
        if n > 1:
            _, _, others = yield from copies(weighed(None), n - 1)
            logs = torch.cat([logs, others])
        return log_p - torch.logsumexp(logs, 0) + math.log(n)

    return Estimated(trace, score, f"normalize({target.name}, n={n})")
