"""PyTorch's distributions as distributions of ponder, and the gradient estimators named on them.

``sample(Torch(torch.distributions.Normal(mean, 1.0)), "z")`` is understood by every interpreter:
its value is a tensor, its score a float. Where an objective is differentiated (``ponder.vi``),
scores stay tensors and keep their graph, and a site's gradient estimator is the one named on it:

    z = yield from sample(reparam(Normal(mean, 1.0)), "z")       # gradients through the value
    b = yield from sample(enum(Bernoulli(p)), "b")               # every outcome, exactly
    c = yield from sample(mvd(Bernoulli(p)), "c")                # measure-valued derivative
    d = yield from sample(reinforce(Bernoulli(p)), "d")          # score function, with a baseline
    e = yield from sample(stop(Normal(mean, 1.0)), "e")          # no gradient at all

A program whose values are to be counted by ``enumerate_measure`` or a vote returns numbers
(``z.item()``), since two tensors are never one key.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

from ponder import arrays, dist
from ponder.dist import NEG_INF, Stream
from ponder.effects import Scoring, scoring
from ponder.errors import PonderError
from ponder.pytorch import torch

Distribution = torch.distributions.Distribution
Method = Literal["reparam", "reinforce", "enum", "mvd", "stop"]
Baseline = Callable[[], Any] | torch.Tensor | float | str | None
LISTED = 4096  # outcomes beyond which a support is not listed
_differentiating: ContextVar[bool] = ContextVar("differentiating", default=False)


@dataclass(frozen=True, eq=False, slots=True)
class Estimator:
    """How the gradient of an expectation passes a site.

    ``baseline`` is of reinforce: "leave_one_out" (the mean of the other particles), "running" (of
    the steps before), a number or tensor that does not depend on the site's value or a function
    without arguments that returns one, or None.
    """

    method: Method
    baseline: Baseline = None

    def __str__(self) -> str:
        if self.method != "reinforce" or self.baseline is None:
            return self.method
        named = self.baseline if isinstance(self.baseline, str) else "its own"
        return f"reinforce, {named.replace('_', ' ')} baseline"


@dataclass(frozen=True, eq=False)
class Torch:
    """A ``torch.distributions`` distribution; all of its batch is one value, scored by its sum.

    Equal if family and parameters are. Inside :func:`differentiable` a score is a tensor of shape
    () with its graph, otherwise a float; outside of the support it is -inf.
    """

    distribution: Distribution
    estimator: Estimator | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.distribution, Distribution):
            raise PonderError(
                f"Torch wraps a torch.distributions distribution, not {self.distribution!r}"
            )

    def draw(self, stream: Stream) -> torch.Tensor:
        noise = torch.default_generator
        before = noise.get_state()
        try:
            noise.manual_seed(int(stream.uniform() * 2.0**53))
            with torch.no_grad():
                return self.distribution.sample().detach()
        finally:
            noise.set_state(before)

    def own(self, value: Any) -> torch.Tensor:
        """A value that a distribution of another kind drew, as a tensor."""
        found = torch.as_tensor(value)
        return _point(found) if found.dtype is torch.bool else found

    def log_prob(self, value: Any) -> Any:
        if _differentiating.get():
            return self.score(value)
        with torch.no_grad():
            if not self._holds(_point(value)):
                return NEG_INF
            return float(self.score(value))

    def score(self, value: Any) -> torch.Tensor:
        """The log-density as a tensor of shape (); PonderError for several values at once."""
        point = _point(value)
        if not self._fits(point):
            family, whole = type(unwrapped(self.distribution)).__name__, tuple(self._whole())
            raise PonderError(
                f"{family} of shape {whole} has no value of shape {tuple(point.shape)}; "
                "expand its parameters to the value's shape"
            )
        scored = self.distribution.log_prob(point).sum()
        support = _support_of(self.distribution)
        if support is None or support is torch.distributions.constraints.real:
            return scored
        return torch.where(support.check(point).all(), scored, NEG_INF)

    def _whole(self) -> torch.Size:
        return self.distribution.batch_shape + self.distribution.event_shape

    def _fits(self, value: torch.Tensor) -> bool:
        """Whether it has the shape of a value, or is to be repeated to it; one number always is."""
        try:
            return value.numel() == 1 or value.expand(self._whole()) is not None
        except RuntimeError:
            return False

    def _holds(self, value: torch.Tensor) -> bool:
        support = _support_of(self.distribution)
        return self._fits(value) and (support is None or bool(support.check(value).all()))

    def support(self) -> Sequence[tuple[torch.Tensor, float]] | None:
        """Every combination of the batch's outcomes, if there are no more than 4096."""
        listed = outcomes(self.distribution)
        if listed is None:
            return None
        pairs = [(value, self.score(value).item()) for value in listed.detach()]
        return [(value, log_prob) for value, log_prob in pairs if log_prob > NEG_INF]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Torch):
            return NotImplemented
        return _equal(self.distribution, other.distribution)

    def __hash__(self) -> int:
        return hash((type(self.distribution), self.distribution.batch_shape))

    def __repr__(self) -> str:
        inner = repr(self.distribution).replace("\n", " ")
        return f"Torch({inner if len(inner) < 200 else inner[:200] + '...'})"


Tensorial = Torch | Distribution | dist.Dist[Any]


def reparam(distribution: Tensorial) -> Torch:
    """The value is a differentiable function of noise: the objective must be smooth in it."""
    return _named(distribution, Estimator("reparam"))


def enum(distribution: Tensorial) -> Torch:
    """Every outcome in turn: exact; n sites in one run cost the product of their supports."""
    return _named(distribution, Estimator("enum"))


def mvd(distribution: Tensorial) -> Torch:
    """Measure-valued derivative: differences of what follows; unbiased even if not smooth.

    n sites in one run cost a sum, not a product. For Bernoulli, Categorical, Normal, Poisson,
    Exponential and Geometric; a vector is differentiated element by element.
    """
    return _named(distribution, Estimator("mvd"))


def reinforce(distribution: Tensorial, baseline: Baseline = "leave_one_out") -> Torch:
    """The score function, less a baseline that must not depend on the value. See Estimator."""
    if isinstance(baseline, str) and baseline not in ("leave_one_out", "running"):
        raise PonderError(
            f"reinforce has no baseline {baseline!r}; give 'leave_one_out', 'running', a number, "
            "a function without arguments, or None"
        )
    return _named(distribution, Estimator("reinforce", baseline))


def stop(distribution: Tensorial) -> Torch:
    """No gradient passes: the value is a constant, and where it came from does not count."""
    return _named(distribution, Estimator("stop"))


def _named(distribution: Tensorial, estimator: Estimator) -> Torch:
    if isinstance(distribution, Distribution):
        return Torch(distribution, estimator)
    found = as_torch(distribution)
    if found is None:
        raise PonderError(
            f"{estimator.method} needs a torch.distributions distribution, not {distribution!r}"
        )
    return replace(found, estimator=estimator)


class _TensorScoring(Scoring):
    def number(self, value: Any) -> Any:
        return torch.as_tensor(value)

    def log_prob(self, dist: dist.Dist[Any], value: Any) -> Any:
        found = as_torch(dist)
        return dist.log_prob(value) if found is None else found.score(value)


@contextmanager
def differentiable() -> Iterator[None]:
    """Here scores and factors are tensors that keep their graph; arguments are not validated."""
    before = torch.distributions.Distribution._validate_args
    flag, kind = _differentiating.set(True), scoring.set(_TensorScoring())
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)
        _differentiating.reset(flag)
        scoring.reset(kind)


def as_torch(source: Any) -> Torch | None:
    """The same distribution by PyTorch, with parameters that may be tensors; None if it has none.

    Knows Bernoulli, Categorical over 0..n-1, Normal, Uniform, Exponential and Normals.
    """
    d = torch.distributions
    if isinstance(source, Torch):
        return source
    if isinstance(source, dist.Normal):
        return Torch(d.Normal(_tensor(source.mean), _tensor(source.sd)))
    if isinstance(source, dist.Bernoulli):
        return Torch(d.Bernoulli(_tensor(source.p)))
    if isinstance(source, dist.Categorical) and source.values is None:
        return Torch(d.Categorical(_tensor(source.weights)))
    if isinstance(source, dist.Uniform):
        return Torch(d.Uniform(_tensor(source.low), _tensor(source.high)))
    if isinstance(source, dist.Exponential):
        return Torch(d.Exponential(_tensor(source.rate)))
    if isinstance(source, arrays.Normals):
        return Torch(d.Normal(_tensor(source.mean), _tensor(source.sd)))
    return None


def _tensor(value: Any) -> torch.Tensor:
    if isinstance(value, torch.Tensor):
        return value
    return torch.tensor(value, dtype=torch.get_default_dtype())


def _point(value: Any) -> torch.Tensor:
    """A value to score, a whole number too: the True of a ponder Bernoulli is 1.0."""
    point = torch.as_tensor(value)
    inexact = point.is_floating_point() or point.is_complex()
    return point if inexact else point.to(torch.get_default_dtype())


def unwrapped(distribution: Distribution) -> Distribution:
    """Without ``Independent``, which changes only how scores are summed."""
    while isinstance(distribution, torch.distributions.Independent):
        distribution = distribution.base_dist
    return distribution


def outcomes(distribution: Distribution, most: int = LISTED) -> torch.Tensor | None:
    """The support of the whole batch, shape (outcomes, *value shape); None if not finite and small.

    The product over the batch: 2**d outcomes for d coins.
    """
    base = unwrapped(distribution)
    if not base.has_enumerate_support:
        return None
    try:
        each = base.enumerate_support(expand=False)
    except NotImplementedError:  # binomials of several totals
        return None
    each = each.reshape(len(each), *base.event_shape)
    elements = math.prod(base.batch_shape)
    if elements * math.log(max(len(each), 1)) > math.log(most) + 1e-9:
        return None
    rows = torch.tensor(list(product(range(len(each)), repeat=elements)), dtype=torch.long)
    return each[rows].reshape(-1, *base.batch_shape, *base.event_shape)


def _support_of(distribution: Distribution) -> Any:
    try:
        return distribution.support
    except NotImplementedError:
        return None


def _equal(left: Any, right: Any) -> bool:
    """Whether two distributions, or parts of them, have the same family and parameters."""
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        return left is right or torch.equal(left, right)
    if not isinstance(left, Distribution):
        return bool(left == right)
    if type(left) is not type(right) or left.batch_shape != right.batch_shape:
        return False
    names = [*left.arg_constraints, "base_dist", "transforms", "reinterpreted_batch_ndims"]
    names += ["mixture_distribution", "component_distribution", "_mixture_distribution"]
    names += ["_component_distribution", "total_count"]
    nothing = object()
    parts = [(getattr(left, n, nothing), getattr(right, n, nothing)) for n in dict.fromkeys(names)]
    return all(_equal(a, b) for a, b in parts if a is not nothing)
