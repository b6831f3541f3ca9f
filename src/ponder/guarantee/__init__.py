"""What an answer is worth, as arithmetic on answers alone: no model, no input or output."""

from ponder.guarantee.coverage import (
    Band,
    CoverageLaw,
    coverage_curve,
    fit_coverage,
    pass_at_k,
    subset_curve,
    vote_accuracy,
)
from ponder.guarantee.mode import ModeEvidence, certified, log_e_values
from ponder.guarantee.operating import Operating, operating
from ponder.guarantee.stopping import (
    StopRule,
    agreement,
    dirichlet,
    entropy,
    majority,
    settled,
)
from ponder.guarantee.verifier import ImperfectVerifier, empirical_curve, estimate

__all__ = [
    "Band",
    "CoverageLaw",
    "ImperfectVerifier",
    "ModeEvidence",
    "Operating",
    "StopRule",
    "agreement",
    "certified",
    "coverage_curve",
    "dirichlet",
    "empirical_curve",
    "entropy",
    "estimate",
    "fit_coverage",
    "log_e_values",
    "majority",
    "operating",
    "pass_at_k",
    "settled",
    "subset_curve",
    "vote_accuracy",
]
