"""The pictures of ``docs/laws.md``, computed by ponder itself: ``python docs/pictures.py``.

Every bar is an
expectation that ponder's enumerator computed exactly over the randomness of the *method*, unless
the title says "runs". Grey is what is claimed, blue the method, orange (hatched) a variant with one
mistake, all of which stand in ``drawing/mistakes.py``. Takes half a minute.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from drawing import mistakes
from drawing.bars import (
    BLUE,
    GREEN,
    GREY,
    HERE,
    ORANGE,
    PINK,
    SKY,
    STYLE,
    bars,
    compared,
    expected,
    moved,
    normalised,
    posterior,
    save,
    share,
)
from drawing.curves import betting, bounding, deciding

from ponder.binding import Binding
from ponder.blocks import (
    collapse,
    constrain,
    draw,
    gibbs,
    ladder,
    mh,
    multinomial,
    residual,
    smc,
    speculate,
    steer,
    stratified,
    swap,
    systematic,
)
from ponder.blocks.pool import Pool
from ponder.blocks.thin import without_replacement
from ponder.checking.toys import chain, early, misled
from ponder.dist import Categorical, Dist
from ponder.effects import Effects, Program, program, sample
from ponder.interpret import enumerate_measure, enumerate_runs
from ponder.lm.protocol import Completion
from ponder.lm.table import TableLM


def weighing() -> None:
    made = chain() | draw(2)
    compared(
        "weighing",
        ("target of chain", enumerate_measure(chain())),
        [("draw(2)", expected(made))],
        ("normalised in every run", expected(made | mistakes.SelfNormalised())),
    )


def resampling() -> None:
    """Mean and standard deviation of the weight that each of five particles has afterwards."""
    weights = np.array([0.42, 0.27, 0.16, 0.1, 0.05])
    schemes: list[tuple[str, Any, str]] = [
        ("multinomial", multinomial, BLUE),
        ("stratified", stratified, SKY),
        ("systematic", systematic, GREEN),
        ("residual", residual, PINK),
        ("thin", without_replacement, "black"),
        ("keep the 3 heaviest", mistakes.heaviest, ORANGE),
    ]
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.3))
    left.bar(range(5), weights, 0.8, color=GREY, label="weight before")
    for i, (name, scheme, color) in enumerate(schemes):
        mean, sd = moments(partial(scheme, weights, 3), 5)
        at = np.arange(5) + (i - 2.5) * 0.13
        marker = "x" if color == ORANGE else "o"
        left.scatter(at, mean, 14, color, marker=marker, label=name, zorder=3)
        right.scatter(at, sd, 14, color, marker=marker)
    left.set_title("mean weight after, n = 3")
    right.set_title("its standard deviation")
    for axes in (left, right):
        axes.set_xticks(range(5), list("abcde"))
    figure.legend(loc="outside lower center", ncols=4)
    save(figure, "resampling")


def moments(select: Callable[[], Any], size: int) -> tuple[Any, Any]:
    """Mean and standard deviation of the weights after a selection; ancestors weigh the same."""
    first, second = np.zeros(size), np.zeros(size)
    for chosen, log_prob in enumerate_runs(Program(select, "select")):
        after = np.zeros(size)
        for entry in chosen:
            index, weight = entry if isinstance(entry, tuple) else (entry, 1 / len(chosen))
            after[index] += weight
        first += math.exp(log_prob) * after
        second += math.exp(log_prob) * after**2
    return first, np.sqrt(np.maximum(second - first**2, 0))


def steering() -> None:
    target = misled()
    broken = target | mistakes.Multiplied() | smc(2, ess=1.0)
    compared(
        "steering",
        ("posterior of misled", posterior(target)),
        [
            ("smc(2)", normalised(expected(target | smc(2, ess=1.0)))),
            ("steer(1, k=2)", normalised(expected(target | steer(1, 2)))),
        ],
        ("prefix scores multiplied", normalised(expected(broken))),
    )


def moving() -> None:
    made, broken = smc(2, ess=0.9, move=mh(1)), mistakes.MovedIfResampled(2, ess=0.9)
    compared(
        "resample_move",
        ("target of chain", enumerate_measure(chain())),
        [("moved at every stage", expected(chain() | made))],
        ("moved only if resampled", expected(chain() | broken)),
    )


def kernels() -> None:
    for name, target, good, bad in (
        ("mh", early(), ("moved by mh(1)", mh(1)), ("without |old| / |new|", mistakes.Uncounted())),
        (
            "particle_gibbs",
            chain(),
            ("moved by gibbs(n=2)", gibbs(1, n=2, ess=1.0)),
            ("without the reference", mistakes.Unconditional(1, 2, 1.0)),
        ),
    ):
        compared(
            name,
            (f"posterior of {target.name}", posterior(target)),
            [(good[0], moved(good[1], target))],
            (bad[0], moved(bad[1], target)),
        )


def tempering() -> None:
    target = ladder(0.2).transform(chain(), Binding())
    right = moved(swap(1), target)
    with mistakes.always_accepted():
        wrong = moved(swap(1), target)
    compared(
        "tempering",
        ("posterior of chain", posterior(chain())),
        [("moved by swap(1)", right)],
        ("every swap accepted", wrong),
    )


def repeating() -> None:
    """Collapsed runs, and the bias of a share as runs are pooled."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.1))
    exact = enumerate_measure(early())
    made = early() | smc(2, ess=1.0)
    columns = [
        ("target of early", exact, GREY),
        ("smc(2) | collapse | draw(1)", expected(made | collapse | draw(1)), BLUE),
        ("its evidence forgotten", expected(made | mistakes.Unfactored() | draw(1)), ORANGE),
    ]
    bars(left, exact, columns)
    left.set_title("collapse: mass of each value")
    left.legend()
    target, ks = chain(1), range(1, 9)
    truth = posterior(target)[(True,)]
    for pooling, label, color, marker in (
        (Pool, "pool(k)", BLUE, "o"),
        (mistakes.AverageOfShares, "shares averaged", ORANGE, "x"),
    ):
        biases = [share(target | draw(1) | pooling(k), (True,)) - truth for k in ks]
        right.plot(ks, biases, marker=marker, markersize=4, color=color, label=label)
    right.axhline(0, color="black", linewidth=0.6)
    right.set_title("pool: bias of a share, by k")
    right.legend()
    save(figure, "repeating")


def rewriting() -> None:
    """Constrained decoding and speculative sampling."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.1))
    constraining(left)
    speculating(right)
    left.set_ylim(0, 1)
    right.set_ylim(0, 0.9)
    save(figure, "rewriting")


def constraining(axes: Any) -> None:
    """A word that makes the next one unlikely to be allowed."""
    last = ("yes", "no", "um")

    @program
    def words() -> Effects[str]:
        first = yield from sample(Categorical([0.6, 0.4], ["one ", "two "]))
        p = 0.1 if first == "one " else 0.9
        weights = [p, 0.8 * (1 - p), 0.2 * (1 - p)]
        second = yield from sample(Categorical(weights, last))
        return f"{first}{second}"

    def allowed(seen: tuple[Any, ...], value: Any) -> bool:
        return value not in ("no", "um")

    exact = {v: m for v, m in enumerate_measure(words()).items() if v.endswith("yes")}
    good = expected(words() | constrain(allowed) | draw(1))
    bad = expected(words() | mistakes.Masked(allowed) | draw(1))
    columns = [("target", exact, GREY), ("constrain", good, BLUE)]
    bars(axes, exact, [*columns, ("masked, no weight", bad, ORANGE)])
    axes.set_title("constrain: mass of each value")


def speculating(axes: Any) -> None:
    """Two tokens, of which the draft thinks otherwise."""
    names = ("a", "b", "<end>")
    rows = {(): [0.7, 0.3, 0.0], (0,): [0.2, 0.8, 0.0], (1,): [0.9, 0.1, 0.0]}
    drafts = {(): [0.3, 0.7, 0.0], (0,): [0.6, 0.4, 0.0], (1,): [0.5, 0.5, 0.0]}
    completion: Dist[Any] = Completion(TableLM(names, rows), (), max_tokens=2)

    @program(normalised=True)
    def written() -> Effects[str]:
        draw = yield from sample(completion)
        return str(draw.text)

    exact = enumerate_measure(written())
    drafted = speculate(TableLM(names, drafts), 2).transform(written(), Binding())
    good = enumerate_measure(drafted)
    with mistakes.whole_residual():
        bad = enumerate_measure(drafted)
    columns = [("model", exact, GREY), ("speculate", good, BLUE)]
    bars(axes, exact, [*columns, ("refused: drawn from p", bad, ORANGE)])
    axes.set_title("speculate: law of what is written")


PICTURES = (
    weighing,
    resampling,
    steering,
    moving,
    kernels,
    tempering,
    repeating,
    rewriting,
    deciding,
    bounding,
    betting,
)

if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    with plt.rc_context():
        plt.rcParams.update(STYLE)
        for draw_picture in PICTURES:
            draw_picture()
