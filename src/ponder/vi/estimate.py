"""Many particles of an objective at once: what is averaged, and the noise that it takes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

import torch
from torch.func import vmap

from ponder.blocks.arguments import check_least
from ponder.effects import Program
from ponder.tensors import differentiable
from ponder.vi.expected import Setting, over, surrogate
from ponder.vi.rows import Objective, made_anew, rows_of

_NOT_BATCHED = ("vmap", "functorch", "doesn't have storage")  # the last is of .numpy()


def particles(
    objective: Callable[..., Program[Any]], setting: Setting, samples: int, rows: Any = None
) -> torch.Tensor:
    """Surrogates of ``samples`` particles, shape (samples,), or of each row: (rows, samples).

    ``rows`` is a tuple of tensors of equal length; the objective is given one row of each. Runs
    under :func:`differentiable`, with the global noise.
    """

    check_least("an expectation", "samples", samples, 1)

    def one(*row: torch.Tensor) -> Any:
        program = objective(*row)
        ones = torch.arange(samples)
        return over(lambda _: surrogate(program, setting), ones, setting.vectorised)

    try:
        if rows is None:
            found = one()
        elif setting.vectorised:
            found = vmap(one, randomness="different")(*rows)
        else:
            columns = [one(*row) for row in zip(*rows, strict=True)]
            found = [torch.stack(parts) for parts in zip(*columns, strict=True)]
    except RuntimeError as error:
        if not setting.vectorised or not any(word in str(error) for word in _NOT_BATCHED):
            raise
        warnings.warn(
            f"the objective looks at single numbers ({str(error).splitlines()[0][:90]}...); its "
            "particles run one by one, which is slow: use torch.where for branches on values",
            stacklevel=2,
        )
        setting.vectorised = False
        return particles(objective, setting, samples, rows)
    value: torch.Tensor = found[0]
    score: torch.Tensor = found[1]
    return value - _of_the_others(value.detach()) * score


def _of_the_others(values: torch.Tensor) -> torch.Tensor:
    """The mean of the other particles, of the same row if it has several; 0 if there are none."""
    axis = -1 if values.shape[-1] > 1 else 0
    count = values.shape[axis]
    if count < 2:
        return torch.zeros_like(values)
    return (values.sum(axis, keepdim=True) - values) / (count - 1)


def expectation(
    objective: Objective,
    samples: int = 1,
    seed: int = 0,
    *,
    data: torch.Tensor | tuple[torch.Tensor, ...] | None = None,
    vectorised: bool = True,
) -> torch.Tensor:
    """Independent estimates, shape (samples,), whose mean has an unbiased value and gradient.

    ``expectation(elbo(model, guide), 64).mean().backward()``. With ``data``, the objective is a
    function of one row of each of its tensors, and the shape is (rows, samples). With
    ``vectorised=False`` particles run one by one, for programs that branch on sampled values.
    """
    rows = rows_of(data)
    make = made_anew(objective, len(rows or ()))
    with noise(seed), differentiable():
        return particles(make, Setting(vectorised=vectorised), samples, rows)


@contextmanager
def noise(*seeds: int) -> Iterator[None]:
    """PyTorch's noise from these numbers; the global noise is as before afterwards."""
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=devices):
        digest = blake2b(repr(seeds).encode(), digest_size=7).digest()
        torch.manual_seed(int.from_bytes(digest, "little"))
        yield
