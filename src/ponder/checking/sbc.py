"""Simulation-based calibration: whether an amortised posterior is the posterior.

Draw a parameter from the prior, data given it, and parameters from ``posterior(data)``: if that is
the posterior, the first parameter and the others are exchangeable given the data, and so the rank
of any function of parameter and data among theirs is uniform (Talts et al. 2018). Ranks of the
coordinates alone pass a posterior that returns the prior; those of the log-likelihood refute it
(Modrák et al. 2023). Ties are broken by a uniform draw. Each quantity is a claim, refuted by an
e-value beyond claims * 10^6, so that a right one is refuted with probability below 10^-6 however
long one looks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ponder.checking.betting import log_threshold
from ponder.checking.claims import Finding, Report
from ponder.checking.rank_findings import (
    COARSE,
    DENSITY,
    ENOUGH,
    LIKELIHOOD,
    as_small,
    rank_finding,
)
from ponder.checking.sampled import SUSPICIOUS
from ponder.checking.simulated import Run, log_likelihood, refuse_factor, says_all, simulated
from ponder.checking.uniform import Finds, Uniformity
from ponder.dist import Stream, derive
from ponder.effects import Program, require_program
from ponder.errors import PonderError, failing
from ponder.interpret import seed_key
from ponder.loading import loaded

DRAWS = 63
MOST = 1_000_000
Floats = NDArray[np.float64]
Told = Callable[[str], None]
Score = Callable[[Any, Any], float]  # (theta, y) -> nats


@dataclass(frozen=True)
class Amortized:
    """An approximate posterior, and the model that it is for.

    ``prior`` samples theta (a number, a tuple of numbers, or a 1-D array), ``data(theta)`` the data
    y, ``posterior(y)`` theta given y; none has factors. ``log_likelihood(theta, y)``, in nats and
    up to a function of y, is found from ``data`` if None and y is all that ``data`` samples.
    ``log_density(theta, y)`` is the posterior's own, if it has one. ``names`` are the coordinates'.
    """

    prior: Program[Any]
    data: Callable[[Any], Program[Any]]
    posterior: Callable[[Any], Program[Any]]
    log_likelihood: Score | None = None
    names: tuple[str, ...] = ()
    log_density: Score | None = None

    def __post_init__(self) -> None:
        require_program(self.prior, "Amortized")
        for what in ("data", "posterior"):
            given = getattr(self, what)
            if not callable(given):
                raise PonderError(f"Amortized needs {what}, a function to a program; got {given!r}")


@dataclass(frozen=True)
class Calibration:
    """The report, and the ranks that it rests on: for each quantity, how often each of 0..L."""

    report: Report
    ranks: dict[str, NDArray[np.int64]]


def sbc(
    subject: Any,
    *,
    seconds: float = 30.0,
    seed: int = 0,
    draws: int = DRAWS,
    most: int | None = None,
    told: Told = lambda message: None,
) -> Calibration:
    """Simulation-based calibration of ``subject`` for about this long, on ``most`` data sets.

    ``subject`` is an :class:`Amortized`, a function without arguments that returns one, or
    ``file.py:name`` of either. ``draws`` + 1 is a multiple of 16. Raises PonderError for what is
    neither, and for parameters that are no numbers or change their shape.
    """
    if not 0.1 <= seconds <= 1e6:
        raise PonderError(f"check needs between 0.1 and a million seconds, got {seconds}")
    amortized = resolve(subject)
    name = subject if isinstance(subject, str) else getattr(subject, "__name__", "")
    return _Look(amortized, name, seconds, seed, draws, most or MOST, told).run()


def resolve(subject: Any) -> Amortized:
    """The amortised posterior that ``subject`` means."""
    name = subject if isinstance(subject, str) else getattr(subject, "__name__", repr(subject))
    if isinstance(subject, str):
        path, colon, attribute = subject.rpartition(":")
        if not colon or not path.endswith(".py"):
            raise PonderError(f"--sbc takes path/to/file.py:name of an Amortized, got {subject!r}")
        subject = loaded(Path(path), attribute)
    if callable(subject) and not isinstance(subject, type):
        wanted = "an Amortized, or a function without arguments that returns one"
        with failing(f"{name} must be {wanted}; it fails"):
            subject = subject()
    if not isinstance(subject, Amortized):
        raise PonderError(
            f"{name} is {_short(subject)}; simulation-based calibration needs a "
            "ponder.checking.sbc.Amortized(prior, data, posterior)"
        )
    return subject


@dataclass
class _Look:
    """The pairs simulated so far, and what is wagered on them."""

    amortized: Amortized
    name: str
    seconds: float
    seed: int
    draws: int
    most: int
    told: Told
    tests: dict[str, Uniformity] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None
    lacking: str = ""

    def run(self) -> Calibration:
        started = time.perf_counter()
        spent, pairs, next_look = 0.0, 0, 1.0
        while True:
            self._pair(pairs)
            pairs += 1
            spent = time.perf_counter() - started
            if pairs < min(next_look, self.most) and spent < self.seconds:
                continue
            next_look = 1.1 * pairs + 1
            self.told(f"{pairs} simulated data sets")
            log_e = max(test.log_e for test in self.tests.values())
            close = log_e >= self.needed - SUSPICIOUS
            if pairs == self.most or spent > (2 * self.seconds if close else self.seconds):
                break
            # After a refutation, as long as it takes to say something of the other claims.
            if as_small(self._finds(), COARSE if log_e >= self.needed else ENOUGH):
                break
        report = Report(
            self.name or "amortised posterior",
            f"exact for {self.amortized.prior} given its data",
            tuple(self._findings()),
            time.perf_counter() - started,
        )
        return Calibration(report, {name: test.counts for name, test in self.tests.items()})

    @property
    def needed(self) -> float:
        """The log e-value that refutes one of the claims."""
        return log_threshold(len(self.tests))

    def _finds(self) -> Finds:
        return next(iter(self.tests.values())).finds(self.needed)

    def _pair(self, i: int) -> None:
        """One parameter, its data, and the ranks of what is compared."""
        of = f"data set {i}"
        a = self.amortized
        prior = _attempted("the prior", of, lambda: simulated(a.prior, self.seed, f"{of} prior"))
        refuse_factor(prior, "the prior")
        theta = self._coordinates(prior.value, f"the prior draws, for {of},")
        data = _attempted(
            "the data's program", of, lambda: simulated(a.data(prior.value), self.seed, f"{of} y")
        )
        refuse_factor(data, "the data's program")
        program = _attempted("the posterior", of, lambda: a.posterior(data.value))
        if not isinstance(program, Program):
            raise PonderError(f"the posterior gave {_short(program)} for {of}, which is no program")
        values = [self._draw(program, of, k) for k in range(self.draws)]
        said = f"the posterior draws, for {of},"
        drawn = np.array([self._coordinates(value, said) for value in values])
        everything = {name: (theta[c], drawn[:, c]) for c, name in enumerate(self._names())}
        for name, score in self._scores(data).items():
            logs = [_score(name, score, value, data.value, of) for value in (prior.value, *values)]
            everything[name] = logs[0], np.array(logs[1:])
        stream = Stream(derive(seed_key(self.seed, f"{of} ties"), "ties"))
        for name, (truth, others) in everything.items():
            test = self.tests.setdefault(name, Uniformity(self.draws))
            test.observe(rank(truth, others, stream))

    def _draw(self, program: Program[Any], of: str, k: int) -> Any:
        run = _attempted(
            "the posterior", of, lambda: simulated(program, self.seed, f"{of} draw {k}")
        )
        refuse_factor(run, "the posterior")
        return run.value

    def _names(self) -> Sequence[str]:
        assert self.shape is not None
        size = self.shape[0] if self.shape else 1
        if not self.amortized.names:
            return ["theta"] if not self.shape else [f"theta[{c}]" for c in range(size)]
        if len(self.amortized.names) != size:
            raise PonderError(
                f"Amortized names {len(self.amortized.names)} coordinates, and theta has {size}; "
                "give as many"
            )
        return self.amortized.names

    def _coordinates(self, theta: Any, whose: str) -> Floats:
        try:
            found = np.asarray(theta, dtype=np.float64)
        except (TypeError, ValueError):
            found = np.array([[math.nan]])
        if found.ndim > 1 or found.size == 0:
            raise PonderError(
                f"{whose} {_short(theta)}; theta is a number, a tuple of numbers or a 1-D array"
            )
        if np.isnan(found).any():
            raise PonderError(f"{whose} {_short(theta)}, which holds NaN; mend it before checking")
        if self.shape is None:
            self.shape = found.shape
        if found.shape != self.shape:
            raise PonderError(
                f"{whose} {_short(theta)} of shape {found.shape}, and the first theta was of shape "
                f"{self.shape}; all must have the same"
            )
        return found.reshape(-1)

    def _scores(self, data: Run[Any]) -> dict[str, Score]:
        """What is compared beside the coordinates."""
        a = self.amortized
        scores: dict[str, Score] = {}
        if a.log_likelihood is not None:
            scores[LIKELIHOOD] = a.log_likelihood
        elif not self.lacking and says_all(data):
            scores[LIKELIHOOD] = lambda theta, y: log_likelihood(a.data(theta), data)
        elif LIKELIHOOD in self.tests:
            raise PonderError(
                "the data are sometimes all that their program samples and sometimes not; give "
                "Amortized a log_likelihood"
            )
        else:
            self.lacking = (
                "y is not all that its program samples, so its likelihood is not known and a "
                "posterior that returns the prior would pass; give Amortized a log_likelihood"
            )
        if a.log_density is not None:
            scores[DENSITY] = a.log_density
        return scores

    def _findings(self) -> list[Finding]:
        finds = self._finds()
        found = [rank_finding(name, test, self.needed, finds) for name, test in self.tests.items()]
        if self.lacking:
            claim = f"ranks of {LIKELIHOOD} are uniform"
            found.append(Finding(claim, "none", "untested", note=self.lacking))
        return found


def rank(truth: float, draws: Floats, stream: Stream) -> int:
    """How many draws are below the truth; a uniform one of the places that ties leave open."""
    below, ties = int(np.sum(draws < truth)), int(np.sum(draws == truth))
    return below + (int(stream.uniform() * (ties + 1)) if ties else 0)


def _score(name: str, score: Score, theta: Any, y: Any, of: str) -> float:
    value: float = _attempted(name, of, lambda: float(score(theta, y)))
    if math.isnan(value):
        raise PonderError(f"{name} is NaN at theta = {_short(theta)}, for {of}; mend it")
    return value


def _attempted(whose: str, of: str, call: Callable[[], Any]) -> Any:
    with failing(f"{whose} fails on {of}"):
        return call()


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
