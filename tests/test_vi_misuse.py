"""What users write by mistake around ``ponder.vi`` and the networks is named, or harmless."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Normal

import ponder
from exact import assert_same, measure
from ponder import PonderError, observe, program, sample
from ponder.amortize import checkpoint, dt, pfn
from ponder.amortize.bars import Grid
from ponder.amortize.training import Plan
from ponder.blocks import draw, propose
from ponder.tensors import Torch, enum, reparam
from ponder.vi import elbo, expectation, fit, fivo, iwelbo, marginal


@program
def model(size: tuple[int, ...] = ()) -> ponder.Effects[Any]:
    z = yield from sample(Torch(Normal(torch.zeros(size), 1.0)), "z")
    late = yield from sample(ponder.Bernoulli(0.5), "late")
    yield from observe(Torch(Normal(z.sum() + late, 1.0)), 1.0)


def guide(mean: torch.Tensor, moved: bool = False) -> ponder.Program[Any]:
    @program
    def one() -> ponder.Effects[Any]:
        z = yield from sample(reparam(Normal(mean, 1.0)), "z")
        if moved:
            z += 5.0
        yield from sample(enum(Bernoulli(torch.tensor(0.3))), "late")

    return one()


@pytest.mark.parametrize("objective", [elbo, lambda m, g: fivo(m, g, 2)])
def test_what_a_guide_does_to_its_values_in_place_changes_nothing(objective: Any) -> None:
    mean = torch.tensor(0.0, requires_grad=True)
    left, right = (
        expectation(objective(model(), guide(mean, moved)), 20).mean() for moved in (False, True)
    )
    assert left.item() == right.item()


def test_nor_does_it_in_a_proposal() -> None:
    @program
    def target() -> ponder.Effects[Any]:
        z = yield from sample(Torch(Normal(0.0, 1.0)), "z")
        late = yield from sample(ponder.Bernoulli(0.5), "late")
        yield from observe(Torch(Normal(z + late, 1.0)), 1.0)
        return float(z)

    left, right = (
        ponder.infer(target() | ponder.propose(guide(torch.tensor(0.0), moved)) | ponder.draw(20))
        for moved in (False, True)
    )
    assert [t.value for t in left.traces] == [t.value for t in right.traces]
    assert left.weights.tolist() == right.weights.tolist()


@pytest.mark.parametrize("shape", [(), (2,), (4, 3)])
@pytest.mark.parametrize("objective", [elbo, lambda m, g: fivo(m, g, 2)])
def test_a_guide_of_another_shape_is_refused(objective: Any, shape: tuple[int, ...]) -> None:
    mean = torch.zeros(shape, requires_grad=True)
    with pytest.raises(PonderError, match=r"'z' of shape \(3,\), its guide one of shape"):
        expectation(objective(model((3,)), guide(mean)), 2)


def test_slips_around_fit_are_named() -> None:
    mean, other = (torch.tensor(0.0, requires_grad=True) for _ in range(2))
    good = elbo(model(), guide(mean))
    rows = torch.ones(3)
    with pytest.raises(PonderError, match="depends on none of the parameters"):
        fit(good, [other], steps=2)
    with pytest.raises(PonderError, match=r"needs a program, got model; call it: model\("):
        fit(elbo(model, guide(mean)), [mean], steps=2)  # type: ignore[arg-type]
    with pytest.raises(PonderError, match="without arguments"):
        fit(lambda y: good, [mean], steps=2)
    with pytest.raises(PonderError, match="a function of one row"):
        fit(lambda: good, [mean], steps=2, data=rows)
    with pytest.raises(PonderError, match=r"torch\.as_tensor"):
        fit(lambda y: good, [mean], steps=2, data=np.ones(3))  # type: ignore[arg-type]
    with pytest.raises(PonderError, match=r"one length of at least 1, got \[3, 4\]"):
        expectation(lambda a, b: good, data=(rows, torch.ones(4)))
    with pytest.raises(PonderError, match=r"samples, a whole number of at least 1, got 2\.5"):
        fit(good, [mean], samples=2.5)  # type: ignore[arg-type]
    with pytest.raises(PonderError, match="a learning rate lr > 0, got -1"):
        fit(good, [mean], lr=-1)
    with pytest.raises(PonderError, match=r"a batch between 1 and 3 rows, got 2\.5"):
        fit(lambda y: good, [mean], data=rows, batch=2.5)  # type: ignore[arg-type]
    with pytest.raises(PonderError, match="fit got no parameter that requires a gradient"):
        fit(good, [np.zeros(2)])  # type: ignore[list-item]
    with pytest.raises(PonderError, match=r"an objective needs a program, got tensor\("):
        fit(lambda: mean * 2, [mean])  # type: ignore[arg-type,return-value]
    nan = torch.tensor([1.0, math.nan])
    with pytest.raises(PonderError, match=r"rows of data .* not finite"):
        fit(lambda y: elbo(model(), guide(mean + y)), [mean], steps=2, data=nan)
    with pytest.raises(PonderError, match="function of the kept values"):
        marginal(guide(mean), ["z"], guide(mean))  # type: ignore[arg-type]


@pytest.mark.parametrize("objective", [elbo, lambda m, g: iwelbo(m, g, 2)])
def test_a_guide_with_a_factor_is_refused(objective: Any) -> None:
    @program
    def weighed() -> ponder.Effects[Any]:
        yield from guide(torch.tensor(0.0))
        yield from observe(Torch(Normal(0.0, 1.0)), 1.0)

    with pytest.raises(PonderError, match="weighed has a factor"):
        expectation(objective(model(), weighed()), 2)


def test_numpy_in_a_model_runs_particles_one_by_one() -> None:
    mean = torch.tensor(0.0, requires_grad=True)

    @program
    def by_numpy() -> ponder.Effects[Any]:
        z = yield from sample(Torch(Normal(0.0, 1.0)), "z")
        yield from observe(Torch(Normal(float(np.sin(z.detach().numpy())), 1.0)), 1.0)

    @program
    def alone() -> ponder.Effects[Any]:
        yield from sample(reparam(Normal(mean, 1.0)), "z")

    with pytest.warns(UserWarning, match="one by one"):
        found = expectation(elbo(by_numpy(), alone()), 4)
    assert torch.isfinite(found).all()


def test_slips_around_a_network_are_named(tmp_path: Path) -> None:
    @program
    def prior() -> ponder.Effects[Any]:
        y = yield from sample(ponder.Normal(), "y")
        return [[0.0], [y]], [y, y]

    plan = Plan(steps=1)
    with pytest.raises(PonderError, match="a function of the batch's size"):
        dt.train(prior(), prior, steps=1)  # type: ignore[arg-type]
    with pytest.raises(PonderError, match=r"one task, as prior\(\), or a function of \(batch, n\)"):
        pfn.train(prior, plan, context=2, batch=2)
    with pytest.raises(PonderError, match="names has 2 features"):
        pfn.train(prior(), plan, context=2, batch=2, names=["a", "b"])
    with pytest.raises(PonderError, match=r"between 0 and 1, got 1\.5"):
        Grid([0.0, 1.0, 2.0, 3.0]).quantile(np.array([0.2, 0.3, 0.5]), 1.5)
    path = tmp_path / "net.pfn"
    checkpoint.save(path, "pfn", {}, {"w": torch.arange(1000.0)}, {})
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(500).tobytes() + np.float32(501).tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(PonderError, match="damaged"):
        checkpoint.load(path, "pfn")


@pytest.mark.parametrize("defensive", [0.0, 0.1, 0.9])
def test_a_guide_of_tensors_is_given_tensors(defensive: float) -> None:
    @program
    def plain() -> ponder.Effects[Any]:
        k = yield from sample(ponder.Categorical((0.5, 0.3, 0.2)), "k")
        return (int(k), bool((yield from sample(ponder.Bernoulli(0.2 + 0.3 * int(k)), "late"))))

    @program
    def tensors() -> ponder.Effects[Any]:
        k = yield from sample(Torch(torch.distributions.Categorical(logits=torch.zeros(3))), "k")
        chance = torch.tensor([0.4, 0.5, 0.6])[k.long()]
        late = yield from sample(Torch(torch.distributions.Bernoulli(chance)), "late")
        late.double()

    corrected = plain() | propose(tensors(), defensive=defensive) | draw(1)
    assert_same(measure(corrected), measure(plain() | draw(1)), tolerance=1e-6)
    # The other way around: a model of tensors, a guide of numbers.
    backwards = tensors() | propose(plain(), defensive=defensive) | draw(1)
    assert measure(backwards) == {None: pytest.approx(1.0)}
