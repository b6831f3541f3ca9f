"""Generated tasks of the library reasoning-gym, which also scores their answers.

The library runs in a process of its own: several of its scorers hang on some answers, and several
evaluate an answer as Python. To those no answer is given that calls anything but a function of
mathematics. An answer on which a scorer fails or takes too long is worth 0.
"""

from __future__ import annotations

import atexit
import base64
import difflib
import importlib
import inspect
import itertools
import pickle
import random
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ponder.errors import PonderError
from ponder.evidence.scorers import Scorer
from ponder.question import Question
from ponder.verify.answers import canonical
from ponder.verify.kinds import infer_kind
from ponder.verify.structured import json_form
from ponder.verify.worker import Worker, failed

MAKING, SCORING = 300.0, 10.0
"""Wall seconds to generate a task, and to score one answer."""

_NUMBER = re.compile(r"-?[0-9][0-9,]*(?:\.[0-9]+)?")
_PAIRS = ({"yes", "no"}, {"true", "false"})
_FUNCTIONS = re.compile(r"abs|cbrt|exp|ln|log|sqrt|a?(?:sin|cos|tan)h?|sec|csc|cot")
_OPENED = re.compile(r"(\w+|[\])}'\"])\s*\(")
_REACHES = re.compile(r"__|[\\#]|\.\s*[^\W\d]")


def generated(name: str, n: int, seed: int) -> tuple[list[Question], Scorer]:
    """n questions of the task ``name`` by ``seed``, and what scores them.

    The kind of answer is read off the right answers. Raises PonderError for an unknown task, for
    one whose answers take several lines, which no reply is read for, or if the library is absent.
    """
    maker = Worker("ponder.evidence.gym:serve", MAKING)
    try:
        said = maker.answer({"make": True, "name": name, "n": n, "seed": seed})
    finally:
        maker.close()
    if failed(said):
        raise PonderError(f"gym:{name} cannot be generated: {said['detail']}; use another task")
    entries = said["entries"]
    kind = kind_of(name, entries)
    questions = [
        Question(
            entry["question"],
            kind,
            id=f"gym/{name}-{seed}-{i:04}",
            answer=entry["answer"],
            meta={"entry": entry["entry"]},
        )
        for i, entry in enumerate(entries)
    ]
    return questions, _scorer(name)


def _scorer(name: str) -> Scorer:
    def gym(answer: str | None, question: Question) -> float:
        """1 if it is the right answer in another form, else what the library gives for it."""
        if answer is None:
            return 0.0
        right = question.correct(canonical(answer, question.kind))
        if right or question.kind == "bool":  # where some of its scorers take anything for a no
            return float(bool(right))
        entry = question.meta["entry"]
        said = _process().answer({"name": name, "entry": entry, "answer": answer})
        return 0.0 if failed(said) else float(said["credit"])

    return gym


@lru_cache(maxsize=1)
def _process() -> Worker:
    """The process that scores, until ponder ends."""
    worker = Worker("ponder.evidence.gym:serve", SCORING, warm={"import": True})
    atexit.register(worker.close)
    return worker


def kind_of(name: str, entries: list[dict[str, Any]]) -> str:
    """The kind of answers that a task asks for, by its right answers; see :func:`generated`."""
    known = [entry["answer"] for entry in entries if entry["answer"] is not None]
    if not known:
        return infer_kind(entries[0]["question"])
    if all(_NUMBER.fullmatch(answer) for answer in known):
        return "number"
    if any({answer.casefold() for answer in known} <= pair for pair in _PAIRS):
        return "bool"
    if all(answer[:1] in ("[", "{") and json_form(answer) for answer in known):
        return "json"
    if any("\n" in answer.strip() for answer in known):
        raise PonderError(
            f"answers of gym:{name} take several lines, and a reply's answer is read from one; "
            "use another task"
        )
    return "text"


def serve(request: Mapping[str, Any]) -> dict[str, Any]:
    """In the worker: generate a task, or score an answer to one of its entries."""
    if "import" in request:
        return {"tasks": len(_factory().DATASETS)}
    if "make" in request:
        return {"entries": _made(request["name"], request["n"], request["seed"])}
    dataset = _dataset(request["name"], 1, 0)
    if _evaluates(dataset) and not harmless(request["answer"]):
        return {"credit": 0.0}
    entry = pickle.loads(base64.b64decode(request["entry"]))
    return {"credit": _credit(dataset.score_answer(request["answer"], entry))}


def harmless(text: str) -> bool:
    """Whether text that is evaluated as Python calls nothing but functions of mathematics."""
    if _REACHES.search(text):
        return False
    called = {match.group(1) for match in _OPENED.finditer(text)}
    # SymPy's functions evaluate a string that they are given.
    quotes = "'" in text or '"' in text
    return all(c.isdigit() or (_FUNCTIONS.fullmatch(c) and not quotes) for c in called)


def _evaluates(dataset: Any) -> bool:
    """Whether the code of a task evaluates text; that of its questions or of answers."""
    source = inspect.getsource(sys.modules[type(dataset).__module__])
    return "eval(" in source or "parse_expr(" in source


def _credit(value: Any) -> float:
    return min(1.0, max(0.0, float(value)))


def _made(name: str, n: int, seed: int) -> list[dict[str, Any]]:
    """The entries of a task, each with itself in a form that travels."""
    random.seed(seed)  # some tasks draw from the generator that all of Python shares
    dataset = _dataset(name, n, seed)
    made = []
    for entry in itertools.islice(dataset, n):
        answer = entry["answer"]
        if answer is not None and _credit(dataset.score_answer(answer, entry)) < 1:
            raise PonderError(
                f"gym:{name} does not accept its own answers with this reasoning-gym; "
                "use another task, or another version: pip install -U reasoning-gym"
            )
        packed = base64.b64encode(pickle.dumps(entry)).decode()
        made.append({"question": entry["question"].strip(), "answer": answer, "entry": packed})
    return made


def _factory() -> Any:
    try:
        return importlib.import_module("reasoning_gym.factory")
    except ImportError as error:
        raise PonderError(
            f"reasoning-gym cannot be imported ({error}); install it: pip install 'ponder[gym]'"
        ) from None


@lru_cache(maxsize=64)
def _dataset(name: str, n: int, seed: int) -> Any:
    factory = _factory()
    if name not in factory.DATASETS:
        known = sorted(factory.DATASETS)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(known)}"
        raise PonderError(f"reasoning-gym has no task {name!r}; {hint}")
    try:
        return factory.create_dataset(name, size=n, seed=seed)
    except Exception as error:
        raise PonderError(
            f"gym:{name} cannot be generated by its name alone ({error}); use another task"
        ) from None
