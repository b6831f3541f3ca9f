"""Bayesian linear regression: a guide that can be exact, and one that cannot.

    python examples/vi_regression.py

The model and the guide are programs; the objective is one too. The posterior is known in closed
form here, so the run ends by comparing with it: a full-covariance guide reaches it, a mean-field
guide does not, and its IWELBO of 50 particles closes most of the gap.
"""

import math

import torch
from torch.distributions import MultivariateNormal, Normal

from ponder import observe, program, sample
from ponder.tensors import Torch
from ponder.vi import elbo, expectation, fit, iwelbo

ROWS, NOISE = 40, 0.5
torch.manual_seed(0)
slope = torch.randn(ROWS)
x = torch.stack([torch.ones(ROWS), slope, slope + 0.3 * torch.randn(ROWS)], 1)  # correlated
y = x @ torch.tensor([0.5, 1.0, -1.0]) + NOISE * torch.randn(ROWS)


@program
def model():
    w = yield from sample(Torch(Normal(torch.zeros(3), 1.0)), "w")
    yield from observe(Torch(Normal(x @ w, NOISE)), y)
    return w


mean = torch.zeros(3, requires_grad=True)
free = torch.zeros(3, 3, requires_grad=True)


@program
def full():
    scale = free.tril(-1) + torch.diag(free.diagonal().exp())
    return (yield from sample(Torch(MultivariateNormal(mean, scale_tril=scale)), "w"))


field_mean = torch.zeros(3, requires_grad=True)
log_sd = torch.zeros(3, requires_grad=True)


@program
def mean_field():
    return (yield from sample(Torch(Normal(field_mean, log_sd.exp())), "w"))


def evidence():
    """The log-evidence and the posterior's mean, in closed form."""
    whole = MultivariateNormal(torch.zeros(ROWS), NOISE**2 * torch.eye(ROWS) + x @ x.T)
    precision = torch.eye(3) + x.T @ x / NOISE**2
    return float(whole.log_prob(y)), torch.linalg.solve(precision, x.T @ y / NOISE**2)


def main():
    torch.set_num_threads(1)
    exact, exact_mean = evidence()
    print(f"log-evidence, exactly   {exact:.4f}")
    for name, guide, parameters in (
        ("full covariance", full(), [mean, free]),
        ("mean field", mean_field(), [field_mean, log_sd]),
    ):
        objective = elbo(model(), guide)
        options = {"steps": 1000, "samples": 32, "lr": 0.05, "anneal": True}
        fitted = fit(objective, parameters, told=print, **options)
        bound = expectation(objective, 5000, seed=1).detach()
        tighter = expectation(iwelbo(model(), guide, 50), 500, seed=1).detach()
        error = float(bound.std()) / math.sqrt(len(bound))
        print(f"{name}: ELBO {float(bound.mean()):.4f} (error {error:.4f}), ", end="")
        print(f"IWELBO of 50 {float(tighter.mean()):.4f}, {fitted.seconds:.0f} s")
        found = [round(m, 3) for m in parameters[0].tolist()]
        print(f"  posterior mean {found}, exactly {[round(m, 3) for m in exact_mean.tolist()]}")


if __name__ == "__main__":
    main()
