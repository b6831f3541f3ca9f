"""Layers between drawing replies and deciding on one, after Archon (Saad-Falcon et al. 2024).

``cot | draw(10) | critique | rank(5) | fuse | best(judge)``: each layer takes a population of
replies and gives one, so that they go in any order. C replies cost: ``critique`` and ``rank`` one
request of the model, ``fuse(n)`` n, ``verified`` 2C, ``write_tests`` one, ``judged_tests`` C,
``executed_tests`` and ``consensus`` none. All but ``refine`` are heuristic.
"""

from ponder.recipes.layers.consensus import consensus
from ponder.recipes.layers.critique import critique
from ponder.recipes.layers.executed_tests import executed_tests
from ponder.recipes.layers.fuse import fuse
from ponder.recipes.layers.judged_tests import judged_tests
from ponder.recipes.layers.passes import passes, passing
from ponder.recipes.layers.rank import rank
from ponder.recipes.layers.refine import refine
from ponder.recipes.layers.verified import verified
from ponder.recipes.layers.write_tests import write_tests

__all__ = [
    "consensus",
    "critique",
    "executed_tests",
    "fuse",
    "judged_tests",
    "passes",
    "passing",
    "rank",
    "refine",
    "verified",
    "write_tests",
]
