"""Bar distributions: a density that is constant between borders, with half-normal tails.

A network says one probability for each bucket (Müller et al., "Transformers Can Do Bayesian
Inference", 2022). The two buckets at the ends reach to infinity: from their inner border outwards
they are half-normals that have half of their mass within the bucket's width.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from ponder.dist import NEG_INF, Stream
from ponder.errors import PonderError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
# A half-normal of scale s has half of its mass within s / SCALE.
SCALE = 1 / (math.sqrt(2) * float(special.erfinv(0.5)))


class Grid:
    """The borders of ``len(borders) - 1`` >= 3 buckets, increasing and finite.

    Its methods take ``p`` of shape (..., buckets), probabilities that sum to one along the last
    axis, and values or levels of shape (...), broadcast against it.
    """

    __slots__ = ("borders", "scales", "widths")

    def __init__(self, borders: ArrayLike) -> None:
        found = np.array(borders, dtype=np.float64)
        if found.ndim != 1 or len(found) < 4 or not np.isfinite(found).all():
            raise PonderError("bars need a row of at least 4 finite borders")
        widths = np.diff(found)
        if not (widths > 0).all():
            raise PonderError("the borders of bars must increase")
        self.borders: Floats = found
        self.widths: Floats = widths
        self.scales = (float(widths[0]) * SCALE, float(widths[-1]) * SCALE)
        found.flags.writeable = widths.flags.writeable = False

    @classmethod
    def at_quantiles(cls, seen: ArrayLike, buckets: int) -> Grid:
        """Buckets of equal mass in a sample; the outer borders are the medians of the ends.

        Fewer buckets if values repeat; PonderError if fewer than three are left.
        """
        values = np.sort(np.asarray(seen, dtype=np.float64).ravel())
        levels = np.arange(buckets + 1) / buckets
        levels[0], levels[-1] = 0.5 / buckets, 1 - 0.5 / buckets
        borders = np.unique(np.quantile(values, levels))
        if len(borders) < 4:
            raise PonderError(
                f"the prior's y takes too few values for bars ({len(np.unique(values))} seen); "
                "give classes=... if y is a label"
            )
        return cls(borders)

    @property
    def buckets(self) -> int:
        return len(self.widths)

    def place(self, value: ArrayLike) -> tuple[Indices, Floats]:
        """The bucket of each value, and the log-density there given the bucket (-inf for NaN)."""
        v = np.asarray(value, dtype=np.float64)
        index = np.searchsorted(self.borders, v, side="right") - 1
        index = np.clip(index, 0, self.buckets - 1).astype(np.int64)
        shape = np.asarray(-np.log(self.widths)[index])
        for end, scale in zip((0, self.buckets - 1), self.scales, strict=True):
            z = self._beyond(v, end) / scale
            tail = math.log(2 / scale) - 0.5 * math.log(2 * math.pi) - 0.5 * z * z
            shape = np.where(index == end, tail, shape)
        return index, np.where(np.isnan(v), NEG_INF, shape)

    def _beyond(self, v: Floats, end: int) -> Floats:
        """How far a value of an end bucket lies beyond its inner border."""
        out: Floats = self.borders[1] - v if end == 0 else v - self.borders[-2]
        return out

    def log_density(self, p: Floats, value: ArrayLike) -> Floats:
        """Natural logarithm of the density at each value."""
        p, v = _aligned(p, value)
        index, shape = self.place(v)
        chosen = np.take_along_axis(p, index[..., None], axis=-1)[..., 0]
        with np.errstate(divide="ignore"):
            out: Floats = np.log(chosen) + shape
        return out

    def cdf(self, p: Floats, value: ArrayLike) -> Floats:
        """The mass at or below each value."""
        p, v = _aligned(p, value)
        index, _ = self.place(v)
        below, mass = _below(p, index)
        inside = (v - self.borders[index]) / self.widths[index]
        for end, scale in zip((0, self.buckets - 1), self.scales, strict=True):
            outer = special.erfc(np.maximum(self._beyond(v, end), 0.0) / scale / math.sqrt(2))
            inside = np.where(index == end, outer if end == 0 else 1 - outer, inside)
        out: Floats = np.minimum(below + mass * inside, 1.0)
        return out

    def quantile(self, p: Floats, level: ArrayLike) -> Floats:
        """The value below which a mass of ``level`` lies; minus or plus infinity at 0 and 1."""
        p, u = _aligned(p, level)
        if not ((u >= 0) & (u <= 1)).all():
            raise PonderError(f"a quantile's level lies between 0 and 1, got {np.asarray(level)}")
        cumulative = np.cumsum(p, axis=-1)
        index = (cumulative <= u[..., None]).sum(axis=-1)
        # Rounding may leave the last sum below a level below 1: stay in the last bucket with mass.
        last = self.buckets - 1 - np.argmax(p[..., ::-1] > 0, axis=-1)
        index = np.minimum(index, last)
        below, mass = _below(p, index)
        inside = np.clip((u - below) / mass, 0.0, 1.0)
        out: Floats = self.borders[index] + self.widths[index] * inside
        outer = {0: inside, self.buckets - 1: np.clip((1 - u) / mass, 0.0, 1.0)}
        for end, scale in zip(outer, self.scales, strict=True):
            tail = scale * math.sqrt(2) * special.erfcinv(outer[end])
            value = self.borders[1] - tail if end == 0 else self.borders[-2] + tail
            out = np.where(index == end, value, out)
        return out

    def _moments(self) -> tuple[Floats, Floats]:
        """Mean and variance within each bucket."""
        mean = (self.borders[:-1] + self.borders[1:]) / 2
        variance = self.widths**2 / 12
        offset = math.sqrt(2 / math.pi)
        mean[0] = self.borders[1] - self.scales[0] * offset
        mean[-1] = self.borders[-2] + self.scales[1] * offset
        variance[[0, -1]] = np.square(self.scales) * (1 - 2 / math.pi)
        return mean, variance

    def mean(self, p: Floats) -> Floats:
        out: Floats = np.asarray(p) @ self._moments()[0]
        return out

    def sd(self, p: Floats) -> Floats:
        """The standard deviation."""
        mean, variance = self._moments()
        out: Floats = np.sqrt(p @ variance + ((mean - self.mean(p)[..., None]) ** 2 * p).sum(-1))
        return out


def _aligned(p: Floats, value: ArrayLike) -> tuple[Floats, Floats]:
    v = np.asarray(value, dtype=np.float64)
    shape = np.broadcast_shapes(p.shape[:-1], v.shape)
    return np.broadcast_to(p, (*shape, p.shape[-1])), np.broadcast_to(v, shape)


def _below(p: Floats, index: Indices) -> tuple[Floats, Floats]:
    """The mass of all buckets below one, and its own."""
    at = index[..., None]
    mass = np.take_along_axis(p, at, axis=-1)[..., 0]
    through = np.take_along_axis(np.cumsum(p, axis=-1), at, axis=-1)[..., 0]
    return np.maximum(through - mass, 0.0), mass


class Bars:
    """A bar distribution: bucket i with probability proportional to ``weights[i]``.

    A :class:`ponder.dist.Dist` of floats, with the whole real line as its support if both ends
    have mass. Raises PonderError unless there is one finite weight >= 0 a bucket, with a sum > 0.
    """

    __slots__ = ("grid", "probabilities")

    def __init__(self, grid: Grid | ArrayLike, weights: ArrayLike) -> None:
        self.grid = grid if isinstance(grid, Grid) else Grid(grid)
        w = np.array(weights, dtype=np.float64)
        if w.shape != (self.grid.buckets,):
            raise PonderError(f"Bars got weights of {w.shape} for {self.grid.buckets} buckets")
        total = w.sum()
        if not (w.min() >= 0 and 0 < total < np.inf):
            raise PonderError("Bars needs finite weights >= 0 with a positive sum")
        w /= total
        w.flags.writeable = False
        self.probabilities: Floats = w

    def draw(self, stream: Stream) -> float:
        # 2**-54 keeps the quantile finite at u = 0.
        return self.quantile(max(stream.uniform(), 2.0**-54))

    def log_prob(self, value: Any) -> float:
        return float(self.grid.log_density(self.probabilities, float(value)))

    def support(self) -> None:
        return None

    def cdf(self, value: float) -> float:
        return float(self.grid.cdf(self.probabilities, value))

    def quantile(self, level: float) -> float:
        if not 0 <= level <= 1:
            raise PonderError(f"a quantile's level lies between 0 and 1, got {level}")
        return float(self.grid.quantile(self.probabilities, level))

    @property
    def mean(self) -> float:
        return float(self.grid.mean(self.probabilities))

    @property
    def sd(self) -> float:
        return float(self.grid.sd(self.probabilities))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bars):
            return NotImplemented
        same = np.array_equal(self.grid.borders, other.grid.borders)
        return same and np.array_equal(self.probabilities, other.probabilities)

    def __hash__(self) -> int:
        return hash(self.probabilities.tobytes())

    def __repr__(self) -> str:
        return f"Bars({self.grid.buckets} buckets, mean {self.mean:.4g}, sd {self.sd:.4g})"
