"""Is the bus late? A guide is learned, held to its exact gradient, and corrected by weights.

    python docs/examples/waiting.py                    (needs ponder[torch]; some seconds)
    ponder check docs/examples/waiting.py:gradients    are the estimators unbiased?

A clock that errs says twelve minutes; late buses come ten minutes after the others.
"""

from __future__ import annotations

import torch
from torch.distributions import Bernoulli, Normal

import ponder
from ponder import observe, program, sample
from ponder.guarantee import diagnose
from ponder.tensors import enum, reparam
from ponder.vi import Gradients, elbo, fit

START = (0.0, 10.0, 0.0, 0.0)
chance, usual, delay, log_sd = (torch.tensor(x, requires_grad=True) for x in START)
PARAMETERS = [chance, usual, delay, log_sd]


@program
def model():
    late = yield from sample(ponder.Bernoulli(0.3), "late")
    wait = yield from sample(ponder.Normal(5.0 + 10.0 * late, 4.0), "wait")
    yield from observe(ponder.Normal(wait, 1.0), 12.0)  # by a clock that errs
    return late


@program
def guide():
    late = yield from sample(enum(Bernoulli(logits=chance)), "late")
    yield from sample(reparam(Normal(usual + delay * late, log_sd.exp())), "wait")


objective = elbo(model(), guide())
gradients = Gradients(objective, PARAMETERS)


def main(steps: int = 400) -> ponder.Posterior:
    fitted = fit(objective, PARAMETERS, steps=steps, samples=16, lr=0.05, told=print)
    corrected = model() | ponder.propose(guide(), defensive=0.1) | ponder.draw(1000) | ponder.vote
    posterior = ponder.infer(corrected)
    print(f"ELBO {fitted.value:.2f}; the guide says {torch.sigmoid(chance).item():.3f}")
    print(f"corrected: {posterior.answer} with {posterior.probability:.3f}; {posterior.law}")
    print(diagnose(posterior.population))
    return posterior


if __name__ == "__main__":
    main()
