"""``propose(q)``: sample from other distributions, and correct for it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from ponder.binding import Binding
from ponder.blocks.guided import guided
from ponder.blocks.rewrite import rewritten
from ponder.dist import (
    NEG_INF,
    Bernoulli,
    Categorical,
    Dist,
    Exponential,
    Independent,
    Mixture,
    Normal,
    Uniform,
    in_kind,
)
from ponder.effects import Effect, Effects, Factor, Program, Sample
from ponder.errors import PonderError
from ponder.law import Law
from ponder.strategy import Block, Pipeline, Source, Transform

Proposal = Callable[[str | None, Dist[Any]], Dist[Any] | None]
Guide = Program[Any] | Source


@dataclass(frozen=True, repr=False)
class Propose(Transform):
    """Draw from q where p is written, weighing by p / q: the target is unchanged.

    ``proposal`` is a guide: a program whose samples have the names of those that they stand in
    for, each drawn given the guide's own earlier choices (see :func:`ponder.blocks.guided.guided`),
    or a source of one; a sample that it lacks is drawn from the program. Or it is a function:
    ``proposal(name, dist)`` answers the distribution to draw from instead of ``dist`` at the
    sample called ``name``, or None to leave it.

    With ``defensive`` = eps > 0, draws come from the mixture (1 - eps) q + eps p (defensive
    importance sampling, Hesterberg 1995), and no draw adds a weight of more than 1 / eps. Law:
    weighted; without ``defensive``, provided that q is positive wherever the target is. A guide
    that lacks a listed value of the program's is refused; where nothing is listed, values that q
    never draws cannot show in weights (:func:`ponder.checking.forward_kl.forward_kl` finds them).

    A ``temper`` belongs before it: after it, the correction would be raised to the power too.
    """

    proposal: Proposal | Guide
    defensive: float = 0.0
    notation: ClassVar[str] = "propose"
    corrects: ClassVar[bool] = True

    @property
    def guides(self) -> bool:
        """Whether it is a guide, which belongs to the program that it was made for."""
        return isinstance(self.proposal, Program | Source)

    def law(self, incoming: Law) -> Law:
        kind = "weighted" if incoming.kind == "exact" else incoming.kind
        law = replace(incoming, kind=kind, ordered=False)
        return law if self.defensive > 0 else law.noting("q = 0 only where the target is")

    def transform(self, program: Program[Any], binding: Binding) -> Program[Any]:
        proposal = self.proposal
        if isinstance(proposal, Source):
            proposal = proposal.bind(binding)
        if isinstance(proposal, Program):
            draw = partial(_drawn, who=f"guide {proposal.name}", defensive=self.defensive)
            return guided(program, proposal, draw, repr(self))
        rewrite = partial(_proposed, proposal=proposal, defensive=self.defensive)
        return rewritten(program, rewrite, repr(self))


def propose(
    proposal: Proposal | Guide | Callable[[], Program[Any]], defensive: float = 0.0
) -> Propose:
    """``propose(q)``: importance-correct another sampling law. See :class:`Propose`.

    A function that needs no arguments is called for the guide.
    """
    if not 0 <= defensive < 1:
        raise PonderError(
            f"propose needs a defensive share of at least 0 and below 1, got {defensive}"
        )
    return Propose(_checked(proposal), float(defensive))


def _checked(proposal: Any) -> Proposal | Guide:
    if isinstance(proposal, Program | Source):
        return proposal
    wanted = "a guide (a program), or a function (name, dist) -> distribution or None"
    if not callable(proposal) or isinstance(proposal, Block | Pipeline | type):
        raise PonderError(f"propose needs {wanted}, got {proposal!r}")
    try:
        parameters = inspect.signature(proposal).parameters.values()
    except (TypeError, ValueError):
        return proposal  # type: ignore[no-any-return]
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = sum(p.default is p.empty for p in positional)
    spread = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if needed == 2 or (needed < 2 and spread):
        return proposal  # type: ignore[no-any-return]
    name = getattr(proposal, "__name__", repr(proposal))
    if needed:
        raise PonderError(f"propose needs {wanted}; {name} needs {needed} arguments")
    made = proposal()
    if not isinstance(made, Program | Source):
        raise PonderError(f"propose needs {wanted}; {name}() gave {made!r}, which is no program")
    return made


def _proposed(effect: Effect, proposal: Proposal, defensive: float) -> Effects[Any]:
    q = proposal(effect.name, effect.dist) if isinstance(effect, Sample) else None
    if q is None or not isinstance(effect, Sample):
        return (yield effect)
    return (yield from _drawn(effect, q, "", defensive))


def _drawn(effect: Sample, q: Dist[Any], who: str, defensive: float) -> Effects[Any]:
    """A draw from q, or from the mixture, weighed. ``who`` is the guide; empty for a function."""
    if who:
        _refuse_kind(effect, q, who)
    if defensive > 0:
        q = Mixture((q, effect.dist), (1 - defensive, defensive))
    elif who:
        _refuse_gaps(effect, q, who)
    value = yield Sample(q, effect.name)
    log_p = effect.dist.log_prob(value)
    log_weight = log_p if log_p == NEG_INF else log_p - q.log_prob(value)
    log_weight = float(log_weight)  # of a tensor, where either is a distribution of torch's
    if math.isnan(log_weight) or log_weight == math.inf:
        raise PonderError(
            f"{who or 'the proposal'} gives {value!r} at {effect.name or 'a sample'} the weight "
            f"exp({log_weight}), from {q!r} for {effect.dist!r}; its density there must be a "
            "positive number"
        )
    yield Factor(log_weight)
    return in_kind(effect.dist, value)


def _refuse_kind(effect: Sample, q: Dist[Any], who: str) -> None:
    """Raise PonderError if one of them has a density and the other probabilities."""
    kinds = _has_density(q), _has_density(effect.dist)
    if None not in kinds and kinds[0] != kinds[1]:
        raise PonderError(
            f"{who} draws from {q!r} at {effect.name}, where the program samples {effect.dist!r}: "
            "a density and a probability cannot be weighed against each other; give both of a kind"
        )


def _has_density(dist: Dist[Any]) -> bool | None:
    """Whether values have a density, and no probabilities; None where that is not known."""
    if isinstance(dist, Normal | Uniform | Exponential | Bernoulli | Categorical):
        return not isinstance(dist, Bernoulli | Categorical)
    support = getattr(getattr(dist, "distribution", None), "support", None)
    return None if support is None else not support.is_discrete  # of a distribution of torch's


def _refuse_gaps(effect: Sample, q: Dist[Any], who: str) -> None:
    """Raise PonderError if p lists a value that q never draws.

    Distributions whose list is a product, or a model's, are not listed for this.
    """
    p = effect.dist
    if isinstance(p, Independent) or hasattr(p, "model") or hasattr(p, "edges"):
        return
    for value, _ in p.support() or ():
        if q.log_prob(value) == NEG_INF:
            raise PonderError(
                f"{who} never draws {value!r} at {effect.name}, which the program can; give it "
                "a positive probability, or a share of the program's own: defensive=0.1"
            )
