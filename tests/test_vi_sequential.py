"""``normalize``, ``marginal`` and ``fivo`` by particle filters, by enumerating all they do."""

import itertools
import math

import pytest

torch = pytest.importorskip("torch")

import torch.distributions as d  # noqa: E402

from ponder import Normal, PonderError, each, factor, observe, program, sample  # noqa: E402
from ponder.tensors import Estimator, Torch, enum, reinforce, stop  # noqa: E402
from ponder.vi import (  # noqa: E402
    check_gradient,
    density,
    elbo,
    estimators,
    expectation,
    fit,
    fivo,
    iwelbo,
    marginal,
    normalize,
)

Y = (1.8, -0.4, 2.1)
START, STAY = (0.4, 0.3), (0.2, 0.6)  # z1 is 1 with .4, by the proposal .3; later a + b z


pytestmark = pytest.mark.usefixtures("double_and_alone")


def coin(p):
    return enum(d.Bernoulli(torch.as_tensor(p)))


@program
def chain(stages=2):
    """A hidden chain of coins, each seen through noise."""
    z = yield from sample(coin(START[0]), "z0")
    yield from observe(Torch(d.Normal(2 * z, 0.5)), torch.tensor(Y[0]))
    for t in range(1, stages):
        z = yield from sample(coin(STAY[0] + STAY[1] * z), f"z{t}")
        yield from observe(Torch(d.Normal(2 * z, 0.5)), torch.tensor(Y[t]))


@program
def proposal(stages=2):
    z = yield from sample(coin(START[1]), "z0")
    for t in range(1, stages):
        z = yield from sample(coin(0.45 + 0.2 * z), f"z{t}")


def weight(t, before, z):
    """p / q of stage t, and q, written out."""
    p, q = (STAY[0] + STAY[1] * before, 0.45 + 0.2 * before) if t else START
    seen = math.exp(-2 * (Y[t] - 2 * z) ** 2) / (0.5 * math.sqrt(2 * math.pi))
    return (p / q if z else (1 - p) / (1 - q)) * seen, q if z else 1 - q


def evidence(stages):
    total = 0.0
    for z in itertools.product((0, 1), repeat=stages):
        parts = [weight(t, z[t - 1] if t else 0, z[t]) for t in range(stages)]
        total += math.prod(w * q for w, q in parts)
    return total


def filter_law(n):
    """The law of the trace that a particle filter of two stages ends with, written out."""
    law = dict.fromkeys(itertools.product((0, 1), repeat=2), 0.0)
    for first in itertools.product((0, 1), repeat=n):
        ws = [weight(0, 0, z)[0] for z in first]
        chance = math.prod(weight(0, 0, z)[1] for z in first)
        for ancestors in itertools.product(range(n), repeat=n):
            chosen = chance * math.prod(ws[a] / sum(ws) for a in ancestors)
            for second in itertools.product((0, 1), repeat=n):
                pairs = [(first[a], z) for a, z in zip(ancestors, second, strict=True)]
                parts = [weight(1, a, z) for a, z in pairs]
                reached = chosen * math.prod(q for _, q in parts)
                for pair, (w, _) in zip(pairs, parts, strict=True):
                    law[pair] += reached * w / sum(w for w, _ in parts)
    return law


def exactly(objective):
    """The expectation, every site of it being enumerated."""
    return float(expectation(objective).mean().detach())


def is_at(values, u):
    return torch.stack([values[name] == z for name, z in u.items()]).all()


@program
def listed(source, u, power):
    """1{the sampled trace is u} times the estimated density to a power, all enumerated."""
    values, log_d = yield from source.trace(Estimator("enum"))
    return torch.where(is_at(values, u), torch.exp(power * log_d), 0.0)


@program
def scored(source, u):
    values = {name: torch.tensor(z, dtype=torch.get_default_dtype()) for name, z in u.items()}
    return torch.exp((yield from density(source, values)))


@program
def estimated(stages, n):
    return torch.exp((yield from fivo(chain(stages), proposal(stages), n, enum)))


@pytest.mark.parametrize("n", [1, 2])
def test_normalize_is_the_law_of_a_particle_filter(n):
    source = normalize(chain(), proposal(), n, resample=enum)
    for pair, chance in filter_law(n).items():
        u = {"z0": pair[0], "z1": pair[1]}
        assert exactly(listed(source, u, 0.0)) == pytest.approx(chance, abs=1e-12)
        assert exactly(listed(source, u, -1.0)) == pytest.approx(1.0, abs=1e-12)  # E[1/d | u]
        assert exactly(scored(source, u)) == pytest.approx(chance, abs=1e-12)  # E d


def test_three_particles_score_what_they_sample():
    u = {"z0": 1, "z1": 0}
    chance = filter_law(3)[1, 0]
    scores = exactly(scored(normalize(chain(), proposal(), 3, resample=enum), u))
    assert scores == pytest.approx(chance, abs=1e-12)


@pytest.mark.parametrize(("stages", "n"), [(2, 1), (2, 2), (2, 3), (3, 2)])
def test_the_evidence_is_unbiased(stages, n):
    assert exactly(estimated(stages, n)) == pytest.approx(evidence(stages), abs=1e-12)


def test_one_particle_is_importance_sampling():
    bound = exactly(elbo(chain(3), proposal(3)))
    assert exactly(fivo(chain(3), proposal(3), 1)) == pytest.approx(bound, abs=1e-12)
    one_stage = exactly(fivo(chain(1), proposal(1), 3))
    assert one_stage == pytest.approx(exactly(iwelbo(chain(1), proposal(1), 3)), abs=1e-12)


def test_resampling_tightens_the_bound():
    model, guide = chain(3), proposal(3)
    filtered = exactly(fivo(model, guide, 2, enum))
    weighed = exactly(iwelbo(model, guide, 2))
    assert weighed + 0.01 < filtered < math.log(evidence(3))
    guided = exactly(elbo(model, normalize(model, guide, 2, resample=enum)))
    assert guided == pytest.approx(filtered, abs=1e-12)  # log p - log d is the log-evidence


@program
def seen():
    """The chain with what is seen as sites of its own."""
    z = yield from sample(coin(0.4), "z0")
    yield from sample(coin(0.1 + 0.7 * z), "y0")
    z = yield from sample(coin(0.2 + 0.6 * z), "z1")
    yield from sample(coin(0.1 + 0.7 * z), "y1")


def smoother(kept):
    @program
    def guess():
        z = yield from sample(coin(0.3 + 0.3 * kept["y0"]), "z0")
        yield from sample(coin(0.2 + 0.2 * z + 0.4 * kept["y1"]), "z1")

    return guess()


@pytest.mark.parametrize("n", [1, 2])
def test_a_marginal_of_stages_is_unbiased_both_ways(n):
    source = marginal(seen(), ["y0", "y1"], smoother, n, resample=enum)
    for y0, y1 in itertools.product((0, 1), repeat=2):
        chance = 0.0
        for z0, z1 in itertools.product((0, 1), repeat=2):
            parts = [(0.4, z0), (0.1 + 0.7 * z0, y0), (0.2 + 0.6 * z0, z1), (0.1 + 0.7 * z1, y1)]
            chance += math.prod(p if x else 1 - p for p, x in parts)
        u = {"y0": y0, "y1": y1}
        assert exactly(listed(source, u, 0.0)) == pytest.approx(chance, abs=1e-12)
        assert exactly(listed(source, u, -1.0)) == pytest.approx(1.0, abs=1e-12)
        assert exactly(scored(source, u)) == pytest.approx(chance, abs=1e-12)


def learned(theta, phi, way):
    @program
    def model():
        z = yield from sample(Torch(d.Bernoulli(torch.sigmoid(theta))), "z0")
        yield from observe(Torch(d.Normal(2 * z, 0.5)), torch.tensor(0.8))
        z = yield from sample(Torch(d.Bernoulli(torch.sigmoid(theta - z))), "z1")
        yield from observe(Torch(d.Normal(2 * z, 0.5)), torch.tensor(1.2))

    @program
    def guide():
        z = yield from sample(way(d.Bernoulli(torch.sigmoid(phi))), "z0")
        yield from sample(way(d.Bernoulli(torch.sigmoid(phi * z))), "z1")

    return model(), guide()


def slopes(objective, leaves, samples=1, seed=0):
    value = expectation(objective, samples, seed).mean()
    return torch.stack(torch.autograd.grad(value, leaves))


def test_ancestors_have_the_gradient_that_is_named():
    leaves = [torch.tensor(x, requires_grad=True) for x in (0.3, -0.2)]
    model, guide = learned(*leaves, enum)
    exact = slopes(fivo(model, guide, 2, enum), leaves)
    # What is left when the ancestors' own probabilities are taken as constants.
    left = slopes(fivo(model, guide, 2, constant), leaves)
    assert (left - exact).abs().max() > 0.01
    sampled = fivo(*learned(*leaves, reinforce), 2)
    checked = check_gradient(sampled, leaves, groups=25, samples=100, methods=("mvd",))
    assert torch.allclose(torch.tensor(checked.exact), exact)
    assert all(row.unbiased for row in checked.rows), str(checked)
    stopped = fivo(model, guide, 2, stop)
    found = torch.stack([slopes(stopped, leaves, 25, seed) for seed in range(30)])
    errors = found.std(0) / math.sqrt(30)
    assert ((found.mean(0) - left).abs() < 6 * errors).all()
    assert ((found.mean(0) - exact).abs() > 6 * errors).any()
    listing = str(estimators(stopped)), str(estimators(sampled))
    assert "ancestors: Categorical, stop\n" in listing[0]
    assert "ancestors: Categorical, reinforce, leave one out baseline" in listing[1]


def constant(categorical):
    return enum(d.Categorical(logits=categorical.logits.detach()))


def walk(length):
    """A linear Gaussian random walk seen through noise, its evidence, and a guide to learn."""
    seen = torch.sin(torch.arange(length, dtype=torch.get_default_dtype()))
    pull, log_sd = torch.zeros(length, requires_grad=True), torch.zeros((), requires_grad=True)

    @program
    def model():
        z = torch.zeros(())
        for t in range(length):
            z = yield from sample(Normal(z, 0.7), f"z{t}")
            yield from observe(Normal(z, 0.4), seen[t])

    @program
    def guide():
        z = torch.zeros(())
        for t in range(length):
            z = yield from sample(Normal(z + pull[t], log_sd.exp()), f"z{t}")

    steps = torch.arange(1, length + 1)
    cov = 0.49 * torch.minimum(steps[:, None], steps) + 0.16 * torch.eye(length)
    exact = float(d.MultivariateNormal(torch.zeros(length), cov).log_prob(seen))
    return model, guide, [pull, log_sd], exact


def test_a_walk_is_filtered_and_its_guide_learned():
    model, guide, leaves, exact = walk(5)
    bounds = [
        expectation(objective, 100).mean().detach()
        for objective in (
            iwelbo(model(), guide(), 8),
            fivo(model(), guide(), 8, stop),
            fivo(model(), guide(), 64, stop),
        )
    ]
    assert bounds[0] < bounds[1] - 0.3 < bounds[2] - 0.3 < exact - 0.3
    assert float(bounds[2]) == pytest.approx(exact, abs=0.1)
    fitted = fit(lambda: fivo(model(), guide(), 4, stop), leaves, steps=40, samples=10, lr=0.1)
    assert fitted.value > float(bounds[1])
    guided = elbo(model(), normalize(model(), guide(), 4, resample=reinforce))
    assert float(expectation(guided, 100).mean().detach()) == pytest.approx(fitted.value, abs=0.2)


@program
def narrow(second):
    """Half of the particles die at the first stage, and all of them at the second if it is 0."""
    z = yield from sample(Torch(d.Bernoulli(torch.tensor(0.5))), "z0")
    yield from factor(torch.where(z > 0, 0.0, -math.inf))
    z = yield from sample(Torch(d.Bernoulli(torch.tensor(0.5))), "z1")
    yield from factor(torch.where(z < second, 0.0, -math.inf))


def test_particles_die():
    logit = torch.tensor(0.3, requires_grad=True)

    @program
    def guide(way=stop):
        for name in ("z0", "z1"):
            yield from sample(way(d.Bernoulli(torch.sigmoid(logit))), name)

    @program
    def evidence():
        return torch.exp((yield from fivo(narrow(1), guide(enum), 2, enum)))

    assert exactly(evidence()) == pytest.approx(0.25, abs=1e-12)
    found = expectation(guided_by(narrow(1), guide(), 16), 20).detach()
    assert torch.isfinite(found).all()
    for objective in (fivo(narrow(0), guide(), 4, stop), guided_by(narrow(0), guide(), 4)):
        with pytest.raises(
            PonderError, match=r"factor 0 after 'z\d' of narrow has log-density -inf"
        ):
            fit(objective, [logit], steps=2)


def guided_by(model, guide, n):
    return elbo(model, normalize(model, guide, n, resample=stop))


class TestRefusals:
    def refuse(self, match, model, guide):
        with pytest.raises(PonderError, match=match):
            expectation(fivo(model, guide, 2, stop))

    def test_sites_that_do_not_match(self):
        @program
        def named(*names):
            for name in names:
                yield from sample(Torch(d.Bernoulli(torch.tensor(0.5))), name)

        self.refuse("chain samples 'z1', which its proposal does not", chain(), named("z0"))
        self.refuse("named samples 'z1' where chain samples 'z0'", chain(), named("z1", "z0"))
        more = named("z0", "z1", "z2")
        self.refuse("chain has no site 'z2', which its proposal", chain(), more)

    def test_what_has_no_stages(self):
        @program
        def together():
            yield from each([chain(), chain()])

        self.refuse("proposal chain has a factor", chain(), chain())
        self.refuse("together runs programs together", together(), proposal())
        inner = normalize(chain(), proposal(), 2)
        self.refuse("cannot stop inside of normalize", chain(), inner)
        with pytest.raises(PonderError, match="n particles, a whole number"):
            expectation(fivo(chain(), proposal(), 0))

    def test_values_that_do_not_match(self):
        source = normalize(chain(), proposal(), 2, resample=stop)
        with pytest.raises(PonderError, match="samples 'z1', which the values to score lack"):
            expectation(scored(source, {"z0": 1}))
        with pytest.raises(PonderError, match="chain has no site 'u'"):
            expectation(scored(source, {"z0": 1, "z1": 0, "u": 1}))
        kept = marginal(seen(), ["y0", "y1"], smoother, 2, resample=stop)
        with pytest.raises(PonderError, match="no site 'v' to keep"):
            expectation(scored(kept, {"y0": 1, "y1": 0, "v": 1}))

    def test_stages_that_depend_on_values(self):
        @program
        def branching(weighed):
            z = yield from sample(coin(0.5), "z0")
            if weighed:
                yield from observe(Torch(d.Normal(z, 1.0)), torch.tensor(0.0))
            if z > 0:
                yield from sample(coin(0.5), "z1")

        with pytest.raises(PonderError, match="sample or answer differently from one another"):
            expectation(fivo(branching(True), branching(False), 2, stop), vectorised=False)
