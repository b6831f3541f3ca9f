"""Prior-Data Fitted Networks: two priors whose predictive is known, and everything around them."""

from __future__ import annotations

import math
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from ponder.amortize import checkpoint, pfn
from ponder.amortize.bars import Bars
from ponder.amortize.pfn import Pfn
from ponder.amortize.ranges import OutsideTraining
from ponder.amortize.tasks import Drawer
from ponder.amortize.training import Plan, Progress
from ponder.arrays import Normals
from ponder.binding import Binding
from ponder.blocks import draw, propose
from ponder.dist import Categorical, Normal
from ponder.effects import Effects, Program, factor, program, sample
from ponder.errors import PonderError
from ponder.interpret import evaluate

torch.set_num_threads(1)
NOISE = 0.5
CONTEXT = 8


@program(normalised=True)
def levels(batch: int, n: int) -> Effects[tuple[np.ndarray, np.ndarray]]:
    """y = level + noise, whatever x is; conjugate, so the predictive is known."""
    level = yield from sample(Normals(np.zeros((batch, 1))))
    x = yield from sample(Normals(np.zeros((batch, n, 1))))
    y = yield from sample(Normals(np.broadcast_to(level, (batch, n)), NOISE))
    return x, y


@program(normalised=True)
def coins(batch: int, n: int) -> Effects[tuple[np.ndarray, np.ndarray]]:
    """y is 1 with one of two chances, which the coin's side of x decides."""
    x = yield from sample(Normals(np.zeros((batch, n, 2))))
    z = yield from sample(Normals(np.zeros((batch, n))))
    heads = yield from sample(Normals(np.zeros((batch, 1))))
    p = np.where(heads > 0, 0.9, 0.1)
    return x, (z < np.where(p > 0.5, 1.2815515655446004, -1.2815515655446004)).astype(float)


@program(normalised=True)
def one_task() -> Effects[tuple[list[list[float]], list[float]]]:
    """The same as ``levels``, one task in plain floats."""
    level = yield from sample(Normal())
    xs, ys = [], []
    for _ in range(CONTEXT + 2):
        xs.append([(yield from sample(Normal()))])
        ys.append((yield from sample(Normal(level, NOISE))))
    return xs, ys


def quiet(progress: Progress) -> None:
    pass


@cache
def trained() -> Pfn:
    plan = Plan(400, learning_rate=3e-3)
    return pfn.train(
        levels, plan, context=CONTEXT, queries=4, batch=64, width=32, layers=2, buckets=40,
        told=quiet,
    )  # fmt: skip


@cache
def classifier() -> Pfn:
    plan = Plan(300, learning_rate=3e-3)
    return pfn.train(
        coins, plan, context=CONTEXT, queries=4, batch=128, width=32, layers=2, classes=2,
        told=quiet,
    )  # fmt: skip


def predictive(y: np.ndarray) -> tuple[np.ndarray, float]:
    """Mean, one a task, and standard deviation of the exact predictive of ``levels``."""
    precision = 1 + y.shape[1] / NOISE**2
    return y.sum(axis=1) / NOISE**2 / precision, math.sqrt(1 / precision + NOISE**2)


def test_the_predictive_is_learnt() -> None:
    net, gaps, blind = trained(), [], []
    for n in range(CONTEXT):
        x, y = evaluate(levels(400, n + 4), 77, f"fresh {n}")
        mean, sd = predictive(y[:, :n])
        exact = Normals(mean[:, None], sd).log_probs(y[:, n:])
        gaps.append((exact - net.log_density(x[:, :n], y[:, :n], x[:, n:], y[:, n:])).mean())
        prior = net.log_density(x[:, :0], y[:, :0], x[:, n:], y[:, n:])
        blind.append((exact - prior).mean())
    assert np.mean(gaps) < 0.03
    assert np.mean(blind) > 0.2  # what it would be without the context
    assert max(gaps) < 0.05


def test_the_chances_of_classes_are_learnt() -> None:
    net = classifier()
    for y, chance in (([], 0.5), ([1.0], 0.82), ([1, 1, 1, 0], 0.9 * 81 / 82 + 0.1 / 82)):
        x = np.zeros((len(y), 2))
        (found,) = net.predict(x, y, [[0.0, 0.0]])
        assert isinstance(found, Categorical)
        assert math.exp(found.log_prob(1)) == pytest.approx(chance, abs=0.04)
        logs = net.log_density(x, y, [[0.0, 0.0]], [1])
        assert logs == pytest.approx([found.log_prob(1)])
    with pytest.raises(PonderError, match="ask for its probabilities"):
        net.mean(np.zeros((0, 2)), [], [[0.0, 0.0]])
    with pytest.raises(PonderError, match=r"labels 0 \.\.\. 1"):
        net.predict(np.zeros((1, 2)), [2], [[0.0, 0.0]])


def test_the_order_of_the_context_does_not_matter() -> None:
    """To float32's noise, in every order tried."""
    net = trained()
    x, y = evaluate(levels(1, CONTEXT + 1), 5)
    x, y, queries = x[0, :-2], y[0, :-2], x[0, -2:]
    p = net.probabilities(x, y, queries)
    for seed in range(20):
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(x))
        again = net.probabilities(x[order], y[order], queries)
        assert np.abs(again / p - 1).max() < 1e-5


def test_a_query_does_not_see_other_queries_nor_other_tasks() -> None:
    net = trained()
    x, y = evaluate(levels(3, CONTEXT), 6)
    x, y, queries = x[:, :5], y[:, :5], x[:, 5:]
    together = net.predict(x, y, queries)
    assert len(together) == 3
    for i in range(3):
        for j in range(3):
            (alone,) = net.predict(x[i], y[i], queries[i, j : j + 1])
            both = together[i][j]
            assert np.abs(alone.probabilities - both.probabilities).max() < 1e-6
            assert net.mean(x, y, queries)[i, j] == pytest.approx(alone.mean, abs=1e-5)
            level = net.quantile(x, y, queries, 0.9)[i, j]
            assert level == pytest.approx(alone.quantile(0.9), abs=1e-5)
            assert net.cdf(x, y, queries, 0.3)[i, j] == pytest.approx(alone.cdf(0.3), abs=1e-5)
            density = net.log_density(x, y, queries, np.full((3, 3), 0.2))[i, j]
            assert density == pytest.approx(alone.log_prob(0.2), abs=1e-5)


class Killed(Exception):
    """Stands for a process that ends here."""


def test_a_training_that_was_killed_ends_in_the_same_network(tmp_path: Path) -> None:
    def train(resume: Path | None, killed_at: int = -1) -> Pfn:
        def told(progress: Progress) -> None:
            if progress.step == killed_at:
                raise Killed

        return pfn.train(
            levels, Plan(12), context=4, queries=4, batch=4, width=8, layers=1, buckets=10,
            heads=2, resume=resume, every=0.0, told=told,
        )  # fmt: skip

    whole = train(None).network.state_dict()
    with pytest.raises(Killed):
        train(tmp_path / "state", 7)
    resumed = train(tmp_path / "state").network.state_dict()
    assert all(torch.equal(resumed[k], whole[k]) for k in whole)
    other = pfn.train(
        levels, Plan(12), context=4, queries=4, batch=4, width=8, layers=1, buckets=10, heads=2,
        seed=1, told=quiet,
    ).network.state_dict()  # fmt: skip
    assert not any(torch.equal(other[k], whole[k]) for k in whole)


def test_a_saved_network_says_the_same(tmp_path: Path) -> None:
    x, y = evaluate(levels(2, 6), 8)
    net = trained()
    net.save(tmp_path / "net.pfn")
    again = pfn.load(tmp_path / "net.pfn")
    assert repr(again) == repr(net) == "Pfn(1 features, 40 buckets, 2 layers of 32)"
    assert again.ranges == net.ranges
    assert again.about == net.about
    assert again.predict(x[0, :4], y[0, :4], x[0, 4:]) == net.predict(x[0, :4], y[0, :4], x[0, 4:])
    classifier().save(tmp_path / "classes.pfn")
    chances = pfn.load(tmp_path / "classes.pfn").probabilities(np.zeros((0, 2)), [], [[0.0, 0.0]])
    assert np.array_equal(chances, classifier().probabilities(np.zeros((0, 2)), [], [[0.0, 0.0]]))
    checkpoint.save(tmp_path / "other", "dt", {}, {}, {})
    with pytest.raises(PonderError, match="holds a dt, not a pfn"):
        pfn.load(tmp_path / "other")


def test_data_outside_of_the_training_are_answered_with_a_warning() -> None:
    net = trained()
    x, y = np.zeros((3, 1)), np.zeros(3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.predict(x, y, [[1.0], [-2.0]])
    with pytest.warns(OutsideTraining, match=r"a query .* x = 12, trained on -.*widths away") as w:
        net.predict(x, y, [[1.0], [12.0]])
    assert w[0].filename == __file__
    with pytest.warns(OutsideTraining, match="a point of the context .* x = -9"):
        net.mean(x - 9, y, [[1.0]])
    with pytest.warns(OutsideTraining, match="a point of the context .* y = 20"):
        net.quantile(x, y + 20, [[1.0]], 0.5)
    with pytest.warns(OutsideTraining, match="its number of points = 14, trained on 0 to 7"):
        net.probabilities(np.zeros((14, 1)), np.zeros(14), [[1.0]])


def test_questions_of_a_wrong_shape_are_refused() -> None:
    net, x, y = trained(), np.zeros((3, 1)), np.zeros(3)
    wrong = [
        (x, y, [1.0]),
        (x, y[:2], [[1.0]]),
        (np.zeros((3, 2)), y, [[1.0]]),
        (x, y, [[1.0, 2.0]]),
        (x[None], y[None], np.zeros((2, 1, 1))),
        (x[None], y[None], [[1.0]]),
    ]
    for question in wrong:
        with pytest.raises(PonderError, match="this network takes x of"):
            net.predict(*question)
    with pytest.raises(PonderError, match="y holds a value that is not finite"):
        net.predict(x, [0, math.nan, 0], [[1.0]])


def of_value(make, *, normalised: bool = True):
    """A prior of batches that returns what ``make(batch, n)`` says."""

    def prior(batch: int, n: int) -> Program:
        @program(normalised=normalised)
        def task() -> Effects:
            yield from factor(0.0) if normalised is None else sample(Normal())
            return make(batch, n)

        return task()

    return prior


def test_a_bad_prior_is_refused_in_one_line() -> None:
    def spoilt(value: float, where: int):
        def make(batch: int, n: int):
            x, y = np.ones((batch, n, 1)), np.ones((batch, n))
            (x if where == 0 else y).flat[3] = value
            return x, y

        return of_value(make)

    bad = [
        (spoilt(math.nan, 1), None, r"the prior's y holds nan at a \(1 of 20 values\)"),
        (spoilt(math.inf, 0), None, "the prior's x holds inf at a"),
        (of_value(lambda b, n: np.ones((b, n))), None, r"must return \(x, y\), got ndarray at a"),
        (of_value(lambda b, n: (np.ones((b, n)), np.ones((b, n)))), None, r"x of \(4, 5\) and y"),
        (of_value(lambda b, n: (np.ones((b, n, 0)), np.ones((b, n)))), None, "x of"),
        (of_value(lambda b, n: (np.ones((b, n, 1)), np.ones((b, n, 1)))), None, "x of"),
        (of_value(lambda b, n: (np.ones((b, 2, 1)), np.ones((b, 2)))), None, "x of"),
        (of_value(lambda b, n: ([[1], [1, 2]], [1])), None, "must be arrays of numbers"),
        (of_value(lambda b, n: (np.ones((b, n, 1)), np.ones((b, n)) * 2)), 2, "not a label 0 .* 1"),
        (lambda b, n: 3, None, "the prior answered int, not a program"),
        (of_value(lambda b, n: 1 / 0), None, "the prior fails at a: ZeroDivisionError: .*test_pfn"),
    ]
    for prior, classes, message in bad:
        with pytest.raises(PonderError, match=message) as caught:
            Drawer(prior, 0, classes)("a", 4, 5)
        assert "\n" not in str(caught.value)


def test_a_prior_of_varying_shapes_or_with_observations_is_refused() -> None:
    @program
    def varying() -> Effects:
        n = 5 + int((yield from sample(Normal())) > 0)
        return np.ones((n, 1)), np.ones(n)

    with pytest.raises(PonderError, match=r"the prior's shapes vary: x of \[\(5, 1\), \(6, 1\)\]"):
        Drawer(varying(), 0)("a", 16, 3)
    with pytest.raises(PonderError, match=r"x must be \(10 or more, d"):
        Drawer(varying(), 0)("a", 16, 10)

    @program
    def observing() -> Effects:
        yield from factor(-1.0)
        return np.ones((5, 1)), np.ones(5)

    with pytest.raises(PonderError, match=r"has a factor or an observation \(at a task 0\)"):
        Drawer(observing(), 0)("a", 2, 3)

    def growing(batch: int, n: int) -> Program:
        @program
        def task() -> Effects:
            x = yield from sample(Normals(np.zeros((batch, n, 1 if batch > 4 else 2))))
            return x, x[..., 0]

        return task()

    with pytest.raises(PonderError, match="has 2 features at step 0, before it had 1"):
        pfn.train(growing, Plan(1), context=2, batch=4, width=8, heads=2, layers=1, told=quiet)

    @program
    def constant() -> Effects:
        x = yield from sample(Normals(np.zeros((5, 1))))
        return x, np.zeros(5)

    with pytest.raises(PonderError, match="takes too few values for bars"):
        pfn.train(constant(), Plan(1), context=2, told=quiet)


def test_points_are_shuffled_together() -> None:
    def make(batch: int, n: int):
        x = np.arange(batch * n, dtype=float).reshape(batch, n, 1)
        return x, 2 * x[..., 0]

    x, y = Drawer(of_value(make), 0)("a", 3, 50)
    assert np.array_equal(y, 2 * x[..., 0])
    assert np.array_equal(np.sort(x, axis=1), make(3, 50)[0])
    assert not np.array_equal(x[0] + 50, x[1])  # every task in its own order
    assert (np.diff(x[0, :, 0]) < 0).any()
    assert np.array_equal(x, Drawer(of_value(make), 0)("a", 3, 50)[0])
    assert not np.array_equal(x, Drawer(of_value(make), 1)("a", 3, 50)[0])


def test_a_prior_may_be_the_program_of_one_task(monkeypatch) -> None:
    monkeypatch.setattr(pfn, "SURVEY", 500)
    net = pfn.train(
        one_task(), Plan(3), context=CONTEXT, batch=4, width=8, heads=2, layers=1, buckets=10,
        told=quiet,
    )  # fmt: skip
    x, y = Drawer(one_task(), 0)("step 0", 4, CONTEXT)
    assert x.shape == (4, CONTEXT + 2, 1)
    assert net.predict(x[:, :3], y[:, :3], x[:, 3:])[3][-1].sd > 0


def test_what_it_says_is_a_proposal_with_exact_weights() -> None:
    """The model's own site is drawn from the network and weighs p / q, to the last digit."""
    net = trained()
    x, y = evaluate(levels(1, 4), 9)
    mean, sd = predictive(y)
    exact = Normal(float(mean[0]), sd)
    (bars,) = net.predict(x[0], y[0], [[0.0]])
    assert isinstance(bars, Bars)

    @program(normalised=True)
    def model() -> Effects[float]:
        return (yield from sample(exact, "y"))

    @program(normalised=True)
    def guide() -> Effects[float]:
        return (yield from sample(bars, "y"))

    pipeline = model() | propose(guide()) | draw(50)
    population = evaluate(pipeline.bind(Binding()), 3)
    for trace, weight in zip(population.traces, population.log_weights, strict=True):
        value = trace.value
        ratio = exact.log_prob(value) - bars.log_prob(value)
        assert weight + math.log(50) == pytest.approx(ratio, abs=1e-12)
