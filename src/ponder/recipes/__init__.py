"""Named programs and strategies, each readable as its paper's one-paragraph summary."""

from ponder.notation import parse, register
from ponder.recipes.compositions import (
    best_of_n,
    particle_filter,
    self_consistency,
    weighted_vote,
)
from ponder.recipes.prompting import Reply
from ponder.recipes.replies import cot, direct
from ponder.recipes.steps import steps
from ponder.verify.judge import judge

for _name, _thing in {
    "direct": direct,
    "cot": cot,
    "steps": steps,
    "judge": judge,
    "self_consistency": self_consistency,
    "weighted_vote": weighted_vote,
    "best_of_n": best_of_n,
    "particle_filter": particle_filter,
}.items():
    register(_name, _thing)

__all__ = [
    "Reply",
    "best_of_n",
    "cot",
    "direct",
    "judge",
    "parse",
    "particle_filter",
    "self_consistency",
    "steps",
    "weighted_vote",
]
