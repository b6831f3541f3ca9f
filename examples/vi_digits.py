"""A VAE and an IWAE on scikit-learn's digits (8 x 8 pixels, 0 to 16, as counts of 16).

    python examples/vi_digits.py [steps] [picture.png]

Both are the same two networks; only the objective differs: elbo, or iwelbo with k = 10. Test
log-likelihoods are bounds by 500 importance samples (Burda, Grosse and Salakhutdinov 2016).
"""

import sys

import torch
from torch.distributions import Binomial, Normal

from ponder import observe, program, sample
from ponder.tensors import Torch
from ponder.vi import elbo, expectation, fit, iwelbo

LATENT, HIDDEN, K = 8, 128, 10


class Digits(torch.nn.Module):
    def __init__(self):
        super().__init__()
        nn = torch.nn
        self.encoder = nn.Sequential(
            nn.Linear(64, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 2 * LATENT)
        )
        self.decoder = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 64))


@program
def model(net, image):
    z = yield from sample(Torch(Normal(torch.zeros(LATENT), 1.0)), "z")
    yield from observe(Torch(Binomial(16, logits=net.decoder(z))), image)


@program
def guide(net, image):
    mean, log_sd = net.encoder(image / 8 - 1).chunk(2)
    yield from sample(Torch(Normal(mean, log_sd.exp())), "z")


def bound(net, images, k):
    """The mean of ``iwelbo`` with k particles over images."""

    def one(image):
        return iwelbo(model(net, image), guide(net, image), k)

    with torch.no_grad():
        parts = [expectation(one, seed=1, data=part) for part in images.split(100)]
    return float(torch.cat(parts).mean())


def main(steps=3000, picture=""):
    from sklearn.datasets import load_digits

    torch.set_num_threads(1)
    images = torch.tensor(load_digits().data, dtype=torch.float32)
    images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]
    train, test = images[:1500], images[1500:]
    pictures = []
    for name, objective in (
        ("VAE", lambda net: lambda image: elbo(model(net, image), guide(net, image))),
        ("IWAE", lambda net: lambda image: iwelbo(model(net, image), guide(net, image), K)),
    ):
        torch.manual_seed(0)
        net = Digits()
        fitted = fit(objective(net), net, steps=steps, lr=2e-3, data=train, batch=100, told=print)
        print(f"{name}: {fitted.seconds:.0f} s, test bound with 1 sample ", end="")
        print(f"{bound(net, test, 1):.2f}, with 500 {bound(net, test, 500):.2f} nats a digit")
        with torch.no_grad():
            torch.manual_seed(2)
            pictures.append((name, torch.sigmoid(net.decoder(torch.randn(40, LATENT)))))
    if picture:
        draw([("data", test[:40] / 16), *pictures], picture)


def draw(rows, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(rows), 1, figsize=(10, 1.4 * len(rows)))
    for axis, (name, images) in zip(axes, rows, strict=True):
        framed = torch.nn.functional.pad(images.reshape(2, 20, 8, 8), (1, 1, 1, 1))
        grid = framed.permute(0, 2, 1, 3).reshape(20, 200)
        axis.imshow(grid, cmap="gray_r", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[], ylabel=name)
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main(*(kind(given) for kind, given in zip((int, str), sys.argv[1:], strict=False)))
