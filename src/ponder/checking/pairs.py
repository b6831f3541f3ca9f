"""Checks of pair predictions: the bounds on known laws of p, calibration on held-out pairs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ponder.checking.betting import Bet, log_threshold
from ponder.checking.claims import Apart, Finding, Report, enumerated
from ponder.checking.merge import merged
from ponder.errors import PonderError
from ponder.guarantee.pairs import epistemic_variance, hallucination_bound, interval

Floats = NDArray[np.float64]
Latent = Sequence[tuple[float, float]]  # (p(y | X), its probability given the prediction)
BETAS = (0.05, 0.1, 0.2, 0.5)
_OVER = 1.02  # how far beyond beta the worst laws go, so that a bound 1% too tight is refuted


def latents() -> dict[str, Latent]:
    """Laws of p(y | X) given one prediction: plain ones, and those for which a bound is tight."""
    grid = (np.arange(200) + 0.5) / 200
    beta = grid * (1 - grid) ** 3  # Beta(2, 4), nearly
    found: dict[str, Latent] = {
        "knows all": [(0.3, 1.0)],
        "p = 0 or 1": [(0.0, 0.6), (1.0, 0.4)],
        "beta": [(float(p), float(w)) for p, w in zip(grid, beta / beta.sum(), strict=True)],
        "0, or spread": [(0.0, 0.3), (0.2, 0.5), (0.9, 0.2)],
    }
    for q in BETAS:
        over = min(q * _OVER, 1.0)
        found[f"made up with probability {q:g}"] = [(0.0, q), (0.7, 1 - q)]
        found[f"far on both sides, {q:g}"] = [(0.3, over / 2), (0.4, 1 - over), (0.5, over / 2)]
        found[f"far above, {q:g}"] = [(0.9, over), (0.2, 1 - over)]
        found[f"far below, {q:g}"] = [(0.1, over), (0.8, 1 - over)]
    return found


def pair_bounds(
    variance: Callable[..., Any] = epistemic_variance,
    ends: Callable[..., tuple[Any, Any]] = interval,
    made_up: Callable[..., Any] = hallucination_bound,
) -> Report:
    """V is the variance of p(y | X), its bounds hold: exactly, for a calibrated predictor."""
    started = time.perf_counter()
    findings = []
    for name, law in latents().items():
        p, w = (np.array(column) for column in zip(*law, strict=True))
        m, squares = float(w @ p), float(w @ p**2)
        c = squares / m
        exact, said = float(w @ (p - m) ** 2), float(variance(m, c))
        claim = "bounded: m (c - m) is the variance of p(y | X)"
        findings.append(enumerated(claim, name, (abs(said - exact), said, exact), 1))
        claim = "bounded: y is outside the support at most as often as said"
        findings.append(enumerated(claim, name, _beyond(float(w @ (p == 0)), made_up(m, c)), 1))
        for beta in BETAS:
            for side in ("both", "low", "high"):
                low, high = ends(m, c, beta, side)
                outside = float(w @ ((p < low - 1e-12) | (p > high + 1e-12)))
                claim = "bounded: p(y | X) is outside the interval at most as often as said"
                where = f"{name}: {side}, {beta:g}"
                findings.append(enumerated(claim, where, _beyond(outside, beta), 1))
    spent = time.perf_counter() - started
    return Report("pair predictions", "bounded", tuple(merged(findings)), spent)


def second_order(
    m: ArrayLike,
    c: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    groups: Mapping[str, ArrayLike] | None = None,
) -> Report:
    """Whether pair predictions are calibrated, by bets on held-out pairs of real responses.

    For n questions, each with an answer y that was chosen by its prediction alone: ``m`` and ``c``
    (n,) are what was predicted of it, ``first`` and ``second`` (n,) say whether two independent
    real responses were y. In every group 1{Y = y} has mean m and 1{Y1 = y, Y2 = y} has mean m c;
    refuted at odds that a calibrated predictor meets once in a million such checks. ``groups`` maps
    names to members (n,), which must be known before the responses are; by default all of them, and
    quarters by m and by m / c. Calibrated on average in a group is not calibrated at every
    prediction: small groups find more, if there is data.
    """
    started = time.perf_counter()
    m, c, first, second = (np.asarray(x, dtype=np.float64) for x in (m, c, first, second))
    n = len(np.atleast_1d(m))
    if any(x.shape != (n,) for x in (m, c, first, second)) or not n:
        raise PonderError("second_order needs m, c and two responses for each question: (n,) each")
    if not (np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all()):
        raise PonderError("second_order needs 1 where a response is the answer, 0 where it is not")
    variance = epistemic_variance(m, c)
    tested = quarters(m, c) if groups is None else groups
    bets = []
    for name, members in tested.items():
        inside = np.asarray(members, dtype=bool)
        if inside.shape != (n,):
            raise PonderError(f"the group {name!r} needs one truth value for each of {n} questions")
        if inside.any():
            hits, both = (first + second)[inside] / 2, (first * second)[inside]
            claims = (
                ("bounded: responses are y as often as predicted", hits, m[inside]),
                ("bounded: pairs of responses are y as predicted", both, (variance + m**2)[inside]),
            )
            bets += [(claim, name, seen, said, _bet(seen, said)) for claim, seen, said in claims]
    needed = log_threshold(max(len(bets), 1))
    findings = [_finding(*bet, needed) for bet in bets]
    spent = time.perf_counter() - started
    return Report("second-order calibration", "bounded", tuple(merged(findings)), spent)


def quarters(m: Floats, c: Floats) -> dict[str, NDArray[np.bool_]]:
    """All questions, and quarters of them by m and by m / c; equal values stay together."""
    found = {"all": np.ones(len(m), dtype=bool)}
    for name, values in (("m", m), ("m/c", 1 - hallucination_bound(m, c))):
        edges = np.quantile(values, (0.25, 0.5, 0.75))
        part = np.searchsorted(edges, values, side="left")
        for index in np.unique(part).tolist():
            inside = part == index
            found[f"{name} in [{values[inside].min():.3g}, {values[inside].max():.3g}]"] = inside
    return found


def matches(responses: Sequence[Hashable], answers: Sequence[Hashable]) -> Floats:
    """1 where a response is the answer that was predicted about, else 0: (n,)."""
    return np.array([r == a for r, a in zip(responses, answers, strict=True)], dtype=np.float64)


def _bet(seen: Floats, said: Floats) -> Bet:
    """That what is seen, in [0, 1], differs on average from what was said."""
    bet = Bet(0.0, low=-1.0, high=1.0)
    bet.observe(seen - said)
    return bet


def _finding(
    claim: str, group: str, seen: Floats, said: Floats, bet: Bet, needed: float
) -> Finding:
    return Finding(
        claim,
        "sampled",
        "refuted" if bet.log_e >= needed else "valid",
        group,
        float(seen.mean()),
        float(said.mean()),
        bet.log_e / math.log(10),
        bet.detectable(bet.count, needed),
        bet.count,
        f"refuted at e >= 10^{needed / math.log(10):.1f}",
    )


def _beyond(rate: float, bound: Any) -> Apart:
    """How far a rate is beyond its bound; below it, not at all."""
    return max(0.0, rate - float(bound)), rate, float(bound)
