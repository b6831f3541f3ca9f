"""The building blocks of strategies, one idea a file."""

from ponder.blocks.best import best
from ponder.blocks.draw import draw
from ponder.blocks.propose import Proposal, propose
from ponder.blocks.resample import multinomial, resample, residual, stratified, systematic
from ponder.blocks.smc import smc
from ponder.blocks.temper import temper
from ponder.blocks.vote import vote
from ponder.blocks.weigh import weigh
from ponder.notation import register

for _name, _thing in {
    "draw": draw,
    "weigh": weigh,
    "temper": temper,
    "resample": resample,
    "smc": smc,
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
    "draw",
    "multinomial",
    "propose",
    "resample",
    "residual",
    "smc",
    "stratified",
    "systematic",
    "temper",
    "vote",
    "weigh",
]
