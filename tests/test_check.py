"""``ponder check``: what is valid is found valid, what is not is refuted, and the rest is said."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from typer.testing import CliRunner

import ponder
from ponder.binding import Binding
from ponder.blocks import draw, mh, smc, vote, weigh
from ponder.checking.cases import Case
from ponder.checking.check import check
from ponder.checking.claims import Report
from ponder.checking.enumerated import small_enough
from ponder.checking.every import OBJECTS, TEXTS, check_named, names
from ponder.checking.identities import IDENTITIES
from ponder.checking.kernel_matrix import matrix_of
from ponder.checking.leaves import estimated_leaves
from ponder.checking.sampled import heaviest_population, sample_cases, sampling_of
from ponder.cli.main import app
from ponder.dist import Bernoulli, Normal
from ponder.effects import Effects, Factor, Program, Twist, each, program, sample
from ponder.errors import PonderError
from ponder.law import Law, resampled
from ponder.meaning import Atom
from ponder.measure import Population, Posterior
from ponder.notation import NAMES, parse
from ponder.particle import Particle
from ponder.recipes.catalogue import methods
from ponder.strategy import Decide, Infer, Move, Pipeline, Source
from ponder.testing import assert_valid
from toys import PROGRAMS, chain, crowded


def verdicts(report: Report) -> dict[str, str]:
    return {f"{f.method} {f.claim}": f.verdict for f in report.findings}


def test_a_valid_strategy_is_found_valid_in_every_way() -> None:
    report = check("steps | weigh(reward) | smc(3) | vote", seconds=3)
    assert report.verdict == "valid"
    assert report.status == 0
    methods = {f.method for f in report.findings}
    assert methods == {"enumerated", "sampled"}
    for finding in report.findings:
        if finding.method == "enumerated":
            assert finding.evidence is not None
            assert finding.evidence <= 1e-12
            assert finding.runs > (10 if finding.claim.startswith("cut") else 100)
    assert json.loads(json.dumps(report.as_dict()))["status"] == 0


@dataclass(frozen=True, repr=False)
class Forgetful(Infer):
    """SIS whose particles do not share the mass: 1/n is lost."""

    n: int = 4
    notation: ClassVar[str] = "forgetful"

    def law(self, incoming: Law) -> Law:
        return resampled(incoming)

    def infer(self, program: Program[Any], law: Law) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            particles = [Particle(program) for _ in range(self.n)]
            yield from each([p.run() for p in particles])
            weights = np.array([p.log_potential for p in particles])
            return Population(tuple(p.trace() for p in particles), weights, law)

        return Program(run, repr(self))


@dataclass(frozen=True, repr=False)
class Lucky(Forgetful):
    """Like draw, but with many particles only: what is wrong cannot be seen at small sizes."""

    notation: ClassVar[str] = "lucky"

    def infer(self, program: Program[Any], law: Law) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            population = yield from draw(self.n).infer(program, law)
            extra = 0.3 if self.n > 3 else 0.0
            return replace(population, log_weights=population.log_weights + extra)

        return Program(run, repr(self))


def test_a_users_broken_block_is_refuted_exactly() -> None:
    report = check(Forgetful(), seconds=2)
    assert report.status == 1
    [finding] = [f for f in report.findings if f.verdict == "refuted"]
    assert finding.method == "enumerated"
    assert finding.estimate is not None
    assert finding.exact is not None
    assert finding.estimate > 1.5 * finding.exact


@dataclass(frozen=True, repr=False)
class Hasty(Forgetful):
    """Leaves out what was cut short, and says nothing of it."""

    notation: ClassVar[str] = "hasty"

    def infer(self, program: Program[Any], law: Law) -> Program[Population[Any]]:
        def run() -> Effects[Population[Any]]:
            population = yield from draw(self.n).infer(program, law)
            kept = [i for i, t in enumerate(population.traces) if t.status != "unfinished"]
            traces = tuple(population.traces[i] for i in kept)
            return Population(traces, population.log_weights[kept], law)

        return Program(run, repr(self))


def test_what_hides_that_it_was_cut_short_is_refuted() -> None:
    report = check(Hasty(4), seconds=1)
    [finding] = [f for f in report.findings if f.verdict == "refuted"]
    assert finding.claim == "cut short, it claims nothing"


def test_what_is_wrong_at_its_own_size_only_is_refuted_by_betting() -> None:
    report = check(Lucky(8), seconds=20)
    refuted = [f for f in report.findings if f.verdict == "refuted"]
    assert {f.method for f in refuted} == {"sampled"}
    assert all(f.evidence is not None and f.evidence > 6 for f in refuted)
    assert check(Lucky(3), seconds=2).status == 0


@dataclass(frozen=True, repr=False)
class Crash(Move):
    notation: ClassVar[str] = "crash"

    def law(self, incoming: Law) -> Law:
        return incoming

    def move(self, population: Population[Any], binding: Binding) -> Program[Population[Any]]:
        raise ValueError("on purpose")


def test_what_cannot_be_run_is_untested_and_says_why() -> None:
    report = check(Crash(), seconds=1)
    assert report.status == 2
    assert any("on purpose" in f.note for f in report.findings)


def test_a_false_assertion_of_zero_is_refuted() -> None:
    @program
    def rash() -> Effects[bool]:
        x = yield from sample(Bernoulli(0.5))
        yield Twist(lambda: -math.inf if x else 0.0)
        yield from sample(Bernoulli(0.5))
        return x

    assert check(rash(), seconds=1).status == 1
    assert check(rash, seconds=1).status == 1


def test_a_program_that_changes_its_mind_is_refuted() -> None:
    counter = iter(range(10**9))

    @program
    def fickle() -> Effects[bool]:
        return (yield from sample(Bernoulli(0.1 + next(counter) / 10**9)))

    report = check(fickle(), seconds=1)
    assert report.status == 1
    assert any(f.claim == "a function of its choices" for f in report.findings)


def test_a_continuous_program_is_checked_by_its_blocks_only() -> None:
    @program
    def walk() -> Effects[float]:
        x = yield from sample(Normal())
        yield Factor(-x * x)
        return x

    report = check(walk() | smc(3) | vote, seconds=2)
    assert report.status == 0
    assert any("was not checked" in f.claim for f in report.findings)
    assert check(walk(), seconds=1).status == 2


def test_a_heuristic_is_never_valid() -> None:
    report = check("cot | draw(4) | best(reward)", seconds=2)
    assert report.verdict == "heuristic"
    assert report.status == 2
    fact = next(f for f in report.findings if f.verdict == "heuristic")
    assert fact.estimate is not None
    assert 0 < fact.estimate < 1
    assert "the target's law is" in fact.note


@dataclass(frozen=True, repr=False)
class Sure(Decide):
    """Claims to err at most a quarter of the time; errs where its answer is not the likeliest."""

    limit: float
    notation: ClassVar[str] = "sure"

    @property
    def bound(self) -> float:  # type: ignore[override]
        return self.limit

    def law(self, incoming: Law) -> Law:
        return Law("bounded", incoming.target)

    def decide(self, population: Population[Any], binding: Binding) -> Program[Posterior]:
        return vote.decide(population, binding)

    def error(self, posterior: Posterior, target: Sequence[Atom]) -> float:
        masses: dict[Any, float] = {}
        for atom in target:
            masses[atom.value] = masses.get(atom.value, 0.0) + atom.mass
        return float(posterior.answer != max(masses, key=lambda v: masses[v], default=None))


def test_a_bound_is_compared_with_the_frequency_of_error() -> None:
    loose = check(chain() | draw(6) | Sure(0.9), seconds=2)
    tight = check(chain() | draw(6) | Sure(0.05), seconds=2)
    assert loose.verdict == "valid"
    assert tight.verdict == "refuted"
    assert any("bounded" in f.claim for f in tight.findings if f.verdict == "refuted")


@dataclass(frozen=True, repr=False)
class Confident(Decide):
    """A vote that makes its errors look small."""

    notation: ClassVar[str] = "confident"

    def law(self, incoming: Law) -> Law:
        return vote.law(incoming)

    def decide(self, population: Population[Any], binding: Binding) -> Program[Posterior]:
        def run() -> Effects[Posterior]:
            posterior = yield from vote.decide(population, binding)
            shares = tuple(
                replace(s, error=None if s.error is None else s.error / 2) for s in posterior.shares
            )
            return replace(posterior, shares=shares)

        return Program(run, repr(self))


def test_the_errors_shown_are_checked() -> None:
    report = check(Confident(), seconds=1)
    [finding] = [f for f in report.findings if f.verdict == "refuted"]
    assert "errors" in finding.claim


def test_the_matrix_of_a_kernel() -> None:
    single = matrix_of(mh(1), crowded(), 1000)
    assert single is not None
    assert single.invariance < 1e-15
    assert not single.irreducible  # x and y can only change together
    both = matrix_of(mh(1, names="x,y,z"), crowded(), 1000)
    assert both is not None
    assert both.irreducible
    assert both.imbalance < 1e-15


def test_what_is_too_large_to_enumerate_is_cut_down() -> None:
    case = Case("chain", Pipeline(Source.of(chain()), (smc(50),)), Binding())
    sizes = [small.pipeline.blocks[0].n for small in small_enough(case, 1000)]  # type: ignore[attr-defined]
    assert sizes == [3, 2, 1]
    leaves = estimated_leaves((PROGRAMS["coins"] | draw(2)).bind(Binding()))
    assert leaves == 16


def test_the_bound_on_the_mass_of_a_population_holds_and_is_near() -> None:
    case = Case("chain", Pipeline(Source.of(chain()), (smc(2), weigh(lambda bits: 0.5))), Binding())
    assert heaviest_population(case) == pytest.approx(2 * 0.8 * 0.8 * math.exp(0.5))

    @program
    def doomed_hope() -> Effects[bool]:
        x = yield from sample(Bernoulli(0.5))
        yield Factor(2.0 if x else 0.0)
        yield from sample(Bernoulli(0.5))
        yield Factor(-math.inf if x else 0.0)
        return x

    case = Case("hope", Pipeline(Source.of(doomed_hope()), (smc(2),)), Binding())
    assert heaviest_population(case) == pytest.approx(2 * math.exp(2.0))


def test_what_is_valid_survives_the_bets() -> None:
    sampling = sampling_of(
        Case("coins", Pipeline(Source.of(PROGRAMS["coins"]), (draw(2),)), Binding())
    )
    assert sampling is not None
    findings, failed = sample_cases([sampling], 1.0, seed=1)
    assert not failed
    assert all(f.verdict == "valid" for f in findings)


def test_the_helper_for_tests() -> None:
    assert assert_valid("mh(1)", seconds=1).verdict == "valid"
    with pytest.raises(AssertionError, match="weighted"):
        assert_valid(Forgetful(), seconds=1)
    with pytest.raises(AssertionError, match="heuristic"):
        assert_valid("cot | draw(2) | best(reward)", seconds=1)


METHOD = """
import ponder
from ponder.blocks import draw, vote

@ponder.program
def two():
    x = yield from ponder.sample(ponder.Bernoulli(0.3))
    yield from ponder.factor(-1.0 if x else 0.0)
    return x

mine = two() | draw(3) | vote

def made():
    return two() | ponder.smc(2)

def needs(n):
    return None

broken = 1 / 2
"""


def run(*args: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["check", *args])
    if isinstance(result.exception, PonderError):
        return 2, str(result.exception)
    return result.exit_code, result.output


def test_the_command_reads_files(tmp_path: Path) -> None:
    path = tmp_path / "my_method.py"
    path.write_text(METHOD)
    assert run(f"{path}:mine", "--seconds", "1")[0] == 0
    assert run(f"{path}:made", "--seconds", "1")[0] == 0
    assert run(f"{path}:two", "--seconds", "1")[0] == 0
    assert "needs n" in run(f"{path}:needs")[1]
    assert "cannot check 0.5" in run(f"{path}:broken")[1]
    assert "has no 'other'" in run(f"{path}:other")[1]
    assert "no file" in run(f"{tmp_path / 'none.py'}:x")[1]
    (tmp_path / "bad.py").write_text("1 / 0")
    assert "ZeroDivisionError" in run(f"{tmp_path / 'bad.py'}:x")[1]


def test_the_command_prints_json() -> None:
    status, text = run("cot | draw(2) | vote", "--seconds", "1", "--json")
    said = json.loads(text)
    assert status == said["status"] == 0
    assert said["law"].startswith("consistent")
    assert {"claim", "method", "estimate", "exact", "difference", "would_find", "verdict"} <= set(
        said["claims"][0]
    )


def test_the_command_refuses_nonsense() -> None:
    assert run()[0] == 2
    assert run("cot | draw(2)", "--all")[0] == 2
    assert "did you mean" in run("cto | draw(2)")[1]


def test_check_is_public() -> None:
    assert ponder.check is check


def test_all_covers_every_name_of_the_notation() -> None:
    written = " ".join([*TEXTS.values(), *(repr(make()) for make in OBJECTS.values())])
    words = set(re.findall(r"\w+", written))
    recipes = [repr(parse(name)) for name in ("weighted_vote", "particle_filter")]
    words |= set(re.findall(r"\w+", " ".join(recipes))) | {"systematic"}  # the default of smc
    words |= set(IDENTITIES)
    # What needs a question, a library or a model that no toy is; each has tests of its own.
    words |= {"linc", "constrained", "judge", "hypotheses", "shuffled", "neighbours", "thinksum"}
    words |= {method.name for method in methods()}
    words |= {
        "passes",
        "passing",
        "perceived",
        "spec_reason",
        "arbitrage",
        "selfeval",
        "tournament",
        "endpoint",
    }
    assert {name for name in NAMES if name not in words} == set()
    assert set(names()) == {*TEXTS, *OBJECTS, *IDENTITIES}


def test_one_of_all() -> None:
    for name in ("resamplers", "evidence bounds", "PMMH"):
        assert check_named(name, 1.0, 0).verdict == "valid"


def test_what_ends_the_process_or_never_ends_is_untested() -> None:
    @program
    def exits() -> Effects[bool]:
        yield from sample(Bernoulli(0.5))
        raise SystemExit(0)

    @program
    def endless() -> Effects[int]:
        count = 0
        while not (yield from sample(Bernoulli(0.5))):
            count += 1
        return count

    for subject, why in ((exits(), "SystemExit"), (endless(), "may never end")):
        report = check(subject, seconds=1)
        assert report.status == 2
        assert any(why in f.note for f in report.findings)


def test_a_size_that_takes_too_long_is_not_sampled() -> None:
    report = check("cot | smc(100000) | vote", seconds=1)
    assert report.status == 2
    assert any("takes about" in f.note for f in report.findings)


def test_a_block_that_lacks_a_method_says_which() -> None:
    @dataclass(frozen=True, repr=False)
    class Empty(Infer):
        pass

    with pytest.raises(PonderError, match="Empty defines no law"):
        check(Empty(), seconds=1)
    with pytest.raises(PonderError, match="seconds"):
        check("cot | draw(2)", seconds=math.inf)
