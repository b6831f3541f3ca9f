"""``tournament``: the reply that wins most of its comparisons with the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from ponder.binding import Binding
from ponder.blocks.arguments import check_count
from ponder.blocks.vote import choose, posterior_of, tied, with_answer
from ponder.effects import Each, Effects, Program, each, sample
from ponder.errors import PonderError
from ponder.law import Law, heuristic, stated
from ponder.lm.further import further
from ponder.lm.protocol import OptionLogProbs
from ponder.measure import Abstain, Population, Posterior, answer_of
from ponder.particle import Particle
from ponder.strategy import Decide
from ponder.trace import Trace
from ponder.verify.judge import Groups, check_said, log_share, spellings
from ponder.verify.scoring import transcript_of

Pair = tuple[int, int]
Wins = dict[Pair, float]
"""The probability that the first of a pair is the better one."""


@dataclass(frozen=True, repr=False)
class Tournament(Decide):
    """The model compares replies two by two; the one that wins most answers.

    A reply's score is the mean probability that it is better than each of its rivals. Among up to
    ``most`` replies that is everyone; among more it is one reply of the leading answer, whose own
    score is 1/2: that makes 2 (n - 1) requests in place of n (n - 1).

    A comparison goes on from the reply in whose chat it is: the other one is shown to it, so that
    only that is computed. It is made in both chats, each reply once being A, the first, and
    once B, and the log-odds are averaged, so that a liking for a letter or a place cancels: who
    always says A ties all. Replies of the same text tie without being asked, and so do those
    whose comparison was cut short. Traces without an answer do not take part; the posterior keeps
    the population's shares, and ties are broken at random, by the seed. Law: heuristic.
    """

    most: int = 4
    notation: ClassVar[str] = "tournament"
    reads_trace: ClassVar[bool] = True

    def law(self, incoming: Law) -> Law:
        return heuristic(incoming, "picks the reply that wins most comparisons")

    def decide(self, population: Population[Any], binding: Binding) -> Program[Posterior]:
        def run() -> Effects[Posterior]:
            law = self.law(population.law)
            posterior = posterior_of(population, law)
            alive = population.weights > 0
            players = [
                trace
                for trace, weighs in zip(population.traces, alive, strict=True)
                if weighs and not isinstance(answer_of(trace), Abstain)
            ]
            rivals = yield from self._rivals(players, posterior)
            pairs = {(min(i, r), max(i, r)) for i in range(len(players)) for r in rivals if i != r}
            wins = yield from _played(sorted(pairs), [t.value for t in players], binding)
            scores = [mean_win(i, rivals, wins) for i in range(len(players))]
            best = [t for t, s in zip(players, scores, strict=True) if tied(s, max(scores))]
            winner = yield from choose(best)
            answer = None if winner is None else answer_of(winner)
            law = stated(law, complete=len(wins) == len(pairs))
            return with_answer(replace(posterior, law=law), answer)

        return Program(run, repr(self))

    def _rivals(
        self, players: Sequence[Trace[Any]], posterior: Posterior
    ) -> Effects[Sequence[int]]:
        """Whom everyone meets, by their places among the players."""
        if len(players) <= self.most:
            return range(len(players))
        top = posterior.shares[0].share
        leading = {s.answer for s in posterior.shares if tied(s.share, top)}
        leaders = [i for i, trace in enumerate(players) if answer_of(trace) in leading]
        return [(yield from choose(leaders))]


def tournament(most: int = 4) -> Tournament:
    """``tournament``: who wins most comparisons. See :class:`Tournament`."""
    return Tournament(check_count("tournament", most))


def mean_win(player: int, rivals: Sequence[int], wins: Wins) -> float:
    """The mean probability of winning against each rival: 1/2 against itself, or if not played."""
    won = (wins.get((player, r), 1 - wins.get((r, player), 0.5)) for r in rivals)
    return math.fsum(won) / len(rivals)


def _played(pairs: Sequence[Pair], replies: Sequence[Any], binding: Binding) -> Effects[Wins]:
    """The comparisons that were made; those that the budget did not allow are missing."""
    if not pairs:
        return {}
    groups = _letters(binding)
    duels = {
        (a, b): Particle(Program(partial(_duel, binding, groups, replies[a], replies[b]), "duel"))
        for a, b in pairs
    }
    yield Each([duel.run() for duel in duels.values()])
    return {pair: duel.value for pair, duel in duels.items() if duel.value is not None}


def _letters(binding: Binding) -> Groups:
    groups = spellings(binding.model, "A"), spellings(binding.model, "B")
    if not all(groups):
        raise PonderError(
            f"{binding.model.name} has no token for A or none for B, so it cannot compare; use "
            "another model, or best(f)"
        )
    return groups


def _duel(binding: Binding, groups: Groups, one: Any, other: Any) -> Effects[float]:
    """The probability that ``one`` is better than ``other``."""
    if one.text == other.text:
        return 0.5
    (a1, b1), (a2, b2) = yield from each(
        [
            Program(partial(_compared, binding, groups, one, other), "one first"),
            Program(partial(_compared, binding, groups, other, one), "other first"),
        ],
        ["one first", "other first"],
    )
    return math.exp(log_share((a1 + b2) / 2, (b1 + a2) / 2))


def _compared(binding: Binding, groups: Groups, first: Any, second: Any) -> Effects[Any]:
    """log P(A) and log P(B), where A is the first reply and B the second."""
    request = (
        f"Call your reply A. Here is another one, B:\n\n{second.text.strip()}\n\n"
        "Which of the two is more likely to be right? Reply A or B."
    )
    prompt = further(binding.model, transcript_of(first, "tournament"), request)
    logs = yield from sample(OptionLogProbs(binding.model, prompt, groups), "answer")
    check_said(logs, "tournament", "A or B", first)
    return logs
