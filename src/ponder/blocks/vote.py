"""``vote``: the posterior over answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ponder.binding import Binding
from ponder.dist import Categorical
from ponder.effects import Effects, Program, Sample
from ponder.law import Law, voted
from ponder.measure import Population, Posterior, tally
from ponder.strategy import Decide


@dataclass(frozen=True, repr=False)
class Vote(Decide):
    """Each trace votes for its answer with its weight; ties are broken at random, by the seed.

    With equal weights this is self-consistency (Wang et al. 2022), otherwise the weighted vote.
    Traces that give no answer abstain: they never vote and are reported apart. Law: the plug-in
    estimate of the target's law of answers, consistent.
    """

    notation: ClassVar[str] = "vote"

    def law(self, incoming: Law) -> Law:
        return voted(incoming)

    def decide(self, population: Population[Any], binding: Binding) -> Program[Posterior]:
        def run() -> Effects[Posterior]:
            posterior = posterior_of(population, self.law(population.law))
            top = posterior.shares[0].share if posterior.shares else 0.0
            first = [s.answer for s in posterior.shares if tied(s.share, top)]
            answer = yield from choose(first)
            return with_answer(posterior, answer)

        return Program(run, repr(self))


vote = Vote()


def tied(share: float, top: float) -> bool:
    """Whether a share equals the largest; shares that differ only by rounding do."""
    return share >= top * (1 - 1e-12)


def posterior_of(population: Population[Any], law: Law) -> Posterior:
    """The posterior without a chosen answer."""
    shares, ess, unparsed, abstaining = tally(population)
    return Posterior(None, shares, ess, unparsed, abstaining, law, population)


def with_answer(posterior: Posterior, answer: Any) -> Posterior:
    """The posterior with its answer, which is moved to the head of its ties."""
    p = posterior
    top = max((s.share for s in p.shares), default=0.0)
    shares = sorted(
        p.shares, key=lambda s: (s.answer != answer or not tied(s.share, top), -s.share)
    )
    return Posterior(answer, tuple(shares), p.ess, p.unparsed, p.abstaining, p.law, p.population)


def choose(tied: list[Any]) -> Effects[Any]:
    """One of ``tied``, uniformly; None of none. A single candidate costs no randomness."""
    if len(tied) < 2:
        return tied[0] if tied else None
    index = yield Sample(Categorical([1.0] * len(tied)), "tie")
    return tied[index]
