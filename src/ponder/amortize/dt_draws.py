"""What a Distribution Transformer is trained on: batches drawn by ponder programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponder.amortize.mixtures import Mixtures
from ponder.amortize.warps import forward, inverse
from ponder.arrays import Normals
from ponder.dist import Categorical
from ponder.effects import Effects, Program, program, sample
from ponder.errors import PonderError, told_of
from ponder.interpret import evaluate

Floats = NDArray[np.float64]
MetaPrior = Callable[[int], Program[Mixtures]]
Simulator = Callable[[Floats, int], Program[Floats]]


@dataclass(frozen=True)
class Draw:
    """One batch: priors, and a parameter and observations of each link of the chain."""

    priors: Mixtures
    u: list[Floats]
    """f(x), (B, d) each."""
    observed: list[Floats]
    """(B, m, columns) each."""

    @property
    def sizes(self) -> str:
        """What must be the same for every draw."""
        found = self.priors
        return (
            f"{found.components} components in {found.dims} coordinates "
            f"({'/'.join(found.warps)}) and {self.observed[0].shape[2]} columns"
        )


@dataclass
class Source:
    """Draws the batches of a training, each from the seed and its number alone."""

    meta_prior: MetaPrior
    simulator: Simulator
    components: int | None
    observations: int
    chain: int
    motion: Floats
    batch: int
    seed: int
    first: Draw | None = None

    def __post_init__(self) -> None:
        if not callable(self.meta_prior) or not callable(self.simulator):
            raise PonderError(
                "meta_prior is a function of the batch's size to a program, simulator one of "
                "(x, m); give them uncalled"
            )

    def draw(self, step: int) -> Draw:
        """The batch of this number; those below 0 are for scales and range.

        Raises PonderError, naming the draw, for what is not finite or has changed its sizes.
        """
        try:
            found = evaluate(self._batch(step), self.seed, f"training {step}")
        except PonderError as error:
            raise PonderError(f"draw {step}: {error}") from None
        except Exception as error:
            raise PonderError(f"draw {step} fails: {told_of(error)}") from error
        self.first = self.first or found
        if found.sizes != self.first.sizes:
            raise PonderError(
                f"draw {step}: {found.sizes}, but before {self.first.sizes}; "
                "all draws must have the same sizes"
            )
        return found

    @program
    def _batch(self, step: int) -> Effects[Draw]:
        priors = self._priors((yield from self.meta_prior(self.batch)))
        m = 1 + (yield from sample(Categorical([1.0] * self.observations), "observations"))
        x = yield from sample(priors, "parameter")
        u, _ = forward(x, priors.warps)
        us: list[Floats] = []
        observed: list[Floats] = []
        for link in range(self.chain):
            if link and self.motion.any():
                u = u + self.motion * (yield from sample(Normals(np.zeros(u.shape), 1.0)))
            us.append(u)
            z = yield from self.simulator(inverse(u, priors.warps), m)
            observed.append(self._observations(z, m))
        return Draw(priors, us, observed)

    def _priors(self, priors: Any) -> Mixtures:
        if not isinstance(priors, Mixtures) or len(priors) != self.batch:
            kind = type(priors).__name__
            what = f"{len(priors)} mixtures" if isinstance(priors, Mixtures) else kind
            raise PonderError(f"the meta-prior returned {what}; return Mixtures of {self.batch}")
        k = self.components or priors.components
        if priors.components > k:
            raise PonderError(
                f"the meta-prior has {priors.components} components, the network {k}; train with "
                f"components={priors.components}"
            )
        return priors.padded(k)

    def _observations(self, z: Any, m: int) -> Floats:
        found = np.asarray(z, dtype=np.float64)
        if found.ndim != 3 or found.shape[:2] != (self.batch, m) or not found.shape[2]:
            raise PonderError(
                f"the simulator returned {found.shape}; return observations of shape "
                f"({self.batch}, {m}, columns)"
            )
        if not np.isfinite(found).all():
            raise PonderError("the simulator returned a number that is not finite; mend it")
        return found
