"""Every block, kernel and recipe of ponder, each in a strategy that shows its law."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from ponder.blocks import draw, smc
from ponder.blocks.constrain import constrain
from ponder.blocks.mh import mh, regenerate
from ponder.blocks.propose import propose
from ponder.blocks.speculate import speculate
from ponder.checking.cases import tilted
from ponder.checking.check import check
from ponder.checking.claims import Report
from ponder.checking.identities import IDENTITIES
from ponder.checking.toy_models import rambling
from ponder.checking.toys import parametric, smc_squared, uneven
from ponder.dist import Bernoulli, Dist
from ponder.effects import Effects, program, sample
from ponder.recipes import cot

TEXTS = {
    "draw": "cot | draw(4)",
    "weigh a program": "steps | weigh(reward) | draw(4)",
    "weigh a population": "cot | draw(4) | weigh(reward)",
    "weigh_steps": "steps | weigh_steps(reward) | draw(3)",
    "weigh_steps, published form": "steps | weigh_steps(published(reward)) | smc(3)",
    "temper": "cot | weigh(reward) | temper(0.5) | draw(4)",
    "resample": "cot | weigh(reward) | draw(4) | resample(3)",
    "thin": "cot | weigh(reward) | draw(4) | thin(2)",
    "smc, systematic": "steps | weigh(reward) | smc(4)",
    "smc, multinomial": "steps | weigh(reward) | smc(4, multinomial)",
    "smc, stratified": "steps | weigh(reward) | smc(4, stratified)",
    "smc, residual": "steps | weigh(reward) | smc(4, residual)",
    "smc, every step": "steps | weigh(reward) | smc(4, ess=1.0)",
    "steer": "steps | weigh(reward) | steer(3, k=2)",
    "resample-move, mh": "steps | weigh(reward) | smc(3, move=mh(1))",
    "resample-move, regenerate": "steps | weigh(reward) | smc(3, move=regenerate(1))",
    "mh": "cot | weigh(reward) | draw(3) | mh(2)",
    "mh after weighing": "cot | draw(3) | weigh(reward) | mh(2)",
    "mh, a block": "steps | weigh(reward) | draw(3) | mh(1, names='x,theta')",
    "regenerate": "steps | weigh(reward) | draw(3) | regenerate(2)",
    "particle Gibbs": "steps | weigh(reward) | draw(2) | gibbs(1, n=4)",
    "particle Gibbs, ancestors": "steps | weigh(reward) | draw(2) | gibbs(1, n=3, ancestors=1)",
    "particle-independent MH": "steps | weigh(reward) | smc(3) | collapse | draw(2) | mh(2)",
    "parallel tempering": "cot | weigh(reward) | ladder(0.5) | draw(2) | mh(1) | swap(1)",
    "pool": "steps | weigh(reward) | smc(2) | pool(3)",
    "collapse": "steps | weigh(reward) | smc(3) | collapse | draw(2)",
    "draw until a rule stops it": "cot | draw(4, stop=agreement(0.8))",
    "distinct": "cot | draw(4) | distinct",
    "likely": "cot | draw(4) | likely(reward)",
    "top": "cot | draw(4) | top(2, reward)",
    "beam": "steps | weigh(reward) | beam(4, width=2)",
    "tree": "steps | weigh(reward) | tree(4, branch=2)",
    "best_first": "steps | weigh(reward) | best_first(4, branch=2)",
    "stochastic_tree": "steps | weigh(reward) | stochastic_tree(3, branch=2)",
    "prune": "steps | weigh(reward) | prune(4, keep=0.5)",
    "refine a program": "cot | refine | draw(2)",
    "refine a population": "cot | draw(2) | refine",
    "layers": "cot | draw(3) | critique | rank(2) | fuse(2)",
    "verified": "cot | draw(2) | verified",
    "tests, written and judged": "cot | draw(2) | write_tests | judged_tests(1)",
    "tests, written and run": "cot | draw(2) | write_tests | executed_tests(1) | consensus",
    "vote": "cot | draw(4) | vote",
    "best": "cot | draw(4) | best(reward)",
    "self-evaluation": "cot | weigh(reward) | draw(4, stop=above(0.7)) | best",
    "until accepted": "cot | weigh(reward) | draw(4, stop=accepted) | best",
    "majority": "cot | draw(4, stop=majority(0.8)) | vote",
    "entropy": "cot | draw(4, stop=entropy(0.75)) | vote",
    "dirichlet": "cot | draw(4, stop=dirichlet(0.7)) | vote",
    "allotted": "cot | draw(6, stop=allotted(6, 5, 4)) | vote",
    "pot": "pot | draw(2)",
    "weighted by perplexity": "cot | draw(3) | weigh(perplexity)",
    "weighted by odds": "cot | draw(2) | weigh(odds(words=1.0, whole=0.5))",
    "either": "either(cot, pot) | draw(2)",
    "stratify": "either(cot, pot) | stratify(1, 2)",
    "corroborated, product": "either(cot, pot) | stratify(1, 2, stop=corroborated) | product",
    "agrees": "cot | draw(2) | weigh(agrees)",
    "compiled": "compiled | draw(1)",
    "diverse": "diverse(approaches='algebra|drawing') | draw(2)",
    "diverse, each approach once": "diverse(approaches='algebra|drawing') | stratify(1, 1)",
    "diverse_once": "diverse_once(approaches='algebra|drawing') | draw(1)",
    "detected": "detected(fast=1, slow=1) | draw(1)",
    "syzygy": "syzygy | draw(2)",
    "contrasted": "contrasted | draw(1)",
    "RPC": "cot | draw(3) | likely(perplexity) | distinct | weigh(likelihood) | vote",
    "pairs": "twice | draw(3) | pairs",
    "certify": "cot | draw(24) | certify(0.2)",
    "certify, stopped": "cot | draw(24, stop=settled(0.2)) | certify(0.2)",
    "direct": "direct | draw(3)",
    "chat": "chat | draw(3)",
    "continuation": "continuation | draw(3)",
    "self_consistency": "self_consistency(4)",
    "weighted_vote": "weighted_vote(4)",
    "best_of_n": "best_of_n(4)",
    "particle_filter": "particle_filter(4)",
}


def _narrow(name: str | None, dist: Dist[Any]) -> Dist[Any] | None:
    return Bernoulli(1.0) if isinstance(dist, Bernoulli) else None


@program
def _guide() -> Effects[None]:
    """Knows two of the samples of the toy ``uneven``, and what it drew first."""
    x = yield from sample(Bernoulli(0.3), "x")
    yield from sample(Bernoulli(0.6 if x else 0.5), "y")


@program
def _certain() -> Effects[None]:
    """Misses most of what ``uneven`` can draw."""
    x = yield from sample(Bernoulli(1.0), "x")
    yield from sample(Bernoulli(float(x)), "y")


def _even(seen: tuple[Any, ...], value: Any) -> bool:
    return len(repr(value)) % 2 == 0 or len(seen) > 1


OBJECTS: dict[str, Callable[[], Any]] = {
    "propose": lambda: propose(tilted),
    "propose, defensive": lambda: propose(_narrow, defensive=0.2),
    "propose a guide": lambda: uneven() | propose(_guide) | smc(3, ess=1.0),
    "propose a guide, defensive": lambda: uneven() | propose(_certain, defensive=0.2) | draw(3),
    "constrain": lambda: constrain(_even),
    "speculate": lambda: cot | speculate(rambling(), 2) | draw(3),
    "PMMH": lambda: parametric() | draw(2) | mh(2),
    "SMC squared": lambda: smc_squared() | smc(2, ess=1.0, move=regenerate(1, cut="theta")),
}


def names() -> list[str]:
    """Everything that is checked."""
    return [*TEXTS, *OBJECTS, *IDENTITIES]


def check_named(name: str, seconds: float, seed: int) -> Report:
    """One of them."""
    if name in IDENTITIES:
        return IDENTITIES[name]()
    subject = TEXTS[name] if name in TEXTS else OBJECTS[name]()
    return check(subject, seconds=seconds, seed=seed)


def check_all(
    seconds: float, seed: int, told: Callable[[str], None] = lambda message: None
) -> list[tuple[str, Report]]:
    """All reports in order, on all cores."""
    wanted = names()
    pool = ProcessPoolExecutor(os.cpu_count(), initializer=_follow, initargs=(os.getpid(),))
    try:
        jobs = {pool.submit(check_named, name, seconds, seed): name for name in wanted}
        done: dict[str, Report] = {}
        for job in as_completed(jobs):
            done[jobs[job]] = job.result()
            told(f"{len(done)} of {len(wanted)}")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return [(name, done[name]) for name in wanted]


def _follow(parent: int) -> None:
    """In a worker: end with an interrupt, and with the process that it works for."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def status_of(reports: Sequence[tuple[str, Report]]) -> int:
    """1 if anything is refuted, 2 if something that claims a law could not be tested, else 0."""
    verdicts = {report.verdict for _, report in reports}
    return 1 if "refuted" in verdicts else 2 if "untested" in verdicts else 0
