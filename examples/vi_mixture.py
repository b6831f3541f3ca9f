"""A mixture with discrete latents: one gradient by enum, by mvd and by reinforce, side by side.

    python examples/vi_mixture.py
    ponder check examples/vi_mixture.py:gradients

Points come from one of three clusters. The guide names, for every point, the cluster it thinks
the point is from; the clusters' centres are learned too. A row of data is a particle of its own, so
every point's latent is enumerated by itself: three outcomes, not three to the number of points.
"""

import torch
from torch.distributions import Categorical, Normal

from ponder import observe, program, sample
from ponder.tensors import Torch, enum, mvd, reinforce
from ponder.vi import Gradients, check_gradient, elbo, expectation, fit

torch.manual_seed(0)
CENTRES, SPREAD = torch.tensor([-3.0, 0.5, 3.0]), 0.6
which = torch.multinomial(torch.tensor([0.5, 0.2, 0.3]), 300, replacement=True)
points = CENTRES[which] + SPREAD * torch.randn(300)


class Mixture(torch.nn.Module):
    """What is learned: weights and centres of the model, and a network for the guide."""

    def __init__(self):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.zeros(3))
        self.centres = torch.nn.Parameter(torch.tensor([-1.0, 0.0, 1.0]))
        self.guess = torch.nn.Sequential(
            torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)
        )

    def objective(self, estimator):
        """The ELBO of one point."""
        return lambda point: elbo(model(self, point), guide(self, point, estimator))

    def log_likelihood(self):
        """The exact log-likelihood of a point, on average."""
        parts = Normal(self.centres, SPREAD).log_prob(points[:, None])
        return float((parts + self.weights.log_softmax(0)).logsumexp(1).mean().detach())


@program
def model(mixture, point):
    k = yield from sample(Torch(Categorical(logits=mixture.weights)), "k")
    centre = (torch.nn.functional.one_hot(k.long(), 3) * mixture.centres).sum()
    yield from observe(Torch(Normal(centre, SPREAD)), point)


@program
def guide(mixture, point, estimator):
    yield from sample(estimator(Categorical(logits=mixture.guess(point.reshape(1)))), "k")


def gradients():
    """For ``ponder check``: the gradient of one point's ELBO, before anything is learned."""
    torch.manual_seed(1)
    mixture = Mixture()
    objective = mixture.objective(mvd)
    return Gradients(lambda: objective(points[0]), mixture)


def main():
    torch.set_num_threads(1)
    for name, estimator in (("enum", enum), ("mvd", mvd), ("reinforce", reinforce)):
        torch.manual_seed(1)
        mixture = Mixture()
        fitted = fit(
            mixture.objective(estimator), mixture, steps=500, lr=0.02, data=points, batch=100
        )
        bound = expectation(mixture.objective(estimator), 50, data=points).mean().item()
        found = [round(c, 2) for c in mixture.centres.sort().values.tolist()]
        print(
            f"{name:<10} ELBO {bound:.4f}  log-likelihood {mixture.log_likelihood():.4f}  "
            f"centres {found}  {fitted.seconds:.1f} s"
        )
    print("one point's gradient, exactly and by each estimator:")
    mixture = Mixture()
    objective = mixture.objective(enum)
    print(check_gradient(lambda: objective(points[0]), mixture, groups=100))


if __name__ == "__main__":
    main()
