"""What more samples of a question are worth: by how much they raise P(its answer is right).

More samples are worth something only where they may change the leader. Then an answer that is right
with probability p' takes the place of one with p: the gain is p' - p, both after the new samples.
Its expectation is over futures simulated from the law of the answers (:mod:`.answers`), always
with the same random numbers, so that questions are compared alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ponder.blocks.vote import tied
from ponder.spending.answers import AnswerLaw, Floats, Seen, grid

RUNS = 128
_AT_ONCE = 16  # questions whose futures are simulated together: they fit a processor's cache
_DOUBT = 2.0  # samples that the run's rate of abstentions counts for, beside a question's own
Right = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Truth:
    """P(each answer is right), given their votes: v^sharpness / (missing + sum of them all).

    Votes are in units of the run's mean vote. At 1 and 1 the truth is one more draw from the law
    of the answers, in which an answer not seen yet has as much weight as a single sample.
    """

    sharpness: float = 1.0
    missing: float = 1.0

    def __call__(self, votes: Floats) -> Floats:
        """Votes (..., answers), 0 for none: P(right), of the same shape."""
        powers = votes**self.sharpness
        return np.asarray(powers / (powers.sum(axis=-1, keepdims=True) + self.missing))

    @classmethod
    def fitted(cls, votes: Sequence[Sequence[float]], right: Sequence[int | None]) -> Truth:
        """The most likely one for questions of known answers.

        ``right[i]`` is the place of the right answer among those of ``votes[i]``, None if it is
        not there. Both logarithms have a standard normal prior: few questions change little.
        """
        from scipy.optimize import minimize

        width = max(map(len, votes), default=0)
        table = np.array([[*v, *[0.0] * (width - len(v))] for v in votes]).reshape(-1, width)
        rows = np.arange(len(votes))
        none = np.array([r is None for r in right])
        place = np.array([0 if r is None else r for r in right], dtype=int)

        def loss(logs: Floats) -> float:
            chances = cls(*np.exp(logs).tolist())(table)
            rest = 1 - chances.sum(axis=1)
            said = np.where(none, rest, chances[rows, place])
            return float(logs @ logs / 2 - np.log(np.maximum(said, 1e-12)).sum())

        return cls(*np.exp(minimize(loss, np.zeros(2), method="Nelder-Mead").x).tolist())


@dataclass(frozen=True)
class Pooled:
    """What the questions of a run have in common, fitted to all of them.

    ``vote`` is the mean vote of an answer, ``fresh`` what each distinct one counts for (in units of
    ``vote``), as one not seen yet may; ``silent`` is the part of samples that abstain.
    """

    law: AnswerLaw
    vote: float
    fresh: Floats
    silent: float

    @classmethod
    def of(cls, seen: Iterable[Seen]) -> Pooled:
        """Of nothing: plain votes, abstentions half the time."""
        run = list(seen)
        tallies = [s.tally() for s in run]
        given = sum(sum(counts) for counts, _ in tallies)
        vote = sum(sum(votes) for _, votes in tallies) / given if given else 1.0
        fresh = [v / m / vote for pair in tallies for m, v in zip(*pair, strict=True)]
        drawn = sum(len(s.answers) for s in run)
        law = AnswerLaw.fitted([counts for counts, _ in tallies if counts])
        return cls(law, vote, np.array(fresh or [1.0]), (drawn - given + 0.5) / (drawn + 1))


def expected_gains(
    seen: Sequence[Seen],
    pooled: Pooled,
    sizes: Sequence[int],
    right: Right | None = None,
    *,
    runs: int = RUNS,
    seed: int = 0,
) -> Floats:
    """Expected gain in P(the answer is right) of so many more samples: (questions, sizes).

    ``sizes`` grow; ``right`` maps votes to P(right), see :class:`Truth`. The standard error is
    that of ``runs`` simulated futures.
    """
    futures = _Futures(pooled, sizes, right or Truth(), runs, np.random.default_rng(seed))
    # Together those with as many distinct answers, whose arrays are as wide.
    order = sorted(range(len(seen)), key=lambda i: len(set(seen[i].given)))
    found = np.zeros((len(seen), len(sizes)))
    for start in range(0, len(order), _AT_ONCE):
        part = order[start : start + _AT_ONCE]
        found[part] = futures.gains([seen[i] for i in part])
    return found


class _Futures:
    """Simulated futures: shapes are (questions, runs, answers)."""

    def __init__(
        self,
        pooled: Pooled,
        sizes: Sequence[int],
        right: Right,
        runs: int,
        rng: np.random.Generator,
    ) -> None:
        self.pooled, self.sizes, self.right, self.runs = pooled, list(sizes), right, runs
        shape = (max(sizes), runs)
        self.phase = rng.permutation((np.arange(runs) + 0.5) / runs)
        self.which, self.silent = rng.random(shape), rng.random(shape)
        self.fresh = rng.choice(pooled.fresh, shape)

    def gains(self, seen: Sequence[Seen]) -> Floats:
        """As ``expected_gains``, of a few questions."""
        tallies = [s.tally() for s in seen]
        known = np.array([len(m) for m, _ in tallies])
        width = int(known.max()) + max(self.sizes)
        counts, votes = np.zeros((2, len(seen), width))
        for i, (m, v) in enumerate(tallies):
            counts[i, : known[i]], votes[i, : known[i]] = m, np.array(v) / self.pooled.vote
        silent = np.array([self._abstains(s) for s in seen])
        leads = (votes > 0) & tied_rows(votes)
        discount, concentration = self._parameters([m for m, _ in tallies])
        marks = self._marks(counts, votes, known)
        # Of each answer m - d, and 0 while nobody has given it.
        taken = np.where(counts[:, None] > 0, counts[:, None] - discount[..., None], 0.0)
        ballots = np.repeat(votes[:, None], self.runs, axis=1)
        total = counts.sum(axis=1)[:, None] + concentration
        used = np.repeat(known[:, None], self.runs, axis=1)
        found = []
        for step in range(max(self.sizes)):
            below = taken.cumsum(axis=2)
            point = self.which[step] * total
            new = point >= below[..., -1]
            place = np.where(new, used, (below <= point[..., None]).sum(axis=2))
            said = self.silent[step] >= silent[:, None]
            at = (*np.nonzero(said), place[said])
            taken[at] += np.where(new, 1 - discount, 1.0)[said]
            ballots[at] += marks[at]
            total += said
            used += new & said
            if step + 1 in self.sizes:
                found.append(self._gain(ballots, leads))
        return np.stack(found, axis=1)

    def _abstains(self, s: Seen) -> float:
        """P(a sample of this question abstains): its own rate, with the run's beside it."""
        return (s.abstaining + _DOUBT * self.pooled.silent) / (len(s.answers) + _DOUBT)

    def _parameters(self, partitions: Sequence[Sequence[int]]) -> tuple[Floats, Floats]:
        """A grid point for each run, in proportion to the question's belief."""
        steps = self.pooled.law.belief(partitions).cumsum(axis=1)
        point = (steps[:, None, :-1] <= self.phase[:, None]).sum(axis=2)
        discounts, concentrations = grid()
        return discounts[point], concentrations[point]

    def _marks(self, counts: Floats, votes: Floats, known: np.ndarray) -> Floats:
        """What one more sample with an answer counts for: as it did on average so far."""
        questions, width = counts.shape
        marks = np.zeros((questions, self.runs, width))
        for i, k in enumerate(known):
            marks[i, :, :k] = votes[i, :k] / counts[i, :k]
            marks[i, :, k : k + len(self.fresh)] = self.fresh.T
        return marks

    def _gain(self, ballots: Floats, leads: np.ndarray) -> Floats:
        chances = self.right(ballots)
        most = chances.max(axis=2)
        before = (chances * leads[:, None]).sum(axis=2) / np.maximum(leads.sum(axis=1), 1)[:, None]
        return np.asarray((most - before).mean(axis=1))


def tied_rows(votes: Floats) -> np.ndarray:
    """Which votes equal the largest of their row, but for rounding."""
    top = votes.max(axis=-1, keepdims=True, initial=0.0)
    return np.asarray(tied(votes, top))  # type: ignore[arg-type]
