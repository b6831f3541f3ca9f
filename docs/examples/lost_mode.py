"""A learned guide that loses a mode, what sees it, and what mends it.

    python docs/examples/lost_mode.py        (needs ponder[torch]; some seconds)

theta is a standard normal, y its size, observed with an error; so theta and -theta explain y
equally well. The guide is one normal whose mean follows y: the ELBO is content with one side.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

import ponder
from ponder.checking.forward_kl import forward_kl
from ponder.guarantee import diagnose
from ponder.tensors import reparam
from ponder.vi import elbo, fit

ERROR, SEEN = 0.3, 1.5


@ponder.program
def joint() -> ponder.Effects[float]:
    """Everything sampled, the data too."""
    theta = yield from ponder.sample(ponder.Normal(), "theta")
    return (yield from ponder.sample(ponder.Normal(abs(theta), ERROR), "y"))


@ponder.program
def model(y: Any) -> ponder.Effects[Any]:
    """The same with y observed."""
    theta = yield from ponder.sample(ponder.Normal(), "theta")
    yield from ponder.observe(ponder.Normal(abs(theta), ERROR), y)
    return theta


class Guide(torch.nn.Module):
    """Proposes theta for any y."""

    def __init__(self) -> None:
        super().__init__()
        self.line = torch.nn.Linear(1, 2)
        torch.nn.init.constant_(self.line.weight, 0.5)

    def __call__(self, y: Any) -> ponder.Program[Any]:
        @ponder.program
        def guide() -> ponder.Effects[Any]:
            given = torch.as_tensor(y, dtype=torch.float32).reshape(1)
            mean, log_sd = self.line(given)
            q = torch.distributions.Normal(mean, log_sd.exp())
            return (yield from ponder.sample(reparam(q), "theta"))

        return guide()


def trained(steps: int = 400) -> Guide:
    """A guide for the y of the model."""
    torch.manual_seed(0)
    guide = Guide()
    ys = torch.tensor([ponder.evaluate(joint(), seed=i) for i in range(500)])
    fit(lambda y: elbo(model(y), guide(y)), guide, steps=steps, lr=0.03, data=ys, batch=100)
    return guide


def told(guide: Guide, draws: int = 2000) -> Iterator[str]:
    """What weights say, what simulated pairs say, and what a share of the prior does."""
    for name, defensive in (("guide", 0.0), ("guide, a tenth of the prior", 0.1)):
        corrected = model(SEEN) | ponder.propose(guide(SEEN), defensive) | ponder.draw(draws)
        population = ponder.infer(corrected)
        right = population.weights[[float(t.value) > 0 for t in population.traces]].sum()
        yield f"{name}: {right:.2f} of the weight right of zero; {diagnose(population)}"
    yield f"simulated pairs: {forward_kl(joint(), guide).note}"


if __name__ == "__main__":
    for line in told(trained()):
        print(line)
