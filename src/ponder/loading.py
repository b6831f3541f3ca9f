"""What a user names in Python: ``path/to/file.py:name`` or ``module:name``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from ponder.errors import PonderError


def named(text: str) -> Any:
    """What ``file.py:name`` or ``module:name`` is. Raises PonderError if it cannot be had."""
    place, _, name = text.rpartition(":")
    if not place or not name:
        raise PonderError(f"cannot load {text!r}; write it as path/to/file.py:name or module:name")
    if place.endswith(".py"):
        return loaded(Path(place), name)
    try:
        module = importlib.import_module(place)
    except (Exception, SystemExit) as error:
        raise PonderError(
            f"cannot import {place} ({type(error).__name__}: {_line(error)}); install it, or give "
            "path/to/file.py:name"
        ) from None
    return _attribute(module, name, place)


def loaded(path: Path, name: str) -> Any:
    """What ``name`` is in the Python file at ``path``. Raises PonderError if it cannot be had."""
    if not path.is_file():
        raise PonderError(f"no file {path}; give path/to/file.py:name")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise PonderError(f"cannot read {path} as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise PonderError(f"{path} fails: {type(error).__name__}: {_line(error)}") from None
    finally:
        sys.path.remove(str(path.parent))
    return _attribute(module, name, str(path))


def _attribute(module: ModuleType, name: str, place: str) -> Any:
    if not hasattr(module, name):
        own = [
            n
            for n, thing in vars(module).items()
            if getattr(thing, "__module__", None) == module.__name__
            or (type(thing).__module__.startswith("ponder.") and not n.startswith("_"))
        ]
        raise PonderError(f"{place} has no {name!r}; it has {', '.join(own) or 'nothing to name'}")
    return getattr(module, name)


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]
