"""``certify(alpha)``: the answer if it is known to be the model's own first one, else none."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ponder.binding import Binding
from ponder.blocks.vote import choose, posterior_of, tied, with_answer
from ponder.effects import Effects, Program
from ponder.guarantee.mode import ModeEvidence
from ponder.guarantee.stopping import within
from ponder.law import Law, heuristic
from ponder.meaning import Atom
from ponder.measure import Abstain, Population, Posterior, answer_of
from ponder.strategy import Decide


@dataclass(frozen=True, repr=False)
class Certify(Decide):
    """The leader of the answers if every other one is refuted as a most probable one, else None.

    Law: bounded. The probability of an answer that is not a most probable one of the model's law
    is at most ``alpha``, for independent draws in the order drawn, of which any rule may have
    decided how many there are (:mod:`ponder.guarantee.mode`). It is a statement about the model's
    answers, not that they are right. Traces that give no answer count for nothing: the law is
    that of the answers given.
    """

    alpha: float = 0.05
    notation: ClassVar[str] = "certify"
    sizes: ClassVar[tuple[str, ...]] = ()

    @property
    def bound(self) -> float:
        return self.alpha

    def law(self, incoming: Law) -> Law:
        if not incoming.ordered:
            return heuristic(incoming, "certify needs independent draws, in order")
        said = f"an answer that is not a most probable one has probability <= {self.alpha:g}"
        return replace(incoming, kind="bounded", ordered=False).noting(said)

    def decide(self, population: Population[Any], binding: Binding) -> Program[Posterior]:
        def run() -> Effects[Posterior]:
            posterior = posterior_of(population, self.law(population.law))
            answers = [answer_of(trace) for trace in population.traces]
            given = [answer for answer in answers if not isinstance(answer, Abstain)]
            leader = ModeEvidence(given).settled(self.alpha)
            answer = yield from choose([] if leader is None else [leader])
            return with_answer(posterior, answer)

        return Program(run, repr(self))

    def error(self, posterior: Posterior, target: Sequence[Atom]) -> float:
        """1 if an answer is given that is not a most probable one of the target, else 0."""
        masses: dict[Hashable, list[float]] = defaultdict(list)
        for atom in target:
            answer = answer_of(atom.trace)
            if not isinstance(answer, Abstain):
                masses[answer].append(atom.mass)
        sums = {answer: math.fsum(parts) for answer, parts in masses.items()}
        most = max(sums.values(), default=0.0)
        given = posterior.answer
        return float(given is not None and not tied(sums.get(given, 0.0), most))


def certify(alpha: float = 0.05) -> Certify:
    """``certify(0.05)``: an answer only if it is settled. See :class:`Certify`."""
    return Certify(within("certify", "an error probability", alpha, such_as=0.05))
