"""Methods of the literature by name, and the papers of which something runs here.

What they are made of and where they are from stands in ``methods.toml`` and ``papers.toml``; what
they claim is computed from the composition.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from ponder.binding import Binding, PotentialSource
from ponder.errors import PonderError
from ponder.law import MEANING, Law
from ponder.notation import NAMES, parse, register
from ponder.strategy import Pipeline, Source

NEEDS = ("verifier", "logits", "second model", "sandbox", "prover", "question fields")
"""What a method may need besides a model that samples.

verifier: something that scores replies, ``judge`` unless another is written; logits: token
log-probabilities; second model: a draft beside the model; sandbox: programs are run; prover: z3;
question fields: more of a question than its text, so that it comes from a file.
"""
_SENTENCE = re.compile(r"\.(?=\s+[A-Z\[`]|$)")
_ROLE = re.compile(r":\w+:`(?:~[\w.]*\.)?([\w.]+)`")


@dataclass(frozen=True)
class Paper:
    """A paper: its authors as "A B, C D and E F" or "A B and others", "" for this project."""

    title: str
    authors: str
    year: int

    @property
    def short(self) -> str:
        """ "Wang et al. 2022"; "ours" for what is this project's own."""
        names = re.split(r", | and ", self.authors)
        lasts = [name.split()[-1] for name in names if name]
        if not lasts:
            return "ours"
        if len(lasts) == 1:
            return f"{lasts[0]} {self.year}"
        alone = len(lasts) > 2 or lasts[1] == "others"
        return f"{lasts[0]} et al. {self.year}" if alone else f"{' & '.join(lasts)} {self.year}"

    def __str__(self) -> str:
        return f"{self.authors or 'Ponder'} ({self.year}). {self.title}."


@dataclass(frozen=True)
class Method:
    """A method of the literature. ``composition`` is its text in the notation.

    ``ask`` is what follows ``ponder ask`` in its example; ``measured`` what was measured, if so.
    """

    name: str
    title: str
    about: str
    composition: str
    needs: tuple[str, ...]
    cost: str
    question: str
    tier: str
    paper: Paper
    ask: str = '"What is 17 * 23?"'
    measured: str = ""

    @property
    def pipeline(self) -> Pipeline:
        """The strategy."""
        return parse(self.composition)

    @property
    def law(self) -> Law:
        """What the composition claims."""
        return self.pipeline.law

    @property
    def example(self) -> str:
        """A command line that runs it."""
        if "question fields" in self.needs:
            asking = "run questions.jsonl --out answers.jsonl"
        else:
            asking = f"ask {self.ask}"
        return f'ponder {asking} --strategy "{self.composition}"'

    def parts(self) -> list[tuple[str, str]]:
        """The names in the composition, in its order, each with a sentence that explains it."""
        tree = ast.parse(self.composition, mode="eval")
        found = dict.fromkeys(node.id for node in _within(tree) if isinstance(node, ast.Name))
        return [(name, explained(name)) for name in found]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        law = self.law
        return {
            "name": self.name,
            "title": self.title,
            "law": law.kind,
            "law_says": f"{law}: {MEANING[law.kind]}",
            "needs": list(self.needs),
            "cost": self.cost,
            "paper": {"short": self.paper.short, **dataclasses.asdict(self.paper)},
            "composition": self.composition,
            "about": self.about,
            "parts": dict(self.parts()),
            "question": self.question,
            "tier": self.tier,
            "measured": self.measured,
            "example": self.example,
        }


@dataclass(frozen=True)
class Entry:
    """A paper, what of it runs here, what does not, and the commands that run it."""

    paper: Paper
    runs: str
    lacks: str
    commands: tuple[str, ...]

    def has(self, words: Sequence[str]) -> bool:
        """Whether all the words stand in it somewhere, in any case."""
        text = " ".join([str(self.paper), self.runs, self.lacks, *self.commands]).casefold()
        return all(word.casefold() in text for word in words)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **dataclasses.asdict(self.paper),
            "runs": self.runs,
            "lacks": self.lacks,
            "commands": list(self.commands),
        }


@cache
def methods() -> tuple[Method, ...]:
    """All methods, in the order of the file."""
    rows = _read("methods.toml")["method"]
    return tuple(
        Method(**row | {"needs": tuple(row["needs"]), "paper": Paper(**row["paper"])})
        for row in rows
    )


def method(name: str) -> Method:
    """The method of that name. Raises PonderError, with names that are near."""
    known = {m.name: m for m in methods()}
    if name in known:
        return known[name]
    using = [m for m, entry in known.items() if name in re.findall(r"\w+", entry.composition)]
    if using:
        raise PonderError(
            f"{name!r} is no method but a part of {', '.join(using[:4])}; `ponder methods "
            f"{using[0]}` explains it there"
        )
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    near = near or [m for m in known if name.casefold() in m]
    hint = f"did you mean {', '.join(near)}? " if near else ""
    raise PonderError(f"no method is called {name!r}; {hint}`ponder methods` lists them all")


@cache
def papers() -> tuple[Entry, ...]:
    """All papers, in the order of the file."""
    return tuple(
        Entry(
            Paper(row["title"], row["authors"], row["year"]),
            row["runs"],
            row.get("lacks", ""),
            tuple(row["commands"]),
        )
        for row in _read("papers.toml")["paper"]
    )


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files("ponder.recipes").joinpath(name).read_text("utf-8"))


def _within(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a tree in the order of its text."""
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _within(child)


def explained(name: str) -> str:
    """What a name of the notation is, in a sentence: that of its module if this is about it.

    A module is about one name if its documentation begins with that name and a colon.
    """
    thing = NAMES[name]
    made = thing.build if isinstance(thing, Source | PotentialSource) else thing
    documented = made if inspect.isfunction(made) else type(made)
    module = sys.modules[documented.__module__].__doc__ or ""
    headline = re.match(rf"``{name}(?:\([^`]*\))?``: ", module)
    if headline:
        return first_sentence(module[headline.end() :])
    sentence = first_sentence(_documentation(thing, documented))
    return re.sub(rf"^{name}(\([^)]*\))?: ", "", sentence)


def _documentation(thing: Any, documented: Any) -> str:
    """Of what a name makes: of the block for its constructor, of the score for a potential."""
    if isinstance(thing, PotentialSource) and documented.__doc__ is None:
        return thing.build(Binding()).complete.__doc__ or ""  # known without any question
    if inspect.isfunction(documented):
        made = documented.__globals__.get(documented.__annotations__.get("return", ""))
        if inspect.isclass(made) and not issubclass(made, Source | PotentialSource):
            documented = made
    return documented.__doc__ or ""


def first_sentence(text: str) -> str:
    """The first sentence of a documentation string, on one line, without its markup."""
    paragraph = " ".join(inspect.cleandoc(text).split("\n\n")[0].split())
    end = _SENTENCE.search(paragraph)
    sentence = paragraph[: end.end()] if end else paragraph
    return _ROLE.sub(r"\1", sentence).replace("``", "")


def register_methods() -> None:
    """Each method whose name is free becomes a name of the notation: ``rpc`` is a strategy."""
    for entry in methods():
        if entry.name not in NAMES:
            register(entry.name, _named(entry))


def _named(entry: Method) -> Any:
    def strategy(*numbers: Any, **settings: Any) -> Pipeline:
        if numbers or settings:
            raise PonderError(
                f"{entry.name} takes no arguments; to change it write it out: {entry.composition}"
            )
        return entry.pipeline

    strategy.__name__ = strategy.__qualname__ = entry.name
    strategy.__doc__ = entry.about
    return strategy
