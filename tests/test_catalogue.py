"""``ponder methods`` and ``ponder papers``: what is listed parses, runs and is whole."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from conftest import Cli
from ponder.answering import as_strategy
from ponder.binding import PotentialSource
from ponder.checking.subjects import of_text
from ponder.cli.main import app
from ponder.errors import PonderError
from ponder.notation import NAMES, parse
from ponder.recipes import catalogue
from ponder.recipes.catalogue import Entry, Method, Paper, first_sentence
from ponder.strategy import Source

METHODS, PAPERS = catalogue.methods(), catalogue.papers()
BY_NAME = {m.name: m for m in METHODS}

# What shows that a method needs something: a name in its composition.
SHOWS = {
    "verifier": {"judge", "arbitrage", "accepted"},
    "logits": {
        *("judge", "selfeval", "perplexity", "tournament", "thinksum", "constrained", "speculate"),
        *("contrasted", "detected", "spec_reason", "arbitrage", "odds"),
    },
    "second model": {"speculate", "spec_reason", "arbitrage"},
    "sandbox": {"pot", "agrees", "executed_tests", "consensus", "hypotheses", "passing"},
    "prover": {"linc"},
    "question fields": {
        *("hypotheses", "linc", "perceived", "neighbours", "shuffled", "thinksum"),
    },
}

# Names of the notation that no method shows, and why.
NOT_SHOWN = {
    "other stop rules of Adaptive-Consistency": {"majority", "entropy"},
    "what a card writes for difficulty classes": {"allotted"},
    "RPC as its paper, not its program, writes it": {"likelihood"},
    "what executed_tests ranks by": {"passes"},
    "weighted_best_of_n under the name it has in Python": {"weighted_vote"},
    "a service that a user must run": {"endpoint"},
    "the model as it is, for who serves it": {"chat", "continuation"},
    "added to a strategy where the question compares answers": {"equate"},
    "parts for strategies of one's own": {
        *("collapse", "mh", "resample", "residual", "stratified", "systematic", "temper"),
        *("thin", "top"),
    },
}


@pytest.fixture(autouse=True, scope="module")
def names() -> Iterator[None]:
    before = dict(NAMES)
    catalogue.register_methods()
    yield
    NAMES.clear()
    NAMES.update(before)


def words(text: str) -> set[str]:
    """The names in a strategy; neither texts in it nor the names of settings."""
    return set(re.findall(r"\w+", re.sub(r"'[^']*'|\w+=", "", text)))


def strategy_in(command: str) -> str | None:
    """The strategy that a command line runs or checks, None if it has none."""
    program, *arguments = shlex.split(command)
    if program != "ponder" or "--all" in arguments:
        return None
    if arguments[0] == "check":
        return arguments[1]
    assert arguments[0] in ("ask", "run")
    return arguments[arguments.index("--strategy") + 1]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_a_composition_is_what_its_pipeline_prints(method: Method) -> None:
    assert repr(method.pipeline) == method.composition
    assert repr(parse(repr(method.pipeline))) == method.composition


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_a_name_is_a_strategy(method: Method) -> None:
    assert repr(as_strategy(method.name)) == repr(as_strategy(method.composition))


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_an_entry_is_whole(method: Method) -> None:
    for field in fields(method):
        assert getattr(method, field.name) or field.name in ("needs", "measured"), field.name
    assert re.search(r"\w\. .*\.$", method.about)
    assert method.tier in ("A", "B")
    assert method.paper.title
    assert 1900 < method.paper.year < 2100
    assert strategy_in(method.example) == method.composition


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_needs_follow_from_the_composition(method: Method) -> None:
    named = words(method.composition)
    needs = [need for need in catalogue.NEEDS if named & SHOWS[need]]
    assert list(method.needs) == sorted(method.needs, key=list(catalogue.NEEDS).index)
    assert set(method.needs) == set(needs)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_every_part_is_explained_in_a_sentence(method: Method) -> None:
    parts = method.parts()
    assert {name for name, _ in parts} == words(method.composition) & NAMES.keys()
    assert parts[0][0] == re.match(r"\w+", method.composition)[0]  # type: ignore[index]
    for name, sentence in parts:
        assert sentence.endswith("."), (name, sentence)
        assert len(sentence) > 10, name
        assert "`" not in sentence, name


def test_parts_are_explained_by_their_own_documentation() -> None:
    said = dict(BY_NAME["rpc"].parts()) | dict(BY_NAME["parallel_tempering"].parts())
    said |= dict(BY_NAME["adaptive_consistency_dirichlet"].parts())
    assert said["draw"] == "independent traces, all at once or until a rule stops them."
    assert said["cot"].startswith("One chain of thought (Kojima et al. 2022), at")
    assert said["perplexity"].startswith("Mean log-probability of the reply's tokens")
    assert said["swap"].startswith("Proposes to exchange the traces of two neighbours")
    assert said["dirichlet"].startswith("As Agreement, but against all answers seen")


def test_a_first_sentence() -> None:
    assert (
        first_sentence("One (A et al. 2022), e.g. this.\nTwo.") == "One (A et al. 2022), e.g. this."
    )
    assert first_sentence("See :class:`~a.b.C` and\n``x``. More") == "See C and x."
    assert first_sentence("no end\n\nanother. paragraph") == "no end"


def test_every_name_of_the_notation_is_in_some_method() -> None:
    shown = words(" ".join(m.composition for m in METHODS)) | BY_NAME.keys()
    shown |= {name for names in NOT_SHOWN.values() for name in names}
    ours = {name for name, thing in NAMES.items() if _home(thing).startswith("ponder.")}
    assert ours - shown == set()


def _home(thing: Any) -> str:
    made = thing.build if isinstance(thing, Source | PotentialSource) else thing
    return getattr(made, "__module__", None) or type(made).__module__


def test_functions_that_were_there_stay_and_others_take_no_numbers() -> None:
    assert repr(parse("self_consistency(3)")) == "cot | draw(3) | vote"
    assert repr(parse("best_of_n(2)")) == "cot | draw(2) | best(judge)"
    with pytest.raises(PonderError, match=r"rpc takes no arguments; .* write it out: cot \| draw"):
        parse("rpc(3)")
    assert NAMES["rpc"].__doc__ == BY_NAME["rpc"].about


def test_laws_are_computed() -> None:
    assert BY_NAME["self_consistency"].law.kind == "consistent"
    assert BY_NAME["anytime_consistency"].law.kind == "bounded"
    assert BY_NAME["archon"].law.kind == "heuristic"
    assert "law" not in tomllib.loads(_source("methods.toml"))["method"][0]


def _source(name: str) -> str:
    return resources.files("ponder.recipes").joinpath(name).read_text("utf-8")


@pytest.mark.parametrize(
    ("authors", "short"),
    [
        ("", "ours"),
        ("Charles J. Geyer", "Geyer 1991"),
        ("Ann Li and Bo Wu", "Li & Wu 1991"),
        ("Ann Li and others", "Li et al. 1991"),
        ("Ann Li, Bo Wu and Mausam", "Li et al. 1991"),
    ],
)
def test_a_short_citation(authors: str, short: str) -> None:
    assert Paper("A title", authors, 1991).short == short


def test_titles_are_listed_once() -> None:
    assert len(BY_NAME) == len(METHODS)
    assert len({entry.paper.title.casefold() for entry in PAPERS}) == len(PAPERS)
    cited: dict[str, Paper] = {}
    for paper in [m.paper for m in METHODS] + [e.paper for e in PAPERS]:
        assert cited.setdefault(paper.title.casefold(), paper).short == paper.short


@pytest.mark.parametrize("entry", PAPERS, ids=lambda e: e.paper.title[:40])
def test_a_paper_is_whole_and_its_commands_can_be_run(entry: Entry) -> None:
    assert all([entry.paper.title, entry.paper.authors, entry.paper.year, entry.commands])
    for text in (entry.runs, entry.lacks or "Nothing."):
        assert re.fullmatch(r"(\S+ ?)+\.", text)
    for command in entry.commands:
        checked = re.fullmatch(r"ponder check (?:--sbc )?(\S+\.py):\w+", command)
        if checked:
            assert (Path(__file__).parent.parent / checked[1]).is_file()
            continue
        strategy = strategy_in(command)
        if command.startswith("ponder check") and strategy is not None:
            of_text(strategy)
        elif strategy is not None:
            assert as_strategy(strategy).stage == "posterior"
        elif command.startswith("python "):
            _, first, *rest = shlex.split(command)
            script = rest[-1] if first == "-m" else first
            root = Path(__file__).parent.parent
            assert (root / script).is_file() if first != "-c" else compile(rest[0], "", "exec")


def _printed(*arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments], env={"COLUMNS": "80"}, catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_methods_as_json() -> None:
    rows = json.loads(_printed("methods", "--json"))
    assert [row["name"] for row in rows] == [m.name for m in METHODS]
    for row in rows:
        assert {"name", "law", "needs", "cost", "paper", "composition"} <= row.keys()
        assert row["law"] == parse(row["composition"]).law.kind
    one = json.loads(_printed("methods", "rpc", "--json"))
    assert one == rows[[m.name for m in METHODS].index("rpc")]


def test_the_list_is_plain_and_fits_80_columns() -> None:
    lines = _printed("methods").splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("\x1b" in line for line in lines)
    at = next(i for i, line in enumerate(lines) if line.startswith("best_of_n "))
    assert lines[at].split() == ["best_of_n", "heuristic", "Cobbe", "et", "al.", "2021"]
    assert lines[at + 1] == "    n replies + n judge questions; needs verifier, logits"


def test_a_method_explained() -> None:
    text = " ".join(_printed("methods", "weighted_best_of_n").split())
    method = BY_NAME["weighted_best_of_n"]
    assert method.about in text
    assert f" {method.composition} " in text
    assert "law consistent for cot * exp(judge): converges to the target" in text
    assert "needs verifier, logits" in text
    assert str(method.paper) in text
    assert text.endswith(
        'ponder ask "What is 17 * 23?" --strategy "cot | draw(8) | weigh(judge) | vote"'
    )


def test_an_unknown_method_ends_with_names_that_are_near(cli: Cli) -> None:
    done = cli("methods", "rcp")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "did you mean rpc" in done.stderr
    assert done.stderr.count("\n") == 1


def test_papers_are_found_by_words_in_any_field() -> None:
    def found(*asked: str) -> list[str]:
        return [row["title"] for row in json.loads(_printed("papers", *asked, "--json"))]

    assert found() == [entry.paper.title for entry in PAPERS]
    assert [t[:5] for t in found("OLAUSSON")] == ["LINC:"]
    assert [t[:5] for t in found("folio", "z3")] == ["LINC:"]
    assert [t[:9] for t in found("likely(likelihood)")] == ["Bridging "]
    assert found("folio", "oneanddozed") == []
    text = _printed("papers", "LINC")
    assert "Not here: Prover9" in text
    assert text.splitlines()[-1] == f"1 of {len(PAPERS)} papers"


def test_help_loads_neither_recipes_nor_the_catalogue(cli: Cli) -> None:
    heavy = "{'numpy', 'tomllib', 'ponder.recipes', 'ponder.notation'}"
    seen = f"import sys, ponder.cli.main; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert {"methods", "papers"} <= set(cli("--help").stdout.split())
