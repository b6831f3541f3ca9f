"""The building blocks of strategies, one idea a file."""

from ponder.blocks.beam import beam
from ponder.blocks.best import best
from ponder.blocks.best_first import best_first
from ponder.blocks.bounds import evidence_bounds
from ponder.blocks.collapse import collapse
from ponder.blocks.constrain import constrain
from ponder.blocks.distinct import distinct
from ponder.blocks.draw import draw
from ponder.blocks.equate import equate
from ponder.blocks.gibbs import gibbs
from ponder.blocks.ladder import ladder, swap
from ponder.blocks.likely import likely
from ponder.blocks.mh import mh, regenerate
from ponder.blocks.pool import pool
from ponder.blocks.product import corroborated, product
from ponder.blocks.propose import Proposal, propose
from ponder.blocks.prune import prune
from ponder.blocks.resample import multinomial, resample, residual, stratified, systematic
from ponder.blocks.smc import smc
from ponder.blocks.speculate import speculate
from ponder.blocks.staged import staged
from ponder.blocks.steer import steer
from ponder.blocks.stochastic_tree import stochastic_tree
from ponder.blocks.stops import above, accepted
from ponder.blocks.stratify import stratify
from ponder.blocks.temper import temper
from ponder.blocks.then import Then
from ponder.blocks.thin import thin
from ponder.blocks.top import top
from ponder.blocks.tree import tree
from ponder.blocks.vote import vote
from ponder.blocks.weigh import weigh
from ponder.blocks.weigh_steps import weigh_steps
from ponder.notation import register

for _name, _thing in {
    "draw": draw,
    "weigh": weigh,
    "weigh_steps": weigh_steps,
    "above": above,
    "accepted": accepted,
    "temper": temper,
    "speculate": speculate,
    "ladder": ladder,
    "stratify": stratify,
    "smc": smc,
    "steer": steer,
    "beam": beam,
    "tree": tree,
    "best_first": best_first,
    "stochastic_tree": stochastic_tree,
    "prune": prune,
    "pool": pool,
    "collapse": collapse,
    "resample": resample,
    "thin": thin,
    "top": top,
    "distinct": distinct,
    "likely": likely,
    "equate": equate,
    "mh": mh,
    "regenerate": regenerate,
    "gibbs": gibbs,
    "swap": swap,
    "vote": vote,
    "best": best,
    "product": product,
    "corroborated": corroborated,
    "multinomial": multinomial,
    "stratified": stratified,
    "systematic": systematic,
    "residual": residual,
}.items():
    register(_name, _thing)

__all__ = [
    "Proposal",
    "Then",
    "above",
    "accepted",
    "beam",
    "best",
    "best_first",
    "collapse",
    "constrain",
    "corroborated",
    "distinct",
    "draw",
    "equate",
    "evidence_bounds",
    "gibbs",
    "ladder",
    "likely",
    "mh",
    "multinomial",
    "pool",
    "product",
    "propose",
    "prune",
    "regenerate",
    "resample",
    "residual",
    "smc",
    "speculate",
    "staged",
    "steer",
    "stochastic_tree",
    "stratified",
    "stratify",
    "swap",
    "systematic",
    "temper",
    "thin",
    "top",
    "tree",
    "vote",
    "weigh",
    "weigh_steps",
]
