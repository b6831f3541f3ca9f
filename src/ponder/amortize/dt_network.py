"""The network of a Distribution Transformer: components and observations in, components out.

A component is described in its own frame: the network answers how far its mean moves in units of
its own Cholesky factor L, and by what lower-triangular T its factor becomes L T; so the prior's
affine frame is exact knowledge, not learned. A component sees every observation from where it
stands (``view``). What it answers is a difference to the un-embedding of the prior's own tokens,
which therefore is the prior itself: the second term of the paper's loss is minimal by construction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ponder.amortize.attention import CrossAttention, SelfAttention
from ponder.amortize.mixtures import Mixtures

Floats = NDArray[np.float64]
View = Callable[[Floats, Floats, Floats], Floats]
LOWEST = -20.0  # log-weight that stands for less
STEEPEST = 6.0  # a diagonal of T lies between exp(-6) and exp(6)


@dataclass(frozen=True)
class Shape:
    """What a network is built from."""

    components: int
    dims: int
    columns: int
    """Numbers in an observation."""
    features: int
    """Numbers that the view adds."""
    width: int = 64
    layers: int = 2
    heads: int = 4

    @property
    def entries(self) -> int:
        """Of a lower triangle without its diagonal."""
        return self.dims * (self.dims - 1) // 2


@dataclass(frozen=True)
class Components:
    """A batch of mixtures: log-weights (B, K), means (B, K, d), factors (B, K, d, d), float64."""

    log_weights: Tensor
    means: Tensor
    factors: Tensor

    @classmethod
    def of(cls, mixtures: Mixtures, rows: slice = slice(None)) -> Components:
        """Some of a batch of mixtures."""
        with np.errstate(divide="ignore"):
            log_weights = np.log(mixtures.weights[rows])
        arrays = (log_weights, mixtures.means[rows], mixtures.factors[rows])
        return cls(*map(tensor_of, arrays))

    def detach(self) -> Components:
        """The same numbers, without their history."""
        return Components(self.log_weights.detach(), self.means.detach(), self.factors.detach())

    def moved(self, covariance: Tensor) -> Components:
        """After Normal noise of this covariance (d, d) was added to x."""
        grown = self.factors @ self.factors.mT + covariance
        return Components(self.log_weights, self.means, torch.linalg.cholesky(grown))

    def log_probs(self, u: Tensor) -> Tensor:
        """Log-densities of ``u`` (B, d): shape (B,)."""
        apart = (u[:, None] - self.means)[..., None]
        z = torch.linalg.solve_triangular(self.factors, apart, upper=False)[..., 0]
        diagonals = self.factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = 0.5 * u.shape[-1] * float(np.log(2 * np.pi))
        return (
            torch.logsumexp(self.log_weights - 0.5 * z.square().sum(-1) - diagonals, 1) - constant
        )


class Standard(nn.Module):
    """Features shifted and scaled by what training saw; kept with the weights."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.centre: Tensor
        self.scale: Tensor

    def learn(self, seen: Tensor) -> None:
        """Centre and scale of rows (n, size); columns that do not vary are only shifted."""
        rows = seen.reshape(-1, seen.shape[-1])
        spread = rows.std(0)
        self.centre.copy_(rows.mean(0))
        self.scale.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.centre) / self.scale


class Network(nn.Module):
    """Prior components and observations to posterior components."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        d, width = shape.dims, shape.width
        own = 4 * d + shape.entries + 2
        self.standard_token = Standard(own)
        self.standard_seen = Standard(shape.columns + shape.features)
        self.embed = nn.Linear(own, width)
        # Equal halves of a padded prior must be able to part.
        self.slots = nn.Parameter(0.5 * torch.randn(shape.components, width))
        seen = 2 * (shape.columns + shape.features) + own
        self.see = nn.Sequential(nn.Linear(seen, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.cross = nn.ModuleList(CrossAttention(width, shape.heads) for _ in range(shape.layers))
        self.among = nn.ModuleList(SelfAttention(width, shape.heads) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(width)
        features = shape.columns + shape.features
        self.pool = nn.Linear(features, width)
        self.head = nn.Linear(width, 1 + 2 * d + shape.entries + d * features)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, prior: Components, observed: Tensor, viewed: Tensor) -> Components:
        """``observed`` (B, m, columns); ``viewed`` (B, K, m, features) from each component."""
        prior, viewed = in_order(prior, viewed)
        own = self.standard_token(own_features(prior, observed.shape[1]))
        seen = self.standard_seen(seen_features(observed, viewed))
        b, k, m, _ = seen.shape
        average = seen.mean(2)
        beside = own[:, :, None].expand(b, k, m, own.shape[-1])
        near = torch.asinh(10 * seen) / 3  # near zero, and far out
        memory = self.see(torch.cat([seen, near, beside], dim=-1)).flatten(0, 1)
        start = self.embed(own) + self.slots
        tokens = start + self.pool(average)
        for cross, among in zip(self.cross, self.among, strict=True):
            tokens = cross(tokens.reshape(b * k, 1, -1), memory).reshape(b, k, -1)
            if k > 1:
                tokens = among(tokens)
        change = self.head(self.norm(tokens)) - self.head(self.norm(start))
        return self._changed(prior, change.double(), average.double())

    def _changed(self, prior: Components, change: Tensor, average: Tensor) -> Components:
        d = self.shape.dims
        sizes = [1, d, d, self.shape.entries, d * average.shape[-1]]
        logit, step, steep, rest, gain = torch.split(change, sizes, dim=-1)
        # A Kalman gain: how the average observation moves the mean need not be approximated.
        gain = gain.reshape(*gain.shape[:-1], d, -1)
        step = step + (gain @ average[..., None])[..., 0]
        log_weights = prior.log_weights.clamp(min=LOWEST) + logit[..., 0]
        t = torch.diag_embed(torch.exp(STEEPEST * torch.tanh(steep / STEEPEST)))
        if d > 1:
            i, j = torch.tril_indices(d, d, -1)
            lower = torch.zeros_like(t)
            lower[..., i, j] = rest
            t = t + lower
        return Components(
            torch.log_softmax(log_weights, dim=1),
            prior.means + (prior.factors @ step[..., None])[..., 0],
            prior.factors @ t,
        )


def in_order(prior: Components, viewed: Tensor) -> tuple[Components, Tensor]:
    """Components in an order that depends on them alone, so that theirs is no input."""
    d = prior.means.shape[-1]
    pull = torch.tensor([0.01**i for i in range(d)], dtype=prior.means.dtype)
    key = prior.means @ pull + 1e-3 * prior.factors.diagonal(dim1=-2, dim2=-1).sum(-1)
    order = torch.argsort(key + 1e-4 * prior.log_weights.clamp(min=LOWEST), dim=1, stable=True)
    rows = torch.arange(len(order))[:, None]
    parts = (part[rows, order] for part in (prior.log_weights, prior.means, prior.factors))
    return Components(*parts), viewed[rows, order]


def own_features(prior: Components, observations: int) -> Tensor:
    """What a token says of its component, (B, K, ...): absolute, among the others, how many see."""
    d = prior.means.shape[-1]
    weights = prior.log_weights.exp()[..., None]
    sds = prior.factors.square().sum(-1).sqrt()
    mean = (weights * prior.means).sum(1, keepdim=True)
    apart = prior.means - mean
    spread = (weights * (sds.square() + apart.square())).sum(1, keepdim=True).sqrt()
    i, j = torch.tril_indices(d, d, -1)
    correlated = (prior.factors / sds[..., None])[..., i, j]
    count = torch.full_like(sds[..., :1], float(np.log(observations)))
    log_weights = prior.log_weights.clamp(min=LOWEST)[..., None]
    parts = [prior.means, sds.log(), apart / spread, (sds / spread).log(), correlated]
    return torch.cat([*parts, log_weights, count], dim=-1).float()


def seen_features(observed: Tensor, viewed: Tensor) -> Tensor:
    """Observations and their views, (B, K, m, columns + features)."""
    b, k, m, _ = viewed.shape
    columns = observed[:, None].expand(b, k, m, observed.shape[-1])
    return torch.cat([columns, viewed], dim=-1).float()


def look(view: View | None, observed: Floats, prior: Components) -> Tensor:
    """The view from every component, as a tensor (B, K, m, features)."""
    b, k, _ = prior.means.shape
    if view is None:
        return torch.zeros(b, k, observed.shape[1], 0, dtype=torch.float64)
    centre, factor = prior.means.detach().numpy(), prior.factors.detach().numpy()
    found: Any = view(observed[:, None], centre[:, :, None], factor[:, :, None])
    found = np.asarray(found, dtype=np.float64)
    shape = (b, k, observed.shape[1], found.shape[-1] if found.ndim else 0)
    return tensor_of(np.broadcast_to(found, shape))


def tensor_of(array: Floats) -> Tensor:
    """A copy: torch has no read-only tensors."""
    return torch.from_numpy(np.array(array))
