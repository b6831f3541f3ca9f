"""What the operator writes once: names for strategies, and the models that these may load."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable

from ponder.answering import as_strategy
from ponder.errors import PonderError
from ponder.lm.protocol import LanguageModel
from ponder.notation import NAMES
from ponder.serve.naming import CARD
from ponder.strategy import Pipeline

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def read_aliases(given: Iterable[str]) -> dict[str, Pipeline]:
    """Strategies by name, each written as ``name=notation``. Raises PonderError for a typo."""
    found: dict[str, Pipeline] = {}
    for text in given:
        name, equals, notation = text.partition("=")
        name = name.strip()
        if not equals or not _NAME.fullmatch(name):
            raise PonderError(
                f"cannot read --alias {text!r}; write it like: sc16='cot | draw(16) | vote'"
            )
        try:
            pipeline = as_strategy(notation)
        except PonderError as error:
            raise PonderError(f"--alias {name}: {error}") from None
        if name == CARD or name in NAMES or name in found:
            why = "is given twice" if name in found else "is taken"
            raise PonderError(f"the name {name!r} of an --alias {why}; choose another")
        found[name] = pipeline
    return found


def loading(
    load: Callable[[str], LanguageModel], strategies: Iterable[Pipeline]
) -> Callable[[str], LanguageModel]:
    """``load`` for the models that the operator's strategies name, and no others.

    Clients write strategies too, and a name may be any path or address.
    """
    named = {
        node.value
        for pipeline in strategies
        for node in ast.walk(ast.parse(repr(pipeline), mode="eval"))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }

    def permitted(name: str) -> LanguageModel:
        if name not in named:
            raise PonderError(
                f"this server does not load the model {name!r} for a client; name it in the "
                "operator's --alias"
            )
        return load(name)

    return permitted
