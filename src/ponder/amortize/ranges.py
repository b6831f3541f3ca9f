"""What a network has seen in training, and how far from it a question is."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ponder.errors import PonderError

TAIL = 0.005  # the mass on each side of a coordinate that its width leaves out


class OutsideTraining(UserWarning):
    """A question lies outside what the network was trained on: it extrapolates."""


@dataclass(frozen=True)
class Range:
    """Per coordinate: its name, the lowest and highest value seen, and the width of its middle 99%.

    The width is that of quantiles, so that a few wild draws do not make everything look near.
    """

    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    width: tuple[float, ...]

    @classmethod
    def of(cls, seen: ArrayLike, names: Sequence[str], sparse: int = 0) -> Range:
        """The range of a sample of training data, shape (n, d), d = len(names), n >= 1.

        If the sample is a small part of the training, its extremes are not the training's. Then
        give ``sparse``, some 20: low and high lie as far beyond the extremes as the ``sparse``
        most extreme values are spread. Next to nothing at a hard edge, more in a long tail.
        """
        rows = np.asarray(seen, dtype=np.float64)
        if rows.ndim != 2 or not len(rows) or rows.shape[1] != len(names):
            raise PonderError(f"a range of {len(names)} coordinates got data of {rows.shape}")
        ordered = np.sort(rows, axis=0)
        low, high = ordered[0], ordered[-1]
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise PonderError("a range needs finite training data")
        inner = min(sparse, len(rows) - 1)
        low, high = low - (ordered[inner] - low), high + (high - ordered[-1 - inner])
        width = np.quantile(rows, 1 - TAIL, axis=0) - np.quantile(rows, TAIL, axis=0)
        return cls(tuple(names), *(tuple(map(float, x)) for x in (low, high, width)))

    def distances(self, x: ArrayLike) -> NDArray[np.float64]:
        """For each element of ``x``, shape (..., d): how many widths it is outside; 0 inside.

        A coordinate that never varied in training has no width: outside of it is infinitely far.
        """
        values = np.asarray(x, dtype=np.float64)
        if values.shape[-1:] != (len(self.names),):
            raise PonderError(f"a range of {len(self.names)} coordinates got {values.shape}")
        outside = np.maximum(np.maximum(self.low - values, values - self.high), 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = outside / np.asarray(self.width)
        return np.where(outside == 0.0, 0.0, found)

    def distance(self, x: ArrayLike) -> float:
        """The largest of :meth:`distances`; 0 if all of ``x`` lies inside."""
        return float(np.max(self.distances(x), initial=0.0))

    def warn_outside(self, x: ArrayLike, what: str = "a query", stacklevel: int = 2) -> float:
        """Warn, in one line, about the coordinate that is farthest out; answers its distance.

        ``stacklevel`` 1 blames the line that called this, 2 (default) the one that called that.
        """
        values = np.asarray(x, dtype=np.float64)
        found = self.distances(values)
        if not found.size or found.max() == 0:
            return 0.0
        worst = np.unravel_index(int(np.argmax(found)), found.shape)
        i, distance = int(worst[-1]), float(found[worst])
        many = int((found > 0).any(axis=-1).sum())
        others = f" ({many} points are outside)" if many > 1 else ""
        warnings.warn(
            f"{what} is outside what the network was trained on: {self.names[i]} = "
            f"{values[worst]:.6g}, trained on {self.low[i]:.6g} to {self.high[i]:.6g}, "
            f"{distance:.3g} trained widths away{others}; do not trust the answer, or train wider",
            OutsideTraining,
            stacklevel=stacklevel + 1,
        )
        return distance

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, for a checkpoint."""
        return {key: list(getattr(self, key)) for key in ("names", "low", "high", "width")}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Range:
        """What :meth:`to_dict` wrote."""
        return cls(*(tuple(saved[key]) for key in ("names", "low", "high", "width")))
