"""Distributions whose values are NumPy arrays: thousands of numbers in one sample.

A sample costs a program some microseconds, whatever its value. So a particle filter over numbers
is best written as one program whose state holds all particles as arrays; see
``benchmarks/state_space.py``. Values are read-only, and parameters are copied unless they are so
already, since a trace keeps both: what a program changes in place is never what was recorded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ponder.dist import NEG_INF, Stream
from ponder.errors import PonderError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
A = TypeVar("A", bound=NDArray[Any])


class Normals:
    """Independent normals of ``mean`` and standard deviation ``sd``, broadcast to one shape.

    The value is a float64 array of that shape. Raises PonderError unless means are finite and
    standard deviations positive and finite.
    """

    __slots__ = ("mean", "sd", "shape")

    def __init__(self, mean: ArrayLike, sd: ArrayLike = 1.0) -> None:
        self.mean = _kept(mean)
        self.sd = _kept(sd)
        self.shape = np.broadcast_shapes(self.mean.shape, self.sd.shape)
        if not (np.isfinite(self.mean).all() and (self.sd > 0).all() and (self.sd < np.inf).all()):
            raise PonderError("Normals needs finite means and finite standard deviations > 0")

    def draw(self, stream: Stream) -> Floats:
        value = stream.normals(self.shape)
        value *= self.sd
        value += self.mean
        return _read_only(value)

    def log_probs(self, value: ArrayLike) -> Floats:
        """The log-density of each element, with ``value`` broadcast against the parameters.

        ``Normals(x, sd).log_probs(y)`` weighs every particle of x by the observation y.
        """
        z: Floats = np.subtract(value, self.mean) / self.sd
        z *= z
        z *= -0.5
        z -= np.log(self.sd) + 0.5 * math.log(2 * math.pi)
        return z

    def log_prob(self, value: Any) -> float:
        if np.shape(value) != self.shape:
            return NEG_INF
        return float(np.sum(self.log_probs(value)))

    def support(self) -> None:
        return None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Normals):
            return NotImplemented
        if self is other:
            return True
        alike = self.shape == other.shape
        return alike and _equal(self.sd, other.sd) and _equal(self.mean, other.mean)

    def __hash__(self) -> int:
        return hash(self.shape)

    def __repr__(self) -> str:
        return f"Normals({_brief(self.mean)}, {_brief(self.sd)})"


class _Ancestors:
    """``n`` indices of ``weights``; int64 of shape (n,).

    ``edges`` are the cumulative weights from 0 to exactly 1, shape (N + 1,). Raises PonderError
    unless the weights are one row, finite and >= 0 with a positive sum, and n is at least 1.
    """

    __slots__ = ("edges", "n")

    def __init__(self, weights: ArrayLike, n: int) -> None:
        w = np.asarray(weights, dtype=np.float64)
        name = type(self).__name__
        if w.ndim != 1 or not w.size or n < 1:
            raise PonderError(f"{name} needs one row of weights and n >= 1, not {w.shape}, {n}")
        edges = np.zeros(len(w) + 1)
        np.cumsum(w, out=edges[1:])
        if not (w.min() >= 0 and 0 < edges[-1] < np.inf):
            raise PonderError(f"{name} needs finite weights >= 0 with a positive sum")
        edges /= edges[-1]
        self.edges: Floats = _read_only(edges)
        self.n = n

    def _indices(self, value: Any) -> Indices | None:
        """The value, or None if it is not n indices of the weights."""
        found = np.asarray(value)
        if found.shape != (self.n,) or found.dtype.kind not in "iu":
            return None
        inside = found.min() >= 0 and found.max() < len(self.edges) - 1
        return found.astype(np.int64) if inside else None

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self) or not isinstance(other, _Ancestors):
            return NotImplemented
        if self is other:
            return True
        alike = self.n == other.n and len(self.edges) == len(other.edges)
        return alike and _equal(self.edges, other.edges)

    def __hash__(self) -> int:
        return hash((self.n, len(self.edges)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_brief(np.diff(self.edges))}, {self.n})"


class SystematicAncestors(_Ancestors):
    """Systematic resampling as one array: one uniform for all n positions (Carpenter et al. 1999).

    Ancestor j is the i with ``edges[i] <= (j + u) / n < edges[i + 1]``.
    """

    __slots__ = ()

    def draw(self, stream: Stream) -> Indices:
        return self._at(stream.uniform())

    def _at(self, u: float) -> Indices:
        # As many positions j + u lie below an edge as it has whole units, and one more if u is
        # below its fraction. No rounding: log_prob and support agree with it to the last bit.
        scaled = self.n * self.edges
        whole = np.floor(scaled)
        below = (whole + (scaled - whole > u)).astype(np.int64)
        return _read_only(np.arange(len(below) - 1).repeat(np.diff(below)))

    def log_prob(self, value: Any) -> float:
        found = self._indices(value)
        if found is None:
            return NEG_INF
        scaled, j = self.n * self.edges, np.arange(self.n)
        low = max(0.0, float((scaled[found] - j).max()))
        high = min(1.0, float((scaled[found + 1] - j).min()))
        return math.log(high - low) if low < high else NEG_INF

    def support(self) -> Sequence[tuple[Indices, float]]:
        """At most N outcomes; O(N n) in all."""
        cuts = np.unique(np.append((self.n * self.edges) % 1.0, 1.0)).tolist()
        return [(self._at(low), math.log(high - low)) for low, high in pairwise(cuts)]


class MultinomialAncestors(_Ancestors):
    """n i.i.d. ancestors as one array, in the order drawn (sorting would break conditional SMC)."""

    __slots__ = ()

    def draw(self, stream: Stream) -> Indices:
        found = np.searchsorted(self.edges, stream.uniforms(self.n), side="right") - 1
        return _read_only(found.astype(np.int64, copy=False))

    def log_prob(self, value: Any) -> float:
        found = self._indices(value)
        if found is None:
            return NEG_INF
        chances = np.diff(self.edges)[found]
        return float(np.log(chances).sum()) if chances.min() > 0 else NEG_INF

    def support(self) -> Sequence[tuple[Indices, float]]:
        """N ** n outcomes: for small tests only."""
        chances = np.diff(self.edges)
        rows = product(np.flatnonzero(chances).tolist(), repeat=self.n)
        found = [_read_only(np.array(row, dtype=np.int64)) for row in rows]
        return [(row, float(np.log(chances[row]).sum())) for row in found]


def _read_only(array: A) -> A:
    array.flags.writeable = False
    return array


def _kept(values: ArrayLike) -> Floats:
    """A float64 array that nobody can change: the same one if it already is, else a copy."""
    found = np.asarray(values, dtype=np.float64)
    fixed = found.flags.owndata and not found.flags.writeable
    return found if fixed else _read_only(found.copy())


def _equal(left: Floats, right: Floats) -> bool:
    return left is right or bool((left == right).all())


def _brief(array: Floats) -> str:
    """One line, however long the array is."""
    if array.size > 4:
        first = ", ".join(f"{x:.6g}" for x in array.flat[:3])
        return f"[{first}, ... shape {array.shape}]"
    return str(array.tolist())
