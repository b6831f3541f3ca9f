"""Methods of the literature as compositions. Each prints as what it is made of."""

from __future__ import annotations

from ponder.binding import AnyPotential
from ponder.blocks import best, draw, smc, vote, weigh
from ponder.recipes.replies import cot
from ponder.recipes.steps import steps
from ponder.strategy import Pipeline, Source
from ponder.verify.judge import judge


def self_consistency(n: int = 8, program: Source = cot) -> Pipeline:
    """Majority vote over n chains of thought (Wang et al. 2022). Law: consistent."""
    return program | draw(n) | vote


def weighted_vote(n: int = 8, score: AnyPotential = judge, program: Source = cot) -> Pipeline:
    """Votes weighted by exp(score): importance sampling for the law times exp(score).

    With the model's own P(correct) as score unless another is given. Law: consistent.
    """
    return program | draw(n) | weigh(score) | vote


def best_of_n(n: int = 8, score: AnyPotential = judge, program: Source = cot) -> Pipeline:
    """The answer of the chain with the highest score. Law: heuristic."""
    return program | draw(n) | best(score)


def particle_filter(n: int = 8, score: AnyPotential = judge, program: Source = steps) -> Pipeline:
    """Steps resampled by a score of the reasoning so far (after Puri et al. 2025).

    Unlike there, the score of each step is divided out again (a twist), so that the target is
    the law times the score of the finished reply, whatever the scores on the way. Law:
    consistent.
    """
    return program | weigh(score) | smc(n) | vote
