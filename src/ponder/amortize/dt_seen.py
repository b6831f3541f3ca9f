"""What a Distribution Transformer was trained on, and a warning for questions beyond it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ponder.amortize.dt_network import Components
from ponder.amortize.ranges import Range

Floats = NDArray[np.float64]
NEGLIGIBLE = 1e-3  # components below this weight do not count for the range
SLACK = 0.1  # of a trained width: what lies nearer to the range is no extrapolation


@dataclass(frozen=True)
class Seen:
    """What a network was trained on: components of priors, and observations."""

    priors: Range
    observed: Range

    def warn(self, prior: Components, z: Floats, stacklevel: int) -> None:
        """One line for each of them that lies clearly outside."""
        for known, rows in ((self.priors, prior_rows(prior)), (self.observed, observed_rows(z))):
            if known.distance(rows) > SLACK:
                known.warn_outside(rows, "a question", stacklevel + 1)

    @classmethod
    def of(cls, priors: Floats, observed: Floats) -> Seen:
        """The range of rows of training data."""
        d, columns = priors.shape[1] // 2, observed.shape[1] - 1
        names = [f"{what}[{i}]" for what in ("prior mean", "log prior sd") for i in range(d)]
        others = [*(f"observation[{i}]" for i in range(columns)), "number of observations"]
        return cls(Range.of(priors, names), Range.of(observed, others))

    def to_list(self) -> list[dict[str, Any]]:
        """Plain lists, for a checkpoint."""
        return [self.priors.to_dict(), self.observed.to_dict()]

    @classmethod
    def from_list(cls, saved: list[dict[str, Any]]) -> Seen:
        """What :meth:`to_list` wrote."""
        return cls(*(Range.from_dict(r) for r in saved))


def prior_rows(prior: Components) -> Floats:
    """Mean and log standard deviation of every component that counts, (n, 2 d)."""
    sds = prior.factors.square().sum(-1).sqrt()
    counts = prior.log_weights > float(np.log(NEGLIGIBLE))
    rows: Floats = torch.cat([prior.means, sds.log()], dim=-1)[counts].numpy()
    return rows


def observed_rows(z: Floats) -> Floats:
    """Every observation, and how many there are, (n, columns + 1)."""
    return np.concatenate([z, np.full((*z.shape[:2], 1), z.shape[1])], axis=2).reshape(
        -1, z.shape[2] + 1
    )
