"""A Gaussian mixture as a guide: a program that samples its coordinates at named sites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ponder.amortize.gaussian_arrays import fixed
from ponder.amortize.mixtures import Gaussians
from ponder.effects import Effects, Program, sample
from ponder.errors import PonderError


def as_guide(mixture: Gaussians, names: str | Sequence[str]) -> Program[Any]:
    """The program that samples a mixture at named sites, for ``model | propose(guide)``.

    One name is one site whose value is the whole draw; a sequence names the coordinates, which
    are sampled one after the other from their exact conditional mixtures, so that the sites' log-
    densities add up to the mixture's. The value is what :meth:`Gaussians.draw` returns.
    """
    if isinstance(names, str):
        return Program(lambda: sample(mixture, names), f"guide({names})", normalised=True)
    sites = list(names)
    if len(sites) != mixture.dims or len(set(sites)) < len(sites):
        raise PonderError(f"a guide needs {mixture.dims} different names, got {sites}")
    heads = [mixture.marginal(range(i + 1)) for i in range(mixture.dims)]

    def begin() -> Effects[Any]:
        chosen: list[float] = []
        for head, name in zip(heads, sites, strict=True):
            chosen.append((yield from sample(head.following(chosen), name)))
        return chosen[0] if mixture.dims == 1 else fixed(np.array(chosen))

    return Program(begin, f"guide({', '.join(sites)})", normalised=True)
