"""Which method a request means: by its model's name, by a card, or by a field of its body."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ponder import defaults
from ponder.answering import Worth, as_strategy
from ponder.errors import PonderError
from ponder.evidence.abstaining import Calibrated, selector_of
from ponder.evidence.card import Card
from ponder.notation import NAMES, parse_part
from ponder.serve.refusals import Refusal
from ponder.strategy import Block, Infer, Pipeline, Repeat, Source

CARD = "card"
BARE = "bare"
MOST_TRACES = 4096
"""That a client's own notation may draw; an operator's alias may draw more."""
_WORD = re.compile(r"[A-Za-z0-9][\w.-]*")
_LARGE = ("max_tokens",)  # arguments that are no numbers of traces
LONGEST = 4000  # characters of a client's notation
REACHING = {"endpoint"}  # asks an address, which only the operator may choose


@dataclass(frozen=True)
class Chosen:
    """A method: None for ``pipeline`` is the bare model. ``label`` is fit for logs."""

    pipeline: Pipeline | None
    label: str
    worth: Worth | None = None
    tuned: bool = False
    """By a card, which holds for its own settings only."""


@dataclass(frozen=True)
class Naming:
    """The names of one server: its ``model``, ``aliases`` of strategies, and a ``card``.

    ``loaded`` is what the model itself is called, if clients know it by another name.
    """

    model: str
    aliases: Mapping[str, Pipeline] = field(default_factory=dict)
    card: Card | None = None
    loaded: str | None = None

    def __post_init__(self) -> None:
        if "@" in self.model:
            raise PonderError(f"{self.model!r} holds an @, which begins a strategy; give a --name")
        if self.card is not None:
            self.card.refuse_other(self.loaded or self.model)

    def listed(self) -> list[dict[str, str | None]]:
        """Every name a client may give for a model, with its strategy and law."""
        rows: list[dict[str, str | None]] = [{"id": self.model, "strategy": None, "law": None}]
        named = dict(self.aliases)
        if self.card is not None:
            named[CARD] = self.card.pipeline
        for alias, pipeline in named.items():
            name = f"{self.model}@{alias}"
            rows.append({"id": name, "strategy": repr(pipeline), "law": str(pipeline.law)})
        return rows

    def choose(
        self,
        model: str,
        strategy: str | None = None,
        risk: float | None = None,
        confidence: float | None = None,
    ) -> Chosen:
        """The method that a request means. Raises Refusal for one that there is not."""
        name, at, how = model.partition("@")
        if name != self.model or (at and not how.strip()):
            raise self._unknown(model)
        if at and strategy is not None:
            raise Refusal(
                400,
                "the model's name and ponder.strategy both say how to answer; leave one out",
                param="ponder.strategy",
            )
        param = "model" if at else "ponder.strategy"
        wanted = how.strip() if at else strategy
        if wanted == CARD and self.card is not None:
            return self._by_card(risk, confidence)
        if risk is not None or confidence is not None:
            raise Refusal(
                400,
                "a risk is certified by a card: "
                + (f"use the model {self.model}@{CARD}" if self.card else "this server has none")
                + ", or leave ponder.risk and ponder.confidence out",
                param="ponder.risk" if risk is not None else "ponder.confidence",
            )
        if wanted is None:
            return Chosen(None, BARE)
        if wanted in self.aliases:
            return Chosen(self.aliases[wanted], wanted)
        if _WORD.fullmatch(wanted) and wanted not in NAMES:
            raise self._unknown(model if at else wanted)
        try:
            return Chosen(written(wanted), "notation")
        except PonderError as error:
            raise Refusal(400, str(error), param=param, code="invalid_strategy") from None

    def _by_card(self, risk: float | None, confidence: float | None) -> Chosen:
        assert self.card is not None
        if risk is None and confidence is not None:
            raise Refusal(400, "a confidence needs a ponder.risk", param="ponder.confidence")
        selector = None
        if risk is not None:
            selector = selector_of(self.card.points, risk, confidence or defaults.CONFIDENCE)
        worth = Calibrated(self.card.calibrator, self.card.fingerprint, selector)
        return Chosen(self.card.pipeline, CARD, worth, tuned=True)

    def _unknown(self, name: str) -> Refusal:
        known = ", ".join(str(row["id"]) for row in self.listed())
        return Refusal(
            404,
            f"there is no model {name!r} here; there are {known}, and a notation after "
            f"{self.model}@",
            param="model",
            code="model_not_found",
        )


def served_name(model: str) -> str:
    """What clients call a model: one behind a server as the server does, a file by its name."""
    name = model.removeprefix("openai:")
    return name.rpartition("/")[2] if name.startswith("/") else name


def written(text: str) -> Pipeline:
    """A client's notation. Raises PonderError for one that reaches out, or draws too much."""
    if len(text) > LONGEST:
        raise PonderError(f"the strategy has more than {LONGEST} characters; make it shorter")
    pipeline = as_strategy(text)
    for node in ast.walk(ast.parse(text.strip(), mode="eval")):
        if isinstance(node, ast.Name) and node.id in REACHING:
            raise PonderError(
                f"{node.id} asks another address, which only the operator may: see ponder serve "
                "--alias"
            )
        if isinstance(node, ast.Call):
            given = [*node.args, *(k.value for k in node.keywords if k.arg not in _LARGE)]
            _check_sizes(given)
    traces = math.prod(_size(b) for b in pipeline.blocks if isinstance(b, Infer | Repeat))
    if traces > MOST_TRACES:
        raise PonderError(f"the strategy draws {traces} traces; draw at most {MOST_TRACES}")
    return pipeline


def _check_sizes(arguments: Sequence[ast.expr]) -> None:
    for node in arguments:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            size = node.value
            if size > MOST_TRACES:
                raise PonderError(f"{size} is too large here; use at most {MOST_TRACES}")


def _size(block: Block) -> int:
    """The traces, or runs, that a block starts."""
    counts = getattr(block, "counts", None)
    if counts is not None:
        return sum(counts)
    size = getattr(block, "n", getattr(block, "k", 1))
    return size if isinstance(size, int) else 1


def with_settings(pipeline: Pipeline, settings: Mapping[str, Any]) -> Pipeline:
    """The strategy whose sources have these settings instead of their own.

    Raises PonderError for one that a source does not have.
    """
    if not settings:
        return pipeline
    source = pipeline.source
    if source.name.startswith("either("):
        text = ast.unparse(_Setting(settings).visit(ast.parse(repr(source), mode="eval")))
        inner = parse_part(text)
        assert isinstance(inner, Pipeline)
        return replace(pipeline, source=inner.source)
    return replace(pipeline, source=source(**settings))


class _Setting(ast.NodeTransformer):
    """Writes settings into every source of a mixture's notation."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._set(node.id, node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if not isinstance(node.func, ast.Name) or node.func.id == "either":
            node.args = [self.visit(argument) for argument in node.args]
            return node
        return self._set(node.func.id, node)

    def _set(self, name: str, node: ast.expr) -> ast.expr:
        source = NAMES.get(name)
        if not isinstance(source, Source):
            return node
        text = ast.unparse(node)
        made = parse_part(text)
        assert isinstance(made, Pipeline)
        return ast.parse(repr(made.source(**self._settings)), mode="eval").body
