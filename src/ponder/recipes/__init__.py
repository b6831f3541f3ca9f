"""Named programs and strategies, each readable as its paper's one-paragraph summary."""

from ponder.guarantee.allotment import allotted
from ponder.guarantee.certify import certify
from ponder.guarantee.stopping import agreement, dirichlet, entropy, majority, settled
from ponder.notation import parse, register
from ponder.recipes.agreeing import agrees
from ponder.recipes.arbitrage import arbitrage
from ponder.recipes.catalogue import register_methods
from ponder.recipes.chatting import chat, continuation
from ponder.recipes.compiling import compiled
from ponder.recipes.compositions import (
    best_of_n,
    particle_filter,
    self_consistency,
    weighted_vote,
)
from ponder.recipes.constrained import constrained
from ponder.recipes.contrast import contrasted
from ponder.recipes.detecting import detected
from ponder.recipes.diversity import diverse, diverse_once
from ponder.recipes.hypotheses import hypotheses
from ponder.recipes.layers import (
    consensus,
    critique,
    executed_tests,
    fuse,
    judged_tests,
    passes,
    passing,
    rank,
    refine,
    verified,
    write_tests,
)
from ponder.recipes.linc import linc
from ponder.recipes.mixture import either
from ponder.recipes.neighbours import neighbours
from ponder.recipes.odds import odds
from ponder.recipes.pairs import pairs, twice
from ponder.recipes.perceiving import perceived
from ponder.recipes.programs import pot
from ponder.recipes.prompting import Reply
from ponder.recipes.replies import cot, direct
from ponder.recipes.scores import likelihood, perplexity
from ponder.recipes.shuffling import shuffled
from ponder.recipes.speculating import spec_reason
from ponder.recipes.steps import steps
from ponder.recipes.syzygy import syzygy
from ponder.recipes.thinksum import thinksum
from ponder.verify.endpoint import endpoint
from ponder.verify.judge import judge
from ponder.verify.pairwise import tournament
from ponder.verify.reward import published
from ponder.verify.selfeval import selfeval

for _name, _thing in {
    "direct": direct,
    "cot": cot,
    "chat": chat,
    "continuation": continuation,
    "steps": steps,
    "pot": pot,
    "twice": twice,
    "linc": linc,
    "either": either,
    "hypotheses": hypotheses,
    "compiled": compiled,
    "contrasted": contrasted,
    "agrees": agrees,
    "diverse": diverse,
    "diverse_once": diverse_once,
    "shuffled": shuffled,
    "neighbours": neighbours,
    "thinksum": thinksum,
    "perceived": perceived,
    "detected": detected,
    "syzygy": syzygy,
    "spec_reason": spec_reason,
    "arbitrage": arbitrage,
    "constrained": constrained,
    "judge": judge,
    "selfeval": selfeval,
    "tournament": tournament,
    "published": published,
    "endpoint": endpoint,
    "perplexity": perplexity,
    "likelihood": likelihood,
    "odds": odds,
    "pairs": pairs,
    "consensus": consensus,
    "critique": critique,
    "executed_tests": executed_tests,
    "fuse": fuse,
    "judged_tests": judged_tests,
    "passes": passes,
    "passing": passing,
    "rank": rank,
    "refine": refine,
    "verified": verified,
    "write_tests": write_tests,
    "agreement": agreement,
    "dirichlet": dirichlet,
    "majority": majority,
    "entropy": entropy,
    "settled": settled,
    "allotted": allotted,
    "certify": certify,
    "self_consistency": self_consistency,
    "weighted_vote": weighted_vote,
    "best_of_n": best_of_n,
    "particle_filter": particle_filter,
}.items():
    register(_name, _thing)

register_methods()

__all__ = [
    "Reply",
    "agrees",
    "arbitrage",
    "best_of_n",
    "certify",
    "chat",
    "compiled",
    "consensus",
    "constrained",
    "continuation",
    "contrasted",
    "cot",
    "critique",
    "detected",
    "direct",
    "diverse",
    "diverse_once",
    "either",
    "endpoint",
    "executed_tests",
    "fuse",
    "hypotheses",
    "judge",
    "judged_tests",
    "likelihood",
    "linc",
    "neighbours",
    "odds",
    "pairs",
    "parse",
    "particle_filter",
    "passes",
    "passing",
    "perceived",
    "perplexity",
    "pot",
    "published",
    "rank",
    "refine",
    "self_consistency",
    "selfeval",
    "settled",
    "shuffled",
    "spec_reason",
    "steps",
    "syzygy",
    "thinksum",
    "tournament",
    "twice",
    "verified",
    "weighted_vote",
    "write_tests",
]
