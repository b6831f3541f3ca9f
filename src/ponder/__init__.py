"""Ponder: inference-time compute on language models, and what the answer is worth.

Programs say what is sampled and scored, blocks say how, and every composition has a law:

    import ponder
    ponder.ask("What is 17 * 23?").text
    ponder.infer(my_program() | ponder.smc(100) | ponder.vote)

Names are imported on first use, so that ``import ponder`` is cheap; ``__init__.pyi`` types them.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "ponder.answering": "Answer Session",
    "ponder.api": "ask infer load run",
    "ponder.arrays": "MultinomialAncestors Normals SystematicAncestors",
    "ponder.bank": "Bank",
    "ponder.binding": "Binding Potential",
    "ponder.blocks": "Proposal Then above accepted beam best best_first collapse constrain "
    "corroborated distinct draw equate evidence_bounds gibbs ladder likely mh "
    "multinomial pool product propose prune regenerate resample residual smc "
    "speculate staged steer stochastic_tree stratified stratify swap systematic "
    "temper thin top tree vote weigh weigh_steps",
    "ponder.blocks.kernel": "Kernel",
    "ponder.checking.check": "check",
    "ponder.dist": "Bernoulli Categorical Dist Exponential Independent Mixture Normal SciPy "
    "Uniform",
    "ponder.effects": "Done Effects each factor iterate nested observe Program program sample "
    "twist",
    "ponder.errors": "PonderError",
    "ponder.evidence.card": "Card",
    "ponder.evidence.interface": "bench tune",
    "ponder.interpret": "enumerate_measure evaluate simulate",
    "ponder.law": "Law",
    "ponder.ledger": "Budget Ledger",
    "ponder.lm.protocol": "Completion LanguageModel NextToken",
    "ponder.lm.sampling_law": "SamplingLaw",
    "ponder.lm.table": "TableLM",
    "ponder.meaning": "Atom",
    "ponder.measure": "ABSTAIN answer_of Population Posterior",
    "ponder.notation": "register",
    "ponder.particle": "Particle",
    "ponder.question": "Question",
    "ponder.guarantee.certify": "certify",
    "ponder.guarantee.allotment": "allotted",
    "ponder.guarantee.stopping": "agreement dirichlet entropy majority settled",
    "ponder.outside": "Outside",
    "ponder.recipes": "Reply agrees arbitrage best_of_n chat compiled consensus constrained "
    "continuation contrasted cot critique detected direct diverse diverse_once either endpoint "
    "executed_tests fuse hypotheses judge judged_tests likelihood linc neighbours odds pairs "
    "parse particle_filter passes perceived perplexity pot published rank refine "
    "self_consistency selfeval shuffled spec_reason steps syzygy thinksum tournament twice "
    "verified weighted_vote write_tests",
    "ponder.strategy": "Block Collapse Decide Infer Move Pipeline Repeat Transform",
    "ponder.trace": "Trace",
    "ponder.verify.endpoint": "Endpoint",
    "ponder.verify.reward": "reward_from",
}
_WHERE = {name: module for module, names in _HOME.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'ponder' has no attribute {name!r}")
    thing = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = thing
    return thing


def __dir__() -> list[str]:
    return sorted([*_WHERE, "__version__"])
