"""``signals``: what a posterior shows of how sure its answer is, as numbers by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ponder.blocks.stratify import given_by
from ponder.measure import Abstain, Posterior, answer_of

Signals = Mapping[str, float]


def signals(posterior: Posterior) -> dict[str, float]:
    """What a posterior shows of how sure its answer is; empty if there is no answer.

    - ``share``: of the voting mass; ``margin``: above the largest share of another answer.
    - ``log_prob``: mean log-probability of a token, of the replies that gave the answer (weighted).
    - ``agreement``: the least that any branch of ``either`` gives of its own votes to the answer;
      a branch without votes gives 0.
    - ``score``: mean log-weight that verifiers and other factors gave these replies, if any did.
    - ``votes``: number of traces that voted; ``abstaining``: part of all the weight that did not.

    A signal that is not there, such as the log-probability of what no model wrote, has no key.
    """
    share = posterior.probability
    if posterior.answer is None or share is None:
        return {}
    share = min(share, 1.0)  # a sum of shares may be above 1 by rounding
    others = [s.share for s in posterior.shares if s.answer != posterior.answer]
    found = {
        "share": share,
        "margin": share - max(others, default=0.0),
        "votes": float(sum(s.count for s in posterior.shares)),
        "abstaining": posterior.abstaining,
    }
    weighed = list(zip(posterior.population.traces, posterior.population.weights, strict=True))
    givers = [(t, w) for t, w in weighed if w > 0 and answer_of(t) == posterior.answer]
    values: list[tuple[Any, float]] = [(trace.value, weight) for trace, weight in givers]
    written = [(v, w) for v, w in values if getattr(v, "length", 0) and not math.isnan(v.log_prob)]
    if written:
        found["log_prob"] = _mean([(v.log_prob / v.length, w) for v, w in written])
    if givers and any(t.log_potential != 0 for t, _ in weighed):
        found["score"] = _mean([(t.log_potential, w) for t, w in givers])
    branches: dict[Any, list[tuple[float, float]]] = {}
    for trace, weight in weighed:
        branch, answer = given_by(trace)
        if branch is None:  # a trace that was cut short before it chose one, or has none to choose
            continue
        votes = branches.setdefault(branch, [])
        if weight > 0 and not isinstance(answer, Abstain):
            votes.append((float(answer == posterior.answer), weight))
    if len(branches) > 1:
        found["agreement"] = min(_mean(v) if v else 0.0 for v in branches.values())
    return {name: float(value) for name, value in found.items()}


def _mean(terms: Sequence[tuple[float, float]]) -> float:
    """The weighted mean of (value, weight)."""
    return math.fsum(v * w for v, w in terms) / math.fsum(w for _, w in terms)
