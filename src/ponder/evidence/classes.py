"""Difficulty classes: more samples where the first few disagree, at the same mean cost.

What is best for each class is chosen on one half of the questions and scored on the other, both
ways (Snell et al. 2024): chosen and scored on the same questions it would always look better.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponder.blocks.draw import Draw
from ponder.blocks.sizes import resized
from ponder.evidence.candidates import keeps_all
from ponder.evidence.compare import at_tokens
from ponder.evidence.evaluate import Floats, Measured
from ponder.evidence.search import Tried
from ponder.guarantee.allotment import CLASSES, PILOT, Allotted, class_of
from ponder.measure import Abstain, Posterior, answer_of
from ponder.question import Question
from ponder.strategy import Block, Infer, Pipeline

Sizes = tuple[int, int, int]
Ints = NDArray[np.int_]
CLASS = "class"
"""The name under which a run carries the class of its pilot."""
Measure = Callable[[Pipeline, Sequence[Question]], Measured]


@dataclass(frozen=True)
class Classes:
    """What classes came to. ``sizes`` of the answers by class, None if there is no use in them.

    ``two_fold`` is their accuracy where they were not chosen, ``plain`` that of the same strategy
    without classes at as many ``tokens``; ``why`` says in a line what was found. ``right`` is the
    two-fold credit by question (Q,).
    """

    sizes: Sizes | None
    why: str
    two_fold: float | None = None
    plain: float | None = None
    tokens: float | None = None
    right: Floats | None = field(default=None, repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        sizes = None if self.sizes is None else dict(zip(CLASSES, self.sizes, strict=True))
        return {
            "pilot": PILOT,
            "sizes": sizes,
            "two_fold": self.two_fold,
            "plain": self.plain,
            "tokens": self.tokens,
            "why": self.why,
        }


def told_by(posterior: Posterior) -> dict[str, float]:
    """The class of a question, from the first answers of the traces in the order drawn."""
    given = [answer_of(trace) for trace in posterior.population.traces]
    return {CLASS: float(class_of([a for a in given if not isinstance(a, Abstain)]))}


def allotting(whole: Pipeline, sizes: Sizes) -> Pipeline:
    """The strategy that draws as many answers as the class of the question is allotted."""
    found = resized(whole, max(sizes))
    place = next(i for i, b in enumerate(found.blocks) if isinstance(b, Infer))
    block: Any = found.blocks[place]
    rule = {"stop": Allotted(sizes)}
    # Whole batches between looks, so that an engine has something to do.
    every = {"every": math.gcd(PILOT, *sizes)} if isinstance(block, Draw) else {}
    stopped: Block = dataclasses.replace(block, **rule, **every)
    return Pipeline(found.source, (*found.blocks[:place], stopped, *found.blocks[place + 1 :]))


def classes(
    chosen: Tried, curve: Sequence[Tried], questions: Sequence[Question], measure: Measure
) -> Classes:
    """Whether classes make the chosen strategy better at the tokens that it costs.

    Better by a standard error of the paired difference, as for any strategy that is less simple.
    ``curve`` are its nested sizes on ``questions``, measured with :func:`told_by` as signals;
    ``measure`` runs a strategy on some of these. The budget is what ``chosen`` costs a question.
    """
    usable = [t for t in curve if t.candidate.size >= PILOT]
    if not keeps_all(chosen.candidate.whole):
        return Classes(None, "not tried: they need traces drawn one by one, with no rule to stop")
    if len(usable) < 2 or len(questions) < 2:
        return Classes(None, f"not tried: there is no choice of sizes of {PILOT} traces or more")
    if len({t.measured.orders for t in usable}) > 1:
        return Classes(None, "not tried: its sizes were not run on the same samples")
    table = _Table(usable)
    parts = halves(questions)
    right, tokens = np.zeros(len(questions)), np.zeros(len(questions))
    for here, there in (parts, parts[::-1]):
        policy = allotting(chosen.candidate.whole, table.best(here, chosen.tokens))
        found = measure(policy, [questions[i] for i in there])
        right[there], tokens[there] = found.right, found.tokens
    spent = float(tokens.mean())
    plain = at_tokens([t.measured for t in curve], spent).right
    gain = right - plain
    error = float(gain.std(ddof=1)) / len(gain) ** 0.5
    sizes = table.best(np.arange(len(questions)), chosen.tokens)
    figures = float(right.mean()), float(plain.mean()), spent
    said = "{:.3f} scored two-fold, {:.3f} without at the same {:.0f} tokens".format(*figures)
    if float(gain.mean()) <= error or len(set(sizes)) == 1:
        return Classes(None, f"no help: {said}, +- {error:.3f}", *figures)
    return Classes(sizes, f"used: {said}, +- {error:.3f}", *figures, right)


class _Table:
    """What each size is worth and costs on each run (orders, Q), and the class that it is in."""

    def __init__(self, usable: Sequence[Tried]) -> None:
        ordered = sorted(usable, key=lambda t: t.candidate.size)
        self.sizes = [t.candidate.size for t in ordered]
        orders = ordered[0].measured.orders
        credit = [[run.credit for run in t.measured.runs] for t in ordered]
        self.credit = np.array(credit).reshape(len(ordered), orders, -1)
        self.tokens = np.array([t.measured.tokens for t in ordered])  # (sizes, Q)
        told = [run.signals.get(CLASS, 0.0) for run in ordered[-1].measured.runs]
        self.of: Ints = np.array(told, dtype=np.int_).reshape(orders, -1)

    def best(self, questions: Ints, budget: float) -> Sizes:
        """The sizes of highest mean credit on these questions at mean tokens within the budget.

        Of equals the cheapest. If none is within, the cheapest of all.
        """
        of = self.of[:, questions]
        member = [of == c for c in range(len(CLASSES))]
        share = [m / m.size for m in member]
        worth = np.array([[(credit * s).sum() for s in share] for credit in self._on(questions)])
        costs = self.tokens[:, None, questions]
        cost = np.array([[(row * s).sum() for s in share] for row in costs])
        picks = list(product(range(len(self.sizes)), repeat=len(CLASSES)))
        priced = [(pick, _total(worth, pick), _total(cost, pick)) for pick in picks]
        within = [p for p in priced if p[2] <= budget * (1 + 1e-9)]
        if not within:
            within = [min(priced, key=lambda p: p[2])]
        # Rounding, so that sums in another order are no reason to pay more.
        pick = min(within, key=lambda p: (-round(p[1], 9), p[2], p[0]))[0]
        disagree, nearly, agree = (self.sizes[i] for i in pick)
        return disagree, nearly, agree

    def _on(self, questions: Ints) -> Floats:
        return self.credit[:, :, questions]


def _total(table: Floats, pick: Sequence[int]) -> float:
    return float(sum(table[i, c] for c, i in enumerate(pick)))


def halves(questions: Sequence[Question]) -> tuple[Ints, Ints]:
    """Two halves of the places of questions, by a hash of their ids."""
    hashes = [sha256(f"half {q.id}".encode()).digest() for q in questions]
    order = sorted(range(len(questions)), key=lambda i: hashes[i])
    return np.array(sorted(order[::2])), np.array(sorted(order[1::2]))
