"""A program of stages beside its proposal, one stage at a time.

A target whose factors come one after the other (sample z1, observe y1, sample z2, ...) has stages:
one ends wherever the target samples again after a factor. The proposal is a program without factors
that samples the target's sites under their names, in their order. Which sites there are and where
stages end may not depend on sampled values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from ponder.addresses import Addresses
from ponder.dist import Dist
from ponder.effects import Each, Effects, Factor, Nested, Program, Sample, refuse_no_effect
from ponder.errors import PonderError
from ponder.trace import handed
from ponder.vi.sites import as_site
from ponder.vi.traces import Estimated, Record, Values, scored


class Stage(NamedTuple):
    """The values sampled in one stage, and their log-densities there, factors included."""

    values: Values
    log_p: torch.Tensor
    log_q: torch.Tensor


class Last(NamedTuple):
    """The stage after which the target is at its end."""

    values: Values
    log_p: torch.Tensor
    log_q: torch.Tensor


class Asked(NamedTuple):
    address: str
    dist: Dist[Any]
    name: str | None


@dataclass
class _Line:
    """A program run from site to site; its sites in ``observed`` are factors."""

    program: Program[Any]
    observed: Values = field(default_factory=dict)
    factors: list[Any] = field(default_factory=list)
    met: set[str] = field(default_factory=set)
    send: Any = None

    def __post_init__(self) -> None:
        self._generator = self.program.start()
        self._addresses = Addresses()

    def next(self) -> Asked | None:
        """The next site, with the factors before it in ``factors``; None at the end."""
        self.factors = []
        while True:
            try:
                effect = self._generator.send(self.send)
            except StopIteration:
                return None
            self.send = None
            if isinstance(effect, Factor):
                self.factors.append(effect.log_weight)
            elif isinstance(effect, Each | Nested):
                raise PonderError(
                    f"{self.program.name} runs programs together, which resampling cannot follow; "
                    "run them one after the other by yield from, or leave resample out"
                )
            elif isinstance(effect, Sample):
                address = self._addresses.next(effect.name)
                if address not in self.observed:
                    return Asked(address, effect.dist, effect.name)
                self.send = self.observed[address]
                self.factors.append(as_site(address, effect.dist).score(self.send))
                self.met.add(address)
            else:
                refuse_no_effect(effect)


Drawing = Callable[[Asked], Effects[torch.Tensor]]


@dataclass(frozen=True)
class Staged:
    """A target, whose sites in ``observed`` have these values, and what proposes the others.

    Raises PonderError, naming the site, when the two do not sample alike.
    """

    target: Program[Any]
    proposal: Program[Any]
    observed: Values = field(default_factory=dict)

    def __post_init__(self) -> None:
        for program in (self.target, self.proposal):
            if isinstance(program, Estimated):
                raise PonderError(
                    f"resampling cannot stop inside of {program.name}, whose density is estimated; "
                    "leave resample out"
                )

    def stage(self, known: Values, draw: Drawing) -> Effects[Stage | Last]:
        """The stage after the values ``known``, whose sites are given values by ``draw``."""
        model, guide = _Line(self.target, self.observed), _Line(self.proposal)
        log_p, log_q = Record(self.target.name), Record(self.proposal.name)
        fresh: Values = {}
        while True:
            asked = model.next()
            for number, log_weight in enumerate(model.factors if fresh or not known else ()):
                after = f" after {[*fresh][-1]!r}" if fresh else ""
                log_p.add(log_weight, f"factor {number}{after}")
            if asked is None:
                self._ended(model, guide)
                return Last(fresh, log_p.total(), log_q.total())
            if fresh and model.factors:
                return Stage(fresh, log_p.total(), log_q.total())
            offered = self._offered(guide, asked.address)
            if asked.address in known:
                value = known[asked.address]
            else:
                value = yield from draw(offered)
                where = f"site {asked.address!r}"
                site = as_site(asked.address, asked.dist)
                log_p.add(scored(site, value, asked.address, self.target.name), where)
                log_q.add(as_site(asked.address, offered.dist).score(value), where)
                fresh[asked.address] = value
            model.send, guide.send = handed(value), handed(value)

    def _offered(self, guide: _Line, address: str) -> Asked:
        """What the proposal samples at this site of the target."""
        offered = guide.next()
        self._refuse_factors(guide)
        if offered is None:
            raise PonderError(
                f"{self.target.name} samples {address!r}, which its proposal does not; name the "
                "proposal's sites as the target's, or let the target observe it"
            )
        if offered.address != address:
            raise PonderError(
                f"{self.proposal.name} samples {offered.address!r} where {self.target.name} "
                f"samples {address!r}; resampling needs the same sites in the same order"
            )
        return offered

    def _ended(self, model: _Line, guide: _Line) -> None:
        extra = guide.next()
        self._refuse_factors(guide)
        if extra is not None:
            raise PonderError(
                f"{self.target.name} has no site {extra.address!r}, which its proposal samples; "
                "resampling needs the same sites in the same order"
            )
        for address in self.observed:
            if address not in model.met:
                raise PonderError(f"{self.target.name} has no site {address!r} to keep")

    def _refuse_factors(self, guide: _Line) -> None:
        if guide.factors:
            raise PonderError(
                f"the proposal {self.proposal.name} has a factor; a proposal only samples, what it "
                "is to be weighed by belongs to the target"
            )
