"""Measure-valued derivatives: where else to go on from, and what each place counts.

The derivative of a law in a parameter is c (p+ - p-), a difference of two laws, so the derivative
of an expectation is c (E f(x+) - E f(x-)): no smoothness of f is needed. Mohamed, Rosca, Figurnov
and Mnih, "Monte Carlo gradient estimation in machine learning", JMLR 21 (2020), section 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from ponder.errors import PonderError
from ponder.tensors import Distribution, unwrapped
from ponder.vi.noise import drawn

_d = torch.distributions


class Alternates(NamedTuple):
    """Places to go on from, ``values`` (elements, *value shape) and zeros with a gradient.

    The derivative is that of the sum over places of ``weights * f(values)`` plus ``main * f(x)``,
    x the value that was drawn; each of ``values`` is x with one element replaced.
    """

    places: list[tuple[torch.Tensor, torch.Tensor]]
    main: torch.Tensor


@dataclass(frozen=True)
class _Term:
    """Per element of the batch: a zero with a gradient, and the value it multiplies (None: x)."""

    weight: torch.Tensor
    value: torch.Tensor | None


def alternates(distribution: Distribution, value: torch.Tensor) -> Alternates:
    """Where to go on from besides ``value``; element by element for a vector.

    Raises PonderError for families without a rule.
    """
    base = unwrapped(distribution)
    terms = _terms(base, value)
    count = math.prod(base.batch_shape)
    eye = torch.eye(count, dtype=torch.bool, device=value.device)
    eye = eye.reshape(count, *base.batch_shape, *(1,) * len(base.event_shape))
    places = [
        (torch.where(eye, term.value, value), term.weight.reshape(count))
        for term in terms
        if term.value is not None
    ]
    main = [term.weight.sum() for term in terms if term.value is None]
    return Alternates(places, torch.stack(main).sum() if main else torch.zeros(()))


def has_rule(distribution: Distribution) -> bool:
    """Whether :func:`alternates` knows the family."""
    return isinstance(unwrapped(distribution), tuple(_RULES)) or _finite(distribution)


def _finite(distribution: Distribution) -> bool:
    return bool(unwrapped(distribution).has_enumerate_support)


def _terms(base: Distribution, value: torch.Tensor) -> list[_Term]:
    for family, rule in _RULES.items():
        if isinstance(base, family):
            return rule(base, value)
    if _finite(base):
        return _categorical(base, value)
    raise PonderError(
        f"mvd has no rule for {type(base).__name__}; it knows Bernoulli, Categorical, Normal, "
        "Poisson, Exponential and Geometric: name reparam or reinforce at this site"
    )


def _zero(parameter: torch.Tensor, scale: torch.Tensor | float = 1.0) -> torch.Tensor:
    """0 with the gradient of ``scale * parameter``."""
    return (parameter - parameter.detach()) * scale


def _bernoulli(base: _d.Bernoulli, value: torch.Tensor) -> list[_Term]:
    """f(1) - f(0) times the gradient of p, with x itself as one of the two."""
    other = 1 - value
    change = _zero(base.log_prob(other).exp())  # type: ignore[no-untyped-call]
    return [_Term(change, other), _Term(-change, None)]


def _categorical(base: Distribution, value: torch.Tensor) -> list[_Term]:
    """(f(k) - f(x)) times the gradient of p(k), for every outcome k of one element."""
    listed = base.enumerate_support(expand=False)
    terms: list[_Term] = []
    for outcome in listed:
        place = outcome.expand(value.shape)
        change = _zero(base.log_prob(place).exp())
        terms += [_Term(change, place), _Term(-change, None)]
    return terms


def _normal(base: _d.Normal, value: torch.Tensor) -> list[_Term]:
    """Mean: shifted Rayleighs either way. Scale: a two-sided Maxwell less a normal. Coupled."""
    mean, sd = base.loc.detach(), base.scale.detach()
    with torch.no_grad():
        step = sd * torch.sqrt(-2 * torch.log1p(-torch.rand(value.shape, dtype=value.dtype)))
        parts = torch.randn((3, *value.shape), dtype=value.dtype)
        maxwell = sd * torch.sign(parts[0]) * parts.square().sum(0).sqrt()
        # A uniform times a two-sided Maxwell is normal.
        normal = maxwell * torch.rand(value.shape, dtype=value.dtype)
    shift = _zero(base.loc, 1 / (sd * math.sqrt(2 * math.pi)))
    widen = _zero(base.scale, 1 / sd)
    return [
        _Term(shift, mean + step),
        _Term(-shift, mean - step),
        _Term(widen, mean + maxwell),
        _Term(-widen, mean + normal),
    ]


def _poisson(base: _d.Poisson, value: torch.Tensor) -> list[_Term]:
    """f(x + 1) - f(x)."""
    change = _zero(base.rate)
    return [_Term(change, value + 1), _Term(-change, None)]


def _exponential(base: _d.Exponential, value: torch.Tensor) -> list[_Term]:
    """(f(x) - f(x + another)) / rate."""
    change = _zero(base.rate, 1 / base.rate.detach())
    return [_Term(-change, value + drawn(base, differentiable=False)), _Term(change, None)]


def _geometric(base: _d.Geometric, value: torch.Tensor) -> list[_Term]:
    """(f(x) - f(x + another + 1)) / p."""
    change = _zero(base.probs, 1 / base.probs.detach())
    return [_Term(-change, value + drawn(base, differentiable=False) + 1), _Term(change, None)]


_RULES: dict[type[Distribution], Callable[[Any, torch.Tensor], list[_Term]]] = {
    _d.Bernoulli: _bernoulli,
    _d.Normal: _normal,
    _d.Poisson: _poisson,
    _d.Exponential: _exponential,
    _d.Geometric: _geometric,
}
