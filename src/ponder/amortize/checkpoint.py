"""One file for a network: its kind, how it was built, its weights, and what is known about it."""

from __future__ import annotations

import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ponder.errors import PonderError

FORMAT = "ponder checkpoint"
VERSION = 1  # of the file, counted up whenever what an older file says would be misread


@dataclass(frozen=True)
class Saved:
    """What a file held; ``config`` and ``about`` are plain numbers, texts, lists and dicts."""

    config: dict[str, Any]
    weights: dict[str, Tensor]
    about: dict[str, Any]


def save(
    path: str | os.PathLike[str],
    kind: str,
    config: dict[str, Any],
    weights: dict[str, Tensor],
    about: dict[str, Any],
) -> None:
    """Write a checkpoint: the old file or the new one is there at any time, never half of one.

    ``kind`` names what it is (``"pfn"``) and ``load`` requires it; ``config`` rebuilds the
    network, ``about`` is the rest (how it was trained, the range that it has seen).
    """
    target = Path(path)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "kind": kind,
        "config": config,
        "weights": {name: tensor.detach().cpu() for name, tensor in weights.items()},
        "about": about,
    }
    try:
        handle, partial = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise PonderError(
            f"cannot write {target}: {error.strerror}; give a file in a folder that you may write"
        ) from None
    try:
        with os.fdopen(handle, "wb") as out:
            torch.save(content, out)
            out.flush()
            os.fsync(out.fileno())
        os.replace(partial, target)
    except BaseException as error:
        Path(partial).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise PonderError(f"cannot write {target}: {error.strerror}; make room") from None
        raise


def load(path: str | os.PathLike[str], kind: str) -> Saved:
    """Read a checkpoint of this kind; runs no code of the file.

    Raises PonderError if it is not there, no checkpoint, of another kind or another version.
    """
    source = Path(path)
    if not source.is_file():
        raise PonderError(f"there is no file {source}; train first, or give another path")
    try:
        with zipfile.ZipFile(source) as file:
            whole = file.testzip() is None  # torch does not look at the checksums
        content = torch.load(source, map_location="cpu", weights_only=True) if whole else None
    except Exception:  # whatever a file of something else makes torch raise
        content = None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise PonderError(f"{source} is not a checkpoint of ponder, or damaged; train it again")
    if content["version"] != VERSION:
        raise PonderError(
            f"{source} is a checkpoint of version {content['version']}, this ponder reads "
            f"version {VERSION}; train it again, or install the ponder that wrote it"
        )
    if content["kind"] != kind:
        raise PonderError(f"{source} holds a {content['kind']}, not a {kind}; give another file")
    return Saved(content["config"], content["weights"], content["about"])
