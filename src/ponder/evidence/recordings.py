"""Samples that another program has recorded, bound to (question, recipe, draw) in a bank.

A line of a file of recordings is one reply: ``id`` of its question, ``sample`` (its number, from
0), ``text``, ``finish`` ("stop" or "length"), ``token_logp`` (log-probabilities of its tokens at
temperature 1, the end token included), ``logq`` (their sum under the law they were drawn from),
``prompt_tokens``; and if they are known ``prompt`` and ``law``. Lines may stand in any order.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ponder.bank import Bank
from ponder.errors import PonderError
from ponder.evidence import UNKNOWN

_FIELDS: dict[str, type | tuple[type, ...]] = {
    "id": (str, int),
    "sample": int,
    "text": str,
    "finish": str,
    "token_logp": list,
    "logq": (int, float),
    "prompt_tokens": int,
}


@dataclass(frozen=True)
class Recording:
    """One recorded reply: draw ``index`` of ``recipe`` for ``question``.

    ``token_logp`` is in nats, as is ``logq``, their sum under the law that they were drawn from.
    ``prompt`` and ``law`` are what the file says of them, for people to read.
    """

    question: str
    recipe: str
    index: int
    text: str
    finish: str
    prompt_tokens: int
    token_logp: tuple[float, ...]
    logq: float
    prompt: str = UNKNOWN
    law: str = UNKNOWN


def recipe_of(path: Path) -> str | None:
    """The recipe that a file's name tells: ``gsm8k.dev.cot.jsonl.gz`` has replies of ``cot``."""
    parts = path.name.removesuffix(".gz").removesuffix(".jsonl").split(".")
    return parts[-1] if len(parts) > 1 and parts[-1].isidentifier() else None


def read_recordings(path: Path, recipe: str) -> Iterator[Recording]:
    """The recordings of a JSON-lines file, gzipped or not.

    Raises PonderError, naming the line, for what is not a recording, or if one stands there twice.
    """
    seen: set[tuple[str, int]] = set()
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        found = _recording(line, recipe, f"{path} line {number}")
        place = (found.question, found.index)
        if place in seen:
            raise PonderError(
                f"{path} line {number}: sample {found.index} of {found.question} stands there "
                "twice; number the samples of a question from 0"
            )
        seen.add(place)
        yield found
    if not seen:
        raise PonderError(f"{path} holds no recordings; write one reply a line")


def _lines(path: Path) -> list[str]:
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        return data.decode().splitlines()
    except OSError as error:
        raise PonderError(
            f"cannot read {path}: {error.strerror or error}; give a file of recorded replies"
        ) from None
    except (EOFError, zlib.error, UnicodeDecodeError):
        raise PonderError(f"{path} is damaged, or not UTF-8; make it again") from None


def _recording(line: str, recipe: str, where: str) -> Recording:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise PonderError(f"{where}: not JSON; write one reply a line as an object") from None
    for name, kind in _FIELDS.items():
        value = row.get(name) if isinstance(row, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise PonderError(f"{where}: {name!r} is missing or of another type; add it")
    if row["finish"] not in ("stop", "length"):
        raise PonderError(f"{where}: 'finish' is {row['finish']!r}; write 'stop' or 'length'")
    numbers = [*row["token_logp"], row["logq"]]
    if not numbers[:-1] or not all(isinstance(x, int | float) and x <= 0 for x in numbers):
        raise PonderError(f"{where}: 'token_logp' and 'logq' are log-probabilities, at most 0")
    if row["prompt_tokens"] < 1 or row["sample"] < 0 or not math.isfinite(sum(numbers)):
        raise PonderError(f"{where}: a number is out of its range; samples count from 0")
    return Recording(
        str(row["id"]),
        recipe,
        row["sample"],
        row["text"],
        row["finish"],
        row["prompt_tokens"],
        tuple(map(float, row["token_logp"])),
        float(row["logq"]),
        _said(row.get("prompt")),
        _said(row.get("law")),
    )


def _said(value: Any) -> str:
    if value is None:
        return UNKNOWN
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def import_recordings(
    path: Path, bank: Bank, recipe: str, model: str, *, prompt: str = UNKNOWN, law: str = UNKNOWN
) -> list[Recording]:
    """Put the recordings of a file into ``bank``, all or none, and answer them.

    ``prompt`` and ``law`` say what the file does not of its prompts and its sampling. What the
    bank has already stays as it is. Raises PonderError for what cannot be read.
    """
    found = [
        replace(
            r,
            prompt=prompt if r.prompt == UNKNOWN else r.prompt,
            law=law if r.law == UNKNOWN else r.law,
        )
        for r in read_recordings(path, recipe)
    ]
    bank.record(
        model,
        [
            (r.question, r.recipe, r.index, {k: v for k, v in vars(r).items() if k not in _PLACE})
            for r in found
        ],
    )
    return found


_PLACE = ("question", "recipe", "index")


def recorded(bank: Bank, model: str | None = None) -> list[Recording]:
    """All recordings in ``bank``, of one model if it is named, by question, recipe and index."""
    return [
        Recording(question, recipe, index, **{**value, "token_logp": tuple(value["token_logp"])})
        for question, recipe, index, value in bank.recordings(model)
    ]


def described(recordings: Sequence[Recording]) -> list[str]:
    """What is bound to what, a line for each recipe: printed by whoever replays them."""
    lines = []
    for recipe in dict.fromkeys(r.recipe for r in recordings):
        of = [r for r in recordings if r.recipe == recipe]
        counts: Mapping[str, int] = Counter(r.question for r in of)
        few, most = min(counts.values()), max(counts.values())
        each = str(few) if few == most else f"{few} to {most}"
        tokens = sorted({r.prompt_tokens for r in of})
        laws = ", ".join(sorted({r.law for r in of}))
        prompts = {r.prompt for r in of}
        how = prompts.pop() if len(prompts) == 1 else "recorded one by one"
        lines.append(
            f"{recipe}: draws 0 to {most - 1} of {len(counts)} questions ({each} each) are "
            f"recorded replies; prompts of {tokens[0]} to {tokens[-1]} tokens, {how!r:.100}; "
            f"sampling law {laws!r:.100}"
        )
    return lines
