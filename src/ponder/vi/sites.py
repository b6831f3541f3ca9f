"""Which estimator a site has: the one that is named on it, or a default that is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ponder.errors import PonderError
from ponder.tensors import Distribution, Estimator, Torch, as_torch, outcomes, unwrapped
from ponder.vi.measure_valued import has_rule

SMALL = 64
"""Outcomes, of all sites of one run together, that are enumerated without being asked to."""

Override = Callable[[Torch], Torch | None]


@dataclass(frozen=True, slots=True)
class Site:
    """What passes the gradient at one address; ``chosen`` by the program, or else by default."""

    address: str
    family: str
    estimator: Estimator
    chosen: bool
    copies: int = 1
    """How many sites of one run this stands for: those of ``copies`` are probed once."""

    def __str__(self) -> str:
        how = "" if self.chosen else " (by default)"
        return f"{self.address}: {self.family}, {self.estimator}{how}"


@dataclass(frozen=True)
class Sites:
    """Every site of one run of an objective, in order. ``str`` is one line a site."""

    sites: tuple[Site, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.sites)) or "no sites"

    def __getitem__(self, address: str) -> Site:
        for site in self.sites:
            if site.address == address:
                return site
        raise KeyError(address)


@dataclass
class Choosing:
    """Chooses estimators; ``override`` may put another site in a site's place."""

    override: Override | None = None
    seen: dict[str, Site] = field(default_factory=dict)
    copies: int = 1

    def of(self, address: str, site: Torch, room: float) -> tuple[Torch, Estimator]:
        """The site and its estimator, where ``room`` more outcomes may be listed by default.

        Raises PonderError if the family cannot have the one that is named.
        """
        if self.override is not None:
            site = self.override(site) or site
        distribution = site.distribution
        estimator = site.estimator or default(distribution, room)
        if address not in self.seen:
            family = type(unwrapped(distribution)).__name__
            chosen = site.estimator is not None
            self.seen[address] = Site(address, family, estimator, chosen, self.copies)
        refusal = impossible(distribution, estimator)
        if refusal:
            raise PonderError(f"{address}: {refusal}")
        return site, estimator


def default(distribution: Distribution, room: float) -> Estimator:
    """reparam if it can be, else enum while there is room, else reinforce, leave-one-out."""
    if distribution.has_rsample:
        return Estimator("reparam")
    listed = outcomes(distribution, SMALL)
    if listed is not None and len(listed) <= room:
        return Estimator("enum")
    return Estimator("reinforce", "leave_one_out")


def impossible(distribution: Distribution, estimator: Estimator) -> str:
    """Why the family cannot have this estimator, or nothing."""
    family = type(unwrapped(distribution)).__name__
    if estimator.method == "reparam" and not distribution.has_rsample:
        others = ["enum"] if outcomes(distribution) is not None else []
        others += ["mvd"] if has_rule(distribution) else []
        return f"{family} cannot be reparameterised; name {' or '.join([*others, 'reinforce'])}"
    if estimator.method == "enum" and outcomes(distribution) is None:
        return (
            f"{family} of shape {tuple(distribution.batch_shape)} has no list of at most 4096 "
            "outcomes; name mvd or reinforce, or sample its elements one by one"
        )
    if estimator.method == "mvd" and not has_rule(distribution):
        return f"mvd has no rule for {family}; name reparam or reinforce"
    return ""


def as_site(address: str, dist: object) -> Torch:
    """The distribution with tensors as parameters; PonderError for what has no such form."""
    if isinstance(dist, Distribution):
        raise PonderError(f"{address}: wrap the distribution: Torch({type(dist).__name__}(...))")
    found = as_torch(dist)
    if found is None:
        raise PonderError(
            f"{address}: an objective cannot sample {dist!r}; use a torch distribution, as "
            "Torch(torch.distributions.Normal(0.0, 1.0))"
        )
    return found


def overridden(site: Torch, method: Estimator) -> Torch:
    """The same site with this estimator."""
    return replace(site, estimator=method)
