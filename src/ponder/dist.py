"""Distributions: the values that a program may sample from.

A distribution draws from a :class:`Stream` of uniforms, scores a value, and may list its support
so that an enumerator can visit every outcome. Log-probabilities are natural logarithms.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import accumulate, product
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from ponder.errors import PonderError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

X_co = TypeVar("X_co", covariant=True)
NEG_INF = -math.inf


class Stream:
    """Uniforms in [0, 1) derived by hashing ``key`` with a counter: the same key, the same bytes.

    Independent of every other stream and of the order in which streams are read (counter-based
    randomness, Salmon et al. 2011), which is what makes results independent of batch order.
    """

    __slots__ = ("count", "key")

    def __init__(self, key: bytes, count: int = 0) -> None:
        self.key = key
        self.count = count

    def uniform(self) -> float:
        """The next uniform, a multiple of 2**-53."""
        digest = blake2b(self.count.to_bytes(8, "little"), key=self.key, digest_size=8).digest()
        self.count += 1
        return (int.from_bytes(digest, "little") >> 11) * 2.0**-53

    def uniforms(self, shape: int | tuple[int, ...]) -> NDArray[np.float64]:
        """Uniforms in [0, 1) of this shape, from Philox keyed by the hash; counts as one."""
        return self._generator().random(shape)

    def normals(self, shape: int | tuple[int, ...]) -> NDArray[np.float64]:
        """Standard normals of this shape, from Philox keyed by the hash; counts as one.

        The same bytes as long as NumPy keeps its algorithm, which it may improve (NEP 19).
        """
        return self._generator().standard_normal(shape)

    def _generator(self) -> np.random.Generator:
        from numpy.random import Generator, Philox

        # Another digest size is another hash: no array repeats the bits of a single uniform.
        digest = blake2b(self.count.to_bytes(8, "little"), key=self.key, digest_size=16).digest()
        self.count += 1
        return Generator(Philox(key=int.from_bytes(digest, "little")))


def derive(key: bytes, part: str) -> bytes:
    """The 32-byte key of a child stream, named ``part``."""
    return blake2b(part.encode(), key=key, digest_size=32).digest()


@runtime_checkable
class Dist(Protocol[X_co]):
    """What a program samples from. Equality must mean equality of distributions (for replay)."""

    def draw(self, stream: Stream) -> X_co:
        """One value."""
        ...

    def log_prob(self, value: Any) -> float:
        """Log-probability (or log-density) of ``value``; -inf outside the support."""
        ...

    def support(self) -> Sequence[tuple[X_co, float]] | None:
        """Every (value, log-probability) of positive probability, or None if it is not listed."""
        ...


def in_kind(dist: Dist[Any], value: Any) -> Any:
    """A value that another distribution drew as ``dist`` gives it: its ``own(value)``, if any.

    So that what goes on from a sample of tensors is always given tensors.
    """
    own = getattr(dist, "own", None)
    return value if own is None else own(value)


def _log(p: float) -> float:
    return math.log(p) if p > 0 else NEG_INF


@dataclass(frozen=True, slots=True)
class Bernoulli:
    """True with probability ``p``."""

    p: float

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise PonderError(f"Bernoulli needs a probability between 0 and 1, got {self.p}")

    def draw(self, stream: Stream) -> bool:
        return stream.uniform() < self.p

    def log_prob(self, value: Any) -> float:
        return _log(self.p if value else 1 - self.p)

    def support(self) -> Sequence[tuple[bool, float]]:
        return [(v, self.log_prob(v)) for v in (False, True) if self.log_prob(v) > NEG_INF]


@dataclass(frozen=True)
class Categorical:
    """``values[i]`` with probability proportional to ``weights[i]``; values default to 0..n-1.

    Raises PonderError if the weights are negative, not finite, or sum to zero.
    """

    weights: tuple[float, ...]
    values: tuple[Hashable, ...] | None = None
    _cumulative: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __init__(self, weights: Sequence[float], values: Sequence[Hashable] | None = None) -> None:
        w = tuple(float(x) for x in weights)
        total = math.fsum(w)
        if not w or min(w) < 0 or not 0 < total < math.inf:
            raise PonderError("Categorical needs finite weights >= 0 with a positive sum")
        if values is not None and len(values) != len(w):
            raise PonderError(f"Categorical got {len(w)} weights for {len(values)} values")
        object.__setattr__(self, "weights", tuple(x / total for x in w))
        object.__setattr__(self, "values", None if values is None else tuple(values))
        object.__setattr__(self, "_cumulative", tuple(accumulate(self.weights)))

    def _value(self, index: int) -> Any:
        return index if self.values is None else self.values[index]

    def draw(self, stream: Stream) -> Any:
        c = self._cumulative
        index = bisect_right(c, stream.uniform() * c[-1])
        return self._value(min(index, len(c) - 1))

    def log_prob(self, value: Any) -> float:
        pairs = enumerate(self.weights)
        return _log(math.fsum(w for i, w in pairs if self._value(i) == value))

    def support(self) -> Sequence[tuple[Any, float]]:
        return [(self._value(i), math.log(w)) for i, w in enumerate(self.weights) if w > 0]


@dataclass(frozen=True, slots=True)
class Normal:
    """Normal with ``mean`` and standard deviation ``sd`` > 0."""

    mean: float = 0.0
    sd: float = 1.0

    def draw(self, stream: Stream) -> float:
        # 2**-54 keeps the quantile finite at u = 0.
        return self.mean + self.sd * _UNIT_NORMAL.inv_cdf(max(stream.uniform(), 2.0**-54))

    def log_prob(self, value: Any) -> float:
        z: float = (value - self.mean) / self.sd
        return -0.5 * z * z - math.log(self.sd) - 0.5 * math.log(2 * math.pi)

    def support(self) -> None:
        return None


_UNIT_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Uniform:
    """Uniform on [low, high)."""

    low: float = 0.0
    high: float = 1.0

    def draw(self, stream: Stream) -> float:
        return self.low + (self.high - self.low) * stream.uniform()

    def log_prob(self, value: Any) -> float:
        return -math.log(self.high - self.low) if self.low <= value < self.high else NEG_INF

    def support(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Exponential:
    """Exponential with ``rate`` > 0 (mean 1 / rate)."""

    rate: float = 1.0

    def draw(self, stream: Stream) -> float:
        return -math.log1p(-stream.uniform()) / self.rate

    def log_prob(self, value: Any) -> float:
        return math.log(self.rate) - self.rate * value if value >= 0 else NEG_INF

    def support(self) -> None:
        return None


@dataclass(frozen=True)
class Independent:
    """A tuple of independent draws, one from each of ``parts``."""

    parts: tuple[Dist[Any], ...]

    def draw(self, stream: Stream) -> tuple[Any, ...]:
        return tuple(part.draw(stream) for part in self.parts)

    def log_prob(self, value: Any) -> float:
        return math.fsum(p.log_prob(v) for p, v in zip(self.parts, value, strict=True))

    def support(self) -> Sequence[tuple[tuple[Any, ...], float]] | None:
        listed = [part.support() for part in self.parts]
        if any(s is None for s in listed):
            return None
        outcomes = product(*(s for s in listed if s is not None))
        return [(tuple(v for v, _ in o), math.fsum(lp for _, lp in o)) for o in outcomes]


@dataclass(frozen=True, eq=False)
class SciPy:
    """A frozen ``scipy.stats`` distribution, drawn by its quantile function.

    Convenient and slow (tens of microseconds a call); equal only to itself or to a wrapper of a
    distribution with the same family and arguments.
    """

    frozen: Any

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SciPy):
            return NotImplemented
        a, b = self.frozen, other.frozen
        return bool(a.dist.name == b.dist.name and a.args == b.args and a.kwds == b.kwds)

    def __hash__(self) -> int:
        return hash((self.frozen.dist.name, repr(self.frozen.args), repr(self.frozen.kwds)))

    def draw(self, stream: Stream) -> Any:
        # 2**-54: the quantile at 0 lies outside of the support, or at minus infinity.
        return self.frozen.ppf(max(stream.uniform(), 2.0**-54)).item()

    def log_prob(self, value: Any) -> float:
        score = getattr(self.frozen, "logpdf", None) or self.frozen.logpmf
        return float(score(value))

    def support(self) -> None:
        return None


@dataclass(frozen=True)
class Mixture:
    """A draw from one of ``parts``, chosen with probability proportional to ``weights``.

    Raises PonderError unless there is one finite weight >= 0 for each part, with a positive sum.
    """

    parts: tuple[Dist[Any], ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.parts) != len(self.weights):
            raise PonderError(
                f"Mixture got {len(self.weights)} weights for {len(self.parts)} parts; give as many"
            )
        object.__setattr__(self, "parts", tuple(self.parts))
        object.__setattr__(self, "weights", Categorical(self.weights).weights)

    def choose(self, stream: Stream) -> Dist[Any]:
        """The part to draw from."""
        part: Dist[Any] = self.parts[Categorical(self.weights).draw(stream)]
        return part

    def draw(self, stream: Stream) -> Any:
        return self.choose(stream).draw(stream)

    def log_prob(self, value: Any) -> float:
        pairs = zip(self.parts, self.weights, strict=True)
        return _log_sum([math.log(w) + part.log_prob(value) for part, w in pairs if w > 0])

    def support(self) -> Sequence[tuple[Any, float]] | None:
        """What several parts list is listed once."""
        terms: dict[Any, list[float]] = {}
        for part, weight in zip(self.parts, self.weights, strict=True):
            listed = part.support() if weight > 0 else ()
            if listed is None:
                return None
            for value, log_prob in listed:
                terms.setdefault(value, []).append(math.log(weight) + log_prob)
        return [(value, _log_sum(logs)) for value, logs in terms.items()]


def _log_sum(logs: Sequence[float]) -> float:
    """log(sum(exp(logs)))."""
    top = max(logs)
    return top if top == NEG_INF else top + math.log(math.fsum(math.exp(x - top) for x in logs))
