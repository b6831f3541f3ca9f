"""The building blocks of strategies, one idea a file."""

from ponder.blocks.best import best
from ponder.blocks.bounds import evidence_bounds
from ponder.blocks.collapse import collapse
from ponder.blocks.constrain import constrain
from ponder.blocks.draw import draw
from ponder.blocks.gibbs import gibbs
from ponder.blocks.ladder import ladder, swap
from ponder.blocks.mh import mh, regenerate
from ponder.blocks.pool import pool
from ponder.blocks.propose import Proposal, propose
from ponder.blocks.resample import multinomial, resample, residual, stratified, systematic
from ponder.blocks.smc import smc
from ponder.blocks.speculate import speculate
from ponder.blocks.staged import staged
from ponder.blocks.steer import steer
from ponder.blocks.temper import temper
from ponder.blocks.thin import thin
from ponder.blocks.vote import vote
from ponder.blocks.weigh import weigh
from ponder.notation import register

for _name, _thing in {
    "draw": draw,
    "weigh": weigh,
    "temper": temper,
    "speculate": speculate,
    "ladder": ladder,
    "smc": smc,
    "steer": steer,
    "pool": pool,
    "collapse": collapse,
    "resample": resample,
    "thin": thin,
    "mh": mh,
    "regenerate": regenerate,
    "gibbs": gibbs,
    "swap": swap,
    "vote": vote,
    "best": best,
    "multinomial": multinomial,
    "stratified": stratified,
    "systematic": systematic,
    "residual": residual,
}.items():
    register(_name, _thing)

__all__ = [
    "Proposal",
    "best",
    "collapse",
    "constrain",
    "draw",
    "evidence_bounds",
    "gibbs",
    "ladder",
    "mh",
    "multinomial",
    "pool",
    "propose",
    "regenerate",
    "resample",
    "residual",
    "smc",
    "speculate",
    "staged",
    "steer",
    "stratified",
    "swap",
    "systematic",
    "temper",
    "thin",
    "vote",
    "weigh",
]
