"""What an answer is worth, as arithmetic on answers alone: no model, no input or output."""

from ponder.guarantee.calibration import Calibrator
from ponder.guarantee.conformal import AnswerSet, PredictionSets
from ponder.guarantee.coverage import (
    Band,
    CoverageLaw,
    coverage_curve,
    fit_coverage,
    pass_at_k,
    subset_curve,
    vote_accuracy,
)
from ponder.guarantee.forecast import Forecast, forecast, forecast_accuracy, forecast_coverage
from ponder.guarantee.holdout import Look, Thresholdout
from ponder.guarantee.mode import ModeEvidence, certified, log_e_values
from ponder.guarantee.operating import Operating, operating
from ponder.guarantee.pairs import (
    Counted,
    PairPrediction,
    PairTable,
    counted_answers,
    counted_pairs,
    epistemic_variance,
    hallucination_bound,
    interval,
    pair_table,
)
from ponder.guarantee.pareto import Diagnosis, diagnose, pareto_k, smoothed
from ponder.guarantee.reliability import auroc, brier, ece, reliability_bins, risk_coverage
from ponder.guarantee.risk import (
    Selector,
    conformal_risk,
    labels_needed,
    learn_then_test,
    more_labels,
)
from ponder.guarantee.shrinkage import Winner, winner
from ponder.guarantee.signals import signals
from ponder.guarantee.stopping import StopRule, agreement, dirichlet, entropy, majority, settled
from ponder.guarantee.verifier import ImperfectVerifier, empirical_curve, estimate

__all__ = [
    "AnswerSet",
    "Band",
    "Calibrator",
    "Counted",
    "CoverageLaw",
    "Diagnosis",
    "Forecast",
    "ImperfectVerifier",
    "Look",
    "ModeEvidence",
    "Operating",
    "PairPrediction",
    "PairTable",
    "PredictionSets",
    "Selector",
    "StopRule",
    "Thresholdout",
    "Winner",
    "agreement",
    "auroc",
    "brier",
    "certified",
    "conformal_risk",
    "counted_answers",
    "counted_pairs",
    "coverage_curve",
    "diagnose",
    "dirichlet",
    "ece",
    "empirical_curve",
    "entropy",
    "epistemic_variance",
    "estimate",
    "fit_coverage",
    "forecast",
    "forecast_accuracy",
    "forecast_coverage",
    "hallucination_bound",
    "interval",
    "labels_needed",
    "learn_then_test",
    "log_e_values",
    "majority",
    "more_labels",
    "operating",
    "pair_table",
    "pareto_k",
    "pass_at_k",
    "reliability_bins",
    "risk_coverage",
    "settled",
    "signals",
    "smoothed",
    "subset_curve",
    "vote_accuracy",
    "winner",
]
