"""A trained Prior-Data Fitted Network: data and queries in, distributions out."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from ponder.amortize import checkpoint
from ponder.amortize.attention import SelfAttention
from ponder.amortize.bars import Bars, Grid
from ponder.amortize.ranges import Range
from ponder.dist import Categorical, Dist
from ponder.errors import PonderError

Floats = NDArray[np.float64]
KIND = "pfn"
AT_ONCE = 1024  # tasks of one forward pass


@dataclass(frozen=True)
class Shape:
    """The size of a network: ``features`` of x, ``outputs`` are buckets or classes."""

    features: int
    outputs: int
    classes: bool
    width: int
    layers: int
    heads: int


class _Network(nn.Module):
    """Logits (batch, m, outputs) of m queries, each given the context and nothing else."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.classes = shape.outputs if shape.classes else None
        self.point = nn.Sequential(
            nn.Linear(shape.features, width), nn.GELU(), nn.Linear(width, width)
        )
        self.answer = nn.Linear(shape.outputs if shape.classes else 1, width)
        # A query has no answer yet; and the context is never empty, so attention is defined.
        self.asked = nn.Parameter(torch.randn(width))
        self.nothing = nn.Parameter(torch.randn(width))
        self.layers = nn.ModuleList(SelfAttention(width, shape.heads) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, shape.outputs)

    def forward(self, x: Tensor, y: Tensor, queries: Tensor) -> Tensor:
        """x (batch, n, d), y (batch, n), queries (batch, m, d); standardised, but for labels."""
        if self.classes is None:
            answers = self.answer(y[..., None])
        else:
            answers = self.answer(functional.one_hot(y.long(), self.classes).to(x.dtype))
        start = self.nothing.expand(len(x), 1, -1)
        tokens = torch.cat(
            [start, self.point(x) + answers, self.point(queries) + self.asked], dim=1
        )
        seen = 1 + x.shape[1]
        for layer in self.layers:
            tokens = layer(tokens, seen)
        out: Tensor = self.head(self.norm(tokens[:, seen:]))
        return out


@dataclass(frozen=True)
class Standard:
    """How x and y are scaled before the network sees them: (value - centre) / scale."""

    x_centre: Floats
    x_scale: Floats
    y_centre: float
    y_scale: float

    def x(self, values: Floats) -> Tensor:
        return torch.from_numpy(((values - self.x_centre) / self.x_scale).astype(np.float32))

    def y(self, values: Floats) -> Tensor:
        return torch.from_numpy(((values - self.y_centre) / self.y_scale).astype(np.float32))


class Pfn:
    """A trained network. Made by :func:`ponder.amortize.pfn.train` or ``load``.

    Everywhere ``x`` is (n, features), ``y`` (n,) and ``queries`` (m, features), or all three have
    one more axis in front: many tasks at once, each with n points and m queries. A context may be
    empty (n = 0): then it says the prior predictive. Data outside what was trained on is answered
    with a warning that says how far outside it is.
    """

    def __init__(
        self,
        shape: Shape,
        grid: Grid | None,
        standard: Standard,
        ranges: dict[str, Range],
        about: dict[str, Any],
    ) -> None:
        self.shape = shape
        self.grid = grid
        self.standard = standard
        self.ranges = ranges
        self.about = about
        self.network = _Network(shape)

    def __repr__(self) -> str:
        s = self.shape
        what = f"{s.outputs} {'classes' if s.classes else 'buckets'}"
        return f"Pfn({s.features} features, {what}, {s.layers} layers of {s.width})"

    def predict(self, x: ArrayLike, y: ArrayLike, queries: ArrayLike) -> list[Any]:
        """For each query its distribution: Bars, or a Categorical over the classes.

        For many tasks at once, a list of such lists.
        """
        p = self._probabilities(x, y, queries)
        rows = [[self._dist(row) for row in task] for task in p.reshape(-1, *p.shape[-2:])]
        return rows if p.ndim == 3 else rows[0]

    def _dist(self, p: Floats) -> Dist[Any]:
        return Categorical(p.tolist()) if self.grid is None else Bars(self.grid, p)

    def probabilities(self, x: ArrayLike, y: ArrayLike, queries: ArrayLike) -> Floats:
        """Of each bucket or class, shape (..., m, outputs)."""
        return self._probabilities(x, y, queries)

    def log_density(
        self, x: ArrayLike, y: ArrayLike, queries: ArrayLike, values: ArrayLike
    ) -> Floats:
        """log q(value | query, data) of values (..., m), in nats; of labels, log-probability."""
        p = self._probabilities(x, y, queries)
        if self.grid is not None:
            return self.grid.log_density(p, values)
        labels = np.asarray(values).astype(np.int64)[..., None]
        out: Floats = np.log(np.take_along_axis(p, labels, axis=-1)[..., 0])
        return out

    def mean(self, x: ArrayLike, y: ArrayLike, queries: ArrayLike) -> Floats:
        """The predictive mean of each query, (..., m)."""
        return self._bars().mean(self._probabilities(x, y, queries))

    def quantile(self, x: ArrayLike, y: ArrayLike, queries: ArrayLike, level: ArrayLike) -> Floats:
        """The predictive quantile of each query, (..., m), at one level or one for each."""
        return self._bars().quantile(self._probabilities(x, y, queries), level)

    def cdf(self, x: ArrayLike, y: ArrayLike, queries: ArrayLike, values: ArrayLike) -> Floats:
        """The predictive mass at or below values (..., m)."""
        return self._bars().cdf(self._probabilities(x, y, queries), values)

    def _bars(self) -> Grid:
        if self.grid is None:
            raise PonderError("this network predicts classes; ask for its probabilities")
        return self.grid

    def _probabilities(self, x: ArrayLike, y: ArrayLike, queries: ArrayLike) -> Floats:
        xs, ys, qs = (np.asarray(part, dtype=np.float64) for part in (x, y, queries))
        d = self.shape.features
        many = qs.ndim == 3
        if not xs.size and not many:  # an empty context may be written as []
            xs = xs.reshape(0, d)
        fits = xs.ndim == qs.ndim in (2, 3) and xs.shape[-1] == qs.shape[-1] == d
        if not fits or ys.shape != xs.shape[:-1] or (many and len(xs) != len(qs)):
            raise PonderError(
                f"this network takes x of (n, {d}), y of (n,) and queries of (m, {d}), or the "
                f"same with one axis in front; got {xs.shape}, {ys.shape} and {qs.shape}"
            )
        for name, part in (("x", xs), ("y", ys), ("queries", qs)):
            if not np.isfinite(part).all():
                raise PonderError(f"{name} holds a value that is not finite; leave it out")
        if self.grid is None and not np.isin(ys, np.arange(self.shape.outputs)).all():
            raise PonderError(f"y must be labels 0 ... {self.shape.outputs - 1}")
        self._warn(xs, ys, qs)
        if not many:
            xs, ys, qs = xs[None], ys[None], qs[None]
        found = [
            self._forward(xs[i : i + AT_ONCE], ys[i : i + AT_ONCE], qs[i : i + AT_ONCE])
            for i in range(0, len(xs), AT_ONCE)
        ]
        p = np.concatenate(found) if found else np.zeros((0, qs.shape[1], self.shape.outputs))
        return p if many else p[0]

    def _forward(self, x: Floats, y: Floats, queries: Floats) -> Floats:
        with torch.inference_mode():
            logits = self.network(self.standard.x(x), self.answers(y), self.standard.x(queries))
            out: Floats = torch.softmax(logits.double(), dim=-1).numpy()
        return out

    def answers(self, y: Floats) -> Tensor:
        """y as the network takes it: standardised, or labels."""
        return self.standard.y(y) if self.grid is not None else torch.from_numpy(y)

    def _warn(self, x: Floats, y: Floats, queries: Floats) -> None:
        level = 4  # the line that called predict, mean, ...
        self.ranges["x"].warn_outside(queries, "a query", level)
        self.ranges["x"].warn_outside(x, "a point of the context", level)
        self.ranges["y"].warn_outside(y[..., None], "a point of the context", level)
        self.ranges["n"].warn_outside([float(x.shape[-2])], "the context", level)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to one file, which :func:`load` reads."""
        standard = {k: np.asarray(v).tolist() for k, v in asdict(self.standard).items()}
        config = {
            "shape": asdict(self.shape),
            "borders": None if self.grid is None else self.grid.borders.tolist(),
            "standard": standard,
            "ranges": {name: found.to_dict() for name, found in self.ranges.items()},
        }
        checkpoint.save(path, KIND, config, self.network.state_dict(), self.about)


def load(path: str | os.PathLike[str]) -> Pfn:
    """The network that :meth:`Pfn.save` wrote. Raises PonderError if the file holds no such."""
    saved = checkpoint.load(path, KIND)
    config, standard = saved.config, saved.config["standard"]
    pfn = Pfn(
        Shape(**config["shape"]),
        None if config["borders"] is None else Grid(config["borders"]),
        Standard(
            np.asarray(standard["x_centre"]),
            np.asarray(standard["x_scale"]),
            standard["y_centre"],
            standard["y_scale"],
        ),
        {name: Range.from_dict(found) for name, found in config["ranges"].items()},
        saved.about,
    )
    pfn.network.load_state_dict(saved.weights)
    return pfn
