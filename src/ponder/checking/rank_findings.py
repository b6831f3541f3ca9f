"""What ranks say of a posterior: the finding of one quantity, and its meaning in words."""

from __future__ import annotations

import math

import numpy as np

from ponder.checking.claims import Finding, Verdict
from ponder.checking.sampled import SUSPICIOUS
from ponder.checking.uniform import Finds, Uniformity

LIKELIHOOD, DENSITY = "log p(y | theta)", "log q(theta | y)"
# Calibration errors so small that nobody needs to look longer.
ENOUGH = Finds(narrow=0.9, wide=1.11, shift=0.12)
# What must have been found, at the least, for "valid" to mean anything.
COARSE = Finds(narrow=0.5, wide=2.0, shift=1.0)


def rank_finding(name: str, test: Uniformity, needed: float, finds: Finds) -> Finding:
    """What the ranks of ``name`` say; ``needed`` is the log e-value that refutes.

    Shown is their mean or their spread, whichever is further off by its standard errors.
    """
    refuted = test.log_e >= needed
    suspicious = not refuted and test.log_e >= needed - SUSPICIOUS
    seen = as_small(finds, COARSE)
    verdict: Verdict = "refuted" if refuted else "untested" if suspicious or not seen else "valid"
    even = test.even_spread()
    # In standard errors; the variance of the square of a centred uniform is 1 / 180.
    off = abs(test.mean() - 0.5) / even, abs(test.spread() ** 2 - even**2) * math.sqrt(180)
    moved = off[0] >= off[1]
    note = f"{'mean' if moved else 'spread'} of the ranks in [0, 1]"
    if refuted:
        note += f"; {_reading(name, test, moved)}"
    elif finds != Finds(None, None, None):
        note += f"; what would have been found: {finds}"
    note += f"; refuted at e >= 10^{needed / math.log(10):.1f}"
    if verdict == "untested":
        note += "; look longer with --seconds"
    return Finding(
        f"ranks of {name} are uniform",
        "sampled",
        verdict,
        "simulated pairs",
        test.mean() if moved else test.spread(),
        0.5 if moved else even,
        test.log_e / math.log(10),
        _bias(test, finds, moved),
        test.count,
        note,
    )


def _reading(name: str, test: Uniformity, moved: bool) -> str:
    """What ranks that are not uniform mean."""
    high, outside = test.mean() > 0.5, test.spread() > test.even_spread()
    if not moved and name in (LIKELIHOOD, DENSITY):
        return f"the truth is too often {'first or last' if outside else 'in the middle'}"
    if name == LIKELIHOOD:
        return f"its draws explain the data {'worse' if high else 'better'} than the truth does"
    if name == DENSITY:
        return f"truths are {'more' if high else 'less'} probable for it than its own draws"
    if moved:
        return f"its draws are too {'low' if high else 'high'}"
    return f"it is too {'narrow' if outside else 'wide'}"


def _bias(test: Uniformity, finds: Finds, moved: bool) -> float | None:
    """The bias of the mean, or of the spread, of ranks that ``finds`` amounts to."""
    places = (np.arange(test.draws + 1) + 0.5) / (test.draws + 1) - 0.5
    if moved:
        return None if finds.shift is None else abs(float(places @ test.law(finds.shift, 1.0)))
    if finds.narrow is None or finds.wide is None:
        return None
    spreads = [math.sqrt(float(places**2 @ test.law(0.0, s))) for s in (finds.narrow, finds.wide)]
    return max(abs(spread - test.even_spread()) for spread in spreads)


def as_small(finds: Finds, as_these: Finds) -> bool:
    """Whether errors as small as these would have been found."""
    pairs = [
        (finds.narrow and 1 / finds.narrow, 1 / (as_these.narrow or 1)),
        (finds.wide, as_these.wide or 1),
        (finds.shift, as_these.shift or 0),
    ]
    return all(found is not None and found <= wanted for found, wanted in pairs)
