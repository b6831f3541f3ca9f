"""``ponder check`` of gradient estimators, as a user runs it; and True at a tensor's site."""

import json
import math
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from typer.testing import CliRunner  # noqa: E402

import ponder  # noqa: E402
from ponder import Bernoulli, program, sample  # noqa: E402
from ponder.cli.main import app  # noqa: E402
from ponder.interpret import enumerate_measure  # noqa: E402
from ponder.tensors import Torch, differentiable  # noqa: E402

FILE = """
import torch
from torch.distributions import Bernoulli, Normal
from ponder import program, sample
from ponder.tensors import mvd, reinforce, reparam
from ponder.vi import Gradients, iwelbo, wake_sleep

p = torch.tensor(0.4, requires_grad=True)

@program
def coin():
    return 3 * (yield from sample(mvd(Bernoulli(torch.sigmoid(p))), "a")) * p

@program
def jump():
    x = yield from sample(reparam(Normal(p, 1.0)), "x")
    return torch.where(x > 0, 1.0, 0.0) + 0 * p

@program
def noisy():
    return (yield from sample(reinforce(Normal(1e-3 * p, 1.0)), "x")) ** 2  # gradient 2e-6 p

made = Gradients(coin(), [p])

def gradients():
    return made

def biased():
    return Gradients(jump, p)

def weak():
    return Gradients(noisy, p)

unused = torch.tensor(0.0, requires_grad=True)

@program
def guide():
    yield from sample(reparam(Normal(p, 1.0)), "x")

def other():
    return Gradients(coin, unused)

def many():
    return Gradients(iwelbo(guide(), guide(), 3), p)

def dropping():
    return Gradients(wake_sleep(guide(), guide(), 2), p)

def boom():
    raise ValueError("no net file")
"""


def run(*args):
    result = CliRunner().invoke(app, ["check", *args])
    return result.exit_code, result.output


@pytest.fixture
def path(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    written = tmp_path / "mine.py"
    written.write_text(FILE)
    yield written
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", ["made", "gradients"])
def test_an_unbiased_gradient(path, name):
    status, text = run(f"{path}:{name}", "--seconds", "1")
    assert status == 0, text
    assert "gradient of coin" in text
    assert "law claimed: unbiased gradient" in text
    assert "a bias of" in text
    for method in ("enum", "mvd", "reinforce"):
        assert f"by {method} where possible" in text
    assert text.count("variance") == 4


def test_an_estimator_too_noisy_to_be_refuted_is_untested(path):
    status, text = run(f"{path}:weak", "--seconds", "1")
    assert status == 2, text
    assert "too noisy to find one that is 0: give more --seconds" in " ".join(text.split())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("other", "depends on none of the parameters that are to be checked"),
        ("many", "3 normal sites, copies counted"),
        ("dropping", "a site of stop, which wake_sleep and sleep make"),
        ("boom", "boom fails: ValueError: no net file at mine.py:"),
        ("nosuch", "it has coin, jump, noisy, made, "),
    ],
)
def test_what_cannot_be_checked_is_told_in_a_line(path, name, says):
    result = CliRunner().invoke(app, ["check", f"{path}:{name}", "--seconds", "1"])
    assert isinstance(result.exception, ponder.PonderError)
    assert says in str(result.exception)


@pytest.mark.filterwarnings("ignore::ponder.vi.BiasedGradient")
def test_a_biased_gradient_is_refuted(path):
    status, text = run(f"{path}:biased", "--seconds", "1", "--json")
    said = json.loads(text)
    assert status == said["status"] == 1
    verdicts = {claim["claim"]: claim["verdict"] for claim in said["claims"]}
    assert verdicts["the gradient is unbiased, as written"] == "refuted"
    notes = {claim["claim"]: claim["note"] for claim in said["claims"]}
    assert notes["by reparam where possible"].startswith("BIASED")
    assert notes["by mvd where possible"].startswith("unbiased")


def test_the_example(path):
    example = Path(__file__).parents[1] / "examples" / "vi_mixture.py"
    status, text = run(f"{example}:gradients", "--seconds", "0.1")
    assert status == 0, text
    assert "gradient of elbo" in text


def test_the_api_takes_it_too(path):
    p = torch.tensor(0.4, requires_grad=True)

    @program
    def coin():
        yield from sample(Torch(torch.distributions.Bernoulli(torch.sigmoid(p))), "a")
        return p**2

    from ponder.vi import Gradients

    report = ponder.check(lambda: Gradients(coin(), [p]), seconds=0.1)
    assert report.verdict == "valid"


def test_true_at_a_site_of_tensors():
    site = Torch(torch.distributions.Bernoulli(torch.tensor(0.25)))
    for value in (True, torch.tensor(True), 1, torch.tensor(1), 1.0):
        assert site.log_prob(value) == pytest.approx(math.log(0.25))
    assert site.log_prob(False) == pytest.approx(math.log(0.75))
    with differentiable():
        assert float(site.log_prob(True)) == pytest.approx(math.log(0.25))

    @program
    def model():
        return bool((yield from sample(Bernoulli(0.25), "z")))

    @program
    def tensors():
        return bool((yield from sample(site, "z")))

    @program
    def halves():
        yield from sample(Bernoulli(0.5), "z")

    @program
    def half_tensors():
        yield from sample(Torch(torch.distributions.Bernoulli(torch.tensor(0.5))), "z")

    for target, guide in ((tensors, halves), (model, half_tensors)):
        exact = enumerate_measure(target())
        assert exact == pytest.approx({True: 0.25, False: 0.75})
        proposed = target() | ponder.propose(guide())
        found = ponder.infer(proposed | ponder.draw(400) | ponder.vote, seed=0)
        shares = {share.answer: share.share for share in found.shares}
        assert shares == pytest.approx({True: 0.25, False: 0.75}, abs=0.08)
