"""Simulation-based calibration: right posteriors pass, wrong ones fall, the power is true."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import amortised as a
from ponder.checking.betting import log_threshold
from ponder.checking.claims import Finding
from ponder.checking.rank_plots import draw_ranks, envelope
from ponder.checking.sbc import DENSITY, LIKELIHOOD, Amortized, rank, sbc
from ponder.checking.simulated import simulated
from ponder.checking.uniform import Uniformity, rank_law
from ponder.cli.main import app
from ponder.dist import Normal, Stream
from ponder.effects import Effects, program, sample
from ponder.errors import PonderError

HERE = Path(__file__).parent


def looked(subject: Any, most: int = 200, **options: Any) -> dict[str, Finding]:
    """The findings on this many data sets, by the quantity."""
    report = sbc(subject, seconds=100, most=most, **options).report
    return {
        f.claim.removeprefix("ranks of ").removesuffix(" are uniform"): f for f in report.findings
    }


def verdicts(subject: Any, most: int = 200, **options: Any) -> dict[str, str]:
    return {name: f.verdict for name, f in looked(subject, most, **options).items()}


@pytest.mark.parametrize("name", ["exact", "made", "discrete"])
def test_an_exact_posterior_is_valid(name: str) -> None:
    assert verdicts(getattr(a, name)) == {"theta": "valid", LIKELIHOOD: "valid"}


def test_vectors_have_a_rank_each() -> None:
    assert verdicts(a.vector) == {"left": "valid", "right": "valid", LIKELIHOOD: "valid"}


def test_what_returns_the_prior_passes_by_its_coordinates_and_is_refuted_by_the_data() -> None:
    found = looked(a.returns_the_prior)
    assert found["theta"].verdict == "valid"
    assert found[LIKELIHOOD].verdict == "refuted"
    assert "worse than the truth" in found[LIKELIHOOD].note


def test_margins_that_are_right_are_not_enough() -> None:
    found = verdicts(a.uncorrelated, 800)
    assert found == {"theta[0]": "valid", "theta[1]": "valid", LIKELIHOOD: "refuted"}


@pytest.mark.parametrize(
    ("subject", "said"),
    [(a.narrow, "too narrow"), (a.shifted, "too high"), (a.wrong_sign, "too narrow")],
)
def test_what_is_wrong_is_refuted_in_words(subject: Amortized, said: str) -> None:
    found = looked(subject, 600)
    assert found["theta"].verdict == "refuted"
    assert said in found["theta"].note
    assert found["theta"].evidence is not None
    assert found["theta"].evidence > (log_threshold(2) / math.log(10))


def test_ties_are_broken_evenly_and_wrong_masses_found() -> None:
    assert "refuted" in verdicts(a.doubtful, 600).values()
    places = [rank(1.0, np.array([0.0, 1.0, 1.0, 2.0]), Stream(bytes([i]))) for i in range(200)]
    assert set(places) == {1, 2, 3}
    assert min(places.count(place) for place in (1, 2, 3)) > 40
    assert rank(0.5, np.array([0.0, 1.0]), Stream(b"")) == 1


def test_the_density_of_the_posterior_is_one_more_quantity() -> None:
    def density(theta: float, y: tuple[float, ...]) -> float:
        return Normal(sum(y) / 3, a.SD).log_prob(theta)

    right = Amortized(a.prior(), a.data, a.posterior(), log_density=density)
    assert verdicts(right)[DENSITY] == "valid"
    narrow = Amortized(a.prior(), a.data, a.posterior(scale=0.5), log_density=density)
    found = looked(narrow, 300)[DENSITY]
    assert found.verdict == "refuted"
    assert "less probable for it" in found.note


def test_wealth_is_a_martingale_of_uniform_ranks() -> None:
    """The exact mean of the e-value is 1 after one rank, and after two."""
    for ranks in (1, 2):
        wealth = []
        for seen in product(range(16), repeat=ranks):
            test = Uniformity(15)
            for r in seen:
                test.observe(r)
            wealth.append(math.exp(test.log_e))
        assert np.mean(wealth) == pytest.approx(1, abs=1e-12)


def test_the_law_of_ranks_is_the_law_of_ranks() -> None:
    assert rank_law(31, 0.0, 1.0) == pytest.approx(np.full(32, 1 / 32), abs=1e-9)
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((20_000, 1))
    drawn = 0.4 + 0.6 * rng.standard_normal((20_000, 31))
    seen = np.bincount((drawn < truth).sum(axis=1), minlength=32) / 20_000
    law = rank_law(31, 0.4, 0.6)
    assert (np.abs(seen - law) < 6 * np.sqrt(law / 20_000)).all()


@pytest.mark.parametrize("ranks", [100, 600])
def test_the_power_that_is_stated_is_true(ranks: int) -> None:
    """The smallest errors that 99 in 100 would find are found; a third of them hardly ever."""
    needed = log_threshold(2)
    test = Uniformity(63)
    test.counts[:] = ranks // 64
    test.counts[: ranks - int(test.counts.sum())] += 1
    finds = test.finds(needed)
    assert finds.shift is not None
    assert finds.narrow is not None
    assert finds.wide is not None
    rng = np.random.default_rng(1)

    def found(shift: float, scale: float) -> float:
        hits = 0
        for _ in range(200):
            test.counts[:] = rng.multinomial(ranks, rank_law(63, shift, scale))
            hits += test.log_e >= needed
        return hits / 200

    for shift, scale in ((finds.shift, 1.0), (0.0, finds.narrow), (0.0, finds.wide)):
        assert found(shift, scale) >= 0.96
        assert found(shift / 3, scale ** (1 / 3)) < 0.1


def test_too_few_data_sets_say_nothing() -> None:
    found = looked(a.exact, 12)
    assert {f.verdict for f in found.values()} == {"untested"}
    assert "look longer" in found["theta"].note


def test_a_likelihood_that_is_not_known_is_asked_for() -> None:
    @program(normalised=True)
    def noisy(theta: float) -> Effects[float]:
        hidden = yield from sample(Normal(theta, 1.0))
        return (yield from sample(Normal(hidden, 1.0)))

    def known(theta: float, y: float) -> float:
        return Normal(theta, math.sqrt(2)).log_prob(y)

    def right(y: float) -> Any:
        return a.normal(y / 3, math.sqrt(2 / 3))

    found = looked(Amortized(a.prior(), noisy, right))
    assert found["theta"].verdict == "valid"
    assert found[LIKELIHOOD].verdict == "untested"
    assert "give Amortized a log_likelihood" in found[LIKELIHOOD].note
    assert verdicts(Amortized(a.prior(), noisy, right, known))[LIKELIHOOD] == "valid"
    lazy = Amortized(a.prior(), noisy, lambda y: a.prior(), known)
    assert verdicts(lazy)[LIKELIHOOD] == "refuted"


def test_the_same_seed_gives_the_same_ranks() -> None:
    first, second = (sbc(a.exact, seconds=100, most=20, seed=3).ranks for _ in range(2))
    other = sbc(a.exact, seconds=100, most=20, seed=4).ranks
    assert all((first[name] == second[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


def ragged() -> Amortized:
    @program(normalised=True)
    def lengths() -> Effects[Any]:
        x = yield from sample(Normal())
        return (x, x) if x > 0 else (x,)

    return Amortized(
        lengths(), lambda theta: a.data(theta[0]), lambda y: a.numbers((0.0,) * len(y[:1]))
    )


def failing(y: Any) -> Any:
    raise ZeroDivisionError("division by zero")


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        (a.NOT_ONE, r"3 is 3; simulation-based calibration needs a"),
        (a.normal, "normal is normal; simulation-based"),
        (a.numbers, "function without arguments"),
        ("cot | draw(2)", "takes path/to/file.py:name"),
        (Amortized(a.numbers(math.nan), a.data, a.posterior()), "the prior draws.*NaN"),
        (Amortized(a.prior(), a.data, lambda y: a.numbers(math.nan)), "the posterior draws.*NaN"),
        (Amortized(a.prior(), a.data, lambda y: a.numbers((1.0, 2.0))), r"of shape \(2,\)"),
        (ragged(), "all must have the same"),
        (Amortized(a.numbers("three"), a.data, a.posterior()), "theta is a number, a tuple"),
        (Amortized(a.weighed(), a.data, a.posterior()), "the prior yields a factor"),
        (Amortized(a.prior(), a.data, lambda y: a.weighed()), "the posterior yields a factor"),
        (Amortized(a.prior(), a.data, lambda y: 3.0), "gave 3.0 for data set 0, which is no"),  # type: ignore[arg-type,return-value]
        (Amortized(a.prior(), a.data, failing), "the posterior fails on data set 0: ZeroDiv"),
        (Amortized(a.prior(), a.data, a.posterior(), lambda t, y: math.nan), "is NaN at theta"),
        (Amortized(a.prior(), a.data, a.posterior(), names=("a", "b")), "names 2 coordinates"),
    ],
)
def test_bad_input_is_one_line(subject: Any, said: str) -> None:
    with pytest.raises(PonderError, match=said) as caught:
        sbc(subject, seconds=5, most=20)
    assert "\n" not in str(caught.value)


def test_what_makes_no_amortised_posterior_is_refused() -> None:
    with pytest.raises(PonderError, match="Amortized needs a program, got prior; call it"):
        Amortized(a.prior, a.data, a.posterior())  # type: ignore[arg-type]
    with pytest.raises(PonderError, match="posterior, a function"):
        Amortized(a.prior(), a.data, a.prior())  # type: ignore[arg-type]
    with pytest.raises(PonderError, match="such as 63"):
        sbc(a.exact, draws=50)
    with pytest.raises(PonderError, match=r"between 0\.1"):
        sbc(a.exact, seconds=0)


def command(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["check", "--sbc", *arguments])
    return result.exit_code, result.output


def test_the_command(tmp_path: Path) -> None:
    file = HERE / "amortised.py"
    picture = tmp_path / "ranks.png"
    status, text = command(f"{file}:returns_the_prior", "--seconds", "20", "--plot", str(picture))
    assert status == 1
    assert "refuted   ranks of log p(y | theta) are uniform" in text
    assert "valid     ranks of theta are uniform" in text
    assert picture.read_bytes().startswith(b"\x89PNG")
    status, text = command(f"{file}:made", "--seconds", "2", "--json")
    said = json.loads(text)
    assert said["verdict"] in ("valid", "untested")
    assert status == said["status"]
    assert [c["claim"] for c in said["claims"]] == [
        "ranks of theta are uniform",
        "ranks of log p(y | theta) are uniform",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--plot", "x.txt", "--sbc", "x.py:y"], "ends in .png"),
        (["--plot", "no/such/x.png", "--sbc", "x.py:y"], "no folder"),
        (["--plot", "x.png", "cot | draw(2)"], "give --sbc too"),
        (["--sbc", "--all"], "either --all or --sbc"),
        (["--sbc", "nowhere.py:x"], "no file"),
    ],
)
def test_the_command_refuses(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["check", *arguments])
    assert isinstance(result.exception, PonderError)
    assert said in str(result.exception)


def test_envelopes_hold_what_they_say() -> None:
    low, high = envelope(64, 500)
    rng = np.random.default_rng(5)
    below = np.cumsum(rng.multinomial(500, np.full(64, 1 / 64), size=4000), axis=1)[:, :-1] / 500
    inside = ((below >= low - 1e-12) & (below <= high + 1e-12)).all(axis=1).mean()
    assert 0.98 < inside < 0.997


def test_plots_of_many_quantities(tmp_path: Path) -> None:
    draw_ranks(sbc(a.vector, seconds=100, most=30), tmp_path / "ranks.svg")
    assert (tmp_path / "ranks.svg").read_text(encoding="utf-8").count('<g id="axes_') == 6


def test_a_run_is_recorded_and_scored() -> None:
    run = simulated(a.data(0.3), 0, "x")
    assert list(run.choices) == ["#0", "#1"]
    assert tuple(run.choices.values()) == run.value
    expected = math.fsum(Normal(0.3, 1.0).log_prob(v) for v in run.value)
    assert run.log_prob == pytest.approx(expected, abs=1e-12)
