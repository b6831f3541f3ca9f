"""``marginal`` and ``normalize``: their estimated densities, by enumerating everything they do."""

import itertools
import math

import pytest

torch = pytest.importorskip("torch")

import torch.distributions as d  # noqa: E402

from ponder import Normal, PonderError, observe, program, sample  # noqa: E402
from ponder.tensors import Estimator, Torch, enum  # noqa: E402
from ponder.vi import (  # noqa: E402
    check_gradient,
    density,
    elbo,
    expectation,
    fit,
    iwelbo,
    marginal,
    normalize,
    traced,
)

pytestmark = pytest.mark.usefixtures("double_and_alone")


def exactly(objective):
    """The expectation, every site of it being enumerated."""
    return float(expectation(objective).mean().detach())


@program
def when(source, u, power):
    """1{the sampled u is this one} times the estimated density to a power."""
    values, log_d = yield from traced(source)
    return torch.where(values["u"] == u, torch.exp(power * log_d), 0.0)


@program
def scored(source, u):
    return torch.exp((yield from density(source, {"u": torch.tensor(u)})))


@program
def pair():
    a = yield from sample(enum(d.Bernoulli(torch.tensor(0.3))), "a")
    yield from sample(enum(d.Bernoulli(0.2 + 0.5 * a)), "u")


def auxiliary(kept):
    @program
    def guess():
        yield from sample(enum(d.Bernoulli(0.6 - 0.3 * kept["u"])), "a")

    return guess()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_marginal_is_unbiased_both_ways(n):
    chance = {1.0: 0.7 * 0.2 + 0.3 * 0.7}
    chance[0.0] = 1 - chance[1.0]
    source = marginal(pair(), ["u"], auxiliary, n)
    for u, p in chance.items():
        assert exactly(when(source, u, 0.0)) == pytest.approx(p, abs=1e-12)  # the law of u
        assert exactly(when(source, u, -1.0)) == pytest.approx(1.0, abs=1e-12)  # E[1/d | u] = 1/p
        assert exactly(scored(source, u)) == pytest.approx(p, abs=1e-12)  # E d = p


def test_more_inner_particles_are_better():
    spreads = [exactly(when(marginal(pair(), ["u"], auxiliary, n), 1.0, 1.0)) for n in (1, 2, 3)]
    p = 0.7 * 0.2 + 0.3 * 0.7
    assert abs(spreads[0] - p**2) > abs(spreads[1] - p**2) > abs(spreads[2] - p**2)


@program
def target():
    u = yield from sample(enum(d.Categorical(torch.tensor([0.5, 0.3, 0.2]))), "u")
    yield from observe(Torch(d.Normal(1.0 * u, 0.7)), torch.tensor(1.5))


@program
def proposal():
    yield from sample(enum(d.Categorical(torch.tensor([0.2, 0.2, 0.6]))), "u")


def resampled_law(n):
    """The law of one of n draws of the proposal, chosen by weight, written out."""
    prior, q = (0.5, 0.3, 0.2), (0.2, 0.2, 0.6)
    p = [
        prior[u] * math.exp(float(d.Normal(1.0 * u, 0.7).log_prob(torch.tensor(1.5))))
        for u in range(3)
    ]
    law = [0.0] * 3
    for draws in itertools.product(range(3), repeat=n):
        weights = [p[u] / q[u] for u in draws]
        for u, weight in zip(draws, weights, strict=True):
            law[u] += math.prod(q[v] for v in draws) * weight / sum(weights)
    return law, [x / sum(p) for x in p]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_normalize_is_the_law_of_resampling(n):
    source = normalize(target(), proposal(), n)
    law, posterior = resampled_law(n)
    everywhere = Estimator("enum")

    @program
    def listed(u, power):
        values, log_d = yield from source.trace(everywhere)
        return torch.where(values["u"] == u, torch.exp(power * log_d), 0.0)

    for u in range(3):
        assert exactly(listed(u, 0.0)) == pytest.approx(law[u], abs=1e-12)
        assert exactly(listed(u, -1.0)) == pytest.approx(1.0, abs=1e-12)
        assert exactly(scored(source, u)) == pytest.approx(law[u], abs=1e-12)
    before = resampled_law(n - 1)[0] if n > 1 else [1.0, 0.0, 0.0]
    assert sum(abs(a - b) for a, b in zip(law, posterior, strict=True)) < sum(
        abs(a - b) for a, b in zip(before, posterior, strict=True)
    )


def test_a_model_guided_by_its_own_normalisation_is_the_iwelbo():
    bound = exactly(elbo(target(), normalize(target(), proposal(), 2)))
    assert bound == pytest.approx(exactly(iwelbo(target(), proposal(), 2)), abs=1e-12)


def test_a_mixture_guide_by_its_marginal_has_an_unbiased_gradient():
    logit = torch.tensor(-1.0, requires_grad=True)
    apart = torch.tensor(1.6, requires_grad=True)

    @program
    def model():
        yield from sample(Normal(0.5, 1.0), "z")

    @program
    def mixture():
        side = yield from sample(enum(d.Bernoulli(torch.sigmoid(logit))), "side")
        yield from sample(Normal(apart * (2 * side - 1), 0.6), "z")

    def which(kept):
        @program
        def guess():
            yield from sample(enum(d.Bernoulli(torch.sigmoid(2 * kept["z"]))), "side")

        return guess()

    objective = elbo(model(), marginal(mixture(), ["z"], which, 2))
    found = check_gradient(objective, [logit, apart], groups=20, samples=40, methods=())
    assert found.unbiased, str(found)
    before = exactly_about(objective)
    fitted = fit(objective, [logit, apart], steps=25, samples=20, lr=0.1)
    assert fitted.value > before + 0.1
    assert fitted.value < 0.05  # the log-evidence is 0


def exactly_about(objective):
    return float(expectation(objective, 2000).mean().detach())


def test_what_is_refused():
    with pytest.raises(PonderError, match="no site 'v' to keep"):
        expectation(when(marginal(pair(), ["v"], auxiliary), 1.0, 0.0))
    with pytest.raises(PonderError, match="inner particles, a whole number"):
        normalize(target(), proposal(), 0)
    with pytest.raises(PonderError, match=r"no site 'a'.*marginal\(guide"):
        expectation(elbo(target(), pair()))
