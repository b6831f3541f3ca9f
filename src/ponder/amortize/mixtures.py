"""Gaussian mixtures, one or a batch of them, as distributions that every interpreter runs.

Coordinates with a boundary are Gaussian after a warp (logarithm, logit): means and Cholesky
factors are those of f(x), while draws and densities are those of x, Jacobian included. Marginals
and conditionals stay mixtures, since the warps act on one coordinate each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ponder.amortize.gaussian_arrays import Floats, checked, fixed, log_sum, log_terms
from ponder.amortize.warps import Warp, as_warps, forward, inverse
from ponder.dist import NEG_INF, Stream
from ponder.errors import PonderError


class Mixtures:
    """B independent Gaussian mixtures of K components in d coordinates.

    ``weights`` (B, K), each row normalised to 1; ``means`` (B, K, d); ``factors`` (B, K, d, d),
    lower Cholesky factors of the covariances. As a distribution its value is an array (B, d), one
    draw of each. Raises PonderError for arrays that do not fit, weights that are negative or sum to
    nothing, numbers that are not finite, and diagonals that are not positive.
    """

    __slots__ = ("factors", "means", "warps", "weights")

    def __init__(
        self,
        weights: ArrayLike,
        means: ArrayLike,
        factors: ArrayLike,
        warps: str | Sequence[str] = "identity",
    ) -> None:
        w, m, f = checked(weights, means, factors)
        self.weights: Floats = fixed(w)
        self.means: Floats = fixed(m)
        self.factors: Floats = fixed(f)
        self.warps: tuple[Warp, ...] = as_warps(
            warps if isinstance(warps, str) else tuple(warps), m.shape[2]
        )

    @classmethod
    def diagonal(
        cls,
        weights: ArrayLike,
        means: ArrayLike,
        sds: ArrayLike,
        warps: str | Sequence[str] = "identity",
    ) -> Mixtures:
        """Of components with independent coordinates: ``sds`` is broadcast to (B, K, d)."""
        m = np.asarray(means, dtype=np.float64)
        spread = np.broadcast_to(np.asarray(sds, dtype=np.float64), m.shape)
        return cls(weights, m, spread[..., None] * np.eye(m.shape[-1]), warps)

    @classmethod
    def of(cls, mixtures: Sequence[Gaussians]) -> Mixtures:
        """A batch of mixtures with the same numbers of components and coordinates."""
        kinds = {(g.means.shape, g.warps) for g in mixtures}
        if len(kinds) != 1:
            raise PonderError(
                f"a batch needs mixtures of one size and one warp, got {len(kinds)} kinds; "
                "use padded(k) and reduced(k)"
            )
        weights, means, factors = (
            np.stack([getattr(g, name) for g in mixtures])
            for name in ("weights", "means", "factors")
        )
        return cls(weights, means, factors, mixtures[0].warps)

    @property
    def dims(self) -> int:
        """The number of coordinates."""
        return int(self.means.shape[2])

    @property
    def components(self) -> int:
        """The number of components of each."""
        return int(self.means.shape[1])

    def __len__(self) -> int:
        return len(self.means)

    def __getitem__(self, index: int) -> Gaussians:
        return Gaussians(
            self.weights[index], self.means[index], self.factors[index], warps=self.warps
        )

    def padded(self, k: int) -> Mixtures:
        """The same mixtures written with k components: the heaviest is split in equal halves."""
        w, m, f = self.weights, self.means, self.factors
        rows = np.arange(len(self))
        for _ in range(k - self.components):
            heaviest = np.argmax(w, axis=1)
            half = 0.5 * w[rows, heaviest]
            w = np.concatenate([w, half[:, None]], axis=1)
            w[rows, heaviest] = half
            m = np.concatenate([m, m[rows, heaviest][:, None]], axis=1)
            f = np.concatenate([f, f[rows, heaviest][:, None]], axis=1)
        return self if w is self.weights else Mixtures(w, m, f, self.warps)

    def moments(self) -> tuple[Floats, Floats]:
        """Means (B, d) and covariances (B, d, d) of f(x), exact."""
        mean = np.einsum("bk,bkd->bd", self.weights, self.means)
        apart = self.means - mean[:, None]
        inner = np.einsum("bkde,bkfe->bkdf", self.factors, self.factors)
        inner += apart[..., :, None] * apart[..., None, :]
        return mean, np.einsum("bk,bkdf->bdf", self.weights, inner)

    def draw(self, stream: Stream) -> Floats:
        edges = np.cumsum(self.weights, axis=1)
        uniforms = stream.uniforms((len(self), 1)) * edges[:, -1:]
        chosen = np.minimum((uniforms >= edges).sum(axis=1), self.components - 1)
        rows = np.arange(len(self))
        noise = stream.normals((len(self), self.dims))
        u = self.means[rows, chosen] + np.einsum("bde,be->bd", self.factors[rows, chosen], noise)
        return fixed(inverse(u, self.warps))

    def log_probs(self, value: ArrayLike) -> Floats:
        """Log-densities of ``value`` (..., d) under each, broadcast against (B, d): shape (...)."""
        u, log_jacobian = forward(np.asarray(value, dtype=np.float64), self.warps)
        return log_sum(self.terms(u)) + log_jacobian

    def terms(self, u: Floats) -> Floats:
        """log w_k + log N_k(u), shape (..., K)."""
        return log_terms(u, self.weights, self.means, self.factors)

    def log_prob(self, value: Any) -> float:
        if np.shape(value) != (len(self), self.dims):
            return NEG_INF
        return float(self.log_probs(value).sum())

    def support(self) -> None:
        return None

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self) or not isinstance(other, Mixtures):
            return NotImplemented
        names = ("weights", "means", "factors")
        pairs = [(getattr(self, n), getattr(other, n)) for n in names]
        return self.warps == other.warps and all(np.array_equal(a, b) for a, b in pairs)

    def __hash__(self) -> int:
        return hash((self.means.shape, float(self.means.flat[0])))

    def __repr__(self) -> str:
        return f"{len(self)} mixtures of {self.components} Gaussians in {self.dims} coordinates"


class Gaussians:
    """A mixture of K Gaussians in d coordinates; a value is a float for d = 1, else (d,) floats.

    ``weights`` (K,), ``means`` (K, d), ``factors`` (K, d, d) as in :class:`Mixtures`; for d = 1
    means and factors may be given as (K,), the factors being standard deviations.
    """

    __slots__ = ("_batch", "factors", "means", "warps", "weights")

    def __init__(
        self,
        weights: ArrayLike,
        means: ArrayLike,
        factors: ArrayLike,
        warps: str | Sequence[str] = "identity",
    ) -> None:
        m, f = np.asarray(means, dtype=np.float64), np.asarray(factors, dtype=np.float64)
        if m.ndim == 1:
            m, f = m[:, None], (f[:, None, None] if f.ndim == 1 else f)
        self._batch = Mixtures(np.asarray(weights, dtype=np.float64)[None], m[None], f[None], warps)
        self.weights: Floats = self._batch.weights[0]
        self.means: Floats = self._batch.means[0]
        self.factors: Floats = self._batch.factors[0]
        self.warps: tuple[Warp, ...] = self._batch.warps

    @classmethod
    def normal(cls, mean: ArrayLike, sd: ArrayLike, warps: str | Sequence[str] = "identity") -> Any:
        """One component with independent coordinates: numbers, or one of each a coordinate."""
        m = np.atleast_1d(np.asarray(mean, dtype=np.float64))
        spread = np.broadcast_to(np.asarray(sd, dtype=np.float64), m.shape)
        return cls([1.0], m[None], (spread * np.eye(len(m)))[None], warps)

    @property
    def dims(self) -> int:
        """The number of coordinates."""
        return self._batch.dims

    @property
    def components(self) -> int:
        """The number of components."""
        return self._batch.components

    @property
    def covariances(self) -> Floats:
        """Of the components, in f(x): (K, d, d)."""
        found: Floats = self.factors @ self.factors.transpose(0, 2, 1)
        return found

    def moments(self) -> tuple[Floats, Floats]:
        """Mean (d,) and covariance (d, d) of f(x), exact; without a warp those of x."""
        mean, covariance = self._batch.moments()
        return mean[0], covariance[0]

    def draw(self, stream: Stream) -> Any:
        value = self.draws(stream, 1)[0]
        return float(value[0]) if self.dims == 1 else fixed(value)

    def draws(self, stream: Stream, n: int) -> Floats:
        """n independent draws, shape (n, d)."""
        edges = np.cumsum(self.weights)
        chosen = np.searchsorted(edges, stream.uniforms(n) * edges[-1], side="right")
        chosen = np.minimum(chosen, self.components - 1)
        noise = stream.normals((n, self.dims))
        u = self.means[chosen] + np.einsum("nde,ne->nd", self.factors[chosen], noise)
        return inverse(u, self.warps)

    def log_probs(self, values: ArrayLike) -> Floats:
        """Log-densities of n points, (n, d) -> (n,); -inf outside of the support."""
        return self._batch.log_probs(values)

    def log_prob(self, value: Any) -> float:
        x = np.asarray(value, dtype=np.float64).reshape(-1)
        if len(x) != self.dims:
            return NEG_INF
        return float(self.log_probs(x[None])[0])

    def support(self) -> None:
        return None

    def marginal(self, coordinates: Sequence[int]) -> Gaussians:
        """The mixture of these coordinates, in this order."""
        rows = self._checked(coordinates)
        n = len(rows)
        factors: Any = self.factors[:, :n, :n]
        if rows != list(range(n)):
            factors = np.linalg.cholesky(self.covariances[:, rows][:, :, rows])
        warps = [self.warps[i] for i in rows]
        return Gaussians(self.weights, self.means[:, rows], factors, warps)

    def conditional(self, given: Mapping[int, float]) -> Gaussians:
        """The mixture of the other coordinates, in their order, given these values."""
        known = self._checked(list(given))
        free = [i for i in range(self.dims) if i not in given]
        if not free:
            raise PonderError("all coordinates are given: none is left to have a conditional")
        ordered = self.marginal([*known, *free])
        return ordered.following([given[i] for i in known])

    def following(self, first: Sequence[float]) -> Gaussians:
        """The mixture of the last coordinates, given values of the first ones."""
        n = len(first)
        if n == 0:
            return self
        head = self.marginal(range(n))
        u, log_jacobian = forward(np.asarray(first, dtype=np.float64), head.warps)
        if not np.isfinite(log_jacobian):
            raise PonderError(f"the given values {list(first)} lie outside of the support")
        z = np.linalg.solve(self.factors[:, :n, :n], (u - self.means[:, :n])[..., None])[..., 0]
        terms = head._batch.terms(u[None])[0]
        means = self.means[:, n:] + np.einsum("kij,kj->ki", self.factors[:, n:, :n], z)
        weights = np.exp(terms - terms.max())
        return Gaussians(weights, means, self.factors[:, n:, n:], self.warps[n:])

    def _checked(self, coordinates: Sequence[int]) -> list[int]:
        rows = list(coordinates)
        if not rows or len(set(rows)) < len(rows) or not set(rows) <= set(range(self.dims)):
            raise PonderError(
                f"coordinates must be different numbers from 0 to {self.dims - 1}, got {rows}"
            )
        return rows

    def padded(self, k: int) -> Gaussians:
        """The same mixture written with k components: the heaviest one is split in equal halves."""
        return self._batch.padded(k)[0]

    def __eq__(self, other: object) -> bool:
        return self._batch == other._batch if isinstance(other, Gaussians) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._batch)

    def __repr__(self) -> str:
        mean, covariance = self.moments()
        sds = np.sqrt(np.diagonal(covariance))
        about = ", ".join(f"{m:.4g} ± {s:.2g}" for m, s in zip(mean, sds, strict=True))
        warped = "" if set(self.warps) == {"identity"} else f", warps {'/'.join(self.warps)}"
        return f"Gaussians({self.components} of {about}{warped})"
