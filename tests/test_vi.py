"""Gradient estimators against exact gradients; objectives against enumeration and closed form."""

import itertools
import math
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.distributions as d  # noqa: E402

from ponder import Normal, PonderError, factor, observe, program, sample  # noqa: E402
from ponder.effects import nested  # noqa: E402
from ponder.tensors import Torch, enum, mvd, reinforce, reparam, stop  # noqa: E402
from ponder.vi import (  # noqa: E402
    BiasedGradient,
    Gradients,
    check_gradient,
    copies,
    density,
    elbo,
    estimate,
    estimators,
    expectation,
    fit,
    iwelbo,
    measure_valued,
    sleep,
    traced,
    wake_sleep,
)
from ponder.vi.noise import drawn  # noqa: E402

pytestmark = pytest.mark.usefixtures("double_and_alone")


def leaf(*values):
    return torch.tensor(values[0] if len(values) == 1 else values, requires_grad=True)


def mean_and_gradient(objective, leaves, samples=1, seed=0):
    value = expectation(objective, samples, seed).mean()
    return float(value.detach()), [float(g) for g in torch.autograd.grad(value, leaves)]


def chain(p, estimator):
    """Three coins, each from the one before; f depends on the parameter too."""

    @program
    def run():
        a = yield from sample(estimator(d.Bernoulli(torch.sigmoid(p))), "a")
        b = yield from sample(estimator(d.Bernoulli(torch.sigmoid(p - 2 * a))), "b")
        c = yield from sample(estimator(d.Bernoulli(torch.sigmoid(a + b * p))), "c")
        return (a + 2 * b - 3 * c + p) ** 2

    return run()


def chain_exactly(p):
    def chance(value, logit):
        q = torch.sigmoid(logit)
        return q if value else 1 - q

    total = 0.0
    for a, b, c in itertools.product((0, 1), repeat=3):
        mass = chance(a, p) * chance(b, p - 2 * a) * chance(c, a + b * p)
        total = total + mass * (a + 2 * b - 3 * c + p) ** 2
    return total


def test_enumeration_is_exact():
    p = leaf(0.4)
    (slope,) = torch.autograd.grad(chain_exactly(p), p)
    value, (found,) = mean_and_gradient(chain(p, enum), [p])
    assert value == pytest.approx(float(chain_exactly(p).detach()), abs=1e-12)
    assert found == pytest.approx(float(slope), abs=1e-12)


METHODS = {
    "enum": enum,
    "mvd": mvd,
    "leave one out": reinforce,
    "running": lambda x: reinforce(x, "running"),
    "none": lambda x: reinforce(x, None),
    "its own": lambda x: reinforce(x, lambda: 2.0),
    "a number": lambda x: reinforce(x, 5.0),
    "default": Torch,
}


@pytest.mark.parametrize("name", METHODS)
def test_every_estimator_agrees_on_a_chain_of_coins(name):
    p = leaf(0.4)
    found = check_gradient(chain(p, METHODS[name]), [p], groups=60, samples=64, methods=())
    assert found.unbiased, str(found)
    assert found.exact[0] == pytest.approx(float(torch.autograd.grad(chain_exactly(p), p)[0]))
    assert found.rows[0].error < 0.3  # so that a sign or a lost term is seen


def test_baselines_and_coupling_pay():
    p = leaf(0.4)

    def variance(estimator):
        return check_gradient(chain(p, estimator), [p], groups=40, methods=()).rows[0].variance

    alone = variance(lambda x: reinforce(x, None))
    assert variance(enum) < 1e-20
    assert variance(mvd) < variance(reinforce) < alone


class TestNormal:
    """Measure-valued derivatives of a normal against E (x^3 + 2 x^2) and a jump, in closed form."""

    def test_polynomial(self):
        mean, sd = leaf(0.3), leaf(0.7)

        @program
        def run():
            x = yield from sample(mvd(d.Normal(mean, sd)), "x")
            return x**3 + 2 * x**2

        # E x^3 = m^3 + 3 m s^2, E x^2 = m^2 + s^2
        exact = [3 * 0.3**2 + 3 * 0.7**2 + 4 * 0.3, 6 * 0.3 * 0.7 + 4 * 0.7]
        found = np.array(
            [mean_and_gradient(run(), [mean, sd], 2000, seed)[1] for seed in range(20)]
        )
        errors = np.abs(found.mean(0) - exact) / (found.std(0, ddof=1) / math.sqrt(20))
        assert errors.max() < 6
        assert np.abs(found.mean(0) - exact).max() < 0.1

    def test_a_jump_that_reparam_does_not_see(self):
        mean = leaf(0.3)

        def above(estimator):
            @program
            def run():
                x = yield from sample(estimator(Normal(mean, 1.0)), "x")
                return torch.where(x > 0, 1.0, 0.0)

            return run()

        density_at_0 = math.exp(-0.5 * 0.3**2) / math.sqrt(2 * math.pi)
        slopes = [mean_and_gradient(above(mvd), [mean], 500, seed)[1][0] for seed in range(20)]
        assert np.mean(slopes) == pytest.approx(density_at_0, abs=0.02)
        # Coupled, the two places never lie on one side less often than they must.
        assert np.std(slopes) < 0.02
        checked = check_gradient(above(mvd), [mean], groups=40)
        verdicts = {row.estimators: row.unbiased for row in checked.rows}
        assert verdicts == {"as written": True, "reparam": False, "mvd": True, "reinforce": True}


@pytest.mark.parametrize(
    ("family", "start", "mean_slope"),
    [
        (d.Poisson, 1.3, lambda r: 1 + 2 * r),  # E x^2 = r + r^2
        (d.Exponential, 1.3, lambda r: -4 / r**3),  # 2 / r^2
        (d.Geometric, 0.4, lambda p: 1 / p**2 - 4 / p**3 + 2 / p**2),
    ],
)
def test_other_rules(family, start, mean_slope):
    theta = leaf(start)

    @program
    def run():
        x = yield from sample(mvd(family(theta)), "x")
        return x**2

    # Geometric: E x^2 = (1-p)(2-p)/p^2 = 2/p^2 - 3/p + 1, of slope -4/p^3 + 3/p^2.
    found = np.array([mean_and_gradient(run(), [theta], 1000, seed)[1][0] for seed in range(30)])
    error = abs(found.mean() - mean_slope(start)) / (found.std(ddof=1) / math.sqrt(30))
    assert error < 6
    assert found.std(ddof=1) / math.sqrt(30) < 0.1 * abs(mean_slope(start))


def test_vectors_go_element_by_element():
    logits = leaf(0.3, -0.5, 1.0)
    weights = torch.tensor([1.0, -2.0, 3.0])

    def run_of(estimator):
        @program
        def run():
            x = yield from sample(estimator(d.Bernoulli(logits=logits)), "x")
            return (x @ weights) ** 2

        return run()

    for estimator in (enum, mvd, reinforce):
        assert check_gradient(run_of(estimator), [logits], groups=40, methods=()).unbiased
    value = expectation(run_of(enum))
    (exact,) = torch.autograd.grad(value.mean(), logits)
    mean = torch.sigmoid(logits)
    closed = (mean @ weights) ** 2 + (mean * (1 - mean)) @ weights**2
    assert torch.allclose(exact, torch.autograd.grad(closed, logits)[0])


def test_categories_by_every_method():
    logits = leaf(0.3, -0.5, 1.0)

    def run_of(estimator):
        @program
        def run():
            k = yield from sample(estimator(d.Categorical(logits=logits)), "k")
            j = yield from sample(estimator(d.Categorical(logits=logits * (1.0 + k))), "j")
            return (k - 2.0 * j) ** 2 * logits[0]

        return run()

    for estimator in (enum, mvd, reinforce):
        found = check_gradient(run_of(estimator), [logits], groups=40, methods=())
        assert found.unbiased, str(found)


def composed(p, m, s):
    @program
    def run():
        x = yield from sample(reparam(d.Normal(m, s)), "x")
        a = yield from sample(reinforce(d.Bernoulli(torch.sigmoid(p + x))), "a")
        b = yield from sample(enum(d.Bernoulli(torch.sigmoid(x - a))), "b")
        c = yield from sample(mvd(d.Bernoulli(torch.sigmoid(p * x + b))), "c")
        return (a + 2 * b - 3 * c) ** 2 * torch.cos(x) + x * p * c

    return run()


def test_all_four_compose():
    leaves = [leaf(0.4), leaf(0.2), leaf(0.8)]
    found = check_gradient(composed(*leaves), leaves, groups=60, samples=100)
    assert found.unbiased, str(found)
    assert all(row.unbiased for row in found.rows), str(found)
    assert found.rows[0].error < 0.2 * max(map(abs, found.exact))


MUTANTS = {
    "the sign of mvd": ("places", lambda a: a._replace(places=[(v, -w) for v, w in a.places])),
    "x itself forgotten": ("main", lambda a: a._replace(main=0 * a.main)),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_check_refutes_broken_measure_valued_derivatives(mutant, monkeypatch):
    p = leaf(0.4)
    right = measure_valued.alternates
    change = MUTANTS[mutant][1]
    monkeypatch.setattr("ponder.vi.expected.alternates", lambda *a: change(right(*a)))
    assert not check_gradient(chain(p, mvd), [p], groups=100, samples=200, methods=()).unbiased


def test_the_check_refutes_a_baseline_that_looks(monkeypatch):
    p = leaf(0.4)

    def run_of(baseline):
        @program
        def run():
            a = yield from sample(reinforce(d.Bernoulli(torch.sigmoid(p)), baseline), "a")
            return 3 * a + p

        return run()

    assert check_gradient(run_of(2.0), [p], groups=40, samples=200, methods=()).unbiased
    # The mean of all particles, this one included.
    monkeypatch.setattr("ponder.vi.estimate._of_the_others", lambda values: values.mean())
    found = check_gradient(run_of("leave_one_out"), [p], groups=200, samples=4, methods=())
    assert not found.unbiased


def test_the_check_refutes_a_dropped_gradient_of_the_objective(monkeypatch):
    p = leaf(0.4)

    @program
    def run():
        a = yield from sample(mvd(d.Bernoulli(torch.sigmoid(p))), "a")
        return 3 * a * p

    right = estimate.surrogate

    def dropped(program, setting, prefix=(), mode="full", room=64.0):
        found = right(program, setting, prefix, mode, room)
        listed = setting.choosing.override is not None
        return found if listed else found._replace(value=found.value - 3 * (p - p.detach()))

    assert check_gradient(run(), [p], groups=40, samples=50, methods=()).unbiased
    monkeypatch.setattr(estimate, "surrogate", dropped)
    assert not check_gradient(run(), [p], groups=40, samples=50, methods=()).unbiased


def test_no_exact_gradient_through_stop():
    p = leaf(0.4)

    @program
    def constant():
        a = yield from sample(stop(d.Bernoulli(torch.sigmoid(p))), "a")
        return 3 * a + p

    with pytest.raises(PonderError, match="through a site of stop"):
        check_gradient(constant(), [p])


def coin_pair():
    """A model of two coins and its guide, small enough to write everything out."""
    theta, phi = leaf(0.3), leaf(-0.2, 0.5)

    @program
    def model():
        z = yield from sample(Torch(d.Bernoulli(torch.sigmoid(theta))), "z")
        yield from observe(Torch(d.Normal(theta * z, 1.0)), torch.tensor(0.7))
        y = yield from sample(Torch(d.Bernoulli(torch.sigmoid(z - theta))), "y")
        yield from factor(0.3 * y * z)

    @program
    def guide():
        z = yield from sample(enum(d.Bernoulli(torch.sigmoid(phi[0]))), "z")
        yield from sample(enum(d.Bernoulli(torch.sigmoid(phi[1] * z))), "y")

    def logs(z, y):
        z, y = torch.tensor(float(z)), torch.tensor(float(y))
        log_p = d.Bernoulli(torch.sigmoid(theta)).log_prob(z)
        log_p = log_p + d.Normal(theta * z, 1.0).log_prob(torch.tensor(0.7))
        log_p = log_p + d.Bernoulli(torch.sigmoid(z - theta)).log_prob(y) + 0.3 * y * z
        log_q = d.Bernoulli(torch.sigmoid(phi[0])).log_prob(z)
        return log_p, log_q + d.Bernoulli(torch.sigmoid(phi[1] * z)).log_prob(y)

    states = [logs(z, y) for z, y in itertools.product((0, 1), repeat=2)]
    return model, guide, states, [theta, phi]


def gradients(value, leaves):
    found = torch.autograd.grad(value, leaves, retain_graph=True)
    return torch.cat([g.reshape(-1) for g in found])


def test_elbo_and_iwelbo_are_what_they_say():
    model, guide, states, leaves = coin_pair()
    written = sum(q.exp() * (p - q) for p, q in states)
    found = expectation(elbo(model(), guide())).mean()
    assert float(found.detach()) == pytest.approx(float(written.detach()), abs=1e-12)
    assert torch.allclose(gradients(found, leaves), gradients(written, leaves), atol=1e-12)

    one = expectation(iwelbo(model(), guide(), 1)).mean().detach()
    assert float(one) == pytest.approx(float(written.detach()), abs=1e-12)
    two_written = sum(
        (q1 + q2).exp() * (torch.logaddexp(p1 - q1, p2 - q2) - math.log(2))
        for (p1, q1), (p2, q2) in itertools.product(states, repeat=2)
    )
    two = expectation(iwelbo(model(), guide(), 2)).mean()
    assert float(two.detach()) == pytest.approx(float(two_written.detach()), abs=1e-12)
    assert torch.allclose(gradients(two, leaves), gradients(two_written, leaves), atol=1e-12)
    three = expectation(iwelbo(model(), guide(), 3)).mean().detach()
    evidence = torch.logsumexp(torch.stack([p for p, _ in states]), 0)
    assert float(one) < float(two.detach()) < float(three) < float(evidence.detach())


def test_batched_copies_are_independent_and_unbiased():
    model, _, _, leaves = coin_pair()

    @program
    def by_score():
        z = yield from sample(reinforce(d.Bernoulli(torch.sigmoid(leaves[1][0]))), "z")
        yield from sample(reinforce(d.Bernoulli(torch.sigmoid(leaves[1][1] * z))), "y")

    found = check_gradient(
        iwelbo(model(), by_score(), 2), leaves, groups=60, samples=200, methods=()
    )
    assert found.unbiased, str(found)


def test_reweighted_wake_sleep():
    model, guide, states, leaves = coin_pair()
    written = 0.0
    for pair in itertools.product(states, repeat=2):
        weights = torch.softmax(torch.stack([p - q for p, q in pair]), 0).detach()
        chance = sum(q for _, q in pair).exp().detach()
        gains = sum(w * (p + q) for w, (p, q) in zip(weights, pair, strict=True))
        written = written + chance * gains
    exact = gradients(written, leaves)
    objective = wake_sleep(model(), guide(), 2)
    found = torch.stack(
        [gradients(expectation(objective, 500, seed).mean(), leaves) for seed in range(40)]
    )
    errors = (found.mean(0) - exact).abs() / (found.std(0) / math.sqrt(40))
    assert errors.max() < 6
    assert (found.mean(0) - exact).abs().max() < 0.02


def test_the_sleep_phase():
    @program
    def joint():
        z = yield from sample(Torch(d.Bernoulli(0.3)), "z")
        yield from sample(Torch(d.Bernoulli(0.1 + 0.7 * z)), "y")

    a, b = (torch.tensor(0.0, requires_grad=True) for _ in range(2))

    @program
    def guide(y):
        yield from sample(Torch(d.Bernoulli(logits=a + b * y)), "z")

    pairs = {(1, 1): 0.24, (1, 0): 0.06, (0, 1): 0.07, (0, 0): 0.63}
    written = sum(
        p * d.Bernoulli(logits=a + b * y).log_prob(torch.tensor(float(z)))
        for (z, y), p in pairs.items()
    )
    exact = gradients(written, [a, b])
    objective = sleep(joint(), guide, ["y"])
    found = torch.stack(
        [gradients(expectation(objective, 500, seed).mean(), [a, b]) for seed in range(40)]
    )
    assert ((found.mean(0) - exact).abs() / (found.std(0) / math.sqrt(40))).max() < 6
    fit(objective, [a, b], steps=600, samples=200, lr=0.1, anneal=True)
    assert a.sigmoid().item() == pytest.approx(0.06 / 0.69, abs=0.02)
    assert (a + b).sigmoid().item() == pytest.approx(0.24 / 0.31, abs=0.02)
    with pytest.raises(PonderError, match="joint has no site 'xs' to see; it samples z, y"):
        expectation(sleep(joint(), guide, "xs"))
    with pytest.raises(PonderError, match="guide has no site 'y', for which there is a value"):
        expectation(sleep(joint(), lambda: guide(0.0), []))


def test_an_objective_of_ones_own():
    model, guide, states, leaves = coin_pair()

    @program
    def renyi(model, guide, k):
        logs = yield from copies(elbo(model, guide), k)
        return 2 * (torch.logsumexp(logs / 2, 0) - math.log(k))

    @program
    def symmetric(model, guide):
        """The ELBO less the chi-square-like E_q of the squared log-weight."""
        values, log_q = yield from traced(guide)
        log_p = yield from density(model, values)
        return log_p - log_q - 0.1 * (log_p - log_q) ** 2

    written = sum(q.exp() * (p - q - 0.1 * (p - q) ** 2) for p, q in states)
    found = expectation(symmetric(model(), guide())).mean()
    assert torch.allclose(gradients(found, leaves), gradients(written, leaves), atol=1e-12)
    one = float(expectation(renyi(model(), guide(), 1)).mean().detach())
    assert one == pytest.approx(
        float(sum(q.exp() * (p - q) for p, q in states).detach()), abs=1e-12
    )


def regression(rows=12, noise=0.5):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 2, generator=generator)
    y = x @ torch.tensor([1.0, -0.5]) + noise * torch.randn(rows, generator=generator)

    @program
    def model():
        w = yield from sample(Torch(d.Normal(torch.zeros(2), 1.0)), "w")
        yield from observe(Torch(d.Normal(x @ w, noise)), y)

    loc, raw = torch.zeros(2, requires_grad=True), torch.zeros(2, 2, requires_grad=True)

    @program
    def guide():
        scale = raw.tril(-1) + torch.diag(raw.diagonal().exp())
        yield from sample(Torch(d.MultivariateNormal(loc, scale_tril=scale)), "w")

    evidence = d.MultivariateNormal(torch.zeros(rows), noise**2 * torch.eye(rows) + x @ x.T)
    precision = torch.eye(2) + x.T @ x / noise**2
    exact_mean = torch.linalg.solve(precision, x.T @ y / noise**2)
    return model, guide, [loc, raw], float(evidence.log_prob(y)), exact_mean


def test_bayesian_regression_reaches_the_exact_posterior():
    model, guide, leaves, evidence, exact_mean = regression()
    told = []
    objective = elbo(model(), guide())
    fitted = fit(objective, leaves, steps=400, samples=64, lr=0.1, anneal=True, told=told.append)
    last = expectation(objective, 500).detach()
    assert float(last.mean()) == pytest.approx(evidence, abs=1e-3)
    assert torch.allclose(leaves[0].detach(), exact_mean, atol=0.02)
    assert fitted.value == pytest.approx(evidence, abs=2e-3)
    assert str(told[0]) == "w: MultivariateNormal, reparam (by default)"
    assert told[-1].step == 400
    assert len(told) == 21


def test_a_fit_is_reproducible_and_leaves_the_noise_alone():
    def fitted(seed):
        model, guide, leaves, _, _ = regression()
        return fit(elbo(model(), guide()), leaves, steps=20, samples=3, seed=seed).values

    before = torch.get_rng_state()
    assert fitted(1) == fitted(1)
    assert fitted(1) != fitted(2)
    assert torch.equal(before, torch.get_rng_state())
    assert d.Distribution._validate_args  # and validation is on again


def test_rows_and_batches():
    data = torch.tensor([0.0, 1.0, 4.0, 7.0])
    mean = leaf(0.0)

    @program
    def near(x):
        z = yield from sample(enum(d.Bernoulli(torch.tensor(0.5))), "z")
        return -((x - mean) ** 2) * (1.0 + 0 * z)

    fitted = fit(near, [mean], data=data, steps=300, lr=0.1)
    assert float(mean.detach()) == pytest.approx(3.0, abs=1e-3)
    assert fitted.value == pytest.approx(-float(data.var(correction=0)), abs=1e-3)
    fit(near, [mean], data=(data,), batch=2, steps=3)
    each = expectation(near, 2, data=data).detach()
    assert each.shape == (4, 2)
    assert torch.allclose(each[:, 0], -((data - mean.detach()) ** 2))
    with pytest.raises(PonderError, match="batch between 1 and 4"):
        fit(near, [mean], data=data, batch=5)
    with pytest.raises(PonderError, match="one length"):
        fit(near, [mean], data=(data, data[:2]))


def test_a_program_that_branches_runs_one_by_one_and_is_right():
    p = leaf(0.4)

    @program
    def branching():
        a = yield from sample(mvd(d.Bernoulli(torch.sigmoid(p))), "a")
        if a > 0:
            b = yield from sample(enum(d.Bernoulli(torch.sigmoid(2 * p))), "b")
            return 3 * b - p
        return p**2

    with pytest.warns(UserWarning, match="one by one"):
        value = expectation(branching(), 400).mean()
    q, r = torch.sigmoid(p), torch.sigmoid(2 * p)
    written = q * (3 * r - p) + (1 - q) * p**2
    (slope,), (exact,) = torch.autograd.grad(value, p), torch.autograd.grad(written, p)
    assert float(slope) == pytest.approx(float(exact), abs=0.1)
    # Common noise makes the difference of the two branches exact, here.
    assert float(value.detach()) == pytest.approx(float(written.detach()), abs=0.3)


def test_comparisons_of_reparameterised_values_are_warned_of():
    mean = leaf(0.3)

    def of(estimator, body):
        @program
        def run():
            x = yield from sample(estimator(Normal(mean, 1.0)), "x")
            return body(torch.exp(x))

        return run()

    with pytest.warns(BiasedGradient, match=r"compares or rounds \(gt\).*'x'.*mvd or reinforce"):
        estimators(of(reparam, lambda y: torch.where(torch.gt(y, 1), y, 0.0)))
    with pytest.warns(BiasedGradient, match=r"__bool__|__gt__|gt"):
        estimators(of(reparam, lambda y: y if y > 1 else -y))
    for jump in (lambda y: y % 1.0, lambda y: y.long(), torch.frac):
        with pytest.warns(BiasedGradient, match=r"compares or rounds .*'x'"):
            estimators(of(reparam, lambda y, jump=jump: 1.0 * jump(y) + mean))
    with pytest.warns(BiasedGradient, match=r"takes a number out of the value of 'x'"):
        estimators(of(reparam, lambda y: y * math.log(y)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimators(of(mvd, lambda y: torch.where(y > 1, y, 0.0)))
        estimators(of(reparam, lambda y: torch.relu(y - 1).clamp(max=2.0).abs()))
        model, guide, _, _, _ = regression()
        estimators(elbo(model(), guide()))
    with pytest.warns(BiasedGradient):
        fit(of(reparam, lambda y: torch.where(y > 1, y, 0.0)), [mean], steps=1)


def test_a_comparison_in_what_a_model_returns_is_not_warned_of():
    mean = leaf(0.3)

    def of(body):
        @program
        def model():
            x = yield from sample(Normal(0.0, 1.0), "x")
            return (yield from body(x))

        @program
        def guide():
            yield from sample(reparam(d.Normal(mean, 1.0)), "x")

        return elbo(model(), guide())

    @program
    def seen(x):
        yield from observe(Normal(x, 1.0), 0.5)
        return x > 0

    @program
    def stepped(x):
        high = x > 0
        yield from observe(Normal(1.0 * high, 1.0), 0.5)

    @program
    def by_a_part(x):
        high = (yield from nested(seen(x))) + 0.0
        yield from observe(Normal(high, 1.0), 0.5)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimators(of(seen))
    for body in (stepped, by_a_part):
        with pytest.warns(BiasedGradient, match=r"compares or rounds \(gt\).*'x'"):
            estimators(of(body))


def test_defaults_are_listed():
    p = leaf(0.4)

    @program
    def run():
        yield from sample(Normal(p, 1.0), "x")
        for i in range(8):
            yield from sample(Torch(d.Bernoulli(torch.sigmoid(p))), f"b{i}")
        yield from sample(mvd(d.Bernoulli(torch.sigmoid(p))), "c")
        return p

    sites = estimators(run())
    assert str(sites["x"]) == "x: Normal, reparam (by default)"
    assert sites["b0"].estimator.method == "enum"
    assert str(sites["c"]) == "c: Bernoulli, mvd"
    # 64 outcomes at most are enumerated without being asked to, in the estimate too.
    value = expectation(run(), 2)
    assert value.shape == (2,)


class TestErrors:
    def guided(self, *names, model_names=("z",)):
        m = leaf(0.0)

        @program
        def model():
            for name in model_names:
                yield from sample(Normal(0.0, 1.0), name)

        @program
        def guide():
            for name in names:
                yield from sample(Normal(m, 1.0), name)

        return elbo(model(), guide()), [m]

    def test_sites_that_do_not_match(self):
        with pytest.raises(PonderError, match="model samples 'z', for which there is no value"):
            expectation(self.guided("y")[0])
        with pytest.raises(PonderError, match="model has no site 'u', for which there is a value"):
            expectation(self.guided("z", "u")[0])
        with pytest.raises(PonderError, match="model has no site 'z#1'"):
            expectation(self.guided("z", "z")[0])

    def test_a_guide_that_leaves_the_support(self):
        m = leaf(0.0)

        @program
        def model():
            yield from sample(Torch(d.Gamma(torch.tensor(2.0), torch.tensor(1.0))), "tau")

        @program
        def guide():
            yield from sample(Torch(d.Normal(m, 1.0)), "tau")

        with pytest.raises(PonderError, match=r"site 'tau' of model has log-density -inf"):
            fit(elbo(model(), guide()), [m], steps=50)

    def test_a_scale_that_is_negative(self):
        s = leaf(-1.0)

        @program
        def model():
            yield from sample(Normal(0.0, 1.0), "z")

        @program
        def guide():
            yield from sample(Torch(d.Normal(0.0, s, validate_args=False)), "z")

        with pytest.raises(PonderError, match=r"site 'z' of guide has log-density nan"):
            fit(elbo(model(), guide()), [s], steps=2)

    def test_what_cannot_be_differentiated(self):
        m = leaf(0.0)

        def of(dist, name="x"):
            @program
            def run():
                return (yield from sample(dist, name))

            return run()

        from scipy import stats

        from ponder import SciPy

        with pytest.raises(PonderError, match=r"x: an objective cannot sample SciPy"):
            expectation(of(SciPy(stats.norm())))
        with pytest.raises(PonderError, match=r"x: wrap the distribution"):
            expectation(of(d.Normal(m, 1.0)))
        with pytest.raises(PonderError, match="Poisson cannot be reparameterised"):
            expectation(of(reparam(d.Poisson(m.exp()))))
        with pytest.raises(PonderError, match="no list of at most 4096"):
            expectation(of(enum(d.Bernoulli(torch.full((20,), 0.5)))))
        with pytest.raises(PonderError, match="no rule for Gamma"):
            expectation(of(mvd(d.Gamma(m.exp(), 1.0))))
        with pytest.raises(PonderError, match=r"returned \(2,\); return one number"):
            expectation(of(Torch(d.Normal(torch.zeros(2), 1.0))))

    def test_factors_of_an_objective(self):
        @program
        def run():
            yield from factor(1.0)
            return torch.zeros(())

        with pytest.raises(PonderError, match="has factors of its own"):
            expectation(run())

    def test_parameters(self):
        objective, leaves = self.guided("z")
        with pytest.raises(PonderError, match="no parameter that requires"):
            fit(objective, [torch.zeros(2)])
        with pytest.raises(PonderError, match="computed from others"):
            fit(objective, [leaves[0].exp()])

        @program
        def nothing():
            return torch.zeros(())
            yield

        with pytest.raises(PonderError, match="depends on no parameter"):
            fit(nothing(), leaves)
        log_sd = leaf(0.0)

        @program
        def guide(sd):
            yield from sample(Torch(d.Normal(0.0, sd)), "z")

        @program
        def model():
            yield from sample(Normal(0.0, 1.0), "z")

        with pytest.raises(PonderError, match="give fit a function that"):
            fit(elbo(model(), guide(log_sd.exp())), [log_sd], steps=3)
        fit(lambda: elbo(model(), guide(log_sd.exp())), [log_sd], steps=3)


def test_the_report_of_a_check():
    p = leaf(0.4)

    @program
    def run():
        return 2 * (yield from sample(mvd(d.Bernoulli(torch.sigmoid(p))), "a"))

    report = Gradients(run(), [p]).report(0.1, 0, lambda message: None)
    assert report.verdict == "valid"
    assert {f.verdict for f in report.findings} == {"valid", "known"}
    assert report.as_dict()["subject"] == "gradient of run"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_betas_of_small_concentrations_keep_their_law_and_have_a_density(dtype):
    """Gammas of these are too small for single precision; x rounds to 1 in either."""
    torch.manual_seed(0)
    c = torch.tensor(0.02, dtype=dtype, requires_grad=True)
    beta = d.Beta(c.expand(20_000), c)
    x = drawn(beta, differentiable=True)
    assert torch.isfinite(beta.log_prob(x)).all()
    spread = (x * (1 - x)).detach()
    error = float(spread.std()) / math.sqrt(len(x))
    assert float(spread.mean()) == pytest.approx(0.02 / (2 * 1.04), abs=5 * error)
    (gradient,) = torch.autograd.grad((x * (1 - x)).mean(), c)
    assert float(gradient) == pytest.approx(1 / (2 * 1.04**2), rel=0.1)
    three = d.Dirichlet(torch.full((2000, 3), 0.02, dtype=dtype))
    assert torch.isfinite(three.log_prob(drawn(three, differentiable=False))).all()
