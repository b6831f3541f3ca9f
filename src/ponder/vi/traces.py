"""Programs inside of an objective: run as part of it, or scored at given values.

``traced`` and ``density`` are to an objective what simulation and scoring are to a trace. A program
with a density that can only be estimated says so by being :class:`Estimated` (``inner``).
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch

from ponder.addresses import Addresses
from ponder.dist import Dist
from ponder.effects import (
    Each,
    Effects,
    Factor,
    Nested,
    Program,
    Sample,
    refuse_no_effect,
    require_program,
)
from ponder.errors import PonderError
from ponder.tensors import Estimator, Torch
from ponder.trace import handed
from ponder.vi.sites import as_site, overridden

Values = dict[str, torch.Tensor]


class Traced(NamedTuple):
    """Values by address, and the log-density of them: log-probabilities plus factors."""

    values: Values
    log_density: torch.Tensor


class Estimated(Program[Any]):
    """A program whose density is estimated: see ``marginal`` and ``normalize``.

    ``trace`` samples values u and answers (u, log d) with E[1/d | u] = 1/p(u); ``score`` answers
    log d of given values with E d = p(u). So an ELBO stays a lower bound in expectation.
    """

    __slots__ = ("score", "trace")

    def __init__(
        self,
        trace: Callable[[Estimator | None], Effects[Traced]],
        score: Callable[[Values], Effects[torch.Tensor]],
        name: str,
    ) -> None:
        super().__init__(lambda: _values_of(trace(None)), name)
        self.trace = trace
        self.score = score


def _values_of(run: Effects[Traced]) -> Effects[Values]:
    return (yield from run).values


def traced(
    program: Program[Any], estimator: Estimator | None = None, factors: bool = True
) -> Effects[Traced]:
    """``values, log_q = yield from traced(guide)``: its samples become sites of the objective.

    ``estimator``, if given, replaces those of all sites. Without ``factors`` the program may have
    none: for a guide, whose density they would spoil.
    """
    require_program(program, "traced")
    if isinstance(program, Estimated):
        return (yield from program.trace(estimator))
    record = Record(program.name, factors)
    yield from _followed(program, "", record, partial(_forwarded, estimator, record))
    return Traced(record.values, record.total())


def density(program: Program[Any], values: Values) -> Effects[torch.Tensor]:
    """``log_p = yield from density(model, values)``: log-density and factors at these values.

    Raises PonderError naming the site that the program samples and ``values`` lack, or the reverse.
    """
    require_program(program, "density")
    if isinstance(program, Estimated):
        return (yield from program.score(values))
    record = Record(program.name)
    yield from _followed(program, "", record, partial(_given, values, record))
    unused = [address for address in values if address not in record.values]
    if unused:
        raise PonderError(
            f"{program.name} has no site {unused[0]!r}, for which there is a value; name the "
            "sites of model and guide alike, or sum the guide's own out: marginal(guide, keep=...)"
        )
    return record.total()


@dataclass
class Record:
    """What one program has sampled and scored so far."""

    name: str
    factors: bool = True
    """Whether it may have factors."""
    values: Values = field(default_factory=dict)
    parts: list[torch.Tensor] = field(default_factory=list)

    def total(self) -> torch.Tensor:
        return torch.stack(self.parts).sum() if self.parts else torch.zeros(())

    def add(self, part: Any, where: str) -> None:
        """One more log-density; ``where`` in the program, for messages."""
        number = torch.as_tensor(part)
        kept = number if number.is_floating_point() else number.to(torch.get_default_dtype())
        if kept.shape != ():
            raise PonderError(
                f"{where} of {self.name} has shape {tuple(kept.shape)}; sum it: a log-weight is "
                "one number"
            )
        look = inspector.get()
        if look is not None:
            look(self.name, where, kept)
        self.parts.append(kept)


Inspector = Callable[[str, str, torch.Tensor], None]
inspector: ContextVar[Inspector | None] = ContextVar("inspector", default=None)
"""While a search for what is not finite is on, who looks at every log-density."""
Listener = Callable[[bool], None]
listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
"""Who hears where a program's own code has run: False if it may count for what it does next, True
if it only made the value that the program returns, which ``traced`` and ``density`` drop."""


def _heard(returned: bool) -> None:
    hears = listener.get()
    if hears is not None:
        hears(returned)


def _forwarded(
    estimator: Estimator | None, record: Record, address: str, dist: Dist[Any], name: str | None
) -> Effects[torch.Tensor]:
    site = as_site(address, dist)
    if estimator is not None:
        site = overridden(site, estimator)
    value: torch.Tensor = yield Sample(site, name)
    record.add(site.score(value), f"site {address!r}")
    return value


def _given(
    values: Values, record: Record, address: str, dist: Dist[Any], name: str | None
) -> Effects[torch.Tensor]:
    if address not in values:
        raise PonderError(
            f"{record.name} samples {address!r}, for which there is no value; name the sites "
            "of model and guide alike, or let the model observe it"
        )
    log_p = scored(as_site(address, dist), values[address], address, record.name)
    record.add(log_p, f"site {address!r}")
    return values[address]
    yield


def scored(site: Torch, value: torch.Tensor, address: str, name: str) -> torch.Tensor:
    """The log-density of a value that another program sampled, which must have the site's shape."""
    wanted = site.distribution.batch_shape + site.distribution.event_shape
    given = torch.as_tensor(value).shape
    if given != wanted and not given.numel() == wanted.numel() == 1:
        raise PonderError(
            f"{name} samples {address!r} of shape {tuple(wanted)}, its guide one of shape "
            f"{tuple(given)}; give both the same shape"
        )
    return site.score(value)


OnSample = Callable[[str, Dist[Any], str | None], Effects[torch.Tensor]]


def _followed(
    program: Program[Any], prefix: str, record: Record, on_sample: OnSample
) -> Effects[Any]:
    """Run a program, doing ``on_sample(address, dist, name)`` where it samples."""
    generator, addresses = program.start(), Addresses()
    factors, send = 0, None
    _heard(returned=False)
    while True:
        try:
            effect = generator.send(send)
        except StopIteration as stop:
            if not prefix:
                _heard(returned=True)
            return stop.value
        _heard(returned=False)
        send = None
        if isinstance(effect, Sample):
            address = prefix + addresses.next(effect.name)
            if address in record.values:
                raise PonderError(f"{record.name} samples {address!r} twice")
            send = yield from on_sample(address, effect.dist, effect.name)
            record.values[address] = send
            send = handed(torch.as_tensor(send))
        elif isinstance(effect, Factor):
            if not record.factors:
                raise PonderError(
                    f"{record.name} has a factor, so that it has no normalised density; "
                    "a guide leaves factors and observations to the model, a joint samples its data"
                )
            record.add(effect.log_weight, f"factor {factors}{' in ' + prefix if prefix else ''}")
            factors += 1
        elif isinstance(effect, Each | Nested):
            each = (
                Each([effect.program], None if effect.name is None else [effect.name])
                if isinstance(effect, Nested)
                else effect
            )
            parts = [f"{prefix}{part}/" for part in addresses.each(each)]
            inner = [
                Program(partial(_followed, part, where, record, on_sample), part.name)
                for part, where in zip(each.programs, parts, strict=True)
            ]
            found = yield Each(inner, each.names)
            send = found[0] if isinstance(effect, Nested) else found
        else:
            refuse_no_effect(effect)
