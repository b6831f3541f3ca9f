"""Programmable variational inference: objectives are programs, gradients are named at sites.

    from ponder.tensors import Torch, enum, reparam
    from ponder.vi import elbo, fit

    fitted = fit(lambda: elbo(model(data), guide(parameters)), parameters, steps=1000)

Needs PyTorch: ``pip install 'ponder[torch]'``.
"""

import ponder.pytorch  # noqa: F401
from ponder.vi.checked import Gradients, check_gradient
from ponder.vi.copied import copies
from ponder.vi.estimate import expectation
from ponder.vi.fitting import Fitted, Progress, fit
from ponder.vi.inner import marginal, normalize
from ponder.vi.objectives import elbo, fivo, iwelbo, sleep, wake_sleep
from ponder.vi.probing import BiasedGradient, estimators
from ponder.vi.traces import density, traced

__all__ = [
    "BiasedGradient",
    "Fitted",
    "Gradients",
    "Progress",
    "check_gradient",
    "copies",
    "density",
    "elbo",
    "estimators",
    "expectation",
    "fit",
    "fivo",
    "iwelbo",
    "marginal",
    "normalize",
    "sleep",
    "traced",
    "wake_sleep",
]
