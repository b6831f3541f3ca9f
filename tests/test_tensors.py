"""PyTorch's distributions under every interpreter of ponder."""

import math
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

import torch.distributions as d  # noqa: E402

import ponder  # noqa: E402
from ponder import Normal, PonderError, observe, program, sample  # noqa: E402
from ponder.dist import Categorical, Exponential, Stream, Uniform  # noqa: E402
from ponder.interpret import enumerate_measure, simulate  # noqa: E402
from ponder.tensors import Torch, as_torch, differentiable, enum, reinforce, reparam  # noqa: E402


@program
def coins():
    a = yield from sample(Torch(d.Bernoulli(torch.tensor(0.25))), "a")
    k = yield from sample(Torch(d.Categorical(torch.tensor([0.5, 0.5 * (1 + 0 * a), 1.0]))), "k")
    yield from observe(Torch(d.Normal(a, 1.0)), k)
    return int(a), int(k)


def normal_density(x, mean):
    return math.exp(-0.5 * (x - mean) ** 2) / math.sqrt(2 * math.pi)


def test_a_program_of_tensors_is_enumerated():
    exact = enumerate_measure(coins())
    for (a, k), mass in exact.items():
        prior = (0.25 if a else 0.75) * (0.25, 0.25, 0.5)[k]
        assert mass == pytest.approx(prior * normal_density(k, a), abs=1e-6)
    assert len(exact) == 6


@pytest.mark.parametrize("method", [ponder.draw(1500), ponder.smc(1500)])
def test_a_program_of_tensors_is_drawn_and_filtered(method):
    exact = enumerate_measure(coins())
    total = sum(exact.values())
    found = ponder.infer(coins() | method | ponder.vote, seed=1)
    for share in found.shares:
        assert share.share == pytest.approx(exact[share.answer] / total, abs=0.08)


def test_draws_come_from_the_stream_alone():
    before = torch.get_rng_state()
    one, two = (simulate(coins(), seed=3) for _ in range(2))
    assert one.last == two.last
    assert torch.equal(before, torch.get_rng_state())
    drawn = {simulate(coins(), seed=s).value for s in range(40)}
    assert len(drawn) > 3


def test_scores_are_floats_except_where_they_are_differentiated():
    mean = torch.tensor(0.5, requires_grad=True)
    site = Torch(d.Normal(mean, torch.tensor(1.0)))
    assert type(site.log_prob(1.0)) is float
    with differentiable():
        score = site.log_prob(torch.tensor(1.0))
        score.backward()
    assert mean.grad == pytest.approx(0.5)
    assert type(site.log_prob(1.0)) is float


def test_outside_of_the_support_is_minus_infinity():
    assert Torch(d.Gamma(torch.tensor(2.0), torch.tensor(1.0))).log_prob(-1.0) == -math.inf
    assert Torch(d.Bernoulli(torch.tensor(0.5))).log_prob(0.3) == -math.inf
    vector = Torch(d.Normal(torch.zeros(3), 1.0))
    assert vector.log_prob(torch.zeros(3)) == pytest.approx(-1.5 * math.log(2 * math.pi))
    assert vector.log_prob(torch.zeros(4)) == -math.inf
    several = Torch(d.Binomial(torch.tensor([2.0, 3.0]), torch.tensor(0.5)))
    assert several.support() is None


def test_several_values_of_one_distribution_are_refused_where_they_cannot_weigh_nothing():
    """PyTorch would sum them: a guide would be fitted to another model than the one weighed by."""
    one = Torch(d.Normal(torch.tensor(0.0), torch.tensor(1.0)))
    assert one.log_prob(torch.zeros(4)) == -math.inf
    assert one.log_prob(torch.zeros(1)) == one.log_prob(0.0)
    with differentiable(), pytest.raises(PonderError, match=r"shape \(\) has no value .* \(4,\)"):
        one.log_prob(torch.zeros(4))


def test_equality_is_that_of_distributions():
    def made(x):
        return Torch(d.Independent(d.Normal(torch.tensor([0.0, x]), torch.ones(2)), 1))

    assert made(1.0) == made(1.0)
    assert made(1.0) != made(2.0)
    assert Torch(d.Normal(0.0, 1.0)) != Torch(d.Laplace(0.0, 1.0))
    assert hash(made(1.0)) == hash(made(1.0))


def test_a_vector_of_coins_lists_every_combination():
    p = torch.tensor([0.2, 0.7, 0.5])
    listed = Torch(d.Bernoulli(p)).support()
    assert len(listed) == 8
    assert sum(math.exp(lp) for _, lp in listed) == pytest.approx(1.0)
    assert Torch(d.Bernoulli(torch.full((30,), 0.5))).support() is None
    assert Torch(d.Normal(0.0, 1.0)).support() is None


def test_ponders_own_distributions_become_tensors():
    sd = torch.tensor(2.0, requires_grad=True)
    cases = [Normal(0.5, 2.0), Categorical((1, 3)), Uniform(0, 2), Exponential(3.0)]
    for case in cases:
        value = case.draw(Stream(b"x"))
        assert as_torch(case).log_prob(value) == pytest.approx(case.log_prob(value), abs=1e-5)
    # Scored with a graph, which math.log would end.
    with differentiable():
        effect = next(observe(Normal(0.0, sd), torch.tensor(1.0)))
    (slope,) = torch.autograd.grad(effect.log_weight, sd)
    assert slope == pytest.approx(1 / 8 - 1 / 2)
    assert as_torch(Categorical((1, 1), ("x", "y"))) is None


def test_estimators_that_do_not_exist_are_refused():
    with pytest.raises(PonderError, match="no baseline 'mean'"):
        reinforce(d.Bernoulli(0.5), "mean")
    with pytest.raises(PonderError, match=r"enum needs a torch.distributions distribution"):
        enum(3)
    with pytest.raises(PonderError, match=r"Torch wraps a torch.distributions"):
        Torch(Normal())
    assert reparam(Normal(0.0, 1.0)).estimator.method == "reparam"


def test_draw_keeps_a_stream_of_its_own():
    one = Torch(d.Normal(torch.zeros(2), 1.0))
    stream = Stream(b"key")
    first, second = one.draw(stream), one.draw(stream)
    assert not torch.equal(first, second)
    assert torch.equal(first, one.draw(Stream(b"key")))


@pytest.mark.parametrize("module", ["ponder.tensors", "ponder.vi"])
def test_without_torch_the_extra_is_named(module):
    script = f"import sys; sys.modules['torch'] = None; import {module}"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "pip install 'ponder[torch]'" in ended.stderr.splitlines()[-1]


def test_the_core_does_not_import_torch():
    script = "import ponder, ponder.recipes, ponder.cli.main, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
