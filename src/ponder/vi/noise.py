"""Drawing from PyTorch's distributions under ``vmap``, a different draw for every particle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ponder.tensors import Distribution, unwrapped

_d = torch.distributions


class _OutOfPlace(TorchFunctionMode):
    """In-place noise on a fresh tensor, which vmap refuses, becomes noise of that shape."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func is torch.Tensor.normal_:
            return torch.randn(args[0].shape, dtype=args[0].dtype, device=args[0].device)
        if func is torch.Tensor.exponential_:
            return -torch.log1p(-_uniform(args[0]))
        if func is torch.Tensor.uniform_:
            low = args[1] if len(args) > 1 else 0.0
            high = args[2] if len(args) > 2 else 1.0
            return low + (high - low) * _uniform(args[0])
        if func is torch.Tensor.cauchy_:
            return torch.tan(torch.pi * (_uniform(args[0]) - 0.5))
        return func(*args, **named)


def _uniform(like: torch.Tensor) -> torch.Tensor:
    return torch.rand(like.shape, dtype=like.dtype, device=like.device)


def drawn(distribution: Distribution, *, differentiable: bool) -> torch.Tensor:
    """A draw, with its graph to the parameters if ``differentiable``."""
    if not differentiable:
        with torch.no_grad():
            return _draw(distribution).detach()
    return _draw(distribution)


def _draw(distribution: Distribution) -> torch.Tensor:
    base = unwrapped(distribution)
    if isinstance(base, _d.Gamma):  # Chi2 too
        return _gamma(base.concentration) / base.rate
    if isinstance(base, _d.Beta):
        pair = torch.stack([base.concentration1, base.concentration0], -1)
        return _shares(pair)[..., 0]
    if isinstance(base, _d.Dirichlet):
        return _shares(base.concentration)
    with _OutOfPlace():
        return base.rsample() if base.has_rsample else base.sample()


def _gamma(concentration: torch.Tensor) -> torch.Tensor:
    tiny = torch.finfo(concentration.dtype).tiny
    return torch._standard_gamma(concentration).clamp(min=tiny)


def _shares(concentration: torch.Tensor) -> torch.Tensor:
    """A Dirichlet draw along the last axis, inside of the open interval, as PyTorch's are."""
    # Below a concentration of .1 a gamma draw is often too small for single precision.
    parts = _gamma(concentration.double())
    shares = (parts / parts.sum(-1, keepdim=True)).to(concentration.dtype)
    of = torch.finfo(concentration.dtype)
    return shares.clamp(of.tiny, 1 - of.eps / 2)
