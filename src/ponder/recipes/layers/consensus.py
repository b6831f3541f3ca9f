"""``consensus``: programs that agree on many tests, by dual execution agreement."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ponder.binding import Binding
from ponder.dist import NEG_INF
from ponder.effects import Effects, Program
from ponder.measure import Population
from ponder.recipes.layers.layer import Layer, Replies, Worked, every
from ponder.recipes.layers.passes import passed


@dataclass(frozen=True, repr=False)
class Consensus(Layer):
    """CodeT (Chen et al. 2022): a group is the programs that pass the same written tests.

    It scores its size times the number of tests that it passes. The groups of the highest score
    share the mass of the population evenly, trace by trace, and all else weighs nothing. If no
    program passes a test the population stays as it is. Follows ``write_tests``, whose asserts
    may be wrong themselves: what is believed is what many programs and many tests agree on.
    """

    notation: ClassVar[str] = "consensus"
    why: ClassVar[str] = "keeps the largest agreement of programs and tests"

    def work(
        self, population: Population[Any], replies: Replies, binding: Binding
    ) -> Effects[Worked]:
        written = {
            i: r.tests if binding.question.kind == "code" else () for i, r in replies.items()
        }
        verdicts = yield from every(
            [
                Program(partial(passed, binding, reply, written[i]), "tests")
                for i, reply in replies.items()
            ]
        )
        groups: dict[frozenset[str], list[int]] = {}
        for i, said in zip(replies, verdicts, strict=True):
            agreed = frozenset(test for test, ok in zip(written[i], said, strict=True) if ok)
            groups.setdefault(agreed, []).append(i)
        scores = {agreed: len(agreed) * len(members) for agreed, members in groups.items()}
        top = max(scores.values())
        if top == 0:
            return population, True
        chosen = [i for agreed, members in groups.items() if scores[agreed] == top for i in members]
        log_weights = np.full(len(population), NEG_INF)
        log_weights[chosen] = population.log_evidence - math.log(len(chosen))
        return dataclasses.replace(population, log_weights=log_weights), True


consensus = Consensus()
