"""What all amortised networks share: training that resumes, checkpoints, attention, ranges."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ponder.amortize import checkpoint  # noqa: E402
from ponder.amortize.attention import CrossAttention, SelfAttention  # noqa: E402
from ponder.amortize.ranges import OutsideTraining, Range  # noqa: E402
from ponder.amortize.training import Plan, Progress, Resume, train  # noqa: E402
from ponder.errors import PonderError  # noqa: E402


class Killed(Exception):
    """Stands for a process that ends here."""


def regression(seed: int = 0, killed_at: int | None = None):
    """A net for y = sin(x), and the loss of a step's own batch."""
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))

    def loss_at(step: int) -> torch.Tensor:
        if step == killed_at:
            raise Killed
        x = torch.rand((32, 1), generator=torch.Generator().manual_seed(step)) * 6 - 3
        return ((net(x) - x.sin()) ** 2).mean()

    return net, loss_at


def flat(net: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_a_training_that_was_killed_ends_in_the_same_weights(tmp_path: Path) -> None:
    plan = Plan(300, learning_rate=1e-2)
    whole, loss_at = regression()
    losses = train(loss_at, whole.parameters(), plan)
    assert losses[-50:].mean() < 0.2 * losses[:10].mean()

    resume = Resume(tmp_path / "state", {"seed": 0}, every=0.0)
    killed, loss_at = regression(killed_at=111)
    with pytest.raises(Killed):
        train(loss_at, killed.parameters(), plan, resume=resume)
    told: list[Progress] = []
    resumed, loss_at = regression(seed=5)  # other initial weights: the file has the right ones
    again = train(loss_at, resumed.parameters(), plan, resume=resume, told=told.append)
    assert told[0].step == 112
    assert told[-1].step == told[-1].steps == 300
    assert torch.equal(flat(resumed), flat(whole))
    assert np.array_equal(again, losses)

    finished, loss_at = regression(seed=6, killed_at=0)  # nothing is left to do
    assert np.array_equal(train(loss_at, finished.parameters(), plan, resume=resume), losses)
    assert torch.equal(flat(finished), flat(whole))


def test_the_state_of_another_training_is_refused(tmp_path: Path) -> None:
    net, loss_at = regression()
    resume = Resume(tmp_path / "state", {"seed": 0})
    train(loss_at, net.parameters(), Plan(5), resume=resume)
    other = Resume(tmp_path / "state", {"seed": 1})
    for changed, plan in ((other, Plan(5)), (resume, Plan(6)), (resume, Plan(5, clip=2.0))):
        with pytest.raises(PonderError, match="is of another training"):
            train(loss_at, net.parameters(), plan, resume=changed)
    wider = torch.nn.Linear(3, 3)
    with pytest.raises(PonderError, match="is of another training"):
        train(loss_at, wider.parameters(), Plan(5), resume=resume)


def test_the_learning_rate_warms_up_and_falls_to_zero() -> None:
    plan = Plan(1000, learning_rate=0.5, warm_up=100)
    assert plan.rate(0) == pytest.approx(0.005)
    assert plan.rate(99) == plan.rate(100) == pytest.approx(0.5)
    assert plan.rate(550) == pytest.approx(0.25)
    assert 0 < plan.rate(999) < 1e-5
    assert Plan(1).rate(0) == pytest.approx(1e-3)
    with pytest.raises(PonderError, match="steps >= 1"):
        Plan(0)


def test_a_loss_or_a_gradient_that_is_not_finite_says_at_which_step() -> None:
    weight = torch.nn.Parameter(torch.zeros(()))
    with pytest.raises(PonderError, match="the loss is nan at step 3"):
        train(lambda step: weight * (float("nan") if step == 3 else 1.0), [weight], Plan(5))
    root = torch.nn.Parameter(torch.zeros(()))  # finite, but with an infinite slope
    with pytest.raises(PonderError, match="the gradient has norm inf at step 0"):
        train(lambda step: root.sqrt(), [root], Plan(5))


def test_gradients_are_clipped_to_norm_one() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    train(lambda step: 1e6 * weight.sum(), [weight], Plan(1, learning_rate=1e-3))
    assert weight.grad is not None
    assert float(weight.grad.norm()) == pytest.approx(1.0, abs=1e-4)


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "net"
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7)}
    checkpoint.save(path, "toy", {"width": 3, "names": ["x"]}, weights, {"loss": 0.5})
    saved = checkpoint.load(path, "toy")
    assert saved.config == {"width": 3, "names": ["x"]}
    assert saved.about == {"loss": 0.5}
    assert all(torch.equal(saved.weights[k], weights[k]) for k in weights)
    assert [p.name for p in tmp_path.iterdir()] == ["net"]  # nothing half-written stays


def test_what_is_no_such_checkpoint_is_refused(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(PonderError, match="there is no file"):
        checkpoint.load(tmp_path / "none", "toy")
    good = tmp_path / "good"
    checkpoint.save(good, "toy", {}, {"a": torch.zeros(1000)}, {})
    with pytest.raises(PonderError, match="holds a toy, not a pfn"):
        checkpoint.load(good, "pfn")
    contents = {"text": b"hello", "empty": b"", "cut": good.read_bytes()[:-500]}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    torch.save({"weights": torch.zeros(3)}, tmp_path / "foreign")
    header = {"format": checkpoint.FORMAT, "version": checkpoint.VERSION, "kind": "toy"}
    code = {"config": {}, "weights": {}, "about": {"net": torch.nn.Linear(1, 1)}}
    torch.save(header | code, tmp_path / "code")  # would run code to load
    for name in (*contents, "foreign", "code"):
        with pytest.raises(PonderError, match="is not a checkpoint of ponder"):
            checkpoint.load(tmp_path / name, "toy")
    monkeypatch.setattr(checkpoint, "VERSION", 99)
    with pytest.raises(PonderError, match="of version 1, this ponder reads version 99"):
        checkpoint.load(good, "toy")
    with pytest.raises(PonderError, match="cannot write"):
        checkpoint.save(tmp_path / "no" / "folder", "toy", {}, {}, {})


def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "net"
    checkpoint.save(path, "toy", {"n": 1}, {}, {})

    def full(content: object, out: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(PonderError, match="No space left"):
        checkpoint.save(path, "toy", {"n": 2}, {}, {})
    assert checkpoint.load(path, "toy").config == {"n": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["net"]


def test_attention_does_not_see_the_order_of_tokens() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(3, 9, 32)
    order = torch.randperm(9)
    with torch.no_grad():
        layer = SelfAttention(32, 4)
        torch.testing.assert_close(layer(tokens)[:, order], layer(tokens[:, order]))
        queries, cross = torch.randn(3, 5, 32), CrossAttention(32, 4)
        torch.testing.assert_close(cross(queries, tokens), cross(queries, tokens[:, order]))
        assert not torch.allclose(cross(queries, tokens), cross(queries, tokens[:, :8]))


def test_attention_sees_only_what_it_may() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(2, 6, 32)
    with torch.no_grad():
        layer = SelfAttention(32, 4)
        changed = tokens.clone()
        changed[:, 4:] += 1.0
        before, after = layer(tokens, seen=4), layer(changed, seen=4)
        torch.testing.assert_close(before[:, :4], after[:, :4])
        torch.testing.assert_close(layer(tokens[:, [0, 1, 2, 3, 5]], seen=4)[:, 4], before[:, 5])
        cross = CrossAttention(32, 4)
        there = torch.tensor([[True, True, False, False], [False] * 4])
        found = cross(tokens, changed[:, :4], there)
        torch.testing.assert_close(found[:1], cross(tokens[:1], changed[:1, :2]))
        torch.testing.assert_close(found[1:], cross(tokens[1:], changed[1:, :0]))
        assert torch.isfinite(found).all()
    with pytest.raises(PonderError, match="does not split"):
        SelfAttention(30, 4)


def test_a_range_measures_distance_in_trained_widths() -> None:
    grid = np.linspace(0.0, 1.0, 1001)
    seen = Range.of(np.stack([grid, 10 * grid], axis=1), ["x", "y"])
    assert seen.distance([[0.0, 10.0], [0.5, 5.0]]) == 0.0
    assert seen.distance([1.99, 5.0]) == pytest.approx(1.0)  # the middle 99% is .99 wide
    assert seen.distance([0.5, -19.8]) == pytest.approx(2.0)
    assert Range.from_dict(seen.to_dict()) == seen
    assert Range.of(np.ones((5, 1)), ["c"]).distance([2.0]) == np.inf
    with pytest.raises(PonderError, match="2 coordinates got"):
        seen.distance([1.0])


def test_the_range_of_a_sample_reaches_to_where_the_training_will() -> None:
    random = np.random.Generator(np.random.PCG64(1))
    sample = np.stack([random.random(20_000), random.standard_normal(20_000)], axis=1)
    training = np.stack([random.random(2_000_000), random.standard_normal(2_000_000)], axis=1)
    seen = Range.of(sample, ["edge", "tail"], sparse=20)
    assert seen.distance(training) < 0.1
    assert seen.high[0] < 1.002
    assert Range.of(sample, ["edge", "tail"]).distance(training) > 0.1


def test_a_question_outside_warns_in_one_line() -> None:
    seen = Range.of(np.linspace(0.0, 1.0, 1001)[:, None], ["x"])
    with pytest.warns(OutsideTraining) as caught:
        assert seen.warn_outside([[0.5], [1.99], [3.97]], stacklevel=1) == pytest.approx(3.0)
    message = str(caught[0].message)
    assert "x = 3.97, trained on 0 to 1, 3 trained widths away (2 points are outside)" in message
    assert "\n" not in message
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert seen.warn_outside([[0.5]]) == 0.0
        assert seen.warn_outside(np.zeros((0, 1))) == 0.0


def test_without_torch_the_remedy_is_named() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from ponder.errors import PonderError\n"
        "try:\n    import ponder.amortize.pfn\n"
        "except PonderError as error:\n    print(error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "this part of ponder needs PyTorch: pip install 'ponder[torch]'"
